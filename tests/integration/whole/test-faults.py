#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the daemon does when a call of its own fails, or does less than it was asked to (faults.c):
the n-th of its sort while two VMs come, reboot, and one of them goes, somebody looks, and the
configuration is read again. Likewise with a cap by SCHED_DEADLINE, with a helper that is
adopted, with a VM that is left to a closer, while it starts, and while it finds out
what cpu.max does.

It neither dies nor forgets: each VM that was set aside has one end, soon; then the one that stayed
is governed again, and so is a new one; nothing runs, no fd more is open and no cgroup is left.

Each way through the program to such a call fails once, in an order of its own in each run, until
the time is up (PVR_FAULTS_SECONDS; PVR_FAULTS_SEED: as then). PVR_FAULTS_ALL=1: each call that
there is when nothing fails, for half an hour.
"""

import contextlib
import errno
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
import qemu
from harness import Case, tap
from closers import Closers, slow_perform
from helpers import STAND_IN, StandIn
from raw import fds_at_rest, resident_kib

sys.path.append(os.path.join(harness.HERE, "..", "bench"))
import capping  # noqa: E402

SHIM = f"{harness.BUILD}/tests/standins/faults.so"
MEMORY, FDS, AGAIN, CGROUP, INTERRUPT, SHORT, LIBRARY = range(1, 8)  # as in faults.c
NO_FAULT = (INTERRUPT, SHORT)  # a program has to live with those
HEAD, N_FRAMES, N_CALLS = struct.calcsize("=6I"), 32, 8192
ALL = os.environ.get("PVR_FAULTS_ALL") == "1"
SEED = int(os.environ.get("PVR_FAULTS_SEED", str(random.randrange(1 << 32))))
SECONDS = int(os.environ.get("PVR_FAULTS_SECONDS", "3"))  # for each test; there are some thirty
SOON = 8      # seconds until a VM is served again: accepting may pause for one of them
GROWTH_KIB = 8192
AT_ONCE = 3   # whatever was read of the configuration, it was all of it or nothing


class Control:
    """The struct control of faults.c."""

    def __init__(self, path):
        size = HEAD + 8 * (N_FRAMES + N_CALLS)
        with open(path, "wb+") as file:
            file.truncate(size)
            self.map = mmap.mmap(file.fileno(), size)

    def arm(self, sort, error=0, at=0, lasts=1):
        """at: 0 for none, as long as calls are only to be counted."""
        self.map[:4] = struct.pack("=I", 0)
        self.map[4:HEAD] = struct.pack("=5I", error, at, lasts, 0, 0)
        self.map[:4] = struct.pack("=I", sort)

    def disarm(self):
        """How many calls there were, and how many of them failed."""
        self.map[:4] = struct.pack("=I", 0)
        return struct.unpack("=2I", self.map[16:HEAD])

    def ways(self, count):
        """The number of the first call of each way that led to one."""
        first, start = {}, HEAD + 8 * N_FRAMES
        calls = struct.unpack(f"={N_CALLS}Q", self.map[start:])[:count]
        for n, way in enumerate(calls, 1):
            first.setdefault(way, n)
        return list(first.values())

    def where(self):
        """The way to the last one that failed."""
        frames = struct.unpack(f"={N_FRAMES}Q", self.map[HEAD:HEAD + 8 * N_FRAMES])
        calls = [hex(frame - 1) for frame in frames[:(*frames, 0).index(0)]]
        if not shutil.which("addr2line"):
            return " ".join(calls)
        return subprocess.run(["addr2line", "-spfe", harness.DAEMON, *calls], check=False,
                              capture_output=True, text=True).stdout


class Attempt(harness.Daemon):
    """A daemon that may have failed to start."""

    def __init__(self, case, *options, **arguments):
        try:
            super().__init__(case, *options, **arguments)
        except AssertionError:
            self.ended = False


class FaultCase(Case):
    vmm_env = {"PVSIM_NS_PER_PAGE": "2", "PVREAPER_GRACE_MSEC": "60000"}  # far beyond SOON

    def setUp(self):
        super().setUp()
        if harness.sanitized():
            self.skipTest("a sanitizer has an allocator of its own")
        with open(self.config, "w", encoding="ascii") as file:  # all of this is one unit
            file.write(f"[limits]\nunit-arrivals=infinity\nmax-concurrent={AT_ONCE}\n")
        self.faults = Control(f"{self.directory}/faults")
        self.env = {"LD_PRELOAD": SHIM, "PVR_FAULTS": f"{self.directory}/faults",
                    "PVR_FAULTS_CGROUP": self.cgroup_option}
        self.n_runs = 0

    def reboot(self, vm):
        """Its next one, as it has to be when nothing fails."""
        n = len(vm.outcomes)
        vm.do("reboot")
        self.assertEqual(vm.wait_outcomes(n + 1, SOON)[-1]["result"], "done")

    def new_vm(self, name):
        vm = self.vmm(f"{name}-{self.n_runs}", stderr=subprocess.DEVNULL)
        vm.do("protect")
        return vm

    def go(self, vm):
        """A VM shuts down."""
        vm.quit()
        self.wait("its keeper goes", lambda: not harness.is_alive(vm.keeper), SOON)
        with contextlib.suppress(ChildProcessError):  # not ours, where a VMM left it to another
            os.waitpid(vm.keeper, tap.WALL)  # or there are thousands in the end, in everybody's way
        vm.keeper = None
        self.end_vmm(vm)

    def each(self, what, run):
        """run(n) for the n-th of the calls that were just counted: of each, or, as long as there is
        time, of one for each way.
        """
        dice, end, n_hit = random.Random(SEED), time.monotonic() + SECONDS, 0
        numbers = list(range(1, self.count + 1)) if ALL else self.faults.ways(self.count)
        n_numbers = len(numbers)
        dice.shuffle(numbers)
        while numbers and (ALL or time.monotonic() < end):
            n = numbers.pop()
            try:
                n_hit += run(n)
            except BaseException:
                print(f"{what}, call {n}, seed {SEED}:\n{self.faults.where()}")
                raise
        print(f"{what}: {n_numbers} to fail, {n_hit} times one did")
        self.assertGreater(n_hit, 0)


class MemoryAndFds:
    """What everything is tried with, by check(sort, error)."""

    def test_memory(self):
        self.check(MEMORY, errno.ENOMEM)

    def test_fds(self):
        self.check(FDS, errno.EMFILE)


class RunningCase(FaultCase):
    def serve(self):
        self.served = self.daemon(env=self.env)
        self.run_with(MEMORY)  # nothing fails; whatever is made the first time is there then
        self.n_fds = fds_at_rest(self, self.served)
        self.resident = resident_kib(self.served.pid)

    def run_and_look(self, *arguments):
        hits = self.run_with(*arguments)
        self.wait(f"the daemon has {self.n_fds} fds again, not {harness.own_fds(self.served.pid)}",
                  lambda: fds_at_rest(self, self.served) == self.n_fds, SOON)
        if self.cgroups.top:
            self.wait("no worker's cgroup is left", lambda: not [
                name for name in os.listdir(f"{self.cgroups.top}/jobs") if "vm-" in name], SOON)
        return hits > 0

    def check(self, sort, error, lasts=1):
        self.serve()
        self.run_with(sort)
        what = f"{error and errno.errorcode[error]}, {self.count} calls, {lasts} at a time"
        self.each(what, lambda n: self.run_and_look(sort, error, n, lasts))
        if self.resident:
            self.assertLess(resident_kib(self.served.pid) - self.resident, GROWTH_KIB)
        self.assertEqual(self.served.kill(signal.SIGTERM), 0)


class Scenario(RunningCase):
    """Two VMs, an administrator, and a look at all that is left of them."""

    def ask(self, wait):
        """What an administrator does; it may fail."""
        asked = []
        for verb in ("status", "list", "jobs", "metrics", "reload"):
            asked.append(subprocess.Popen([harness.CTL, "--socket", self.control, verb],
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            if wait:
                asked[-1].wait(SOON)
        return asked

    def scenario(self, wait):
        """A VM that stays and one that goes, if that is waited for; and who asks meanwhile."""
        vms = [self.new_vm("stays"), self.new_vm("goes")]
        for vm in vms:
            vm.do("reboot")
        if wait:
            for vm in vms:
                vm.wait_outcomes(1, SOON)
            vms[1].quit()
        return vms, self.ask(wait)

    def run_with(self, sort, error=0, n=0, lasts=1):
        """How many calls failed."""
        self.n_runs += 1
        self.sort = sort
        self.sim_log = f"{self.directory}/sim-{self.n_runs}.log"
        self.sim = harness.SimLog(self.sim_log)
        self.faults.arm(sort, error, n, lasts)
        vms, asked = self.scenario(lasts == 1)
        if lasts > 1:
            time.sleep(0.2)
        self.count, hits = self.faults.disarm()
        for process in asked:
            self.assertGreaterEqual(process.wait(SOON), 0)
        self.assertIsNone(self.served.process.poll(), self.served.log()[-2000:])
        for vm in vms:
            result = vm.wait_outcomes(1, SOON)[0]["result"]
            self.assertIn(result, ("done", "ungoverned") if sort not in NO_FAULT else ("done",))
        self.recovered(*vms)
        return hits

    def recovered(self, stays, goes):
        new = self.new_vm("new")
        for vm in (stays, new):
            self.reboot(vm)
            self.assertEqual(self.jobs_of(vm.name)[-1]["state"], "done")
        for vm in (stays, goes, new):
            self.go(vm)
            states = [job["state"] for job in self.jobs_of(vm.name) if job["kind"] == "reboot"]
            self.assertLessEqual(set(states), {"done", "ungoverned"})
        self.assert_all_cleared(performed=4)
        self.assertEqual([len(vm.outcomes) for vm in (stays, goes, new)], [2, 1, 1])
        self.wait("nobody is left", lambda: self.ctl_json("list") == [], SOON)
        if self.sort == SHORT:  # nothing has failed
            self.assertNotIn("not governed", self.served.log())
        status = self.ctl_json("status")
        self.assertEqual((status["queued"], status["max_concurrent"]), (0, AT_ONCE))


class Running(MemoryAndFds, Scenario):
    def test_memory_for_a_while(self):
        self.check(MEMORY, errno.ENOMEM, 50)

    def test_files_of_the_host(self):
        self.check(FDS, errno.ENFILE)

    def test_fds_for_a_while(self):
        self.check(FDS, errno.EMFILE, 200)

    def test_nothing_to_read_nor_room(self):
        self.check(AGAIN, errno.EAGAIN)

    def test_cgroup_is_full(self):
        self.need_cgroup()
        self.check(CGROUP, errno.ENOSPC)

    def test_cgroup_is_broken_for_a_while(self):
        self.need_cgroup()
        self.check(CGROUP, errno.EIO, 20)

    def test_interrupted(self):
        self.check(INTERRUPT, errno.EINTR)

    def test_interrupted_again_and_again(self):
        self.check(INTERRUPT, errno.EINTR, 20)

    def test_short(self):
        self.check(SHORT, 0)

    def test_libsystemd(self):
        self.check(LIBRARY, errno.ENOMEM)


class Capped(MemoryAndFds, Scenario):
    """By deadlines."""

    def setUp(self):
        super().setUp()
        if not capping.may_deadline():
            self.skipTest("SCHED_DEADLINE is refused here")
        with open(self.config, "a", encoding="ascii") as file:
            file.write("[cpu]\ncpu-quota=50%\ncpu-enforce=deadline\n")

    def test_interrupted(self):
        self.check(INTERRUPT, errno.EINTR)

    def test_short(self):
        self.check(SHORT, 0)


class Visits(MemoryAndFds):
    """Somebody comes and goes beside a fault, and then somebody else without.

    come() makes them; visit() is all they do, and tells whether the daemon took part in it: then
    there is one job of theirs (is_of()), and its state is STATE.
    """

    def setUp(self):
        super().setUp()
        self.need_cgroup()

    def check_gone(self, guest, took_part):
        self.wait("nobody is left", lambda: self.ctl_json("list") == [], SOON)
        if took_part:
            self.assertEqual([job["state"] for job in self.ctl_json("jobs")
                              if self.is_of(job, guest)], [self.STATE])

    def run_with(self, sort, error=0, n=0, lasts=1):
        guest = self.come()
        self.faults.arm(sort, error, n, lasts)
        took_part = self.visit(guest)
        time.sleep(0.1)  # to be asked would be a fault of its own
        self.count, hits = self.faults.disarm()
        self.assertIsNone(self.served.process.poll(), self.served.log()[-2000:])
        self.check_gone(guest, took_part)
        guest = self.come()
        self.assertTrue(self.visit(guest))
        self.check_gone(guest, True)
        return hits

    def test_cgroup(self):
        self.check(CGROUP, errno.ENOSPC)


class Closing(Visits, RunningCase):
    """A VM is left to a closer."""

    STATE = "foreign"

    def setUp(self):
        super().setUp()
        self.release_socket = f"{self.directory}/release.sock"
        self.closers = Closers(self, self.release_socket, **slow_perform(20),
                               PVREAPER_GRACE_MSEC="60000")
        self.addCleanup(self.closers.end)

    def come(self):
        vm = self.vmm(f"closed-{len(self.closers.started)}", "--no-keeper",
                      env={"PVREAPER_RELEASE_SOCKET": self.release_socket})
        vm.do("protect")
        return vm

    def is_of(self, job, vm):
        return job["vm"] == vm.name

    def visit(self, vm):
        n = len(self.closers.started)
        vm.do("release")
        self.wait("there is a closer", lambda: len(self.closers.started) > n, SOON)
        closer = self.closers.started[n]
        self.wait("it has ended", lambda: self.has_ended(closer), SOON)
        self.assertEqual(closer.process.returncode, 0, closer.log())
        closer.collect()
        vm.quit()
        self.end_vmm(vm)
        return "without a grant" not in closer.log()

    def has_ended(self, closer):
        """One that waits in vain for a daemon to tell is told to wait a second only."""
        if "without a grant" in closer.log() and closer.process.poll() is None:
            closer.process.terminate()
        return closer.process.poll() is not None


class Adopting(Visits, RunningCase):
    """A stock QEMU's helper is adopted, and its QEMU ends."""

    STATE = "done"

    def setUp(self):
        super().setUp()
        with open(self.config, "a", encoding="ascii") as file:
            file.write(f"[adopt]\nemulators={STAND_IN}\n")

    def come(self):
        return StandIn(self, 1 << 20)

    def is_of(self, job, vm):
        return job["pid"] == vm.helper

    def visit(self, vm):
        command = [harness.CTL, "--socket", self.control, "adopt", str(vm.helper)]
        status = subprocess.run(command, stderr=subprocess.DEVNULL, timeout=SOON,
                                check=False).returncode
        self.assertGreaterEqual(status, 0)
        vm.end()
        self.wait("it goes", lambda: not harness.is_alive(vm.helper), SOON)
        return status == 0


