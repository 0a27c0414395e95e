# SPDX-License-Identifier: LGPL-2.1-or-later
"""The checks: each takes a path and the file's text and returns its findings, "path:line: what"."""
import fnmatch
import os
import re

from sources import functions, includes

BUS = ("src/daemon/bus/*", "src/daemon/service/*", "src/ctl/connection*.[ch]")

# One library, one file. The first row that matches counts. Folders not named here have libc only.
LIBRARIES = {
    "libcgroup.h": ("src/daemon/cgroup/library.c",),
    "seccomp.h": ("src/sandbox/sandbox.c",),
    "ini.h": ("src/daemon/config/parse.c",),
    "systemd/sd-journal.h": ("src/daemon/runtime/journal.c",),
    "systemd/sd-bus.h": BUS,
    "systemd/sd-bus-*.h": BUS,
    "systemd/*.h": ("src/daemon/*", "src/ctl/*"),
    "jansson.h": ("src/daemon/*", "src/ctl/*"),
}
# These never log and never print.
SILENT = ("src/base/", "src/link/", "src/sandbox/", "src/lib/", "include/")
LOUD_HEADERS = ("stdio.h", "syslog.h")

# The kernel's and libc's, for the folders that may have nothing else.
LIBC = re.compile(r"(linux|asm|asm-generic|sys|net|netinet|arpa)/.*|(" + "|".join("""
    assert ctype dirent dlfcn elf endian errno fcntl float fnmatch getopt grp inttypes libgen limits
    link locale math mntent paths poll pthread pwd sched search semaphore setjmp signal spawn
    stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings
    sysexits syslog termios threads time ucontext unistd wchar""".split()) + r")\.h")

LICENCE = "LGPL-2.1-or-later"
OTHER_LICENCES = {"tests/system/pvsim/": "GPL-2.0-only"}  # a kernel module may have no other
MAX_FUNCTION, MAX_FILE, MAX_PARAMETERS, MAX_COLUMNS = 60, 600, 5, 100
AIM_FUNCTION, AIM_FILE = 16, 400  # the median; told, not enforced

# Functions that may have more parameters, since their signature is somebody else's.
PARAMETERS_ALLOWED = {
    r"property_(get|set)_\w+": (7, "sd_bus_property_get_t, sd_bus_property_set_t"),
    r"on_(get|set)_\w+": (7, "sd_bus_property_get_t, sd_bus_property_set_t"),
    r"in_tcg_mmap(64)?": (6, "mmap(2)"),
    r"sendto": (6, "sendto(2)"),
    r"__wrap_syscall": (7, "syscall(2)"),
}


def matches(path, patterns):
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def check_libraries(path, text):
    """Which file alone may use which library, and who never prints. Tests may use anything."""
    if not path.startswith(("src/", "include/")):
        return
    for line, kind, name in includes(text):
        at = f"{path}:{line}: "
        if kind == '"' or name == "pvreaper.h":
            continue  # house.py looks at these
        owner = next((owners for library, owners in LIBRARIES.items()
                      if fnmatch.fnmatchcase(name, library)), None)
        if owner and not matches(path, owner):
            yield at + f"<{name}> belongs to {', '.join(owner)} only"
        elif not owner and not LIBC.fullmatch(name):
            yield at + f"<{name}> is neither libc's nor in the table of libraries"
        if path.startswith(SILENT) and name in LOUD_HEADERS:
            yield at + f"{os.path.dirname(path)} never logs or prints: no <{name}>"


