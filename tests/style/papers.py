#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Do docs/design.md and docs/facts.md cite what is there: files, tests, facts, experiments?"""
import glob
import os
import re
import sys
import unittest

import security
import sources
sys.path.insert(0, os.path.join(sources.ROOT, "tests", "lib"))
import tap  # noqa: E402

PAPERS = ("docs/design.md", "docs/facts.md", "docs/experiments/README.md")
TOP = r"(?:src|tests|docs|include|conf|man|units)"
PATH = re.compile(r"`(" + TOP + r"/[\w.@/*-]*)`")
# `test-x.py` Class.test, Class; `end-x.py` Class.test; `test-x.c` test_x
TEST = re.compile(r"`((?:test|end)-[\w-]+\.(?:py|c))`"
                  r"((?:,? (?:[A-Z]\w+(?:\.test_\w+)?|test_\w+))*)")
# `src/x.c` a(), b() > c()
FUNCTION = re.compile(r"`(src/[\w/-]+\.c)` (\w+\(\)(?:(?:, | > )\w+\(\))*)")
FACT = re.compile(r"\bF([1-9][0-9]?)\b")
ROW = re.compile(r"^\| F([0-9]+) \| .* \| (.*) \|$", re.M)
MARKS = re.compile(r"\b(measured|by hand|read|open|seen)\b")


def missing_tests(text):
    for file, names in TEST.findall(text):
        found = security.tests_of(file)
        found |= {name.partition(".")[0] for name in found}
        if not found:
            yield file
        yield from (f"{file} {name}" for name in re.findall(r"[\w.]+", names) if name not in found)


def missing_files(text):
    for path in PATH.findall(text):
        if not glob.glob(os.path.join(sources.ROOT, path)):
            yield path


def bodies_of(path):
    """{function: its text} of a C file."""
    text = sources.read(path)
    lines = text.splitlines()
    return {function.name: "\n".join(lines[function.line - 1:function.line - 1 + function.length])
            for function in sources.functions(text)}


def wrong_calls(text):
    """a() > b(), c(): all three are in the file, and a() calls b() and c()."""
    for path, names in FUNCTION.findall(text):
        if not os.path.exists(os.path.join(sources.ROOT, path)):
            yield path
            continue
        bodies = bodies_of(path)
        caller = last = None
        for sign, name in re.findall(r"( > |, |^)(\w+)\(\)", names):
            caller = last if sign == " > " else caller
            if name not in bodies:
                yield f"{path} {name}()"
            elif caller and not re.search(rf"\b{name}\(", bodies.get(caller, "")):
                yield f"{path} {caller}() > {name}()"
            last = name


def not_called(text):
    """In a table of the walk: rows that no row above calls, in a section or behind a callback."""
    above = []
    for line in text.splitlines():
        where, _, rest = line.removeprefix("| ").partition("|")
        match = FUNCTION.search(rest)
        if not line.startswith("|") or not match:
            continue
        bodies, names = bodies_of(match[1]), re.findall(r"\w+", match[2])
        if where.strip() not in ("", "↑"):
            above = []
        elif not where.strip() and not any(re.search(rf"\b{names[0]}\b", body) for body in above):
            yield names[0]
        above += [bodies[name] for name in names if name in bodies]


class Papers(unittest.TestCase):
    def setUp(self):
        self.texts = {path: sources.read(path) for path in PAPERS}
        self.rows = ROW.findall(self.texts["docs/facts.md"])

    def test_files_are_there(self):
        missing = [f"{paper}: {path}" for paper, text in self.texts.items()
                   for path in missing_files(text)]
        self.assertEqual(missing, [])

    def test_tests_are_there(self):
        missing = [f"{paper}: {name}" for paper, text in self.texts.items()
                   for name in missing_tests(text)]
        self.assertEqual(missing, [])

    def test_functions_are_there(self):
        wrong = [f"{paper}: {call}" for paper, text in self.texts.items()
                 for call in wrong_calls(text)]
        self.assertEqual(wrong, [])

    def test_walk_reads_downward(self):
        _, _, walk = self.texts["docs/design.md"].partition("\n## A walk through the house\n")
        self.assertGreater(len(FUNCTION.findall(walk)), 50)
        self.assertEqual(list(not_called(walk)), [])

    def test_facts_have_numbers_and_marks(self):
        numbers = [int(number) for number, _ in self.rows]
        self.assertGreater(len(numbers), 50)
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual([f"F{number}" for number, mark in self.rows if not MARKS.search(mark)], [])

    def test_cited_facts_are_there(self):
        known = {number for number, _ in self.rows}
        cited = {(path, number) for path in sources.all_files()
                 if path.endswith((".c", ".h", ".md", ".py", ".scd"))
                 for number in self.cited(path)}
        self.assertEqual(sorted(f"{path}: F{number}" for path, number in cited
                                if number not in known), [])

    def cited(self, path):
        text = sources.read(path)
        if path.startswith("docs/"):
            return FACT.findall(text)
        return re.findall(r"docs/facts\.md,? F([1-9][0-9]?)\b", text)

    def test_experiments_are_listed(self):
        listed = set(re.findall(r"`([\w-]+(?:\.c)?)`", self.texts["docs/experiments/README.md"]))
        there = {os.path.basename(path) for path in sources.all_files()
                 if path.startswith("docs/experiments/") and not path.endswith((".md", ".build"))}
        self.assertTrue(there)
        self.assertEqual(there - listed, set())


if __name__ == "__main__":
    tap.main()
