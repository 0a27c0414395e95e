#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Adoption: the helper that a stock QEMU has for its own end is governed as far as it can be.

With real QEMUs where what counts is what QEMU does, with stand-ins where it is what we do.
"""

import os
import signal
import subprocess
import sys

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import bus
import harness
import qemu
from harness import tap
from helpers import SCHED_DEADLINE, SLOW, STAND_IN, AdoptCase, cpu_usec
from raw import RawWorker

GIB = 1 << 30
UUID = "00112233-4455-6677-8899-aabbccddeeff"
TIMEOUT = "org.pvreaper.Error.Timeout"


def policy_of(pid):
    try:
        return os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK
    except ProcessLookupError:
        return None


class RealQemu(AdoptCase):
    def serve_for_qemu(self, *options, text=SLOW):
        self.need_deadline()
        qemu.need(self)
        self.configure(text, emulators=self.emulator or qemu.program())
        return self.serve(*options)

    def check_release(self, vm, end):
        """QEMU is gone while its memory is still being released, on our bill, under our cap."""
        guest = self.cgroups.make_below("guest")
        billed = cpu_usec(guest)
        end()
        self.adopted(vm.helper, "running")
        self.assertEqual(policy_of(vm.helper), SCHED_DEADLINE)
        self.status_is(running=1)
        self.assertEqual(self.running_job(vm.helper)["kind"], "adopted")
        job = self.job_of(vm.helper)
        self.assertEqual((job["kind"], job["state"], job["waited_us"]), ("adopted", "done", 0))
        self.assertGreater(job["bytes"], GIB)
        self.assertGreater(job["cpu_us"], 5000)
        self.assertGreater(job["ran_us"], 20 * job["cpu_us"])  # 2 %, and some of a free start
        self.assertLess(cpu_usec(guest) - billed, job["cpu_us"])
        self.status_is(running=0, vms=0, done=1)
        return job

    def running_job(self, pid):
        return next(job for job in self.ctl_json("jobs") if job["pid"] == pid)

    def check_shown(self, vm):
        """In a cgroup of its own, with what was found out about it; idle, it costs nothing."""
        shown = self.adopted(vm.helper)
        self.assertEqual(self.cgroups.of(vm.helper), self.jobs_cgroup(vm.helper))
        self.assertEqual(shown["cgroup"], self.jobs_cgroup(vm.helper))
        self.assertEqual((shown["vmm_pid"], shown["worker"], shown["connected"], shown["name"]),
                         (vm.pid, "adopted", False, f"cleanup/{vm.pid}"))
        self.assertTrue(shown["unit"].endswith("/guest"), shown["unit"])
        self.assertGreater(shown["mem_bytes"], GIB)
        self.assertNotEqual(policy_of(vm.helper), SCHED_DEADLINE)
        self.status_is(running=0, queued=0, vms=1)
        return shown

    def test_adopted_by_hand(self):
        self.serve_for_qemu()
        vm = self.qemu()
        self.adopt(vm.helper)
        shown = self.check_shown(vm)
        self.log_has(f"adopted {vm.helper}, the helper of QEMU {vm.pid} (unit {shown['unit']})")
        self.refused(vm.helper, "AlreadyAdopted", f"process {vm.helper} is adopted already")
        self.check_release(vm, vm.quit)
        self.log_has(f"adopted of cleanup/{vm.pid} (pid {vm.helper}, unit {shown['unit']}) done")

    def test_adopted_by_the_scan(self):
        """Whether it was there before the daemon or came later; QEMU is killed."""
        self.use_own_emulator()
        first = self.qemu()
        self.serve_for_qemu()
        second = self.qemu()
        self.assertIsNone(self.vm_of(first.helper))  # qemu=no
        self.configure(SLOW, emulators=self.emulator, scan="yes")
        self.served.process.send_signal(signal.SIGHUP)
        self.adopted(first.helper)
        first.kill()
        self.job_of(first.helper)
        self.adopted(second.helper)
        self.served.kill()
        self.serve()
        self.check_shown(second)
        self.check_release(second, second.kill)
        self.assertNotIn(f"{first.helper} is", self.served.log())  # too late: not worth a line

    def test_counts_while_it_works(self):
        """It waits for nobody, but others wait for it."""
        self.serve_for_qemu("--max-concurrent=1")
        vm, other = self.qemu(), RawWorker(self, "other")
        self.adopt(vm.helper)
        other.register()
        other.request(1)
        other.receive(harness.GRANT)
        other.done(1)
        other.receive(harness.DONE_ACK)
        vm.kill()
        self.adopted(vm.helper, "running")
        other.request(2)
        self.status_is(running=1, queued=1)
        job = self.job_of(vm.helper)
        other.receive(harness.GRANT)
        self.assertEqual(job["state"], "done")

    def test_daemon_killed_before(self):
        self.serve_for_qemu()
        vm = self.qemu()
        self.adopt(vm.helper)
        self.served.kill()
        self.serve()
        self.check_shown(vm)
        self.check_release(vm, vm.kill)

    def test_daemon_killed_during_the_release(self):
        """What it is, since when, and what it cost: nothing is lost."""
        self.serve_for_qemu()
        vm = self.qemu()
        self.adopt(vm.helper)
        self.adopted(vm.helper)
        vm.kill()
        self.adopted(vm.helper, "running")
        self.served.kill()
        self.serve()
        shown = self.adopted(vm.helper, "running")
        self.assertEqual((shown["name"], shown["worker"]), (f"cleanup/{vm.pid}", "adopted"))
        self.status_is(running=1, vms=1)
        job = self.job_of(vm.helper)
        self.assertEqual((job["kind"], job["state"]), ("adopted", "done"))
        self.assertGreater(job["bytes"], GIB)
        self.assertGreater(job["cpu_us"], 5000)
        self.assertGreater(job["ran_us"], 20 * job["cpu_us"])

    def test_qemu_dies_without_daemon(self):
        """Since when it works nobody saw; what it cost is known, and what it had to release."""
        self.serve_for_qemu()
        vm = self.qemu()
        self.adopt(vm.helper)
        self.adopted(vm.helper)
        self.served.kill()
        with self.stopped(vm.helper):
            vm.kill()
            self.serve()
            self.adopted(vm.helper, "running")
            self.status_is(running=1)
        job = self.job_of(vm.helper)
        self.assertEqual((job["kind"], job["state"], job["ran_us"]), ("adopted", "done", None))
        self.assertGreater(job["cpu_us"], 5000)
        self.assertGreater(job["bytes"], GIB)


class StandIns(AdoptCase):
    def test_life(self):
        """Without a cap, without a cgroup even: it is accounted for all the same."""
        self.configure()
        self.cgroup_option = "none"
        self.serve()
        vm = self.standin(64 << 20)
        self.adopt(vm.helper)
        self.assertIsNone(self.adopted(vm.helper)["cgroup"])
        vm.end()
        job = self.job_of(vm.helper)
        self.assertEqual((job["kind"], job["state"]), ("adopted", "done"))
        self.assertGreaterEqual(job["bytes"], 64 << 20)

    def test_helper_ends_first(self):
        """Then it has released nothing."""
        self.configure()
        self.serve()
        vm = self.standin()
        self.adopt(vm.helper)
        os.kill(vm.helper, signal.SIGKILL)
        self.status_is(vms=0, running=0)
        self.log_has(f"helper {vm.helper} ended before its QEMU {vm.pid}")
        self.assertEqual(self.ctl_json("jobs"), [])

    def test_its_cgroup_goes(self):
        self.configure()
        self.serve()
        vm = self.standin()
        self.adopt(vm.helper)
        cgroup = self.jobs_cgroup(vm.helper)
        self.assertTrue(os.path.exists(cgroup))
        vm.end()
        self.job_of(vm.helper)
        self.wait("the cgroup is gone", lambda: not os.path.exists(cgroup))

    def test_is_quiet_when_it_is_gone(self):
        """It could be anybody's, once its QEMU is dead."""
        if not bus.has_busctl():
            self.skipTest("no busctl or dbus-send")
        self.configure()
        self.serve()
        vm = self.standin()
        self.adopt(vm.helper)
        shown = self.adopted(vm.helper)
        self.assertEqual((shown["quiet"], shown["fencing"]), (False, "unknown"))
        self.assertEqual(self.wait_quiet(f"pid={vm.pid}"), TIMEOUT)
        self.assertIsNone(self.wait_quiet("somebody"))
        self.stop(vm.helper)
        vm.end()
        for what in (UUID, f"pid={vm.pid}", f"pid={vm.helper}", "somebody"):
            self.assertEqual(self.wait_quiet(what), TIMEOUT, what)
        self.assertIsNone(self.wait_quiet("pid=1"))
        os.kill(vm.helper, signal.SIGCONT)
        self.assertIsNone(self.wait_quiet("somebody", usec=harness.TIMEOUT * 10 ** 6))
        self.assertEqual(self.job_of(vm.helper)["state"], "done")

    def wait_quiet(self, what, usec=200000):
        """The name of the daemon's error, None for success; pv-reaperctl would look at /proc."""
        return bus.error_name(f"unix:path={self.control}", "WaitQuiet", f"string:{what}",
                              f"uint64:{usec}")

    def test_keeper_comes_later(self):
        """The memory is the keeper's to release then, and the helper has no job."""
        self.configure()
        self.serve()
        vm = self.standin(16 << 20)
        self.adopt(vm.helper)
        vm.make_keeper()
        self.registered(1)
        vm.end()
        self.status_is(vms=0, running=0)
        self.assertEqual([(job["vm"], job["kind"], job["state"]) for job in self.ctl_json("jobs")],
                         [("with-keeper", "shutdown", "done")])


