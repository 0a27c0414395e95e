#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""pv-reaper-hold, in a cgroup that plays the part of pv-reaper-workers.service."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, f"{sys.path[0]}/../../lib")

from harness import BUILD, Cgroups, hidden_mount, read, tap, wait_until

HOLD = f"{BUILD}/src/hold/pv-reaper-hold"
UID = 64242  # somebody's who is nobody else's
AS_USER = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--bounding-set=-all",
           "--inh-caps=-all")


def pids(cgroup):
    return [int(pid) for pid in read(f"{cgroup}/cgroup.procs").split()]


class Hold(unittest.TestCase):
    def setUp(self):
        # A copy, since the build directory may be somewhere where UID cannot go.
        self.directory = tempfile.mkdtemp(prefix="pvr-hold-")
        self.addCleanup(shutil.rmtree, self.directory)
        os.chmod(self.directory, 0o755)
        self.program = shutil.copy(HOLD, self.directory)
        self.cgroups = Cgroups(f"pvr-hold-{os.getpid()}")
        self.cgroups.make()
        if not self.cgroups.top:
            self.skipTest(self.cgroups.why_not)
        self.addCleanup(self.cgroups.remove)
        self.unit = self.cgroups.make_below("unit")
        self.hold = f"{self.unit}/hold"
        self.addCleanup(self.end_sleepers)

    def end_sleepers(self):
        if os.path.exists(self.hold):
            for pid in pids(self.hold):
                os.kill(pid, signal.SIGKILL)

    def run_hold(self, *arguments, prefix=(), enter=True, **options):
        move = self.cgroups.enter("unit") if enter else None
        # Behind setpriv and strace the leak checker cannot trace, nor make its thread.
        env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"} if prefix else None
        return subprocess.run([*prefix, self.program, *arguments], preexec_fn=move, text=True,
                              env=env, capture_output=True, timeout=30, check=False, **options)

    def start(self):
        done = self.run_hold()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(pids(self.unit), [])
        return pids(self.hold)

    def refused(self, done, *texts):
        self.assertEqual(done.returncode, 1, done.stderr)
        for text in texts:
            self.assertIn(text, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_leaves_one_process_in_hold(self):
        """All that is asserted holds at once when the program has ended."""
        sleeper, = self.start()
        stat = read(f"/proc/{sleeper}/stat").rpartition(")")[2].split()
        self.assertEqual(read(f"/proc/{sleeper}/comm"), "pv-reaper-hold\n")
        self.assertEqual((int(stat[2]), int(stat[3])), (sleeper, sleeper))  # group, session
        self.assertEqual(os.listdir(f"/proc/{sleeper}/fd"), [])
        self.assertEqual(os.readlink(f"/proc/{sleeper}/cwd"), "/")

    def test_other_mounts_are_not_used(self):
        prefix = hidden_mount(self)
        done = self.run_hold(prefix=prefix)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(len(pids(self.hold)), 1)

    def test_only_sigterm_ends_it(self):
        sleeper, = self.start()
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGQUIT):
            os.kill(sleeper, number)
        wait_until("it sleeps", 10, lambda: read(f"/proc/{sleeper}/stat").rpartition(")")[2]
                   .split()[0] == "S")
        self.assertEqual(pids(self.hold), [sleeper])
        os.kill(sleeper, signal.SIGTERM)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(sleeper, 0)[1]), 0)
        self.assertEqual(pids(self.hold), [])

    def test_hold_may_exist(self):
        first = self.start()
        self.assertEqual(len(self.start()), len(first) + 1)

    def test_writes_nothing_else(self):
        """Neither controllers nor anything outside its own node."""
        trace = f"{self.directory}/trace"
        try:
            done = self.run_hold(prefix=("strace", "-o", trace, "-e", "trace=%file"))
        except FileNotFoundError:
            self.skipTest("no strace")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = read(trace).splitlines()
        self.assertEqual(sum("mkdir" in line for line in lines), 1)
        written = [line for line in lines if "O_WRONLY" in line or "O_RDWR" in line]
        self.assertEqual(len(written), 1, written)
        self.assertIn('"hold/cgroup.procs"', written[0])

    def test_not_in_the_root(self):
        root = self.cgroups.mount
        if self.cgroups.of(os.getpid()).rstrip("/") != root:
            self.skipTest("this process is not in the root cgroup")
        self.refused(self.run_hold(enter=False), "not in a cgroup of its own")
        self.assertFalse(os.path.exists(f"{root}/hold"))

    def test_not_permitted(self):
        self.refused(self.run_hold(prefix=AS_USER), "cannot make hold/", "Permission denied")

    def test_cannot_enter(self):
        os.mkdir(self.hold)
        self.refused(self.run_hold(prefix=AS_USER), "cannot enter hold/", "Permission denied")
        self.assertEqual(pids(self.hold), [])

    def test_no_process_to_spare(self):
        """Nobody is told that hold/ is held when it is not."""
        for name in ("", "/cgroup.procs"):  # as systemd does for a delegated unit's user
            os.chown(self.unit + name, UID, UID)
        self.refused(self.run_hold(prefix=("prlimit", "--nproc=0", *AS_USER)), "cannot fork")
        self.assertEqual(pids(self.hold), [])

    def test_takes_no_arguments(self):
        self.assertEqual(self.run_hold("--enable-controllers").returncode, 2)
        self.assertFalse(os.path.exists(self.hold))


if __name__ == "__main__":
    tap.main()
