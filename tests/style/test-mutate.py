#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Does tests/mutate change what it says, and nothing else?"""
import os
import sys
import unittest

import sources
sys.path.insert(0, os.path.join(sources.ROOT, "tests/lib"))
import mutations  # noqa: E402
import tap  # noqa: E402

TEXT = """\
/* if (a < b) is a comment */
static int size = 5;

static int f(struct x *x, int n) {
        char name[16], *p = "0 && 1";
        _cleanup_(freep) char *q = NULL;

        if (n < 0 && x->ok)
                return log_error_errno(n, "%d", n != 1);
        x->n = g(x,
                 3);
        log_debug("%d", 7);
        x->p = x_free(x->p);
        say(0);
        go(x);
        x->n += n;
        while (h())
                free(p);
        return 0;
}

void v(void) {
        go(0x10U);
}
"""

WANTED = {
    "negate": ["if (!(n < 0 && x->ok))", "while (!(h()))"],
    "compare": ["if (n <= 0 && x->ok)"],
    "and-or": ["if (n < 0 || x->ok)"],
    "free": ["(void)0;", "(void)0;", "char *q = NULL;"],
    "call": ["(void)0;", "(void)0;"],
    "assign": ["(void)0 ;", "(void)0;"],
    "constant": ["3 + 1", "if (n < 1", "(0x10U + 1)"],
    "return": ["return 0;", "return -1;", "{ return 0;", "{ return;"],
}


class Mutations(unittest.TestCase):
    def changes(self, kind):
        return [mutations.change_of("a.c", TEXT, mutation)
                for mutation in mutations.mutations(TEXT) if mutation.kind == kind]

    def test_mutations_of_each_kind(self):
        for kind, wanted in WANTED.items():
            with self.subTest(kind):
                new = [change.new for change in self.changes(kind)]
                self.assertEqual(len(new), len(wanted), new)
                for text in wanted:
                    self.assertTrue(any(text in one for one in new), (text, new))

    def test_mutations_keep_lines(self):
        for mutation in mutations.mutations(TEXT):
            self.assertEqual(mutation.apply(TEXT).count("\n"), TEXT.count("\n"))

    def test_mutations_are_read_back(self):
        changes = self.changes("call") + self.changes("assign")
        listed = "# a comment\n" + "\n".join(f"{change}because\nof it\n" for change in changes)
        self.assertEqual(mutations.read_changes(listed.splitlines(True)),
                         [(change, "because of it") for change in changes])
        with self.assertRaises(ValueError):
            mutations.read_changes(["a.c\n", "- no line before\n", "+ x\n", "why\n"])


if __name__ == "__main__":
    tap.main()