class Refused(AdoptCase):
    def setUp(self):
        super().setUp()
        self.configure()
        self.serve()

    def tearDown(self):
        self.status_is(vms=self.n_keepers)
        super().tearDown()

    n_keepers = 0

    def test_adopt_no_process(self):
        process = subprocess.Popen(["true"])
        process.wait()
        for pid in (process.pid, 2147483647):
            self.refused(pid, "NoSuchProcess", f"there is no process {pid}")

    def test_adopt_no_number(self):
        for text in ("", "0", "-1", "1x", " 1", "2147483648", "99999999999999999999"):
            self.assertIn("a process number", subprocess.run(
                [harness.CTL, "--socket", self.control, "adopt", "--", text], capture_output=True,
                text=True, check=False).stderr)

    def test_not_a_helper(self):
        vm = self.standin()
        for name in ("cleanup", "cleanup/", "cleanup/0", "cleanup/01", "cleanup/1x", "cleanup/-1",
                     f"x{vm.pid}", "cleanup/9999999"):
            pid = vm.child("thread", name)
            if name == "cleanup/9999999":
                self.refused(pid, "QEMUGone",
                             f"process {pid} is called {name}, but there is no process 9999999")
            else:
                self.refused(pid, "NotAHelper", f'process {pid} is called "{name}", not cleanup/')

    def test_merely_called_so(self):
        """The helper of somebody who lives, and is not its parent."""
        vm, other = self.standin(), self.standin()
        pid = vm.child("thread", f"cleanup/{other.pid}")
        self.refused(pid, "NotItsParent", f"is called cleanup/{other.pid}, but its parent is")

    def test_orphan(self):
        """Too late: with QEMU gone nobody can tell whose it is."""
        vm = self.standin()
        with self.stopped(vm.helper):
            os.kill(vm.pid, signal.SIGKILL)
            self.wait("it is dead", lambda: harness.process_state(vm.pid) == "Z")
            self.refused(vm.helper, "QEMUGone", f"but there is no process {vm.pid}")
            vm.end()
            self.refused(vm.helper, "QEMUGone", f"but there is no process {vm.pid}")

    def test_other_memory(self):
        vm = self.standin()
        pid = vm.child("fork", f"cleanup/{vm.pid}")
        self.refused(pid, "OtherMemory",
                     f"process {pid} does not share the memory of its parent {vm.pid}")

    def test_emulator_not_listed(self):
        self.configure(emulators="/usr/bin/qemu-system-*")
        self.served.process.send_signal(signal.SIGHUP)
        self.log_has("configuration read again")
        vm = self.standin()
        self.refused(vm.helper, "EmulatorNotListed", f"runs {STAND_IN}, which is not in emulators=")

    def test_has_a_keeper(self):
        vm = self.standin()
        vm.make_keeper()
        self.registered(1)
        self.n_keepers = 1
        self.refused(vm.helper, "HasKeeper", f"process {vm.pid} has a keeper, ")

    def test_real_qemu(self):
        """One that is not on the list; one that is, but has a keeper besides its helper."""
        other = self.qemu()
        self.refused(other.helper, "EmulatorNotListed",
                     f"runs {os.path.realpath(qemu.program())}, which is not in emulators=")
        self.configure(emulators=qemu.program())
        self.served.process.send_signal(signal.SIGHUP)
        self.log_has("configuration read again")
        kept = self.qemu(preload=True)
        self.registered(1)
        self.n_keepers = 1
        self.refused(kept.helper, "HasKeeper", f"process {kept.pid} has a keeper, ")

    def test_refused_by_the_scan(self):
        """Each is told once, in however many passes; a keeper's VM not at all."""
        self.use_own_stand_in()
        vm, kept = self.standin(), self.standin()
        kept.make_keeper()
        self.registered(1)
        wrong = vm.child("fork", f"cleanup/{vm.pid}")
        self.ctl("set", "qemu=yes", "emulators=/nowhere")
        self.log_has(f"the parent {vm.pid} of process {wrong} runs")
        self.ctl("set", f"emulators={self.stand_in}")
        self.adopted(vm.helper)
        later = self.standin()
        self.adopted(later.helper)
        log = self.served.log()
        self.assertEqual(log.count(f"process {wrong} "), 1)
        self.assertNotRegex(log, rf"\b{kept.helper}\b")
        self.n_keepers = 3


class Scan(AdoptCase):
    def test_among_many_processes(self):
        """500 more than there were, and a few passes over all: that costs little."""
        self.use_own_stand_in()
        crowd = self.standin()
        for _ in range(500):
            crowd.do("thread crowd")
        self.configure(scan="yes")
        served = self.serve()
        for _ in range(3):
            self.adopted(self.standin().helper)
        used = int(harness.read(f"/proc/{served.pid}/schedstat").split()[0]) / 1e9
        self.assertLess(used, 0.5)


if __name__ == "__main__":
    tap.main()
