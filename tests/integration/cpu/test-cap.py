#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The CPU cap on real tasks inside the kernel: enforce.c and probe.c, told by a driver (capper).

What a worker used is read from outside, what it is from sched_getattr(2)'s answer to us, never from
what the driver believes. Needs CAP_SYS_NICE; what needs a cpu controller is skipped without.
"""

import contextlib
import ctypes
import os
import signal
import struct
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path[:0] = [f"{sys.path[0]}/../../{folder}" for folder in ("lib", "bench")]

import capping
import stage
import tap

SYS_SCHED_SETATTR = {"x86_64": 314, "s390x": 345, "aarch64": 274}.get(os.uname().machine)
KERNEL = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
PROBE_USEC = 60000000
PROBE_TRIES = 5  # on a busy host
WHY_NOT = None if capping.may_deadline() else "SCHED_DEADLINE is refused here"


def policy_of(worker):
    return os.sched_getscheduler(worker.pid) & ~os.SCHED_RESET_ON_FORK


def cpu_v1():
    """A cgroup of our own with v1's cpu controller, or None."""
    return made_in_v1("cpu")


def cpuset_v1():
    return made_in_v1("cpuset")


def made_in_v1(controller):
    for line in stage.read("/proc/self/mounts").splitlines():
        _, where, kind, flags, *_ = line.split()
        if kind == "cgroup" and controller in flags.split(","):
            path = f"{where}/pvr-test-{os.getpid()}"
            with contextlib.suppress(OSError):
                os.mkdir(path)
                return path
    return None


def cpu_v2():
    cgroups = stage.Cgroups(f"pvr-test-{os.getpid()}")
    cgroups.make()
    if cgroups.top and os.path.exists(f"{cgroups.top}/cpu.max"):
        return cgroups.top
    if cgroups.top:
        os.rmdir(cgroups.top)
    return None


