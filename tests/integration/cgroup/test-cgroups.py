#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon's cgroups: what --cgroup may be, what is made there, what is left and for how long."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import audit
import harness
from harness import Case, tap

CPU_US = 52429  # of a PERFORM: a million pages at 50 ns
TICK_SECONDS = 1  # manager.c


class CgroupTree(Case):
    def refused(self, *options, **arguments):
        with self.assertRaises(AssertionError) as raised:
            self.daemon(*options, **arguments)
        return str(raised.exception)

    def leaves(self):
        return sorted(os.listdir(f"{self.cgroups.top}/jobs")) if self.cgroups.top else []

    def reboot(self, vmm):
        n = len(vmm.outcomes)
        vmm.do("reboot")
        self.assertEqual(vmm.wait_outcomes(n + 1)[-1]["result"], "done")

    def test_none(self):
        """Nothing is made; the bill comes from the worker's own clock."""
        daemon = self.daemon("--cgroup=none")
        vmm = self.vmm()
        self.registered(1)
        vmm.do("protect")
        self.reboot(vmm)
        job, = self.ctl_json("jobs")
        self.assertEqual(self.ctl_json("status")["accounting"], "schedstat")
        self.assertIsNone(job.get("cgroup"))
        self.assertGreater(job["cpu_us"], 0.9 * CPU_US)
        self.assertLess(job["cpu_us"], 2 * CPU_US)
        self.assertIn("schedstat alone", daemon.log())
        if self.cgroups.top:
            self.assertFalse(os.path.exists(f"{self.cgroups.top}/jobs"))
            self.assertEqual(self.cgroups.of(vmm.keeper), self.cgroups.of(os.getpid()))

    def test_no_cgroup2_directory(self):
        self.assertIn("is not in a cgroup v2 hierarchy", self.refused(f"--cgroup={self.directory}"))
        self.assertIn("cannot use the cgroup /nowhere/at/all (--cgroup): No such file or directory",
                      self.refused("--cgroup=/nowhere/at/all"))
        self.assertIn("cannot use the cgroup", self.refused(f"--cgroup={self.config}"))
        self.assertFalse(os.path.exists(self.socket))
        self.assertNotIn("jobs", os.listdir(self.directory))

    def test_auto_without_its_unit(self):
        with open("/proc/self/mounts", encoding="utf-8") as file:
            mounts = [line.split()[1] for line in file if line.split()[2] == "cgroup2"]
        if not mounts:
            self.skipTest("no cgroup v2")
        if os.path.exists(f"{mounts[0]}/pvreaper.slice/pv-reaper-workers.service"):
            self.skipTest("the unit runs here")
        self.assertIn("pv-reaper-workers.service is not running; start it or pass --cgroup=PATH\n",
                      self.refused("--cgroup=auto"))

    def test_read_only(self):
        self.need_cgroup()
        top = self.cgroups.top
        script = f'mount --bind {top} {top} && mount -o remount,bind,ro {top} && exec "$@"'
        prefix = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]
        if subprocess.run([*prefix, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
            self.skipTest("may not mount")
        self.assertIn(f"cannot use the cgroup {top} (--cgroup): Read-only file system",
                      self.refused(prefix=prefix))
        os.mkdir(f"{top}/jobs")  # there, but nothing can be made in it: nobody is governed
        daemon = self.daemon(prefix=prefix)
        vmm = self.vmm()
        self.wait("it is refused", lambda: "is not governed: Read-only file system" in daemon.log())
        vmm.do("protect")
        vmm.do("reboot")
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "ungoverned")

    def test_missing_controllers_are_told_once(self):
        """What is there depends on the host; v1 may have it all. Work goes on without."""
        self.need_cgroup()
        top = self.cgroups.top
        there = harness.read(f"{top}/cgroup.controllers").split()
        missing = sorted({"cpu", "memory", "pids"} - set(there))
        daemon = self.daemon()
        vmms = [self.vmm(f"vm-{i}") for i in range(2)]
        self.registered(2)
        for vmm in vmms:
            vmm.do("protect")
            self.reboot(vmm)
        lines = [line for line in daemon.log().splitlines() if " lacks " in line]
        self.assertEqual([line.partition(f"{top} lacks ")[2].partition(": ")[0] for line in lines],
                         [", ".join(missing)] if missing else [])
        if len(missing) == 3:
            self.assertIn("accounting only, no CPU limits, no memory limits, no pids limit",
                          lines[0])

    def test_writes_nowhere_else(self):
        """Into PATH and below, by what strace sees: neither above it nor in a v1 hierarchy."""
        self.need_cgroup()
        trace, top = f"{self.directory}/trace", self.cgroups.top
        if not shutil.which("strace"):
            self.skipTest("no strace")
        daemon = self.daemon(prefix=audit.strace(trace))
        vmm = self.vmm()
        self.registered(1)
        vmm.do("protect")
        self.reboot(vmm)
        vmm.quit()
        self.wait("its cgroup is gone",
                  lambda: not any(name.startswith("vm-") for name in self.leaves()))
        daemon.kill(signal.SIGTERM)
        self.wait("strace is done", lambda: "+++ exited" in harness.read(trace))
        changed = audit.changed_paths(harness.read(trace))
        self.assertIn(f"{top}/jobs", changed)
        self.assertTrue([path for path in changed if path.endswith("/cgroup.procs")], changed)
        ours = (f"{top}/", f"{self.directory}/", "/dev/null")
        self.assertEqual([path for path in changed if not path.startswith(ours)], [])

    def test_closers_are_found_and_left_alone(self):
        """By the name of their cgroup in PATH: with an explicit path that is where they are."""
        self.need_cgroup()
        top = self.cgroups.top
        names = ["pv-reaper-closer@1-2-3.service", "pv-reaper-closer@empty.service",
                 "pv-reaper-closer.service"]
        for name in names:
            os.mkdir(f"{top}/{name}")
            self.addCleanup(os.rmdir, f"{top}/{name}")
        sleepers = [self.sleeper_in(f"{top}/{name}") for name in (names[0], names[2])]
        daemon = self.daemon()
        self.assertIn("1 workers of an earlier daemon", daemon.log())
        closer, = self.ctl_json("list")
        self.assertEqual((closer["pid"], closer["state"]), (sleepers[0].pid, "found"))
        self.assertEqual(self.cgroups.of(sleepers[0].pid), f"{top}/{names[0]}")
        daemon.kill()
        self.daemon()
        self.assertEqual(len(self.ctl_json("list")), 1)
        sleepers[0].kill()
        self.wait("it is gone", lambda: not self.ctl_json("list"))
        self.assertLess(set(names), set(os.listdir(top)))

    def test_is_empty_after_the_last_worker(self):
        self.need_cgroup()
        self.daemon()
        vmms = [self.vmm(f"vm-{i}") for i in range(5)]
        self.registered(5)
        self.assertEqual(len(self.leaves()), len(os.listdir(f"{self.cgroups.top}/jobs")))
        self.assertEqual({self.cgroups.of(v.keeper) for v in vmms},
                         {v["cgroup"] for v in self.ctl_json("list")})
        for vmm in vmms:
            self.assertNotIn(self.cgroups.top, self.cgroups.of(vmm.pid))
            vmm.do("protect")
        for vmm in vmms:
            self.reboot(vmm)
        for vmm in vmms[:3]:
            vmm.quit()
        for vmm in vmms[3:]:
            vmm.kill()
        self.wait("all cgroups are gone",
                  lambda: not [name for name in self.leaves() if name.startswith("vm-")])
        self.assertEqual(self.ctl_json("list"), [])

    def test_goes_with_its_last_process(self):
        """Somebody else is in a worker's cgroup, and for longer: it is looked after until then."""
        self.need_cgroup()
        self.daemon()
        vmm = self.vmm()
        self.registered(1)
        cgroup = self.cgroups.of(vmm.keeper)
        sleeper = self.sleeper_in(cgroup)
        vmm.quit()
        self.wait("the worker is gone", lambda: not self.ctl_json("list"))
        time.sleep(2.5 * TICK_SECONDS)
        self.assertTrue(os.path.exists(cgroup))
        sleeper.kill()
        self.wait("its cgroup is gone", lambda: not os.path.exists(cgroup))

    def test_is_the_bill(self):
        """Two reboots: their bills together are what the cgroup used, but for talking to us."""
        self.need_cgroup()
        self.daemon()
        vmm = self.vmm(mem="16G")
        self.registered(1)
        vmm.do("protect")
        for _ in range(2):
            self.reboot(vmm)
        bills = [job["cpu_us"] for job in self.jobs_of("vm")]
        stat_file = harness.read(f"{self.cgroups.of(vmm.keeper)}/cpu.stat")
        used = int(re.search(r"^usage_usec (\d+)$", stat_file, re.M).group(1))
        self.assertGreater(min(bills), 0.9 * 4 * CPU_US)
        self.assertLessEqual(sum(bills), used)
        self.assertLess(used, sum(bills) * 1.1 + 20000)


if __name__ == "__main__":
    tap.main()
