#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether assert_all_cleared() can be trusted: logs made up here, right ones and wrong ones. And
whether the protocol as the tests speak it is the documented one, and whether a system call that
seccomp refuses would be seen.
"""

import os
import platform
import re
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import Case, tap

DEAD = (1 << 22) + 1  # above the largest pid there can be


class AllCleared(Case):
    def log(self, *events, vm=None):
        """Events: (command, begin or end, seq, aside, tid, ret)."""
        with open(self.sim_log, "a", encoding="ascii") as log:
            for cmd, ev, seq, aside, tid, ret in events:
                end = f" ret={ret} rc=0 rrc=0" if ev == "end" else ""
                log.write(f"t=1 ev={ev} cmd={cmd} pid={tid} tid={tid} fd=3 "
                          f"vm={vm or os.getpid()}.1 seq={seq} aside={aside} comm=x{end}\n")

    def prepare(self, seq=1, ret=0, vm=None):
        self.log(("PREPARE", "end", seq, 0, DEAD, ret), vm=vm)

    def perform(self, seq=1, tid=DEAD, ret=0):
        self.log(("PERFORM", "begin", seq, 0, tid, 0), ("PERFORM", "end", seq, 0, tid, ret))

    def disable(self, seq=2, aside=1):
        self.log(("DISABLE", "begin", seq, aside, DEAD, 0), ("DISABLE", "end", seq, aside, DEAD, 0))

    def refused(self, **expected):
        with self.assertRaises(AssertionError):
            self.assert_all_cleared(**expected)

    def test_one_end_of_each_sort(self):
        self.assert_all_cleared()
        for seq in range(1, 5):
            self.prepare(seq)
        self.prepare(9, ret=-22)
        self.perform(0, ret=-22)
        self.perform(1)
        self.perform(2, ret=-12)
        self.disable(9, 3)
        self.log(("PERFORM", "begin", 4, 0, DEAD, 0))
        self.prepare(vm=DEAD)
        self.assert_all_cleared(performed=1, failed=1, disabled=1, killed=1, left=1)
        self.refused(performed=1)

    def test_no_end(self):
        self.prepare()
        self.refused()

    def test_not_over(self):
        self.prepare()
        self.log(("PERFORM", "begin", 1, 0, os.getpid(), 0))
        self.refused()

    def test_another_one_s_end(self):
        self.prepare(1)
        self.perform(2)
        self.disable(1, 0)
        self.refused()

    def test_twice(self):
        self.prepare()
        self.perform(tid=os.getpid())
        self.perform()
        self.refused()

    def test_performed_and_destroyed(self):
        self.prepare()
        self.perform()
        self.disable()
        self.refused()


REFUSED = """if 1:
    import ctypes, struct
    libc = ctypes.CDLL(None, use_errno=True)
    program = [(0x20, 0, 0, 0), (0x15, 0, 1, NUMBER), (6, 0, 0, 0x50001), (6, 0, 0, 0x7fff0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *p) for p in program))
    header = struct.pack("@HP", len(program), ctypes.addressof(code))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.syscall(SECCOMP, 1, 2, header) == 0  # SECCOMP_FILTER_FLAG_LOG
    assert libc.getppid() == -1
"""
NUMBERS = {"x86_64": (110, 317), "s390x": (64, 348)}  # getppid, seccomp


class Denials(unittest.TestCase):
    def test_a_denial_is_seen(self):
        """Else the daemons of all the other tests are not looked at, and here it says so."""
        if platform.machine() not in NUMBERS:
            self.skipTest("system call numbers unknown here")
        getppid, seccomp = NUMBERS[platform.machine()]
        start, python = time.time(), os.path.realpath(sys.executable)
        script = REFUSED.replace("NUMBER", str(getppid)).replace("SECCOMP,", f"{seccomp},")
        subprocess.run([python, "-c", script], check=True)
        if not (seen := harness.denials(python, start)):
            self.skipTest("the kernel log does not tell what seccomp refuses")
        self.assertIn(getppid, seen)
        self.assertEqual(harness.denials(python, time.time() + 1), [])
        self.assertEqual(harness.denials("/no/such/program", start), [])


DIRECTIONS = ("daemon", "closer", "worker", "client")  # which 32 numbers are whose


class Wire(unittest.TestCase):
    def test_man_page(self):
        """The table of messages in pv-reaper-protocol(7) is the one that is spoken here."""
        page = harness.read(f"{harness.HERE}/../../man/pv-reaper-protocol.7.scd")
        row = r"^\|  (\w+)\n:  (all|\d|1, 2)\n:  (\d+)\n:  (\d+)\n:  to the (\w+)$"
        rows = re.findall(row, page, re.M)
        self.assertEqual(len(rows), len(harness.LAYOUT) + 1)  # REGISTER has two
        for name, versions, kind, size, to in rows:
            register_2 = (name, versions) == ("REGISTER", "2")
            layout = harness.LAYOUT[int(kind)] + ("II" if register_2 else "")
            self.assertEqual(int(kind), getattr(harness, name))
            self.assertEqual(int(size), struct.calcsize(layout), name)
            self.assertEqual(to, DIRECTIONS[int(kind) // 32], name)


if __name__ == "__main__":
    tap.main()
