# SPDX-License-Identifier: LGPL-2.1-or-later
"""The project's files, and as much understanding of C as the checks need."""
import glob
import os
import re
import subprocess
from typing import NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def all_files():
    """Paths, from the project's root, of everything that is or would be in git."""
    git = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                         cwd=ROOT, capture_output=True, text=True, check=False)
    if git.returncode == 0 and os.path.exists(os.path.join(ROOT, ".git")):
        paths = set(git.stdout.split("\0")) - {""}
    else:  # a release archive: everything but build directories
        paths = set()
        for folder, folders, names in os.walk(ROOT):
            folders[:] = [name for name in folders if name not in (".git", "__pycache__") and
                          not os.path.exists(os.path.join(folder, name, "meson-private"))]
            paths.update(os.path.relpath(os.path.join(folder, name), ROOT) for name in names)
    return sorted(path for path in paths if os.path.isfile(os.path.join(ROOT, path)))


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def program_in(folder, name):
    """A built program below folder, or None."""
    found = [path for path in glob.glob(os.path.join(folder, "**", name), recursive=True)
             if os.path.isfile(path) and os.access(path, os.X_OK)]
    return min(found, key=len, default=None)  # other builds are in folders below


def interpreter(path):
    """"python", "shell" or None, by name or by first line."""
    first = read(path).partition("\n")[0] if os.path.getsize(os.path.join(ROOT, path)) else ""
    first = first if first.startswith("#!") else ""
    if path.endswith(".py") or "python" in first:
        return "python"
    if path.endswith(".sh") or re.search(r"/(env )?(ba|da)?sh\b", first):
        return "shell"
    return None


# A comment, a string, or a preprocessor line with its continuations; the first that matches wins.
NOT_CODE = re.compile(r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'
                          | ^[ \t]*\#(?:\\\n|/\*.*?\*/|[^\n])*""",
                      re.VERBOSE | re.DOTALL | re.MULTILINE)


def code_only(text):
    """The C text with everything that is not code blanked out; line numbers stay."""
    return NOT_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def includes(text):
    """[(line, '<' or '"', name)]; an #include inside a comment is none."""
    bare = re.sub(r"/\*.*?\*/", lambda match: re.sub(r"[^\n]", " ", match.group()), text,
                  flags=re.DOTALL)
    for number, line in enumerate(bare.splitlines(), 1):
        match = re.match(r"\s*#\s*include\s*([<\"])([^>\"]+)[>\"]", line)
        if match:
            yield number, match.group(1), match.group(2)


class Function(NamedTuple):
    name: str
    line: int  # where its declaration begins
    length: int  # in lines, from there to the closing brace
    parameters: int


def count_parameters(text):
    """text: what stands between the parentheses."""
    if text.strip() in ("", "void"):
        return 0
    depth = commas = 0
    for char in text:
        depth += (char == "(") - (char == ")")
        commas += char == "," and depth == 0
    return commas + 1


def parameter_list(declaration):
    """(name, parameter text) if this, found before a '{', declares a function, else None."""
    groups, depth, start = [], 0, 0
    for at, char in enumerate(declaration):
        if char == "(":
            start = at if depth == 0 else start
            depth += 1
        elif char == ")":
            depth -= 1
            name = re.search(r"(\w+)\s*$", declaration[:start])
            if depth == 0 and name and not re.match(r"_.*_$", name.group(1)):
                groups.append((name.group(1), declaration[start + 1:at]))
        elif char == "=" and depth == 0:
            return None
    return groups[-1] if groups else None


def functions(text):
    """The functions defined in a C file."""
    code = code_only(text)
    found, depth, begin = [], 0, 0  # begin: where the current top-level declaration begins
    for at, char in enumerate(code):
        if char == "{":
            # extern "C" { is no level of its own (its string is blanked out)
            if depth == 0 and code[begin:at].split() == ["extern"]:
                begin = at + 1
                continue
            if depth == 0:
                declaration = re.split(r"\n\s*\n", code[begin:at].rstrip())[-1].strip()
                start = code.rindex(declaration, begin, at)
                function = parameter_list(declaration)
            depth += 1
        elif char == "}" and depth > 0:
            depth -= 1
            if depth == 0:
                if function:
                    found.append(Function(name=function[0], line=code.count("\n", 0, start) + 1,
                                          length=code.count("\n", start, at) + 1,
                                          parameters=count_parameters(function[1])))
                begin = at + 1
        elif char == ";" and depth == 0:
            begin = at + 1
    return found