class Case(unittest.TestCase):
    def setUp(self):
        self.log = os.memfd_create("log")
        self.addCleanup(os.close, self.log)
        self.capper = capping.Capper(stderr=self.log)
        self.addCleanup(self.capper.end)

    def said(self):
        return os.pread(self.log, 1 << 16, 0).decode()

    def worker(self, *arguments):
        worker = capping.Busy(*arguments)
        self.addCleanup(worker.end)
        return worker

    def running(self, *arguments):
        worker = self.worker(*arguments)
        worker.go()
        return worker

    def state(self, worker):
        return self.capper.ask("task", worker.pid)[0]

    def assert_used(self, workers, quota, seconds=2):
        used = sum(capping.shares(workers, seconds))
        self.assertLess(abs(used - quota), 0.2 * quota, f"used {used:.2%}, quota {quota:.0%}")


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Deadline(Case):
    def test_cap_inside_a_system_call(self):
        worker = self.running("getrandom", 2044, "batch")
        self.capper.policy("deadline", 0.2)
        self.capper.add(worker)
        self.assertEqual(policy_of(worker), capping.SCHED_DEADLINE)
        self.assert_used([worker], 0.2)
        self.capper.policy("deadline", 0.05)
        self.assert_used([worker], 0.05)
        self.capper.ask("remove", worker.pid)
        self.assertEqual(policy_of(worker), os.SCHED_BATCH)
        self.assertGreater(capping.shares([worker], 1)[0], 0.1)

    def test_cap_is_shared(self):
        self.capper.policy("deadline", 0.2)
        workers = [self.running("getrandom", 2044, "batch") for _ in range(3)]
        for worker in workers:
            self.capper.add(worker)
        self.assert_used(workers, 0.2)
        for worker in workers[1:]:
            self.capper.ask("remove", worker.pid)
            worker.end()
        self.assert_used(workers[:1], 0.2)

    def test_cap_inside_exit_mmap(self):
        self.capper.policy("deadline", 0.02)
        worker = self.worker("exit", 8 << 10, "batch")
        self.capper.add(worker)
        worker.go()
        stage.wait_until("it is in exit_mmap()", 10,
                         lambda: stage.read(f"/proc/{worker.pid}/statm").startswith("0 "))
        self.assert_used([worker], 0.02)
        self.assertIsNone(worker.process.poll())
        begin = time.monotonic()
        self.capper.ask("remove", worker.pid)
        worker.process.wait(30)
        self.assertLess(time.monotonic() - begin, 20)

    def test_pinned_worker(self):
        worker = self.running("user")
        os.sched_setaffinity(worker.pid, {0})
        self.capper.policy("deadline", 0.1)
        self.capper.add(worker, "other")
        self.assertEqual(policy_of(worker), capping.SCHED_DEADLINE)
        self.assert_used([worker], 0.1)
        self.capper.ask("remove", worker.pid)
        self.assertEqual(policy_of(worker), os.SCHED_OTHER)
        self.assertEqual(os.sched_getaffinity(worker.pid), {0})

    def test_worker_in_a_cpuset(self):
        """No SCHED_DEADLINE for it: it yields to all others, and that is said."""
        cpuset = cpuset_v1()
        if not cpuset:
            self.skipTest("no cpuset of cgroup v1 that is ours to make")
        self.addCleanup(stage.wait_until, "the cpuset is empty", 30, lambda: Probe.remove(cpuset))
        worker = self.running("user")
        for file, value in (("cpuset.mems", 0), ("cpuset.cpus", 0), ("cgroup.procs", worker.pid)):
            with open(f"{cpuset}/{file}", "w", encoding="ascii") as out:
                out.write(str(value))
        self.capper.policy("deadline", 0.1)
        self.capper.add(worker)
        self.assertEqual((self.state(worker), policy_of(worker)), ("idle", os.SCHED_IDLE))
        self.assertEqual(self.capper.ask("counts"), ["1", "1", "1", "0"])
        self.assertIn("it is pinned, or in a cpuset: SCHED_DEADLINE needs all CPUs): it runs as "
                      "SCHED_IDLE", self.said())

    def test_cap_changes_after_a_look(self):
        """A look at what the host admits would make Linux 6.18 refuse the change."""
        worker = self.running("user")
        for quota in (0.2, 0.05, 0.1):
            self.capper.policy("deadline", quota)
            if quota == 0.2:
                self.capper.add(worker)
            self.assertEqual((self.state(worker), policy_of(worker)),
                             ("capped", capping.SCHED_DEADLINE))
            self.capper.ask("tick")
        self.assertEqual(self.capper.ask("counts"), ["1", "0", "0", "0"])
        self.assert_used([worker], 0.1)

    def test_cap_comes_back_after_somebody_looked(self):
        worker = self.running("user")
        self.capper.policy("deadline", 0.2)
        self.capper.add(worker)
        with open("/proc/sys/kernel/sched_rt_runtime_us", encoding="ascii") as file:
            file.read()
        self.capper.policy("deadline", 0.05)
        for _ in range(2):  # refused at most until then
            self.capper.ask("tick")
        self.assertEqual((self.state(worker), policy_of(worker)),
                         ("capped", capping.SCHED_DEADLINE))
        self.assert_used([worker], 0.05)

    def test_escape_is_caught(self):
        worker = self.running("user")
        self.capper.policy("deadline", 0.1)
        self.capper.add(worker)
        os.sched_setscheduler(worker.pid, os.SCHED_OTHER, os.sched_param(0))
        self.assertEqual(self.state(worker), "capped")
        self.capper.ask("tick")
        self.assertEqual(policy_of(worker), capping.SCHED_DEADLINE)
        self.assertEqual(self.capper.ask("counts"), ["1", "0", "0", "1"])
        self.assertIn(f"worker {worker.pid} has left its CPU cap", self.said())
        self.assert_used([worker], 0.1)

    def test_found_after_a_restart(self):
        worker = self.running("user")
        self.capper.policy("deadline", 0.1)
        self.capper.add(worker)
        self.capper.process.kill()
        self.assertEqual(policy_of(worker), capping.SCHED_DEADLINE)
        with capping.Capper(stderr=subprocess.DEVNULL) as second:
            second.add(worker)
            self.assertEqual(policy_of(worker), os.SCHED_BATCH)

    def test_cap_outlives_an_orderly_end(self):
        """For the next daemon, as after kill -9; which takes it off, if it has no quota."""
        worker = self.running("user")
        self.capper.policy("deadline", 0.1)
        self.capper.add(worker)
        self.capper.end()
        self.assertEqual(policy_of(worker), capping.SCHED_DEADLINE)
        self.assert_used([worker], 0.1)
        with capping.Capper(stderr=subprocess.DEVNULL) as second:
            second.add(worker)
            self.assertEqual(policy_of(worker), os.SCHED_BATCH)

    def test_more_than_is_admitted(self):
        """A stranger has most of what there is: we get less, and say so, and all when it goes."""
        cpus = os.cpu_count()
        strangers = [self.worker("user") for _ in range(cpus)]
        for stranger in strangers:
            self.set_deadline(stranger, 0.8)
        worker = self.running("user")
        self.capper.policy("deadline", 0.6)
        self.capper.add(worker)
        self.assertEqual(self.state(worker), "short")
        self.assertEqual(policy_of(worker), capping.SCHED_DEADLINE)
        self.assertIn("SCHED_DEADLINE admits no more", self.said())
        for stranger in strangers:
            stranger.end()
        time.sleep(0.2)
        self.capper.ask("tick")
        self.assertEqual(self.state(worker), "capped")

    def set_deadline(self, worker, share):
        if not SYS_SCHED_SETATTR:
            self.skipTest(f"no number for sched_setattr on {os.uname().machine}")
        period = 100_000_000
        attributes = struct.pack("IIQiIQQQ", 48, capping.SCHED_DEADLINE, 0, 0, 0,
                                 int(share * period), period, period)
        self.assertEqual(ctypes.CDLL(None).syscall(SYS_SCHED_SETATTR, worker.pid, attributes, 0), 0)

    def test_gone(self):
        worker = self.running("user")
        self.capper.policy("deadline", 0.1)
        self.capper.add(worker)
        os.kill(worker.pid, signal.SIGKILL)
        worker.process.wait()
        self.capper.ask("tick")
        self.capper.policy("deadline", 0.2)
        self.assertEqual(self.state(worker), "gone")
        self.assertNotIn("cap of worker", self.said())


