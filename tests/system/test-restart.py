#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever is done to the daemon in the middle of the work: nothing lost, done twice or too much.

Before each disturbance one VM is being cleared and others wait; after it the same ones do.
Then all is let go, and the simulator's log says how it went (Busy.finish()).
"""

import os
import signal
import subprocess

import guest
from guest import show, systemctl, tap
from harness import TIMEOUT
from installed import SERVICE, SOCKET, WORKERS, Busy

KILLS = 8


class Service(Busy):
    def test_restart(self):
        self.begin()
        for _ in range(2):
            old = self.main_pid()
            systemctl("restart", SERVICE)
            self.assertNotEqual(self.main_pid(), old)
            self.in_the_middle()
        self.finish()

    def test_kill_in_a_row(self):
        self.begin()
        pids = [self.signal_main()]
        for _ in range(KILLS - 1):
            pids.append(self.another_main_pid(pids[-1]))
            os.kill(pids[-1], signal.SIGKILL)
        self.another_main_pid(pids[-1])
        self.assertEqual(len(set(pids)), KILLS)
        self.in_the_middle()
        self.finish()

    def test_stop_and_start(self):
        """The next worker that comes back undoes the stop."""
        self.begin()
        old = self.main_pid()
        systemctl("stop", SERVICE)
        new = self.another_main_pid(old)
        self.in_the_middle()
        systemctl("stop", SERVICE)
        systemctl("start", SERVICE)
        self.another_main_pid(new)
        self.in_the_middle()
        self.finish()


class Reload(Busy):
    n_vms, max_concurrent = 3, 2

    def test_reload(self):
        """With less to be done at once nothing that runs is stopped."""
        self.begin()
        old = self.main_pid()
        self.configure(max_concurrent=1)
        systemctl("reload", SERVICE)
        self.status_is(max_concurrent=1)
        self.in_the_middle()
        self.configure()
        systemctl("reload", SERVICE)
        self.status_is(max_concurrent=2)
        self.assertEqual(self.main_pid(), old)
        self.in_the_middle()
        self.finish()


class Socket(Busy):
    def stop_socket(self):
        """Without waiting for it: it drains."""
        process = subprocess.Popen(["systemctl", "stop", SOCKET], stdin=subprocess.DEVNULL)
        self.status_is(state="draining")
        return process

    def test_stop_drains(self):
        self.configure(drain_time=600)
        systemctl("restart", SERVICE)
        self.begin()
        process = self.stop_socket()
        self.in_the_middle()
        guest.set_parameter("ns_per_page", 0)
        self.assertEqual(process.wait(TIMEOUT), 0)
        self.assertEqual(show(SERVICE, "ActiveState"), "inactive")
        for vmm in self.vmms:
            vmm.wait_outcomes(1)
        self.turn_on()
        for vmm in self.vmms:  # they were told not to come back before their next job
            vmm.do("protect")
            vmm.do("reboot")
            vmm.wait_outcomes(2)
        self.finish()

    def test_stop_does_not_wait_for_ever(self):
        self.configure(drain_time=1)
        systemctl("restart", SERVICE)
        self.begin()
        self.assertEqual(self.stop_socket().wait(TIMEOUT), 0)
        self.performing(self.n_vms)  # who waited goes ahead
        self.assertEqual(show(SERVICE, "ActiveState"), "inactive")
        self.turn_on()
        self.status_is(running=self.n_vms, queued=0)
        self.finish("done", "ungoverned")


class Systemd(Busy):
    def setUp(self):
        super().setUp()
        self.begin()
        self.pid = self.main_pid()

    def unimpressed(self):
        self.assertEqual(self.main_pid(), self.pid)
        self.assertEqual(show(WORKERS, "ControlGroup"), self.place)
        self.in_the_middle()

    def test_reload_reexec_isolate(self):
        self.place = show(WORKERS, "ControlGroup")
        self.assertNotEqual(self.place, "")
        systemctl("daemon-reload")
        self.unimpressed()
        systemctl("daemon-reexec")
        self.unimpressed()
        systemctl("isolate", "multi-user.target")
        self.unimpressed()
        systemctl("restart", SERVICE)
        self.in_the_middle()
        self.finish()


if __name__ == "__main__":
    tap.main()
