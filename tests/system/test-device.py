#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A device that was passed through is free at once, long before its guest's memory may be.

It is the simulator's, one user's at a time as those of VFIO are: whether another guest could have
it is tried by opening it. The files and rings of test-shutdown.py say the same on the host.
"""

import errno
import os
import time

import guest
from guest import read, tap
from harness import is_alive
from installed import Busy

DEVICE = "/dev/pvsim-device"
AT_ONCE_SECONDS = 0.1
RAM = 64 << 20


def is_free():
    try:
        os.close(os.open(DEVICE, os.O_RDWR))
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False


def resident(pid):
    return int(read(f"/proc/{pid}/statm").split()[1]) * os.sysconf("SC_PAGESIZE")


class Device(Busy):
    n_vms = 1

    def check(self, *before):
        """before: what the VMM is told to do first."""
        self.begin()
        vmm = self.machine("anna")
        self.registered(2)
        for command in (*before, f"map anonymous {RAM}", f"map device 4096 {DEVICE}"):
            vmm.do(command)
        self.assertFalse(is_free())
        begin = time.monotonic()
        guest.run(["/bin/true"])
        late = time.monotonic() - begin  # what the machine takes for next to nothing
        vmm.kill()
        begin = time.monotonic()
        self.wait("another could have the device", is_free)
        self.assertLess(time.monotonic() - begin, AT_ONCE_SECONDS + 10 * late)
        self.status_is(running=1, queued=1)
        self.assertGreaterEqual(resident(vmm.keeper), RAM)
        guest.set_parameter("ns_per_page", 0)
        self.wait("its memory is back, too", lambda: not is_alive(vmm.keeper))
        self.assertEqual(self.complaints(), [])

    def test_free_while_memory_waits(self):
        self.check()

    def test_of_a_protected_guest(self):
        self.check("protect")


if __name__ == "__main__":
    tap.main()
