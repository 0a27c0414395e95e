#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The unit suite once more, on this architecture's own kernel: under qemu-user, as in the cross
build, system calls and seccomp filters are the emulator's. One case per program.
"""

import glob
import os
import re
import subprocess
import unittest

from guest import TIMEOUT, harness, tap

PROGRAMS = [path for path in sorted(glob.glob(f"{harness.BUILD}/tests/unit/test-*"))
            if os.path.isfile(path) and os.access(path, os.X_OK)]


class Unit(unittest.TestCase):
    def run_program(self, path):
        done = subprocess.run([path], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env={**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP"}, timeout=TIMEOUT,
                              check=False, errors="replace")
        planned = re.search(r"^1\.\.(\d+)$", done.stdout, re.MULTILINE)
        good = re.findall(r"^ok ", done.stdout, re.MULTILINE)
        self.assertTrue(planned and int(planned[1]) == len(good) and done.returncode == 0,
                        f"exit status {done.returncode}\n{done.stdout}{done.stderr}")

    def test_there_are_programs(self):
        self.assertGreater(len(PROGRAMS), 10)


for program in PROGRAMS:
    name = os.path.basename(program).removeprefix("test-").replace("-", "_")
    setattr(Unit, f"test_{name}", lambda self, path=program: self.run_program(path))

if __name__ == "__main__":
    tap.main()
