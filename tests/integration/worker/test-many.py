#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""4,500 keepers at once: more than the socket's backlog, which the kernel cuts at 4,096.

All are in the list, each in a cgroup of its own, also when the daemon was killed and all come back
in the same moment; and when all VMMs die at once, each is granted its last job, and whoever asks
the daemon meanwhile is answered. PVR_MANY changes their number; a sanitizer is given 500.

And jobs by the thousand, which the daemon remembers only so many of.
"""

import itertools
import os
import resource
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import Case, sanitized, tap
from many import FDS_BESIDE, FDS_PER_WORKER, PATIENCE, Crowd, n_workers
from puppet import Puppet
from raw import resident_kib
from verbs import try_all_but_drain, try_state

N = int(os.environ.get("PVR_MANY", "500" if sanitized() else "4500"))
PIDS = 3 * N + 1000  # VMM, heir, keeper
ANSWER = 5  # seconds
N_DONE = 500
LIST_SECONDS = 0.2


class Many(Case):
    def setUp(self):
        super().setUp()
        self.need_cgroup()
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < FDS_PER_WORKER * N + FDS_BESIDE:
            self.skipTest(f"only {hard} fds (ulimit -Hn)")
        if int(harness.read("/proc/sys/kernel/pid_max")) < PIDS:
            self.skipTest("too few pids (kernel.pid_max)")

    def list_in_time(self, crowd):
        """All that died wait for a slot, and some jobs are over: 5,000 are listed in no time."""
        puppet = Puppet(self)
        puppet.register()
        for seq in range(1, N_DONE + 1):
            puppet.do_job(seq)
        self.ctl("set", "max-concurrent=1", "boost-max-concurrent=1")
        puppet.request(N_DONE + 1)
        puppet.receive(harness.GRANT)
        crowd.end()
        self.wait("all are queued", lambda: self.ctl_json("status")["queued"] == N, PATIENCE)
        self.assertEqual(len(self.ctl_json("jobs")), N + N_DONE + 1)
        times = []
        for _ in range(5):
            start = time.monotonic()
            self.ctl("jobs")
            times.append(time.monotonic() - start)
        print(f"{N + N_DONE + 1} jobs listed in", *(f"{t:.3f}" for t in times), "s")
        if not sanitized():
            self.assertLess(min(times), LIST_SECONDS)
        try_all_but_drain(self, n_vms=N + 1, n_jobs=N + N_DONE + 1, vm="puppet")
        try_state(self, "drain", "draining")  # some go meanwhile
        try_state(self, "resume", "running")
        self.ctl("set", "max-concurrent=8", "boost-max-concurrent=8")
        puppet.done(N_DONE + 1)
        puppet.receive(harness.DONE_ACK)
        puppet.end()

    def test_many(self):
        jobs = f"{self.cgroups.top}/jobs"
        # They are all of one unit here, and it may have everything.
        with open(self.config, "w", encoding="ascii") as file:
            file.write(f"[limits]\nunit-connections={N + 1}\n")
        daemon = self.daemon()
        before = daemon.n_fds()
        crowd = Crowd(self, N)
        crowd.all_there()
        self.assertEqual(n_workers(jobs), N)
        self.assertLess(before, FDS_BESIDE)
        self.assertLessEqual(daemon.n_fds(), FDS_PER_WORKER * N + FDS_BESIDE)

        daemon.kill()
        daemon = self.daemon()
        crowd.all_there()
        self.assertEqual(n_workers(jobs), N)

        self.list_in_time(crowd)
        # It was 8 s and more while each turn of the loop looked at all that died.
        self.assertLess(crowd.all_gone(jobs, N_DONE + 1), ANSWER)
        self.assertLess(daemon.n_fds(), FDS_BESIDE)


class Jobs(Case):
    def test_what_is_remembered(self):
        """A thousand ended jobs, and the answer that lists them, cost up to 1 KiB each, once."""
        daemon, worker = self.daemon(), Puppet(self)
        worker.register()
        numbers = itertools.count(1)

        def work(n_jobs):
            for number in itertools.islice(numbers, n_jobs):
                worker.do_job(number)
            for _ in range(20):
                self.assertEqual(len(self.ctl_json("jobs")), min(number, 1000))
            return resident_kib(daemon.pid)

        before, full, later = work(1), work(1500), work(3000)
        print(f"{before} KiB, after 1,500 jobs {full}, after 3,000 more {later}")
        self.assertLess(full - before, 1000)
        self.assertLess(later - full, 64)


if __name__ == "__main__":
    tap.main()
