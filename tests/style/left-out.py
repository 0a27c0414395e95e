#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""left-out.py BUILD-DIR: does HACKING.md name what tests/run leaves out without --everything?"""
import json
import os
import re
import sys
import unittest

import sources
sys.path.insert(0, os.path.join(sources.ROOT, "tests", "lib"))
import tap  # noqa: E402

BUILD = sys.argv.pop(1)
SUITES = {"slow", "measures", "foreign"}  # as tests/run has them
OTHER_BUILD = "system-s390x-"  # these are not in ours


class LeftOut(unittest.TestCase):
    def test_all_of_it_is_named(self):
        with open(os.path.join(BUILD, "meson-info", "intro-tests.json"), encoding="utf-8") as file:
            tests = json.load(file)
        left_out = {test["name"] for test in tests
                    if SUITES & {suite.rpartition(":")[2] for suite in test["suite"]}}
        page = sources.read("HACKING.md")
        table = re.search(r"^\| left out by CI \|(.*?)\n\n", page, re.M | re.S)[1]
        named = {name for row in table.splitlines()
                 for name in re.findall(r"`([\w-]+)`", row.rpartition(" | ")[0])}
        self.assertEqual({name for name in named if not name.startswith(OTHER_BUILD)}, left_out)

    def test_suites_are_those_of_the_runner(self):
        found = re.findall(r"--no-suite (\w+)", sources.read("tests/run"))
        self.assertEqual(set(found) - {"system"}, SUITES)


if __name__ == "__main__":
    tap.main()
