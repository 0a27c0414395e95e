# SPDX-License-Identifier: LGPL-2.1-or-later
"""A crowd of keepers (many-keepers.c) and what is always asked of it, here and in the system suite.

Each keeper has an address space of its own, as the daemon demands. They belong to the test's one
child, and go with it.
"""

import os
import select
import subprocess
import time

import harness
from ping import Ping

PROGRAM = f"{harness.BUILD}/tests/standins/many-keepers"
PATIENCE = 4 * harness.TIMEOUT  # what a full machine takes for all of them
FDS_PER_WORKER = 4  # connection, worker, VMM, cgroup; units/pv-reaper.service counts with it
FDS_BESIDE = 128
PING_MSEC = 20


class Crowd:
    def __init__(self, case, n, prefix=()):
        self.case, self.n = case, n
        self.process = subprocess.Popen(
            [*prefix, PROGRAM, str(n)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0,
            env={**os.environ, "PVREAPER_SOCKET": case.socket})
        case.addCleanup(self.end)
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            case.fail("the keepers are not made in time")
        case.assertEqual(self.process.stdout.readline(), b"ready\n")

    def end(self):
        """The VMMs; keepers then ask for their last job."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def all_there(self):
        """The daemon knows each of them, connected, and nobody else."""
        self.case.wait(f"{self.n} keepers",
                       lambda: self.case.ctl_json("status")["connections"] >= self.n, PATIENCE)
        self.case.registered(self.n)  # a connection may not have said who it is
        vms = self.case.ctl_json("list")
        self.case.assertEqual(sorted(vm["name"] for vm in vms if vm["connected"]),
                              [f"vm-{i:04}" for i in range(self.n)])
        status = self.case.ctl_json("status")
        self.case.assertEqual((status["running"], status["lost"]), (0, 0))

    def all_gone(self, jobs, done=0):
        """Each was granted its last job, and none was lost. jobs: where their cgroups are; done:
        how many jobs of others are over. Returns the slowest answer to who watched, in seconds.
        """
        with Ping(self.case, PING_MSEC) as ping:
            self.end()
            self.case.wait("all keepers have left", lambda: n_workers(jobs) == 0, PATIENCE)
            time.sleep(10 * PING_MSEC / 1000)  # that somebody was asked at all
        status = self.case.ctl_json("status")
        self.case.assertEqual((status["done"], status["lost"], status["vms"]),
                              (self.n + done, 0, 0))
        return ping.seconds()[-1]


def n_workers(jobs):
    """Their cgroups."""
    return sum(name.startswith("vm-") for name in os.listdir(jobs))
