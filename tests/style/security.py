#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Does each row of SECURITY.md's table name tests, and are they there?"""
import glob
import os
import re
import sys
import unittest

import sources
sys.path.insert(0, os.path.join(sources.ROOT, "tests", "lib"))
import tap  # noqa: E402

TABLE = re.compile(r"^\| attack \|.*?\n\|---.*?\n((?:\|.*\n)+)", re.M)
# `file` Class.test, Class.test; `file` test
REFERENCE = re.compile(r"`([\w-]+\.(?:py|c))` ((?:[\w.]+(?:, )?)+)")


def tests_of(file):
    """Class.test of a Python file, test of a C file; nothing if there is no such file."""
    found = set()
    for path in glob.glob(os.path.join(sources.ROOT, "tests", "**", file), recursive=True):
        name = None
        for line in sources.read(path).splitlines():
            if match := re.match(r"class (\w+)\(", line):
                name = match[1]
            elif match := re.match(r"    def (test_\w+)\(", line):
                found.add(f"{name}.{match[1]}")
            elif match := re.match(r"static void (test_\w+)\(", line):
                found.add(match[1])
    return found


def references(cell):
    for file, names in REFERENCE.findall(cell):
        yield from ((file, name) for name in names.split(", "))


class Security(unittest.TestCase):
    def setUp(self):
        table = TABLE.search(sources.read("SECURITY.md"))
        self.rows = [line.strip("|").split("|") for line in table[1].splitlines()]

    def test_rows_have_tests_that_exist(self):
        self.assertGreater(len(self.rows), 15)
        missing = []
        for attack, held_by, cell in self.rows:
            self.assertTrue(held_by.strip(), attack)
            self.assertTrue(list(references(cell)), attack)
            missing += [f"{file} {name}" for file, name in references(cell)
                        if name not in tests_of(file)]
        self.assertEqual(missing, [])

    def test_nothing_is_overlooked(self):
        """All of a cell is references: a name written otherwise would go unchecked."""
        for attack, _, cell in self.rows:
            self.assertRegex(REFERENCE.sub("", cell), r"^[ ;]*$", attack)


if __name__ == "__main__":
    tap.main()
