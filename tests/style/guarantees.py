#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Is each guarantee that code, tests and papers cite (G1, G2 ...) one of docs/design.md?"""
import os
import re
import sys
import unittest

import sources
sys.path.insert(0, os.path.join(sources.ROOT, "tests", "lib"))
import tap  # noqa: E402

DESIGN = "docs/design.md"
HEADING = re.compile(r"^### G(\d+): \S", re.M)
CITED = re.compile(r"\bG(\d+)(?=\b|_)")  # also G2_two_ends, an assertion of the model
NOT_READ = re.compile(r".*\.(json|png|gz|xz|bin|pdf)|tests/fuzz/corpus/.*|.*/guarantees\.py")


def cited(text):
    """(line, number) of each."""
    for line, words in enumerate(text.splitlines(), 1):
        yield from ((line, int(number)) for number in CITED.findall(words))


def unknown(path, text, known):
    yield from (f"{path}:{line}: G{number}" for line, number in cited(text) if number not in known)


class Guarantees(unittest.TestCase):
    def setUp(self):
        self.known = [int(number) for number in HEADING.findall(sources.read(DESIGN))]

    def test_they_are_numbered(self):
        self.assertEqual(self.known, list(range(1, len(self.known) + 1)))

    def test_what_is_cited_is_there(self):
        found = [finding for path in sources.all_files() if not NOT_READ.fullmatch(path)
                 for finding in unknown(path, sources.read(path), self.known)]
        self.assertEqual(found, [])

    def test_how_they_are_found(self):
        text = "no (G7).\nG2 ... G8\nG12_two_ends and 3G, G, xG4, G5x"
        self.assertEqual(list(cited(text)), [(1, 7), (2, 2), (2, 8), (3, 12)])
        self.assertEqual(list(unknown("x.c", text, range(1, 10))), ["x.c:3: G12"])


if __name__ == "__main__":
    tap.main()
