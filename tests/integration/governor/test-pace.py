#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How often a job starts and how much CPU it gets, measured: in the simulator's log, and in what
the kernel says of a worker's task.
"""

import os
import sys
import time
import unittest

sys.path.insert(0, f"{sys.path[0]}/../../lib")

from governed import GovernorCase
from harness import cpu_seconds, tap

SCHED_DEADLINE = 6
TICK_SECONDS = 0.01  # at most, HZ=100
LOOK_SECONDS = 0.1  # what it takes us to look, on a busy host


def policy_of(pid):
    return os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK


def may_deadline():
    """Whether this kernel lets us have SCHED_DEADLINE: root, and all CPUs."""
    return os.geteuid() == 0 and len(os.sched_getaffinity(0)) == os.cpu_count()


class Rate(GovernorCase):
    def test_start_rate(self):
        """Two at once, then one each quarter second, by the simulator's clock."""
        self.configure(limits="max-concurrent=100\nstart-rate=4/s\nstart-burst=2")
        self.serve()
        self.reload(limits="max-concurrent=100\nstart-rate=4/s\nstart-burst=2")
        vms = [self.vmm(f"vm-{i}", env={"PVSIM_MIN_MS": "1"}) for i in range(7)]
        for vm in vms:
            vm.do("protect")
        self.registered(8)
        time.sleep(0.75)  # the bystander's start is paid for
        for vm in vms:
            vm.do("reboot")
        for vm in vms:
            vm.wait_outcomes(1)
        begins = sorted(int(e["t"]) / 1e9 for e in self.sim.commands("PERFORM", "begin"))[-7:]
        for i, begin in enumerate(begins):
            for k, later in enumerate(begins[i:], 1):
                self.assertLessEqual(k, 2 + 4 * (later - begin) + 0.1)
        self.assertGreater(begins[-1] - begins[0], 1.15)
        self.assertLess(begins[-1] - begins[0], 2)


@unittest.skipUnless(may_deadline(), "SCHED_DEADLINE is refused here, or not all CPUs are ours")
class Quota(GovernorCase):
    """The simulator's PERFORM works inside single system calls of up to seconds."""

    cpu_quota = None  # it is in the configuration

    def configure(self, **sections):
        super().configure(**{"cpu": "cpu-quota=infinity", **sections})

    def cap(self, quota):
        return {"cpu": f"cpu-enforce=deadline\ncpu-quota={quota}\ncpu-period=20ms"}

    def long_job(self, milliseconds, name="capped"):
        """So much CPU time: a guest of 4 GiB has about a million pages."""
        vm = self.vmm(name, env={"PVSIM_NS_PER_PAGE": str(milliseconds)})
        vm.do("protect")
        vm.do("reboot")
        self.wait("it runs", lambda: self.state_of(name) == "running")
        return vm

    def share_used(self, pid, seconds=1.5):
        start, before = time.monotonic(), cpu_seconds(pid)
        time.sleep(seconds)
        return (cpu_seconds(pid) - before) / (time.monotonic() - start)

    def test_quota_by_default(self):
        """A part of all CPUs, but none where weight acts."""
        percent = min(2 * os.cpu_count(), 40)
        self.configure(cpu="")
        self.serve()
        weight = f"{self.cgroups.top}/cpu.weight"
        if not os.path.exists(weight):
            self.assertEqual(self.ctl_json("status")["cpu_quota"], percent * 10000)
            return
        for value, quota in (("100", percent * 10000), ("99", None), ("100", percent * 10000)):
            with open(weight, "w", encoding="ascii") as file:
                file.write(value)
            self.reload(cpu="")
            self.assertEqual(self.ctl_json("status")["cpu_quota"], quota)

    def test_cap_on_perform(self):
        self.configure()
        self.serve()
        self.reload(**self.cap("25%"))
        vm = self.long_job(750)
        self.assertEqual(policy_of(vm.keeper), SCHED_DEADLINE)
        self.assertAlmostEqual(self.share_used(vm.keeper), 0.25, delta=0.025)
        vm.wait_outcomes(1)
        arrived = time.clock_gettime(time.CLOCK_MONOTONIC)
        ended = int(self.sim.commands("PERFORM")[-1]["t"]) / 1e9
        self.assertLess(arrived - ended,
                        TICK_SECONDS / 0.25 + 0.02 + LOOK_SECONDS)
        self.wait("the cap is taken back", lambda: policy_of(vm.keeper) != SCHED_DEADLINE, 1)
        self.assertRegex(self.served.log(), "CPU cap by deadline: as configured")

    def test_cap_changes_while_it_runs(self):
        """On, another one, off again, in the middle of a PERFORM."""
        self.configure()
        self.serve()
        vm = self.long_job(1500)
        self.assertNotEqual(policy_of(vm.keeper), SCHED_DEADLINE)
        self.reload(**self.cap("10%"))
        self.assertAlmostEqual(self.share_used(vm.keeper, 1.5), 0.10, delta=0.02)
        self.reload(**self.cap("40%"))
        self.assertAlmostEqual(self.share_used(vm.keeper, 1), 0.40, delta=0.04)
        self.reload()
        self.assertNotEqual(policy_of(vm.keeper), SCHED_DEADLINE)
        vm.wait_outcomes(1)

    def test_pinned_and_escaping_worker(self):
        """It gets all CPUs while it is capped, its own afterwards; and the cap again."""
        self.configure(**self.cap("20%"))
        self.serve()
        vm = self.vmm("escaper", env={"PVSIM_NS_PER_PAGE": "1000"})
        os.sched_setaffinity(vm.keeper, {0})
        vm.do("protect")
        vm.do("reboot")
        self.wait("it is capped", lambda: policy_of(vm.keeper) == SCHED_DEADLINE)
        self.assertEqual(os.sched_getaffinity(vm.keeper), os.sched_getaffinity(0))
        os.sched_setscheduler(vm.keeper, os.SCHED_OTHER, os.sched_param(0))
        self.log_has(f"worker {vm.keeper} has left its CPU cap")
        self.wait("it is capped again", lambda: policy_of(vm.keeper) == SCHED_DEADLINE)
        self.assertAlmostEqual(self.share_used(vm.keeper, 1), 0.20, delta=0.04)
        self.reload()
        vm.wait_outcomes(1)
        self.wait("its CPU is its own again", lambda: os.sched_getaffinity(vm.keeper) == {0})
        self.assertEqual(policy_of(vm.keeper), os.SCHED_BATCH)

    def test_cap_is_shared(self):
        self.configure(**self.cap("20%"))
        self.serve()
        first, second = (self.long_job(1000, name) for name in ("first", "second"))
        used = self.share_used(first.keeper) + self.share_used(second.keeper)
        self.assertAlmostEqual(used, 0.20, delta=0.03)
        self.reload()
        for vm in (first, second):
            vm.wait_outcomes(1)


if __name__ == "__main__":
    tap.main()
