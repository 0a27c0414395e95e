#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Workers that are who they must be, but lie, repeat themselves, sleep, or vanish. What they say is
a claim, and what the daemon says of their jobs never goes beyond what it knows.
"""

import errno
import os
import signal
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

from harness import DONE, DONE_ACK, GRANT, PROGRESS, REQUEST, UNGOVERNED, WELCOME
from harness import Case, hello, is_alive, pack, register, tap
from puppet import Puppet
from raw import PeerCase

GIB = 1 << 30
OVERDUE_SECONDS = 10


class WorkerCase(PeerCase):
    def status(self, key):
        return self.ctl_json("status")[key]

    def states(self, name="raw"):
        return [job["state"] for job in self.jobs_of(name)]

    def finish(self, worker, seq=1, error=0, rc=0, rrc=0):
        """DONE, and its acknowledgement."""
        worker.send(pack(DONE, 0, seq, 1, error, rc, rrc, 0))
        self.assertEqual(worker.receive(DONE_ACK)[2], seq)


class Unseen(Case):
    def test_who_ends_between_two_daemons(self):
        """Its cgroup says what it did and what it cost, after kill -9 as after SIGTERM."""
        self.need_cgroup()
        for number in (signal.SIGKILL, signal.SIGTERM):
            daemon, worker = self.daemon(), Puppet(self, "anna")
            worker.register()
            worker.process.kill()
            worker.process.wait()  # the VMM
            worker.request(1, kind=2)
            worker.receive(GRANT)
            daemon.kill(number)
            worker.strings.close()  # the keeper leaves, and that was the job
            self.wait("it is gone", lambda pid=worker.pid: not is_alive(pid))
            daemon = self.daemon()
            job, = self.jobs_of("anna")
            self.assertEqual((job["state"], job["pid"], job["ran_us"]), ("done", worker.pid, None))
            self.assertGreater(job["cpu_us"], 0)
            self.assertEqual([name for name in os.listdir(f"{self.cgroups.top}/jobs")
                              if name.startswith("vm-")], [])
            daemon.kill()

    def test_cpus_come_back_after_a_kill(self):
        """A pinned worker is under SCHED_DEADLINE, so on all CPUs, and its daemon is killed."""
        daemon, worker = self.daemon("--cpu-quota=20%"), Puppet(self, "anna")
        self.need_cgroup()
        worker.connect()
        os.sched_setaffinity(worker.pid, {0})
        worker.take_slot()
        if os.sched_getaffinity(worker.pid) == {0}:
            self.skipTest("no SCHED_DEADLINE here, or one CPU")
        daemon.kill()
        self.daemon("--cpu-quota=20%")
        worker.register(last=(1, 1, 0, 0, 0, 0))
        self.assertEqual(os.sched_getaffinity(worker.pid), {0})
        worker.end()


class Outcomes(WorkerCase):
    def test_each_word(self):
        """rc 1, rrc 42 is how the Ultravisor says that it was interrupted."""
        words = [((0, 0, 0), "done"), ((0, 1, 42), "interrupted"), ((0, 1, 0), "done"),
                 ((-errno.EIO, 0, 0), "foreign"), ((-errno.EINVAL, 0, 0), "superseded"),
                 ((-errno.ENOMEM, 0, 0), "failed"), ((-errno.EIO, 1, 42), "foreign")]
        daemon = self.serve()
        before, worker = self.ctl_json("status"), self.worker()
        worker.register()
        for seq, (outcome, _) in enumerate(words, 1):
            worker.request(seq)
            worker.receive(GRANT)
            self.finish(worker, seq, *outcome)
        jobs = self.jobs_of("raw")
        self.assertEqual([((j["error"], j["rc"], j["rrc"]), j["state"]) for j in jobs], words)
        after = self.ctl_json("status")
        for word in {word for _, word in words}:
            self.assertEqual(after[word] - before[word], self.states().count(word), word)
            self.assertEqual(daemon.log().count(f"reboot of raw (pid {worker.pid}, unit "
                                                f"{jobs[0]['unit']}) {word}: "),
                             self.states().count(word))

    def test_without_a_grant_it_is_never_done(self):
        self.serve("--max-concurrent", "1")
        holder, worker = self.worker("holder"), self.worker()
        holder.take_slot()
        worker.register()
        self.finish(worker, 1)
        worker.request(2)
        self.finish(worker, 2)
        self.assertEqual(self.status("queued"), 0)
        worker.request(3)
        self.finish(worker, 4)
        self.assertEqual(self.status("queued"), 0)
        if self.cgroups.top:  # without one, its word is all there is
            worker.register(last=(5, 1, 0, 0, 0, 0))
        self.assertEqual(set(self.states()), {"ungoverned"})
        self.assertEqual(self.status("running"), 1)
        self.finish(holder)

    def test_repeats_are_acknowledged_and_counted_once(self):
        self.serve()
        worker = self.worker()
        worker.take_slot(2)
        for _ in range(3):
            self.finish(worker, 2)
        self.finish(worker, 1)
        worker.register(last=(2, 1, 0, 0, 0, 0))
        self.finish(worker, 2, -errno.ENOMEM)
        self.assertEqual(self.states(), ["done"])

    def test_whoever_exits_with_a_slot_is_lost(self):
        self.serve("--max-concurrent", "1")
        for connected in (True, False):
            worker = self.worker()
            worker.take_slot()
            if not connected:
                worker.unplug()
            os.kill(worker.pid, signal.SIGKILL)
            self.wait("the slot is free", lambda: self.status("running") == 0)
        self.assertEqual(self.states(), ["lost", "lost"])

    def test_whoever_leaves_has_shut_down_only_without_its_vmm(self):
        """Its end releases an address space, if nobody else has it any more."""
        self.serve("--max-concurrent", "1")
        for granted, vmm_dead, state in ((True, True, "done"), (True, False, "lost"),
                                         (False, True, "ungoverned"), (False, False, "lost")):
            holder = self.worker("holder")
            if not granted:
                holder.take_slot()
            worker = self.worker(f"{granted}-{vmm_dead}")
            worker.register()
            worker.request(kind=2)
            if granted:
                worker.receive(GRANT)
            if vmm_dead:
                worker.process.kill()
                worker.process.wait()
            else:  # it would leave when it sees that its worker did
                worker.process.send_signal(signal.SIGSTOP)
            os.kill(worker.pid, signal.SIGKILL)
            self.wait("it is gone", lambda: self.jobs_of(worker.name))
            worker.process.send_signal(signal.SIGCONT)
            self.assertEqual([(j["kind"], j["state"]) for j in self.jobs_of(worker.name)],
                             [("shutdown", state)])
            holder.end()
            self.wait("the slot is free", lambda: self.status("running") == 0)


    def test_whoever_dies_in_the_queue_is_lost(self):
        """Perhaps its heir does it now, perhaps nobody: somebody ought to know."""
        self.serve("--max-concurrent", "1")
        holder = self.worker("holder")
        holder.take_slot()
        for connected in (True, False):
            worker = self.worker(f"waiting-{connected}")
            worker.register()
            worker.request()
            self.wait("it waits", lambda: self.status("queued") == 1)
            if not connected:
                worker.unplug()
            os.kill(worker.pid, signal.SIGKILL)
            self.wait("it is gone", lambda: self.jobs_of(worker.name))
            self.assertEqual(self.states(worker.name), ["lost"])
        self.assertEqual(self.status("queued"), 0)
        self.finish(holder)

    def test_a_number_comes_once(self):
        """Else the end of one job could be taken for a repeat of another's."""
        self.serve("--max-concurrent", "1")
        for packet in (pack(REQUEST, 1, 2, GIB), pack(REQUEST, 1, 1, GIB)):
            worker = self.worker("again")
            worker.take_slot(2)
            self.finish(worker, 2)
            worker.send(packet)
            self.assertEqual(self.end_of(worker.link), [])
            worker.link = None
        worker = self.worker("again")
        worker.take_slot(2)
        self.finish(worker, 2)
        worker.request(3)
        worker.receive(GRANT)
        worker.send(pack(DONE, 0, 2, 1, 0, 0, 0, 0))
        self.assertEqual(self.end_of(worker.link), [])
        worker.link = None
        worker.end()
        self.wait("the slot is free", lambda: self.status("running") == 0)

    def test_a_connection_ends_with_its_worker(self):
        """Whoever else holds it may not keep a place in the daemon."""
        self.serve()
        worker = self.worker()
        worker.register()
        before = self.status("connections")
        os.kill(worker.pid, signal.SIGKILL)
        self.assertEqual(self.end_of(worker.link), [])
        worker.link = None
        self.assertEqual(self.status("connections"), before - 1)


