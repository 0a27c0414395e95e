#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How the code reads, checked by machine: format, libraries, sizes, openings, words, scripts."""
import functools
import os
import re
import shutil
import subprocess
import sys
import unittest

import checks
import sources
sys.path.insert(0, os.path.join(sources.ROOT, "tests", "lib"))
import tap  # noqa: E402

CLANG_FORMAT_MAJOR = 14  # another one's idea of the same .clang-format differs
BINARY = (".png", ".gz", ".xz", ".bin", ".pdf")

FILES = sources.all_files()
C_FILES = [path for path in FILES if path.endswith((".c", ".h"))]
SCRIPTS = {path: language for path in FILES if (language := sources.interpreter(path))}
PYTHON = [path for path, language in SCRIPTS.items() if language == "python"]


class Style(unittest.TestCase):
    def apply(self, check, paths):
        found = [finding for path in paths for finding in check(path, sources.read(path))]
        if found:
            self.fail(f"{len(found)} findings\n" + "\n".join(found))

    def test_files_are_found(self):
        self.assertIn("include/pvreaper.h", C_FILES)
        self.assertEqual(SCRIPTS.get("tests/run"), "shell")

    def test_format(self):
        if not shutil.which("clang-format"):
            self.skipTest("no clang-format")
        version = subprocess.run(["clang-format", "--version"], capture_output=True, text=True,
                                 check=True).stdout
        if not re.search(rf"version {CLANG_FORMAT_MAJOR}\.", version):
            self.skipTest(f"not clang-format {CLANG_FORMAT_MAJOR}: {version.strip()}")
        done = subprocess.run(["clang-format", "--dry-run", "-Werror", "-style=file", *C_FILES],
                              cwd=sources.ROOT, capture_output=True, text=True, check=False)
        bad = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", done.stderr, re.MULTILINE)))
        if done.returncode != 0:
            self.fail(f"clang-format -i {' '.join(bad)}\n" + done.stderr[:2000])

    def test_libraries(self):
        self.apply(checks.check_libraries, C_FILES)

    def test_sizes(self):
        shipped = {path: sources.read(path) for path in C_FILES if path.startswith("src/")}
        print(*checks.budget_report(shipped), sep="\n")
        self.apply(checks.check_sizes, C_FILES + list(SCRIPTS))

    def test_openings(self):
        self.apply(checks.check_opening, C_FILES)

    def test_words(self):
        self.apply(checks.check_words, [path for path in FILES if not path.endswith(BINARY)])

    def test_phrases(self):
        phrases = checks.forbidden_phrases(sources.read("HACKING.md"))
        self.assertGreaterEqual(len(phrases), 4)
        self.apply(functools.partial(checks.check_phrases, phrases),
                   [path for path in FILES if not path.endswith(BINARY)])

    def test_subjects(self):
        self.apply(checks.check_subjects, [path for path in FILES if not path.endswith(BINARY)])

    def test_shell_scripts_parse(self):
        for path in [path for path, language in SCRIPTS.items() if language == "shell"]:
            done = subprocess.run(["bash", "-n", path], cwd=sources.ROOT, capture_output=True,
                                  text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_python_compiles(self):
        for path in PYTHON:
            compile(sources.read(path), path, "exec")

    def test_python_names(self):
        """None undefined, which only a test that runs would show, and none imported for nothing;
        who imports for others says so: noqa: F401.
        """
        if not shutil.which("pyflakes3"):
            self.skipTest("no pyflakes3")
        done = subprocess.run(["pyflakes3", *PYTHON], cwd=sources.ROOT, capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.stderr, "")
        found = [line for line in done.stdout.splitlines() if not self.for_others(line)]
        self.assertEqual(found, [])

    @staticmethod
    def for_others(finding):
        path, number, _ = finding.split(":", 2)
        return "F401" in sources.read(path).splitlines()[int(number) - 1]

    def test_executables_have_a_shebang(self):
        for path in FILES:
            if os.access(os.path.join(sources.ROOT, path), os.X_OK):
                self.assertTrue(sources.read(path).startswith("#!"), path)


if __name__ == "__main__":
    tap.main()
