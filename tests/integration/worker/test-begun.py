#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A worker begins its job without a GRANT, for its VMM needs the kernel's slot now, and says so
(BEGUN): the daemon counts it from then on, over the limit if need be, and never calls it done.
"""

import os
import signal
import sys

sys.path.insert(0, f"{sys.path[0]}/../../lib")

from harness import BEGUN, DONE_ACK, GRANT, REQUEST, pack, tap
from puppet import outcome
from raw import PeerCase

GIB = 1 << 30
SCHED_DEADLINE = 6


class BegunCase(PeerCase):
    def newer(self, name="raw"):
        """A worker that speaks version 2, registered."""
        worker = self.worker(name)
        worker.version = 2
        worker.register()
        return worker

    def status(self, *keys):
        status = self.ctl_json("status")
        return tuple(status[key] for key in keys)

    def begin(self, worker, seq=1):
        worker.request(seq)
        worker.say(BEGUN, 0, seq)
        self.wait("it runs", lambda: [j["state"] for j in self.jobs_of(worker.name)][-1:] ==
                  ["running"])

    def finish(self, worker, seq=1, ungoverned=1):
        worker.say(*done(seq, ungoverned))
        while (message := worker.receive())[0] == GRANT:
            pass
        self.assertEqual((message[0], message[2]), (DONE_ACK, seq))


def scheduler(pid):
    return os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK


def done(seq, ungoverned=1):
    return 5, 0, *outcome(seq, ungoverned=ungoverned)


class Begun(BegunCase):
    def test_counts_over_the_limit(self):
        """It counts as running, the next one waits until both are done; its end is ungoverned."""
        self.serve("--max-concurrent", "1")
        holder, begun, waiting = (self.newer(name) for name in ("holder", "begun", "waiting"))
        holder.request()
        holder.receive(GRANT)
        waiting.request()
        self.begin(begun)
        self.assertEqual(self.status("running", "queued", "begun"), (2, 1, 1))
        job, = self.jobs_of("begun")
        self.assertIsNotNone(job["ran_us"])
        self.finish(holder, ungoverned=0)
        self.assertEqual(self.status("running", "queued"), (1, 1))
        self.finish(begun)
        waiting.receive(GRANT)
        self.finish(waiting, ungoverned=0)
        self.assertEqual([self.jobs_of(name)[-1]["state"]
                          for name in ("holder", "begun", "waiting")],
                         ["done", "ungoverned", "done"])
        self.assertIn("pvreaper_begun_jobs_total 1\n", self.ctl("metrics"))

    def test_crosses_a_grant(self):
        """Then the slot is for the job that was begun, which the daemon had granted."""
        self.serve("--max-concurrent", "1")
        worker = self.newer()
        worker.request()
        self.wait("it has a slot", lambda: self.status("running") == (1,))
        worker.say(BEGUN, 0, 1)
        self.finish(worker)
        self.assertEqual(self.status("running", "begun"), (0, 0))
        worker.request(2)
        worker.receive(GRANT)
        self.finish(worker, 2, 0)
        self.assertEqual([j["state"] for j in self.jobs_of("raw")], ["done", "done"])

    def test_of_another_job(self):
        """Of none, of another number, of the same twice, or of what is no reboot."""
        self.serve("--max-concurrent", "1")
        holder = self.newer("holder")
        holder.request()
        holder.receive(GRANT)
        for packets in ([(BEGUN, 0, 1)],
                        [(REQUEST, 1, 2, GIB), (BEGUN, 0, 1)],
                        [(REQUEST, 1, 2, GIB), (BEGUN, 0, 3)],
                        [(REQUEST, 1, 2, GIB), (BEGUN, 0, 2), (BEGUN, 0, 2)],
                        [(REQUEST, 1, 2, GIB), (BEGUN, 0, 2), (REQUEST, 1, 3, GIB)],
                        [(REQUEST, 1, 2, GIB), done(2), (BEGUN, 0, 2)],
                        [(REQUEST, 2, 2, GIB), (BEGUN, 0, 2)]):
            worker = self.newer()
            for packet in packets:
                worker.say(*packet)
            self.end_of(worker.link)
            worker.link = None
            worker.end()
            self.wait("only the holder runs", lambda: self.status("running", "queued") == (1, 0))
        self.finish(holder, ungoverned=0)

    def test_is_not_of_version_1(self):
        self.serve("--max-concurrent", "1")
        worker = self.worker()
        worker.register()
        worker.request()
        worker.send(pack(BEGUN, 0, 1))
        self.end_of(worker.link)
        worker.link = None
        self.assertEqual(self.status("begun"), (0,))

    def test_by_everybody(self):
        """Nobody gets more than his own VM's job out of it: each runs, counted, one per VM."""
        self.serve("--max-concurrent", "1")
        workers = [self.newer(f"all-{i}") for i in range(5)]
        for worker in workers:
            worker.request()
            worker.say(BEGUN, 0, 1)
        self.wait("all run", lambda: self.status("running") == (5,))
        late = self.newer("late")
        late.request()
        for worker in workers:
            self.assertEqual(self.status("queued"), (1,))
            self.finish(worker)
        late.receive(GRANT)
        self.finish(late, ungoverned=0)

    def test_is_capped(self):
        """As any other that runs, and no longer when it has ended."""
        with open(self.config, "a", encoding="ascii") as file:
            file.write("[cpu]\ncpu-enforce=deadline\n")
        self.cpu_quota = "20%"
        self.serve("--max-concurrent", "1")
        self.newer("holder").request()
        worker = self.newer()
        self.assertEqual(scheduler(worker.pid), os.SCHED_OTHER)
        self.begin(worker)
        if self.status("unenforced") != (0,):
            self.skipTest("SCHED_DEADLINE is refused here")
        self.assertEqual(scheduler(worker.pid), SCHED_DEADLINE)
        self.finish(worker)
        self.wait("it has no cap", lambda: scheduler(worker.pid) != SCHED_DEADLINE)

    def test_whoever_dies_with_it_is_lost(self):
        self.serve("--max-concurrent", "1")
        self.newer("holder").request()
        worker = self.newer()
        self.begin(worker)
        self.assertEqual(self.status("running"), (2,))
        os.kill(worker.pid, signal.SIGKILL)
        self.wait("the slot is free", lambda: self.status("running") == (1,))
        self.assertEqual(self.jobs_of("raw")[-1]["state"], "lost")


class Restart(BegunCase):
    def test_is_still_ungoverned_after_it(self):
        """The mark on its cgroup says so: the next daemon counts it, and does not call it done."""
        self.need_cgroup()
        daemon = self.daemon("--max-concurrent", "1")
        holder, worker = self.newer("holder"), self.newer()
        holder.request()
        holder.receive(GRANT)
        self.begin(worker)
        daemon.kill()
        self.daemon("--max-concurrent", "1")
        self.assertEqual(self.status("running", "found"), (2, 2))
        worker.register(last=outcome(1, ungoverned=0))  # whatever it says now
        job, = self.jobs_of("raw")
        self.assertEqual(job["state"], "ungoverned")
        self.assertEqual(self.status("running"), (1,))


if __name__ == "__main__":
    tap.main()
