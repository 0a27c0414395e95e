#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Is what happens until the machine is off, and that alone, seen from the host?"""

import signal

import guest
from guest import Ended, StandingVmm, systemctl

PAGES_4G = (4 << 30) // 4096


def in_guest():
    guest.prepare_end()
    vmm = StandingVmm("machine-standing.scope", "--no-keeper")
    vmm.do("protect")
    systemctl("--no-block", "poweroff")
    signal.pause()


class Smoke(Ended):
    def test_journal_is_there_until_the_end(self):
        stopped = self.first("machine-standing.scope: ", UNIT="machine-standing.scope")
        self.assertLess(stopped, self.first("Reached target .*[Pp]ower.?[Oo]ff", _PID="1"))

    def test_simulator_is_heard_until_the_end(self):
        closed, = self.sim.commands("CLOSE")
        self.assertEqual((closed["comm"], closed["pages"]), ("pvr-vmm", str(PAGES_4G)))
        self.assertTrue(closed["cgroup"].endswith("/machine-standing.scope"), closed)


if __name__ == "__main__":
    guest.end_main(in_guest)
