#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A VMM's end: what others wait for goes at once, its memory when it is the VM's turn.

Real memory, real keepers. How much of it is there is read from /proc and from the kernel's pool of
huge pages, never from what keeper and daemon say, unless that is tested. Ordinary guests unless a
class says otherwise: the simulator then plays a host without protected virtualization.
"""

import contextlib
import os
import signal
import socket
import statistics
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from ends import MIB, Ends, free_huge_pages, has_mapping, resident
from harness import Case, has_vm, is_alive, read, sanitized, tap
from puppet import Puppet, outcome

LONG_GRACE = "600000"


class Daemon:
    """Plays the daemon for one keeper: every packet it sends is seen here."""

    def __init__(self, case):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        case.addCleanup(self.listener.close)
        self.listener.bind(case.socket)
        self.listener.listen()
        self.listener.settimeout(harness.TIMEOUT)
        self.link = None

    def accept(self, case):
        self.link, _ = self.listener.accept()
        case.addCleanup(self.link.close)
        self.link.settimeout(harness.TIMEOUT)
        self.receive(harness.HELLO)
        self.receive(harness.REGISTER)
        self.send(harness.WELCOME, 0)

    def send(self, message, *fields):
        self.link.send(harness.pack(message, *fields, version=2))

    def receive(self, *expected):
        packet = self.link.recv(4096)
        fields = harness.unpack(packet) if packet else ("end",)
        if fields[0] not in expected:
            raise AssertionError(f"expected {expected}, got {fields}")
        return fields


class Shutdown(Ends, Case):
    vmm_env = {**Case.vmm_env, "PVSIM_PROTECTABLE": "0", "PVREAPER_GRACE_MSEC": LONG_GRACE}
    daemon_options = ("--max-concurrent", "1")

    def guest(self, name="anna", *maps, env=None):
        """A VMM that has mapped and touched that, "KIND SIZE [PATH]" each."""
        vmm = self.vmm(name, env=env)
        for what in maps:
            vmm.do(f"map {what}", 4 * harness.TIMEOUT)
        return vmm

    def job(self, name="anna"):
        jobs = self.jobs_of(name)
        return jobs[-1] if jobs else {}

    def job_is(self, state, name="anna", kind="shutdown"):
        def look():
            job = self.job(name)
            return (job.get("kind"), job.get("state")) == (kind, state)

        self.wait(f"{kind} of {name} is {state}", look)
        return self.job(name)

    def pulse(self, pid):
        """Lets a stopped process run for a moment."""
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        self.wait("stopped or gone", lambda: harness.process_state(pid) in ("T", "Z", None))


class Memory(Shutdown):
    """It comes back after the grant, and not before."""

    def check_held(self, *maps, size):
        self.daemon()
        puppet = self.take_slot()
        vmm = self.guest("anna", *maps)
        self.registered(2)
        before = resident(vmm.keeper)
        self.assertGreaterEqual(before, size)
        vmm.kill()
        job = self.job_is("queued")
        # the real bytes, not the 4 GiB that the VMM said
        self.assertLess(abs(job["bytes"] - before), 32 * MIB)
        self.assertGreaterEqual(resident(vmm.keeper), size)
        self.assertIsNone(job.get("bytes_left"))
        puppet.done()
        self.gone(vmm.keeper)
        job = self.job_is("done")
        self.assertEqual(job["bytes_left"], 0)
        self.assertIsNone(job.get("eta_us"))

    def test_a_vm_that_came_during_a_drain(self):
        """After resume it is governed, also if its VMM is dead before it says anything again."""
        daemon = self.daemon()
        self.ctl("drain")
        vmm = self.guest("anna", "anonymous 64M")
        self.wait("it is sent away", lambda: "takes in no new VMs" in daemon.log())
        self.ctl("resume")
        vmm.kill()
        self.job_is("done")

    def test_anonymous(self):
        self.check_held("anonymous 128M", size=128 * MIB)

    def test_huge_pages_of_the_kernel(self):
        self.check_held("thp 128M", size=128 * MIB)

    def test_shared_memory(self):
        self.check_held("memfd 64M", "shared 64M", size=128 * MIB)

    def test_private_file(self):
        self.check_held(f"private 128M {self.path_on_disk()}", size=128 * MIB)

    def test_without_a_vm(self):
        """A VMM that never had one has nothing to be governed."""
        self.daemon()
        vmm = self.vmm("anna", "--mem", "0", wait=False)  # it fails after the keeper was made
        self.assertEqual(vmm.process.wait(harness.TIMEOUT), 1)
        self.assertEqual(self.jobs_of("anna"), [])


class Progress(Shutdown):
    def setUp(self):
        super().setUp()
        if sanitized():
            self.skipTest("the sanitizer's terabytes of addresses are in slices, too")

    def grant(self, *maps, env=None):
        """A guest that dies, up to its grant; the bytes it asked for."""
        daemon = Daemon(self)
        vmm = self.guest("anna", *maps, env=env)
        daemon.accept(self)
        vmm.kill()
        daemon.receive(harness.QUIET)
        _, kind, seq, size = daemon.receive(harness.REQUEST)
        self.assertEqual(kind, 2)
        daemon.send(harness.GRANT, 0, seq)
        return daemon, vmm, size

    def told(self, daemon):
        """All PROGRESS up to the end."""
        left = []
        while (fields := daemon.receive(harness.PROGRESS, "end"))[0] != "end":
            left.append(fields[2])
        return left

    def check(self, *maps):
        """How often it was told what is left, each time less."""
        daemon, vmm, size = self.grant(*maps)
        left = self.told(daemon)
        self.assertLess(len(left), 1000)
        self.assertEqual(left, sorted(left, reverse=True))
        self.assertLess(max(left, default=0), size)
        self.gone(vmm.keeper)
        return len(left)

    def test_small_pages(self):
        self.assertGreaterEqual(self.check("anonymous 2G"), 5)

    def test_large_pages(self):
        """They go within milliseconds, which leaves no time to tell much."""
        self.check("thp 384M")

    def test_none_in_shared_memory(self):
        """It is free when its last user is gone, and not piece by piece: nothing is claimed."""
        daemon, vmm, size = self.grant("memfd 384M")
        self.assertGreater(size, 384 * MIB)
        for left in self.told(daemon):
            self.assertGreater(left, 384 * MIB)
        self.gone(vmm.keeper)

    def test_none_of_a_protected_guest(self):
        """exit_mmap() destroys its pages, and every other way is slower."""
        daemon, vmm, _ = self.grant("anonymous 384M", env={"PVSIM_PROTECTABLE": "1"})
        self.assertEqual(self.told(daemon), [])
        self.gone(vmm.keeper)

    def test_nobody_reads(self):
        """A daemon that hangs holds up nobody who has begun."""
        daemon, vmm, _ = self.grant("anonymous 1G")
        self.gone(vmm.keeper)
        self.assertGreater(len(self.told(daemon)), 0)

    def test_shown(self):
        """In pv-reaperctl: bytes left, rate and time left, at five points or more."""
        self.cpu_quota = "5%"  # what takes milliseconds takes long enough to be looked at
        self.daemon()
        puppet = self.take_slot()
        vmm = self.guest("anna", "anonymous 2G")
        self.registered(2)
        vmm.kill()
        self.job_is("queued")
        self.stop(vmm.keeper)
        puppet.done()
        self.job_is("running")
        points = []
        while is_alive(vmm.keeper):
            self.pulse(vmm.keeper)
            job = self.job()
            if job["state"] == "running" and job.get("bytes_left") is not None:
                points.append((job["bytes_left"], job["rate"], job.get("eta_us")))
        seen = sorted({left for left, _, _ in points})
        self.assertGreaterEqual(len(seen), 5)
        known = [point for point in points if point[2] is not None]
        # None is told of one that should have ended by its rate.
        self.assertGreater(len(known), len(points) / 2)
        for left, rate, eta in known:
            self.assertLessEqual(eta, left / rate * 1e6 + 1)
        for _, rate, _ in points:
            self.assertGreater(rate, 0)
        self.assertEqual(self.job_is("done")["bytes_left"], 0)


class AtOnce(Shutdown):
    """With a shutdown job waiting, others have back what they may be waiting for."""

    def check(self, *maps, released, env=None):
        """Within 100 ms, and what the machine itself is late."""
        self.daemon()
        puppet = self.take_slot()
        vmm = self.guest("anna", "anonymous 128M", *maps, env=env)
        self.registered(2)
        self.assert_at_once(vmm.kill, lambda: released(vmm))
        self.job_is("queued")
        self.assertGreaterEqual(resident(vmm.keeper), 128 * MIB)
        self.assertFalse(has_vm(vmm.keeper))
        puppet.done()
        self.gone(vmm.keeper)

    def test_file(self):
        path = self.path_on_disk()
        self.check(f"file 64M {path}", released=lambda vmm: not has_mapping(vmm.keeper, path))

    def test_device(self):
        self.check("ring 4K", released=lambda vmm: not has_mapping(vmm.keeper, "[io_uring]"))

    def test_device_of_a_protected_guest(self):
        self.check("ring 4K", env={"PVSIM_PROTECTABLE": "1"},
                   released=lambda vmm: not has_mapping(vmm.keeper, "[io_uring]"))

    def test_huge_pages(self):
        """Also of a guest that may have been protected: the Ultravisor takes none."""
        self.add_huge_pages(32)
        before = free_huge_pages()
        self.check("hugetlb 32M", "hugememfd 32M", env={"PVSIM_PROTECTABLE": "1"},
                   released=lambda vmm: free_huge_pages() >= before)

    def test_file_of_a_protected_guest(self):
        """It may have been RAM, so it stays."""
        path = self.path_on_disk()
        self.daemon()
        puppet = self.take_slot()
        vmm = self.guest("anna", f"file 64M {path}", env={"PVSIM_PROTECTABLE": "1"})
        self.registered(2)
        vmm.kill()
        self.job_is("queued")
        self.assertTrue(has_mapping(vmm.keeper, path))
        puppet.done()
        self.gone(vmm.keeper)

    def test_pid(self):
        """The VMM's own pid: reaped without its memory, which takes time to free."""
        def reap(*options):
            vmm = self.vmm("anna", *options)
            vmm.do("map anonymous 256M", 4 * harness.TIMEOUT)
            vmm.process.send_signal(signal.SIGKILL)
            start = time.monotonic()
            vmm.process.wait(harness.TIMEOUT)
            took = time.monotonic() - start
            if vmm.keeper:
                os.kill(vmm.keeper, signal.SIGKILL)
                self.gone(vmm.keeper)
            return took

        pairs = [(reap(), reap("--no-keeper")) for _ in range(3)]
        ours, plain = (statistics.median(column) for column in zip(*pairs))
        print(f"# a VMM with 256 MiB is reaped in {ours * 1e3:.1f} ms, without keeper in "
              f"{plain * 1e3:.1f} ms")
        self.assertLess(ours, plain / 2)