def check_sizes(path, text):
    """Functions, files, parameters, columns."""
    lines = text.splitlines()
    if len(lines) > MAX_FILE:
        yield f"{path}:1: {len(lines)} lines, at most {MAX_FILE}"
    for number, line in enumerate(lines, 1):
        if len(line.expandtabs(8)) > MAX_COLUMNS:
            yield f"{path}:{number}: {len(line.expandtabs(8))} columns, at most {MAX_COLUMNS}"
    if not path.endswith((".c", ".h")):
        return
    for function in functions(text):
        at = f"{path}:{function.line}: {function.name}() has "
        allowed = next((most for pattern, (most, _) in PARAMETERS_ALLOWED.items()
                        if re.fullmatch(pattern, function.name)), MAX_PARAMETERS)
        if function.length > MAX_FUNCTION:
            yield at + f"{function.length} lines, at most {MAX_FUNCTION}"
        if function.parameters > allowed:
            yield at + f"{function.parameters} parameters, at most {allowed}"


def check_opening(path, text):
    """Licence line; what a .c is for; #pragma once."""
    lines = text.splitlines()
    licence = next((other for folder, other in OTHER_LICENCES.items() if path.startswith(folder)),
                   LICENCE)
    if not lines or "SPDX-License-Identifier:" not in lines[0] or licence not in lines[0]:
        yield f"{path}:1: the first line does not say SPDX-License-Identifier: {licence}"
    rest = "\n".join(lines[1:]).strip()
    if path.endswith(".h"):
        if not any(line.strip() == "#pragma once" for line in lines[:3]):
            yield f"{path}:1: no #pragma once"
        return
    opening = re.match(r"/\*.*?\*/|(?://[^\n]*\n?)+", rest, re.DOTALL)
    said = [line for line in opening.group().splitlines() if line.strip(" /*")] if opening else []
    if len(said) < 3:
        yield f"{path}:2: no opening comment of 3 lines and more that says what the file is for"


def check_words(path, text):
    """Paths of somebody's machine, and notes to self in what is shipped."""
    shipped = path.startswith(("src/", "include/"))
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r"(^|[^\w.}$/-])/(" + r"wor" + r"k|ho" + r"me)/\w", line):
            yield f"{path}:{number}: a path that exists on one machine only"
        if shipped and re.search(r"\b(TODO|FIXME|XXX)\b", line):
            yield f"{path}:{number}: a note to self"


def forbidden_phrases(page):
    """The phrases of the rule in HACKING.md that begins with "Never write:"."""
    return re.findall(r'"([^"]+)"', re.search(r"Never write: (.*)", page)[1])


def check_phrases(phrases, path, text):
    """Plain English: phrases that HACKING.md forbids, also where a comment breaks the line."""
    for phrase in phrases:
        pattern = r"\b" + r"[\s#*/]+".join(phrase.split()) + r"\b"
        for match in re.finditer(pattern, text, re.IGNORECASE):
            number = text.count("\n", 0, match.start()) + 1
            if "Never write:" not in text.splitlines()[number - 1]:
                yield f'{path}:{number}: "{phrase}", see "Plain English" in HACKING.md'


def check_subjects(path, text):
    """Plain English: "whoever" names no subject. Where a page quotes it, it is no subject."""
    if not path.startswith(("src/", "include/", "man/", "docs/", "conf/", "units/")) and \
            path not in ("README.md", "SECURITY.md", "HACKING.md"):
        return
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r'(?<!")\bwho(so)?ever\b', line, re.IGNORECASE):
            yield f'{path}:{number}: "whoever": name the subject, see "Plain English" in HACKING.md'


def budget_report(texts):
    """Lines for the reader: the medians and the large files. texts: {path: text} of C files."""
    lengths = {path: sorted(f.length for f in functions(text)) for path, text in texts.items()}
    everything = sorted(length for some in lengths.values() for length in some)
    if everything:
        median, p95 = everything[len(everything) // 2], everything[len(everything) * 95 // 100]
        yield (f"{len(everything)} functions: median {median} lines (aim: {AIM_FUNCTION}), "
               f"p95 {p95}, longest {everything[-1]}")
    for path, text in texts.items():
        if len(text.splitlines()) > AIM_FILE:
            yield f"{path}: {len(text.splitlines())} lines (aim: {AIM_FILE})"
