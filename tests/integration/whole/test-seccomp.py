#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""seccomp= of the configuration, in a daemon that does what it never would: gdb has it call
getppid(2). The kernel's log has it, by the name of a copy of the program: the real one's is clean.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import unittest.mock

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import Case, tap

GDB_SECONDS = 60
GETPPID = {"x86_64": 110, "s390x": 64, "aarch64": 173}.get(os.uname().machine)


class Mode(Case):
    def setUp(self):
        super().setUp()
        if harness.sanitized():
            self.skipTest("built without libseccomp, for the sanitizer's sake")
        if not shutil.which("gdb"):
            self.skipTest("no gdb")
        self.program = shutil.copy(harness.DAEMON, f"{self.directory}/a-copy")

    def getppid_of(self, pid):
        done = subprocess.run(
            ["gdb", "-nx", "-batch", "-p", str(pid), "-ex", "print ((int (*)(void))getppid)()",
             "-ex", "detach"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=GDB_SECONDS, check=False,
            env={k: v for k, v in os.environ.items() if k != "DEBUGINFOD_URLS"})
        if "Operation not permitted" in done.stderr:
            self.skipTest("ptrace is not permitted")
        match = re.search(r"^\$1 = (-?\d+)$", done.stdout, re.M)
        self.assertTrue(match, done.stdout + done.stderr)
        return int(match[1])

    def check(self, mode, *, answer, logged):
        with open(self.config, "w", encoding="ascii") as file:
            file.write(f"[daemon]\nseccomp={mode}\n")
        start = time.time()
        with unittest.mock.patch.object(harness, "DAEMON", self.program):
            daemon = self.daemon()
        self.assertEqual(self.getppid_of(daemon.pid), answer)
        self.assertEqual(self.ctl_json("status")["state"], "running")
        seen = harness.denials(self.program, start)
        if logged and not seen:
            self.skipTest("refused as it should be, but the kernel's log cannot be read")
        self.assertEqual(seen, [GETPPID] * logged)

    def test_enforce(self):
        self.check("enforce", answer=-1, logged=1)

    def test_log(self):
        self.check("log", answer=os.getpid(), logged=1)

    def test_off(self):
        self.check("off", answer=os.getpid(), logged=0)


if __name__ == "__main__":
    tap.main()
