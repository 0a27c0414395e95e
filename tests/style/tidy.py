#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""clang-tidy over src/: tidy.py BUILD-DIR. One TAP result per file, one process per CPU and file
(with several files in one process, version 14 finds va_lists uninitialized that are not).

What is checked, and what is not and why, stands in .clang-tidy.
"""
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import sources

MAJOR = 14  # another one finds other things


def available():
    if not shutil.which("clang-tidy"):
        return False
    version = subprocess.run(["clang-tidy", "--version"], capture_output=True, text=True,
                             check=True).stdout
    return bool(re.search(rf"version {MAJOR}\.", version))


def run(build_dir, path):
    """Exit status and output for one file."""
    # gcc's options are not all clang's
    done = subprocess.run(["clang-tidy", "--quiet", "-p", build_dir,
                           f"--config-file={sources.ROOT}/.clang-tidy",
                           "--extra-arg=-Wno-unknown-warning-option", path],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return done.returncode, done.stdout


def files(build_dir):
    """The .c files of src/ that this build compiles."""
    with open(os.path.join(build_dir, "compile_commands.json"), encoding="utf-8") as f:
        entries = json.load(f)
    paths = {os.path.normpath(os.path.join(entry["directory"], entry["file"])) for entry in entries}
    return sorted(path for path in paths if path.startswith(os.path.join(sources.ROOT, "src", "")))


def main():
    build_dir = sys.argv[1]
    if not available():
        print(f"1..0 # SKIP no clang-tidy {MAJOR}")
        return 0
    os.nice(19)  # the programs beside it measure, or wait for something in time
    paths = files(build_dir)
    print(f"1..{len(paths)}", flush=True)
    bad = 0
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = pool.map(lambda path: run(build_dir, path), paths)
        for number, (path, (status, output)) in enumerate(zip(paths, results), 1):
            bad += status != 0
            name = os.path.relpath(path, sources.ROOT)
            print(f"{'not ok' if status else 'ok'} {number} - {name}", flush=True)
            if status:
                print(*(f"# {line}" for line in output.splitlines()), sep="\n", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
