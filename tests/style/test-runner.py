#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Does the system suite's runner pass on what its programs said, and no less?"""
import os
import re
import subprocess
import sys
import tempfile
import unittest

import sources
sys.path.insert(0, os.path.join(sources.ROOT, "tests", "lib"))
import tap  # noqa: E402

# name: (what the program does, (good, bad, skipped) lines that come of it)
PROGRAMS = {
    "good": ("print('1..2\\nok 1 - a\\nok 2 - b')", (2, 0, 0)),
    "bad": ("print('1..2\\nok 1 - a\\nnot ok 2 - b\\n# why'); exit(1)", (1, 1, 0)),
    "skips": ("print('1..2\\nok 1 - a # SKIP no x\\nok 2 - b')", (1, 0, 1)),
    "skips-all": ("print('1..0 # SKIP no y')", (0, 0, 1)),
    "leaves": ("print('1..3\\nok 1 - a')", (1, 1, 0)),
    "mute": ("pass", (0, 1, 0)),
    "no-plan": ("print('ok 1 - a')", (1, 1, 0)),
    "status": ("print('1..1\\nok 1 - a'); exit(3)", (1, 1, 0)),
    "dies": ("import os; print('1..2\\nok 1 - a', flush=True); os.kill(os.getpid(), 9)", (1, 1, 0)),
    "talks": ("print('1..1\\nhello\\nok 1 - a')", (1, 0, 0)),
}
RUNNER = os.path.join(sources.ROOT, "tests", "system", "runner.py")


class Runner(unittest.TestCase):
    def run_programs(self, names):
        """Exit status and lines of the stream."""
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                with open(f"{folder}/test-{name}.py", "w", encoding="utf-8") as file:
                    file.write(PROGRAMS[name][0])
            done = subprocess.run([sys.executable, RUNNER, f"{folder}/tap",
                                   *(f"{folder}/test-{name}.py" for name in names)], check=False)
            with open(f"{folder}/tap", encoding="utf-8") as file:
                return done.returncode, file.read().splitlines()

    def count(self, lines):
        results = [line for line in lines if line.startswith(("ok ", "not ok "))]
        skipped = sum("# SKIP " in line for line in results)
        bad = sum(line.startswith("not ok ") for line in results)
        return len(results) - skipped - bad, bad, skipped

    def test_each_program(self):
        for name, (_, expected) in PROGRAMS.items():
            status, lines = self.run_programs([name])
            self.assertEqual(self.count(lines), expected, lines)
            self.assertEqual(status != 0, expected[1] > 0, name)
            self.assertEqual(lines[-1], f"1..{sum(expected)}")

    def test_all_in_one_stream(self):
        status, lines = self.run_programs(list(PROGRAMS))
        expected = zip(*(expected for _, expected in PROGRAMS.values()))
        self.assertEqual(self.count(lines), tuple(map(sum, expected)))
        numbers = [int(line.split(" - ")[0].split()[-1]) for line in lines if "ok " in line[:7]]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
        self.assertEqual((status, lines[-1]), (1, f"1..{len(numbers)}"))
        self.assertIn("# why", lines)
        self.assertIn("# hello", lines)
        self.assertEqual(sum(bool(re.fullmatch(r"# \d+\.\d s", line)) for line in lines),
                         11)  # one for each that a program said


if __name__ == "__main__":
    tap.main()