class Perform(Shutdown):
    vmm_env = {**Shutdown.vmm_env, "PVSIM_PROTECTABLE": "1", "PVSIM_MIN_MS": "1500"}

    def hold(self):
        """A guest whose keeper is stopped inside PERFORM."""
        vmm = self.guest("anna", "anonymous 128M", "ring 4K")
        self.registered(1)
        vmm.do("protect")
        self.assertEqual(vmm.do("reboot")["path"], "handed-off")
        self.performing()
        self.stop(vmm.keeper)
        self.assertEqual(self.sim.n_performing(), 1, "over before it could be stopped")
        return vmm

    def test_vmm_killed(self):
        """The VM fd is held for PERFORM, goes after it, and the memory has its own turn."""
        self.daemon()
        vmm = self.hold()
        other = Puppet(self, "other")
        other.register()
        other.request()
        vmm.kill()
        self.wait("the guard gives the device back",
                  lambda: not has_mapping(vmm.keeper, "[io_uring]"))
        self.assertTrue(has_vm(vmm.keeper))
        os.kill(vmm.keeper, signal.SIGCONT)
        other.receive(harness.GRANT)
        self.job_is("queued")
        self.assertEqual([job["state"] for job in self.jobs_of("anna")], ["done", "queued"])
        self.assertFalse(has_vm(vmm.keeper))
        self.assertGreaterEqual(resident(vmm.keeper), 128 * MIB)
        other.done()
        self.gone(vmm.keeper)
        self.job_is("done")
        self.assert_all_cleared(performed=1)

    def test_vmm_stopped(self):
        """Its guest's job needs nothing of it."""
        self.daemon()
        vmm = self.hold()
        self.stop(vmm.pid)
        os.kill(vmm.keeper, signal.SIGCONT)
        self.job_is("done", kind="reboot")
        self.assertEqual(harness.process_state(vmm.pid), "T")
        os.kill(vmm.pid, signal.SIGCONT)
        vmm.wait_outcomes(1)
        self.assertEqual(vmm.results(), ["done"])
        self.assert_all_cleared(performed=1)