class Start(MemoryAndFds, FaultCase):
    """There is a VM already: it is found, or else comes back."""

    def start(self, sort, error=0, n=0):
        """A daemon, or None if it said why not."""
        self.faults.arm(sort, error, n)
        daemon = Attempt(self, env=self.env)
        self.count, self.hits = self.faults.disarm()
        if daemon.process.poll() is None:
            return daemon
        self.assertGreater(daemon.kill(), 0)  # and of no signal
        self.assertIn("error: ", daemon.log())
        self.assertGreater(self.hits, 0)
        return None

    def try_start(self, sort, error, n):
        daemon = self.start(sort, error, n)
        try:
            if daemon:
                self.registered(1)
                self.reboot(self.vm)
                self.assertEqual(self.ctl_json("status")["max_concurrent"], AT_ONCE)
                self.assertEqual(daemon.kill(signal.SIGTERM), 0)
        finally:
            if daemon:
                daemon.kill()
        return self.hits > 0

    def check(self, sort, error):
        self.start(sort).kill()
        self.vm = self.new_vm("there")
        what = f"{errno.errorcode[error]}, {self.count} calls at start"
        self.each(what, lambda n: self.try_start(sort, error, n))
        self.daemon()
        self.registered(1)
        self.reboot(self.vm)
        self.assertEqual(set(self.assert_all_cleared()), {"performed"})

    def test_cgroup(self):
        self.need_cgroup()
        self.check(CGROUP, errno.EIO)

    def test_libsystemd(self):
        self.check(LIBRARY, errno.ENOMEM)


