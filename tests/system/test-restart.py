#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever is done to the daemon in the middle of the work: nothing lost, done twice or too much.

One VM is being cleared and others wait; after each disturbance it is as it was. Then all
is let go, and the simulator's log says how it went (Busy.finish()).
"""

import os
import shutil
import signal
import subprocess
import time

import guest
from guest import show, systemctl, tap
from harness import TIMEOUT
from installed import CONFIG, SERVICE, SOCKET, WORKERS, Busy, Installed, write_file

KILLS = 8


class Daemon(Busy):
    """Disturbances in a row, for the same work."""

    def setUp(self):
        super().setUp()
        self.begin()
        self.pid = self.main_pid()

    def another(self):
        self.pid = self.another_main_pid(self.pid)

    def restart(self):
        systemctl("restart", SERVICE)
        self.another()
        self.in_the_middle()

    def kill_in_a_row(self):
        for _ in range(KILLS):
            os.kill(self.pid, signal.SIGKILL)
            self.another()
        self.in_the_middle()

    def stop(self):
        """Undone by the next worker that comes back."""
        systemctl("stop", SERVICE)
        self.another()
        self.in_the_middle()

    def stop_and_start(self):
        systemctl("stop", SERVICE)
        systemctl("start", SERVICE)
        self.another()
        self.in_the_middle()

    def test_ends_of_the_daemon(self):
        for disturb in self.restart, self.kill_in_a_row, self.stop, self.stop_and_start:
            print(disturb.__name__, flush=True)
            disturb()
        self.finish()

    def test_it_stays(self):
        """What systemd does beside it, and a reload."""
        place = show(WORKERS, "ControlGroup")
        self.assertNotEqual(place, "")
        for command in ("daemon-reload", "daemon-reexec", "isolate multi-user.target",
                        f"reload {SERVICE}"):
            systemctl(*command.split())
            self.assertEqual(self.main_pid(), self.pid, command)
            self.assertEqual(show(WORKERS, "ControlGroup"), place, command)
            self.in_the_middle()
        self.restart()
        self.finish()


class Watchdog(Busy):
    service = "WatchdogSec=4s\nTimeoutAbortSec=1s"

    def test_hanging_daemon_is_killed(self):
        self.begin()
        old = self.signal_main(signal.SIGSTOP)
        self.another_main_pid(old)
        self.wait_journal(UNIT=SERVICE, MESSAGE=f"{SERVICE}: Watchdog timeout (limit 4s)!")
        self.in_the_middle()
        self.finish()


class Socket(Busy):
    limits = {"drain_time": 600}

    def stop_socket(self):
        """Without waiting for it: it drains."""
        process = subprocess.Popen(["systemctl", "stop", SOCKET], stdin=subprocess.DEVNULL)
        self.addCleanup(process.wait, TIMEOUT)
        return process

    def draining(self):
        """The control socket is stopped, too, so nobody can ask the daemon but systemd."""
        self.wait("it drains", lambda: show(SERVICE, "StatusText").startswith("draining: "))

    def test_stop_drains(self):
        self.begin()
        process = self.stop_socket()
        self.draining()
        self.assertEqual(len(self.sim.commands("PERFORM", ev="begin")), 1)
        guest.set_parameter("ns_per_page", 0)
        for vmm in self.vmms:
            vmm.wait_outcomes(1)
        self.assertEqual(process.wait(TIMEOUT), 0)
        self.assertEqual(show(SERVICE, "ActiveState"), "inactive")
        self.turn_on()
        for vmm in self.vmms:  # they were told not to come back before their next job
            vmm.do("protect")
            vmm.do("reboot")
            vmm.wait_outcomes(2)
        self.finish(n_jobs=2)

    def test_stop_has_a_limit(self):
        self.configure(drain_time=1)
        systemctl("reload", SERVICE)
        self.begin()
        self.assertEqual(self.stop_socket().wait(TIMEOUT), 0)
        self.assertEqual(show(SERVICE, "ActiveState"), "inactive")
        self.performing(self.n_vms)  # who waited goes ahead
        self.turn_on()
        self.status_is(running=self.n_vms, queued=0)
        self.finish({"done": 1, "ungoverned": self.n_vms - 1})


class BadConfiguration(Installed):
    """An error in a file, and a restart: no storm of attempts, nobody waits, it heals itself."""

    def test_it_is_tried_now_and_then(self):
        path = f"{CONFIG}.d/99.conf"
        write_file(path, "[limits]\nmax-concurrent=4x\n")
        self.addCleanup(shutil.rmtree, f"{CONFIG}.d")
        systemctl("restart", "--no-block", SERVICE)
        vmm = self.machine("anna")
        self.assertNotEqual(show(SERVICE, "ActiveState"), "active")
        self.wait("it was tried more than once", lambda: int(show(SERVICE, "NRestarts")) >= 2)
        before = int(show(SERVICE, "NRestarts"))
        time.sleep(10)
        self.assertLessEqual(int(show(SERVICE, "NRestarts")) - before, 6)
        write_file(path, "[limits]\nmax-concurrent=1\n")
        self.wait("it runs", lambda: show(SERVICE, "ActiveState") == "active")
        self.registered(1)
        vmm.do("quit")


if __name__ == "__main__":
    tap.main()