class Others(Shutdown):
    def test_exec(self):
        """The VMM's pid lives on, so nobody knows whose the memory is: it is not touched."""
        self.daemon()
        path = self.path_on_disk()
        vmm = self.guest("anna", f"file 16M {path}", "ring 4K", "anonymous 128M")
        self.registered(1)
        begin = time.monotonic()
        vmm.do("exec 600")
        self.wait("it is another program",
                  lambda: read(f"/proc/{vmm.pid}/comm").strip() == "sleep")
        self.assert_left_to_the_kernel("anna", vmm, begin)

    def test_oom_kill(self):
        """Whoever shares the memory goes with it; the job is lost, and said to be."""
        self.need_cgroup()
        daemon = self.daemon()
        self.take_slot()
        vmm = self.vmm("anna", preexec=self.memory_cgroup(64 * MIB),
                       env={"PVSIM_PROTECTABLE": "1"})
        self.registered(2)
        vmm.do("protect")
        vmm.do("reboot")
        self.wait("anna waits", lambda: self.state_of("anna") == "waiting")
        vmm.send("map anonymous 256M")
        self.assertEqual(vmm.process.wait(harness.TIMEOUT), -signal.SIGKILL)
        self.gone(vmm.keeper)
        self.job_is("lost", kind="reboot")
        self.assertIn("reboot of anna", daemon.log())
        self.assert_all_cleared(left=1)

    def test_daemon_killed_and_not_started_again(self):
        """Nobody waits for ever, and nothing is left."""
        daemon = self.daemon()
        puppet = self.take_slot()
        grace = {"PVREAPER_GRACE_MSEC": "1000"}
        vmms = [self.guest(f"vm-{i}", "anonymous 128M", env=grace) for i in range(3)]
        self.registered(4)
        for vmm in vmms:
            vmm.kill()
        for i in range(3):
            self.job_is("queued", f"vm-{i}")
        killed = time.monotonic()
        daemon.kill()
        for vmm in vmms:
            self.gone(vmm.keeper)
        took = time.monotonic() - killed
        print(f"# all gone {took:.2f} s after the daemon, with a grace time of 1 to 1.25 s")
        self.assertGreaterEqual(took, 1)
        self.assertLess(took, 1.25 + 5)
        puppet.end()