class Leaving(FaultCase):
    """Somebody is in a worker's cgroup for longer than the worker."""

    def test_fds(self):
        """The daemon gets no fd for some seconds, when the cgroup could be removed."""
        self.need_cgroup()
        self.daemon(env=self.env)
        vm = self.new_vm("leaves")
        self.registered(1)
        cgroup = self.cgroups.of(vm.keeper)
        sleeper = self.sleeper_in(cgroup)
        self.go(vm)
        self.wait("nobody is left", lambda: self.ctl_json("list") == [], SOON)
        self.faults.arm(FDS, errno.EMFILE, 1, N_CALLS)
        sleeper.kill()
        time.sleep(2.5)  # two looks at it, one a second
        self.assertGreater(self.faults.disarm()[1], 0)
        self.assertTrue(os.path.exists(cgroup))
        self.wait("its cgroup is gone", lambda: not os.path.exists(cgroup), SOON)


class Probing(MemoryAndFds, FaultCase):
    """A reload brings a quota, and with that the attempt to find out what cpu.max does (probe.h).
    The controller's files are none here, so whoever gets as far finds that it does nothing.
    """

    cpu_quota = None  # by the configuration

    def setUp(self):
        super().setUp()
        self.need_cgroup()
        files = f"{self.directory}/files"
        self.env["PVR_FAULTS_FILES"] = files
        os.mkdir(files)
        for name, text in (("cgroup.controllers", "cpu"), ("cgroup.subtree_control", ""),
                           ("cpu.max", "")):
            with open(f"{files}/{name}", "w", encoding="ascii") as file:
                file.write(f"{text}\n")
        self.vm = self.new_vm("there")

    def set_quota(self, quota):
        with open(self.config, "w", encoding="ascii") as file:
            file.write(f"[cpu]\ncpu-quota={quota}\n")

    def probed(self):
        scratch = f"{self.cgroups.top}/probe"
        self.wait("the attempt is over", lambda: not os.path.exists(scratch), SOON)

    def run_with(self, sort, error=0, n=0):
        """How many calls failed. A start makes one attempt, so each has a daemon of its own."""
        self.set_quota("infinity")
        daemon = self.daemon(env=self.env)
        self.registered(1)
        n_fds = fds_at_rest(self, daemon)
        self.set_quota("20%")
        self.faults.arm(sort, error, n)
        reload = [harness.CTL, "--socket", self.control, "reload"]
        reloaded = subprocess.run(reload, stderr=subprocess.DEVNULL, timeout=SOON, check=False)
        if reloaded.returncode == 0:
            self.probed()
        self.count, hits = self.faults.disarm()
        if reloaded.returncode != 0:
            self.assertGreater(hits, 0)
            self.ctl("reload")
            self.probed()
        self.recovered(daemon, n_fds, hits)
        return hits > 0

    def recovered(self, daemon, n_fds, hits):
        status = self.ctl_json("status")
        self.assertEqual(status["cpu_quota"], 200000)
        self.assertIn("cannot test cpu.max: ", status["cpu_reason"])
        if not hits:
            self.assertIn(": the host is too busy to tell; using SCHED_DEADLINE",
                          status["cpu_reason"])
        self.assertEqual(qemu.children_of(daemon.pid), [])
        self.wait(f"the daemon has {n_fds} fds again",
                  lambda: fds_at_rest(self, daemon) == n_fds, SOON)
        self.reboot(self.vm)
        self.assertEqual(daemon.kill(signal.SIGTERM), 0)

    def check(self, sort, error):
        self.run_with(sort)
        what = f"{errno.errorcode[error]}, {self.count} calls while it is tried"
        self.each(what, lambda n: self.run_with(sort, error, n))
        self.assertEqual(set(self.assert_all_cleared()), {"performed"})

    def test_cgroup(self):
        self.check(CGROUP, errno.ENOSPC)

    def test_libsystemd(self):
        self.check(LIBRARY, errno.ENOMEM)


if __name__ == "__main__":
    tap.main()
