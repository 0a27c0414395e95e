#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Does tests/count-results count what happened? Small projects, run by the real meson."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import sources
sys.path.insert(0, os.path.join(sources.ROOT, "tests", "lib"))
import tap  # noqa: E402

# name: (what it does, protocol, (passed, failed, skipped))
PROGRAMS = {
    "good": ("echo 1..2; echo ok 1 - a; echo ok 2 - b", "tap", (2, 0, 0)),
    "bad": ("echo 1..2; echo ok 1 - a; echo not ok 2 - b; echo '# why'; exit 1", "tap",
            (1, 1, 0)),
    "one-skip": ("echo 1..2; echo 'ok 1 - a # SKIP no'; echo ok 2 - b", "tap", (1, 0, 1)),
    "all-skip": ("echo '1..0 # SKIP no'", "tap", (0, 0, 1)),
    "dies": ("echo 1..3; echo ok 1 - a; kill -9 $$", "tap", (1, 1, 0)),
    "leaves": ("echo 1..3; echo ok 1 - a", "tap", (1, 1, 0)),
    "status": ("echo 1..1; echo ok 1 - a; exit 3", "tap", (1, 1, 0)),
    "bails": ("echo 1..2; echo ok 1 - a; echo 'Bail out!'", "tap", (1, 1, 0)),
    "hangs": ("echo 1..2; echo ok 1 - a; exec sleep 60", "tap", (1, 1, 0)),
    "hangs-mute": ("exec sleep 60", "tap", (0, 1, 0)),
    "mute": ("true", "tap", (0, 1, 0)),
    "no-plan": ("echo ok 1 - a", "tap", (1, 1, 0)),
    "exit-0": ("true", "exitcode", (1, 0, 0)),
    "exit-1": ("false", "exitcode", (0, 1, 0)),
    "exit-77": ("exit 77", "exitcode", (0, 0, 1)),
    "exit-99": ("echo because; exit 99", "exitcode", (0, 1, 0)),
    "exit-hangs": ("exec sleep 60", "exitcode", (0, 1, 0)),
    "exit-dies": ("kill -9 $$", "exitcode", (0, 1, 0)),
}


COUNT = os.path.join(sources.ROOT, "tests/count-results")


def run(command, folder):
    subprocess.run(command, cwd=folder, check="setup" in command, stdout=subprocess.DEVNULL)


def count(logs):
    done = subprocess.run([COUNT, logs], text=True, capture_output=True, check=True)
    return tuple(map(int, done.stdout.split())), done.stderr


class Count(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("meson"):
            raise unittest.SkipTest("no meson")

    def run_project(self, suite_of):
        """What is counted, and said, for all PROGRAMS in one meson project."""
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "meson.build"), "w", encoding="utf-8") as f:
                f.write("project('counted')\nsh = find_program('sh')\n")
                for name, (script, protocol, _) in PROGRAMS.items():
                    script = script.replace("'", "\\'")
                    f.write(f"test('{name}', sh, args: ['-c', '{script}'], timeout: 1, "
                            f"protocol: '{protocol}', suite: '{suite_of(name)}')\n")
            for command in ["setup"], ["test", "--no-rebuild", "--num-processes", "20", "-C"]:
                run(["meson", *command, "b"], folder)
            return count(os.path.join(folder, "b", "meson-logs"))

    def check(self, suite_of):
        counted, said = self.run_project(suite_of)
        for name, (_, _, (_, failed, _)) in PROGRAMS.items():
            self.assertEqual(len(re.findall(rf"^FAILED (.* )?{name}:", said, re.MULTILINE)), failed,
                             name + "\n" + said)
        self.assertRegex(said, r"(?m)^FAILED (.* )?bad: .*\n    # why$")
        self.assertRegex(said, r"(?m)^FAILED (.* )?exit-99.*\n    because$")
        self.assertEqual(counted, tuple(map(sum, zip(*(row[2] for row in PROGRAMS.values())))))

    def test_many_suites(self):
        self.check(lambda name: name[:4])

    def test_one_suite(self):  # meson then leaves it out of the names
        self.check(lambda name: "unit")

    def test_again(self):
        """The second time counts; that the first was bad is said."""
        script = ("echo 1..1; [ -e been ] && echo ok 1 - a && exit; touch been; "
                  "echo not ok 1 - a; false")
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "meson.build"), "w", encoding="utf-8") as f:
                f.write("project('counted')\nsh = find_program('sh')\n"
                        f"test('once', sh, args: ['-c', '{script}'], protocol: 'tap')\n"
                        "test('never', sh, args: ['-c', 'false'])\n"
                        "test('good', sh, args: ['-c', 'true'])\n")
            logs = os.path.join(folder, "b", "meson-logs")
            run(["meson", "setup", "b"], folder)
            run(["meson", "test", "-C", "b", "--no-rebuild"], folder)
            self.assertEqual(count(logs)[0], (1, 2, 0))
            names = subprocess.run([COUNT, "--failed", logs], text=True, capture_output=True,
                                   check=True).stdout.split()
            self.assertEqual(sorted(names), ["never", "once"])
            run(["meson", "test", "-C", "b", "--no-rebuild", "--logbase", "again", *names], folder)
            counted, said = count(logs)
        self.assertEqual(counted, (2, 1, 0))
        self.assertRegex(said, r"\AFAILED AT FIRST, not alone: .*once: .*\n")
        self.assertRegex(said, r"(?m)^FAILED (.* )?never")
        self.assertNotIn("good", said)

    def test_nothing(self):
        with tempfile.TemporaryDirectory() as empty:
            self.assertEqual(count(empty)[0], (0, 0, 0))


if __name__ == "__main__":
    tap.main()