class Together(Shutdown):
    """Many at once, and a daemon that comes and goes."""
    daemon_options = ("--max-concurrent", "2")
    n_vmms, size = 10, 128 * MIB

    def test_ten_and_a_daemon_killed_three_times(self):
        self.need_cgroup()
        self.cpu_quota = "10%"
        vmms = [self.guest(f"vm-{i}", f"anonymous {self.size}") for i in range(self.n_vmms)]
        self.assertGreaterEqual(min(resident(vmm.keeper) for vmm in vmms), self.size)

        def kill():
            for vmm in vmms:
                vmm.process.send_signal(signal.SIGKILL)

        self.end_all_at_once([vmm.keeper for vmm in vmms], kill)

    def test_daemon_killed_in_the_middle(self):
        """Who has begun goes on, counts for the next daemon, and is reported by it."""
        self.need_cgroup()
        self.cpu_quota = "5%"  # what takes milliseconds takes long enough to be looked at
        daemon = self.daemon()
        first, second = Puppet(self), Puppet(self, "second")
        first.take_slot()
        second.take_slot()
        vmm = self.guest("anna", "anonymous 384M")
        full = resident(vmm.keeper)
        self.registered(3)
        vmm.kill()
        size = self.job_is("queued")["bytes"]
        self.stop(vmm.keeper)
        first.done()
        self.job_is("running")
        while resident(vmm.keeper) >= full - 64 * MIB:
            self.pulse(vmm.keeper)
        self.assertTrue(is_alive(vmm.keeper), "it was over before it could be stopped")
        daemon.kill()
        self.daemon()
        self.wait("both are found", lambda: self.ctl_json("status")["running"] == 2)
        job, = (job for job in self.ctl_json("jobs") if job["pid"] == vmm.keeper)
        self.assertEqual((job["state"], job["kind"]), ("running", "shutdown"))
        worker, = (w for w in self.ctl_json("list") if w["pid"] == vmm.keeper)
        self.assertFalse(worker["connected"])
        self.assertIn(worker["state"], ("found", "overdue"))  # stopped for 10 s, by us
        os.kill(vmm.keeper, signal.SIGCONT)
        self.gone(vmm.keeper)
        self.wait("it is reported", lambda: any(
            (job["pid"], job["kind"], job["state"], job["bytes"]) ==
            (vmm.keeper, "shutdown", "done", size) for job in self.ctl_json("jobs")))
        second.register(last=outcome())


if __name__ == "__main__":
    tap.main()