class NoCapability(Case):
    def test_without_cap_sys_nice(self):
        if os.geteuid() != 0:
            self.skipTest("not root: nothing to drop")
        worker = self.running("user")
        drop = ["setpriv", "--bounding-set", "-sys_nice", "--inh-caps", "-sys_nice"]
        capper = subprocess.Popen([*drop, f"{capping.BENCH}/capper"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said, log = capper.communicate(
            f"policy deadline 100000 10000\nadd {worker.pid} batch\ntask {worker.pid}\n"
            "counts\n".encode(), timeout=30)
        self.assertIn(b"ok uncapped", said)
        self.assertIn(b"ok 1 1 1 0", said)
        self.assertIn(b"no CAP_SYS_NICE", log)


class Probe(Case):
    def probe(self, path, version, usec=PROBE_USEC):
        self.addCleanup(stage.wait_until, "the cgroup is empty", 30, lambda: self.remove(path))
        return self.capper.ask("probe", path, version, usec)

    @staticmethod
    def remove(path):
        with contextlib.suppress(OSError):
            os.rmdir(path)
        return not os.path.exists(path)

    def test_probe_tells_the_truth(self):
        """Throttling waits for the return to user mode since Linux 6.18."""
        path, version = cpu_v2(), "v2"
        if not path:
            path, version = cpu_v1(), "v1"
        if not path:
            self.skipTest("no cpu controller that is ours to use")
        for _ in range(PROBE_TRIES):
            result, *why = self.probe(path, version)
            if result != "unknown" or "busy" not in why:
                break
        if result == "unknown" and "busy" in why:
            self.skipTest("the host is too busy to tell")
        self.assertEqual(result, "does-not-hold" if KERNEL >= (6, 18) else "holds")
        self.capper.policy("auto", 0.5)
        self.assertEqual(self.capper.ask("backend")[0],
                         "deadline:" if KERNEL >= (6, 18) else "cgroup:")

    def test_probe_is_bounded(self):
        path, version = cpu_v2(), "v2"
        if not path:
            path, version = cpu_v1(), "v1"
        if not path:
            self.skipTest("no cpu controller that is ours to use")
        self.assertEqual(self.probe(path, version, 200000),
                         ["unknown", "the", "test", "took", "too", "long"])


class Backing(Case):
    """What enforce.c takes for granted of cpu.max behind SCHED_DEADLINE."""

    QUOTA, PERIOD = 10000, 100000

    def setUp(self):
        super().setUp()
        self.path = cpu_v1()
        if not self.path:
            self.skipTest("no cpu controller of cgroup v1 that is ours to use")
        self.addCleanup(stage.wait_until, "the cgroup is empty", 30,
                        lambda: Probe.remove(self.path))
        self.write("cpu.cfs_period_us", self.PERIOD)
        self.write("cpu.cfs_quota_us", self.QUOTA)

    def write(self, file, value):
        with open(f"{self.path}/{file}", "w", encoding="ascii") as out:
            out.write(str(value))

    def enter(self, worker):
        self.write("cgroup.procs", worker.pid)
        return worker

    @unittest.skipIf(WHY_NOT, WHY_NOT)
    def test_deadline_runs_up_no_debt(self):
        worker = self.enter(self.worker("getrandom", 2044, "batch"))
        self.capper.policy("deadline", 0.4)
        self.capper.add(worker)
        worker.go()
        time.sleep(0.2)
        before = stage.read(f"{self.path}/cpu.stat").split()
        self.assert_used([worker], 0.4)
        after = stage.read(f"{self.path}/cpu.stat").split()
        key = "nr_throttled"
        self.assertEqual(before[before.index(key) + 1], after[after.index(key) + 1])

    def test_writing_the_quota_anew_forgives(self):
        """0.5 s in a system call under 10 %: the debt is up to 5 s."""
        if KERNEL < (6, 18):
            self.skipTest("here no debt is run up inside a system call")
        worker = self.enter(self.running("getrandom", 2044))
        begin = worker.cpu()
        stage.wait_until("it has run for 0.5 s", 60, lambda: worker.cpu() - begin > 0.5)
        worker.process.kill()
        time.sleep(0.3)
        self.assertIsNone(worker.process.poll(), "there is no debt")
        begin = time.monotonic()
        self.write("cpu.cfs_quota_us", self.QUOTA)
        worker.process.wait(30)
        self.assertLess(time.monotonic() - begin, 1)


if __name__ == "__main__":
    tap.main()
