#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An attacker has the daemon's loop, or its warden: what he can do, and that it is not more.

taken.c plays both, with what pv-reaper.service leaves them. tests/system/test-hardening.py looks
whether it does leave them just that.
"""

import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
import harness
from harness import read, tap

TAKEN = f"{harness.BUILD}/tests/standins/taken"
NOBODY = 65534
DAC_OVERRIDE, SYS_CHROOT, SYS_PTRACE, SYS_NICE = "1", "18", "19", "23"

# Only these; every other attack must fail.
LOOP_CAN = set()
# Its capabilities are for that: SECURITY.md.
WARDEN_CAN = {"schedule-victim", "confine-victim", "slow-victim", "move-by-jobs"}
# What the warden's list of system calls stops, rather than the kernel's other rules.
LISTED = {"trace-victim", "kill-victim", "write-victim", "execute", "new-foreign", "file-by-fd",
          "leave-by-fd", "leave-by-chroot", "receive-fd", "make-socket", "compare-files"}


class Taken(harness.Case):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("needs root, to have something to lose")
        self.need_cgroup()
        for name in "", "/cgroup.procs", "/cgroup.subtree_control":  # as Delegate= with User=
            os.chown(f"{self.cgroup_option}{name}", NOBODY, NOBODY)
        self.foreign = f"{self.cgroup_option}.foreign"
        os.mkdir(self.foreign)
        self.addCleanup(self.remove_foreign)
        self.file = f"{self.directory}/secret"
        with open(self.file, "w", encoding="ascii") as file:
            file.write("host-key")
        os.chmod(self.file, 0o600)
        os.chmod(self.directory, 0o755)
        self.victim = subprocess.Popen(["sleep", "600"], cwd=self.directory)
        self.addCleanup(self.end_victim)
        with open(f"{self.foreign}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(self.victim.pid))

    def end_victim(self):
        self.victim.kill()
        self.victim.wait()

    def remove_foreign(self):
        with open(f"{self.foreign}/cgroup.kill", "w", encoding="ascii") as file:
            file.write("1")

        def gone():
            try:
                os.rmdir(self.foreign)
            except OSError:
                return False
            return True

        self.wait("the foreign cgroup is empty", gone)

    def run_as(self, role, *without):
        """{attack: "done", an errno, or the signal that ended it}"""
        done = subprocess.run([TAKEN, role, self.cgroup_option, self.file, str(self.victim.pid),
                               self.foreign, *without], stdout=subprocess.PIPE, check=True,
                              encoding="ascii", timeout=harness.TIMEOUT)
        return dict(line.split() for line in done.stdout.splitlines())

    def assert_victim_is_well(self):
        self.assertIsNone(self.victim.poll())
        self.assertEqual(read(self.file), "host-key")
        self.assertEqual(os.listdir(self.directory).count("secret.new"), 0)
        self.assertEqual(read(f"{self.foreign}/cgroup.freeze"), "0\n")


class Loop(Taken):
    def test_it_can_do_nothing(self):
        said = self.run_as("loop")
        self.assertGreater(len(said), 25)
        self.assertEqual({name for name, result in said.items() if result == "done"}, LOOP_CAN)
        for name, result in said.items():
            self.assertIn(result, ("EACCES", "EPERM", "EROFS", "ESRCH", "ENOENT"), name)
        self.assert_victim_is_well()
        self.assertEqual(os.sched_getscheduler(self.victim.pid), os.SCHED_OTHER)
        self.assertEqual(read(f"{self.foreign}/cgroup.procs"), f"{self.victim.pid}\n")


class Warden(Taken):
    def test_it_can_do_its_work_only(self):
        said = self.run_as("warden")
        self.assertEqual({name for name, result in said.items() if result == "done"}, WARDEN_CAN)
        self.assertEqual({name for name, result in said.items() if result == "SYS"}, LISTED)
        self.assert_victim_is_well()


class Capabilities(Taken):
    """A worker whose VMM is root's, in a cgroup of root's: each capability is needed."""

    def test_with_all(self):
        self.assertEqual(set(self.run_as("worker").values()), {"done"})

    def test_without_dac_override(self):
        self.assertEqual(self.run_as("worker", DAC_OVERRIDE),
                         {"start": "done", "admit": "done", "move": "EACCES", "fair": "done"})

    def test_without_sys_ptrace(self):
        self.assertEqual(self.run_as("worker", SYS_PTRACE),
                         {"start": "done", "admit": "EPERM", "move": "EPERM", "fair": "EPERM"})

    def test_without_sys_nice(self):
        self.assertEqual(self.run_as("worker", SYS_NICE),
                         {"start": "done", "admit": "done", "move": "done", "fair": "EPERM"})

    def test_without_sys_chroot(self):
        self.assertEqual(set(self.run_as("worker", SYS_CHROOT).values()), {"EPERM"})


class Life(harness.Case):
    def warden(self, daemon):
        """The child that is called so."""
        pids = read(f"/proc/{daemon.pid}/task/{daemon.pid}/children").split()
        return next(int(pid) for pid in pids
                    if read(f"/proc/{pid}/comm") == "reaperd-warden\n")

    def test_the_daemon_ends_without_it(self):
        daemon = self.daemon()
        os.kill(self.warden(daemon), signal.SIGKILL)
        self.assertEqual(daemon.process.wait(harness.TIMEOUT), 1)
        self.assertIn("the warden is dead or does not answer", daemon.log())

    def test_it_ends_with_the_daemon(self):
        for number in signal.SIGKILL, signal.SIGTERM:
            daemon = self.daemon()
            warden = self.warden(daemon)
            daemon.kill(number)
            self.wait("the warden ends", lambda: not harness.is_alive(warden))

    def test_a_worker_outlives_it(self):
        daemon, vmm = self.daemon(), self.vmm("anna")
        self.registered(1)
        os.kill(self.warden(daemon), signal.SIGKILL)
        daemon.process.wait(harness.TIMEOUT)
        self.daemon()
        self.registered(1)
        vmm.do("protect")
        vmm.do("reboot")
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "done")

    def test_it_has_no_fd_of_the_daemons(self):
        daemon = self.daemon()
        warden = self.warden(daemon)
        links = [os.readlink(f"/proc/{warden}/fd/{fd}") for fd in os.listdir(f"/proc/{warden}/fd")]
        self.assertEqual(sorted(link.partition(":")[0] for link in links),
                         ["/proc"] * 4 + ["anon_inode"] + ["socket"] * 2)


if __name__ == "__main__":
    tap.main()
