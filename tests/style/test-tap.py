#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Does tests/lib/tap.py say what happened? Each case runs a small program and reads its TAP."""
import os
import subprocess
import sys
import unittest

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")
HEAD = """
import os, signal, subprocess, sys, time, unittest
sys.path.insert(0, {!r})
import tap
tap.GRACE_SEC = 0.3
class T(unittest.TestCase):
"""


def run_program(body, *args, tail=""):
    """Runs a program whose class T has this body; returns its exit status and TAP lines."""
    lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
    program = HEAD.format(TESTS) + lines + tail + "\ntap.main()\n"
    done = subprocess.run([sys.executable, "-B", "-c", program, *args], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, timeout=60, check=False)
    return done.returncode, done.stdout.splitlines()


class Tap(unittest.TestCase):
    def test_success(self):
        status, lines = run_program("def test_a(self): pass\ndef test_b(self): pass")
        self.assertEqual((status, lines), (0, ["1..2", "ok 1 - T.test_a", "ok 2 - T.test_b"]))

    def test_failure_with_diagnostics(self):
        status, lines = run_program("def test_a(self): self.assertEqual(1, 2, 'why')")
        self.assertEqual((status, lines[1]), (1, "not ok 1 - T.test_a"))
        self.assertTrue(all(line.startswith("# ") for line in lines[2:]))
        self.assertIn("why", "".join(lines[2:]))

    def test_error(self):
        status, lines = run_program("def test_a(self): raise OSError('x')\ndef test_b(self): pass")
        self.assertEqual((status, lines[1], lines[-1]),
                         (1, "not ok 1 - T.test_a", "ok 2 - T.test_b"))

    def test_failure_in_subtest_is_reported_once(self):
        status, lines = run_program("""
def test_a(self):
    for i in range(3):
        with self.subTest(i=i): self.assertEqual(i, 0)
""")
        self.assertEqual(status, 1)
        self.assertEqual([line for line in lines if "ok" in line.split()],
                         ["not ok 1 - T.test_a"])

    def test_skip(self):
        status, lines = run_program("def test_a(self): self.skipTest('no\\nluck')")
        self.assertEqual((status, lines[1]), (0, "ok 1 - T.test_a # SKIP no luck"))

    def test_skip_of_a_class(self):
        status, lines = run_program("""
@classmethod
def setUpClass(cls): raise unittest.SkipTest('not today')
def test_a(self): pass
def test_b(self): pass
""")
        self.assertEqual((status, lines), (0, ["1..2", "ok 1 - T.test_a # SKIP not today",
                                               "ok 2 - T.test_b # SKIP not today"]))

    def test_failure_of_a_class(self):
        status, lines = run_program("""
@classmethod
def setUpClass(cls): raise OSError('broken')
def test_a(self): pass
""")
        self.assertEqual((status, lines[-2:]), (1, ["not ok 1 - T.test_a", "# never ran"]))
        self.assertIn("broken", "".join(lines))

    def test_failure_in_teardown_of_a_class(self):
        status, lines = run_program("""
@classmethod
def tearDownClass(cls): raise OSError('broken')
def test_a(self): pass
""")
        self.assertEqual((status, lines[1]), (1, "ok 1 - T.test_a"))

    def test_unexpected_success(self):
        status, lines = run_program("@unittest.expectedFailure\ndef test_a(self): pass")
        self.assertEqual((status, lines[1]), (1, "not ok 1 - T.test_a"))

    def test_stdout_stays_clean(self):
        status, lines = run_program("def test_a(self): print('x'); os.system('echo y')")
        self.assertEqual((status, lines), (0, ["1..1", "ok 1 - T.test_a"]))

    def test_no_cases_is_a_failure(self):
        self.assertEqual(run_program("pass"), (1, ["1..0"]))

    def test_choice_by_name(self):
        body = "def test_a(self): pass\ndef test_b(self): pass"
        self.assertEqual(run_program(body, "T.test_b"), (0, ["1..1", "ok 1 - T.test_b"]))
        self.assertEqual(run_program(body, "T.test_c")[0], 1)

    def test_death_leaves_the_plan_unfinished(self):
        status, lines = run_program("def test_a(self): os._exit(0)\ndef test_b(self): pass")
        self.assertEqual((status, lines), (0, ["1..2"]))


class Leftovers(unittest.TestCase):
    def test_child(self):
        status, lines = run_program("""
def test_a(self): subprocess.Popen(['sleep', '100'])
def test_b(self): pass
""")
        self.assertEqual((status, lines[1], lines[-1]),
                         (1, "not ok 1 - T.test_a", "ok 2 - T.test_b"))
        self.assertRegex(lines[2], r"^# left behind: process \d+ \(sleep\)$")

    def test_orphan(self):
        status, lines = run_program("def test_a(self): os.system('sleep 100 &')")
        self.assertEqual((status, lines[1]), (1, "not ok 1 - T.test_a"))

    def test_they_are_killed(self):
        _, lines = run_program("def test_a(self): subprocess.Popen(['sleep', '100'])")
        self.assertFalse(os.path.exists(f"/proc/{lines[2].split()[4]}"))

    def test_orphan_that_leaves_in_time_is_fine(self):
        status, _ = run_program("def test_a(self): os.system('sleep 0.1 &')")
        self.assertEqual(status, 0)

    def test_child_of_the_class_may_live_until_the_end(self):
        body = """
@classmethod
def setUpClass(cls): cls.child = subprocess.Popen(['sleep', '100'])
def test_a(self): self.assertIsNone(self.child.poll())
def test_b(self): self.child.kill()
"""
        end = """
@classmethod
def tearDownClass(cls): cls.child.kill(); assert cls.child.wait() == -9
"""
        self.assertEqual(run_program(body + end)[0], 0)
        status, lines = run_program(body.replace("self.child.kill()", "pass"))
        self.assertEqual((status, lines[2]), (1, "ok 2 - T.test_b"))
        self.assertIn("left behind", lines[3])


if __name__ == "__main__":
    unittest.main()  # not tap.main(): it does not judge itself