class Slots(WorkerCase):
    def test_a_grant_it_cannot_use(self):
        self.serve("--max-concurrent", "1")
        first, second = self.worker("first"), self.worker("second")
        for seq in (1, 2):
            first.take_slot(seq)
            second.register()
            second.request(seq)
            self.assertEqual(self.status("queued"), 1)
            first.done(seq, -errno.ECANCELED)
            second.receive(GRANT)
            self.finish(second, seq)
        first.done(3, -errno.ECANCELED)  # without a slot
        self.assertEqual((self.states("first"), self.states("second")), ([], ["done", "done"]))
        self.assertEqual(self.status("running"), 0)

    def test_a_request_in_the_slot_is_a_new_label(self):
        self.serve("--max-concurrent", "1")
        worker = self.worker()
        worker.take_slot(1)
        worker.send(pack(PROGRESS, 0, GIB - 1))
        worker.send(pack(REQUEST, 2, 7, GIB >> 1))
        self.wait("it is relabelled", lambda: self.jobs_of("raw")[0]["seq"] == 7)
        job, = self.jobs_of("raw")
        self.assertEqual((job["kind"], job["bytes"], job["state"]),
                         ("shutdown", GIB >> 1, "running"))
        self.assertLessEqual(job.get("bytes_left") or 0, GIB >> 1)
        self.assertEqual((self.status("running"), self.status("queued")), (1, 0))
        self.finish(worker, 9)  # whatever number: it is about what was in the slot
        job, = self.jobs_of("raw")
        self.assertEqual((job["seq"], job["state"]), (9, "done"))

    def test_progress_is_no_more_than_there_was(self):
        self.serve("--max-concurrent", "1")
        holder, worker = self.worker("holder"), self.worker()
        holder.take_slot()
        worker.register()
        worker.request()
        worker.send(pack(PROGRESS, 0, 1))  # before it has a slot: nothing
        self.assertIsNone(self.jobs_of("raw")[0].get("bytes_left"))
        self.finish(holder)
        worker.receive(GRANT)
        for claim, shown in ((GIB // 2, GIB // 2), (GIB + 1, GIB), ((1 << 64) - 1, GIB), (0, 0)):
            worker.send(pack(PROGRESS, 0, claim))
            self.wait(f"{claim} left shows as {shown}",
                      lambda: self.jobs_of("raw")[0].get("bytes_left") == shown)
            self.assertEqual(self.status("bytes_to_clear"), shown)
        self.finish(worker)

    def test_the_sum_of_lies_is_large(self):
        self.serve("--max-concurrent", "1")
        workers = [self.worker(f"liar-{i}") for i in range(3)]
        for worker in workers:
            worker.register()
            worker.send(pack(REQUEST, 1, 1, (1 << 64) - 2))
        self.wait("all have asked", lambda: self.status("queued") == 2)
        self.assertIn(self.ctl_json("status").get("bytes_to_clear"), (None, (1 << 64) - 1))
        for worker in workers:
            worker.end()
        self.wait("all are gone", lambda: self.status("bytes_to_clear") == 0)

    def test_registering_again_gives_the_slot_back(self):
        """Whoever registers has not begun; a second connection replaces the first."""
        self.serve("--max-concurrent", "1")
        first, second = self.worker("first"), self.worker("second")
        first.take_slot()
        _, link = first.order(b"connect")
        link.send(hello())
        link.send(register(b"first", state=1))
        self.assertEqual(self.end_of(first.link), [])
        first.link = link
        first.receive(WELCOME)
        second.take_slot()
        self.assertEqual(self.states("first"), [])
        first.request(1)
        self.assertEqual(self.status("queued"), 1)
        self.finish(second)
        first.receive(GRANT)
        self.finish(first)

    def test_a_running_worker_may_lose_its_connection(self):
        self.serve("--max-concurrent", "1")
        worker = self.worker()
        worker.take_slot()
        worker.unplug()
        self.wait("it is away", lambda: not self.ctl_json("list")[-1]["connected"])
        self.assertEqual((self.status("running"), self.states()), (1, ["running"]))
        worker.register(last=(1, 1, 0, 0, 0, 0))
        self.assertEqual((self.status("running"), self.states()), (0, ["done"]))


class Sleepers(WorkerCase):
    def test_overdue(self):
        """Two take their slots and do nothing: they lose them, until they move or say something."""
        daemon = self.serve("--max-concurrent", "2")
        mover, talker, waiter = (self.worker(n) for n in ("mover", "talker", "waiter"))
        start = time.monotonic()
        for worker in (mover, talker):
            worker.take_slot()
        waiter.register()
        waiter.request()
        waiter.receive(GRANT)
        self.assertGreater(time.monotonic() - start, OVERDUE_SECONDS - 1)
        self.wait("both are overdue", lambda: self.status("overdue") == 2)
        self.assertEqual((self.state_of("mover"), self.states("mover")), ("overdue", ["running"]))
        self.assertEqual(self.status("running"), 1)

        mover.burn()
        self.log_has(f"worker {mover.pid} of mover moves again")
        self.assertEqual((self.status("overdue"), self.status("running")), (1, 2))
        self.finish(mover)
        self.finish(talker)
        self.finish(waiter)
        self.assertEqual([self.states(n) for n in ("mover", "talker", "waiter")], [["done"]] * 3)
        self.assertEqual((self.status("overdue"), self.status("running")), (0, 0))
        self.assertEqual(self.state_of("talker"), "idle")

        talker.burn()
        time.sleep(1.5)  # more than a tick
        log = daemon.log()
        for name in ("mover", "talker"):
            self.assertEqual(log.count(f"of {name} is overdue"), 1)
        self.assertNotIn("of talker moves again", log)
        self.assertNotIn("of waiter is overdue", log)


class SecondWorkers(WorkerCase):
    def test_in_the_same_address_space(self):
        self.serve()
        worker = self.worker()
        worker.register()
        pid, link = worker.order(b"sibling")
        self.offer(link, hello(), register(b"sibling"))
        self.assertEqual(self.end_of(link), [UNGOVERNED])
        self.log_has(f"pid {pid} is not governed")
        self.assertIsNone(self.state_of("sibling"))
        if self.cgroups.top:
            self.assertEqual(len(self.workers_in_cgroups()), 2)  # the bystander's and the first's
        worker.request()
        worker.receive(GRANT)
        self.finish(worker)


if __name__ == "__main__":
    tap.main()
