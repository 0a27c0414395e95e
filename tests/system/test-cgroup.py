#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""cgroups with all controllers: what the daemon enables, limits and moves, and that nothing above
its own directory is ever written to. Half of the tests start a daemon by hand in a delegated unit
of their own; the others take the installed units, with all of their hardening.
"""

import os
import re
import signal
import subprocess

import guest
from guest import Case, cgroup_of, cgroup_of_unit, cpu_usec, read, show, systemctl, tap

import audit  # found where guest says

UNIT = "pvr-cgroup.service"
HOLD = 'mkdir "$1/hold" && echo $$ >"$1/hold/cgroup.procs" && exec sleep infinity'


def words(path):
    return set(read(path).split())


def subtree_control(path):
    return words(f"{path}/cgroup.subtree_control")


def ancestors(path):
    while path != guest.CGROUPS:
        path = os.path.dirname(path)
        yield path


class Delegated(Case):
    """--cgroup PATH: a unit's directory, held by a process in PATH/hold."""

    def setUp(self):
        super().setUp()
        self.path = self.cgroup_option = f"{guest.CGROUPS}/pvreaper.slice/{UNIT}"
        hold = HOLD.replace("$", "$$")
        guest.sh("systemd-run --quiet --slice=pvreaper.slice --property=Delegate=yes "
                 f"--unit={UNIT} bash -c '{hold}' bash {self.path}")
        self.addCleanup(systemctl, "stop", UNIT)
        self.wait("it is held", lambda: os.path.exists(f"{self.path}/hold") and
                  read(f"{self.path}/hold/cgroup.procs"))

    def reboot(self, vmm):
        vmm.do("protect")
        vmm.do("reboot")
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "done")

    def refused(self, path):
        with self.assertRaises(AssertionError) as raised:
            self.daemon("--cgroup", path)
        return str(raised.exception)

    def test_controllers_are_enabled(self):
        self.assertLessEqual({"cpu", "pids", "memory"}, words(f"{self.path}/cgroup.controllers"))
        daemon = self.daemon()
        self.assertLessEqual({"cpu", "memory", "pids"}, subtree_control(self.path))
        self.assertEqual(subtree_control(f"{self.path}/jobs"), {"memory", "pids"})
        self.assertNotIn("lacks", daemon.log())
        self.assertNotIn("cannot", daemon.log())
        daemon.kill()
        self.daemon()  # all is there already
        self.assertEqual(subtree_control(f"{self.path}/jobs"), {"memory", "pids"})

    def test_a_keeper_is_one_task_and_has_its_bill(self):
        daemon = self.daemon()
        vmm = self.vmm()
        self.registered(1)
        keeper = cgroup_of(vmm.keeper)
        self.assertEqual(os.path.dirname(keeper), f"{self.path}/jobs")
        self.assertEqual(read(f"{keeper}/pids.max"), "1\n")
        self.assertEqual(read(f"{keeper}/pids.current"), "1\n")
        self.assertEqual(read(f"{keeper}/cgroup.procs"), f"{vmm.keeper}\n")
        self.reboot(vmm)
        job, = self.ctl_json("jobs")
        self.assertGreater(job["cpu_us"], 90_000)  # 4 GiB at 100 ns a page
        self.assertLessEqual(job["cpu_us"], cpu_usec(keeper))
        vmm.quit()
        self.wait("its cgroup is gone", lambda: not os.path.exists(keeper))
        self.assertNotIn("cannot", daemon.log())

    def test_nobody_can_fork_there(self):
        """What pids.max=1 is good for: a shell in a keeper's cgroup gets no children."""
        self.daemon()
        vmm = self.vmm()
        self.registered(1)
        script = f"echo $$ >{cgroup_of(vmm.keeper)}/cgroup.procs; (echo forked) 2>&1"
        said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False,
                              timeout=guest.TIMEOUT)
        self.assertNotIn("forked", said.stdout)
        self.assertIn("fork", said.stderr)

    def test_nothing_above_is_written(self):
        trace = f"{self.directory}/trace"
        before = {path: subtree_control(path) for path in ancestors(self.path)}
        daemon = self.daemon(prefix=audit.strace(trace))
        vmm = self.vmm()
        self.registered(1)
        keeper = cgroup_of(vmm.keeper)
        self.reboot(vmm)
        vmm.quit()
        self.wait("its cgroup is gone", lambda: not os.path.exists(keeper))
        daemon.kill(signal.SIGTERM)
        self.wait("strace is done", lambda: "+++ exited" in read(trace))
        changed = audit.changed_paths(read(trace))
        for path in (f"{self.path}/cgroup.subtree_control", f"{self.path}/jobs",
                     f"{self.path}/jobs/cgroup.subtree_control", f"{keeper}/pids.max",
                     f"{keeper}/cgroup.procs", keeper):
            self.assertIn(path, changed)
        self.assertEqual([path for path in changed if path.startswith(guest.CGROUPS) and
                          not path.startswith(f"{self.path}/")], [])
        self.assertEqual({path: subtree_control(path) for path in ancestors(self.path)}, before)

    def test_a_process_in_path_is_named(self):
        """Where the kernel would say EBUSY, and where it would not, but break what is below."""
        for path in self.path, f"{self.path}/lonely":
            if path != self.path:
                guest.sh(f"echo +cpu +pids >{self.path}/cgroup.subtree_control")
                os.mkdir(path)
            sleeper = self.sleeper_in(path)
            self.assertIn(f"cannot use the cgroup {path} (--cgroup): process {sleeper.pid} (sleep) "
                          "is in it", self.refused(path))
            self.assertEqual(subtree_control(path), set())
            self.assertEqual(read(f"{path}/jobs/cgroup.type"), "domain\n")
            sleeper.kill()
            sleeper.wait()
        daemon = self.daemon("--cgroup", path)
        vmm = self.vmm()
        self.registered(1)
        self.assertEqual(os.path.dirname(cgroup_of(vmm.keeper)), f"{path}/jobs")
        self.assertNotIn("not governed", daemon.log())

    def test_a_subtree_of_threads_is_told(self):
        """Someone enabled threaded controllers where a process sits: workers could not move in."""
        path = f"{self.path}/lonely"
        guest.sh(f"echo +cpu +pids >{self.path}/cgroup.subtree_control")
        os.mkdir(path)
        sleeper = self.sleeper_in(path)
        guest.sh(f"mkdir {path}/jobs; echo +cpu +pids >{path}/cgroup.subtree_control")
        self.assertEqual(read(f"{path}/jobs/cgroup.type"), "domain invalid\n")
        self.assertIn(f"process {sleeper.pid} (sleep) is in it", self.refused(path))


class Units(Case):
    """The same by the installed units: nothing of libcgroup is in the way of their hardening."""

    def setUp(self):
        super().setUp()
        if show("pv-reaper.service", "LoadState") != "loaded":
            self.skipTest("pv-reaper.service is not installed")
        self.use_units()
        systemctl("start", "pv-reaper.socket")
        self.addCleanup(systemctl, "stop", "pv-reaper.socket")

    def test_libcgroup_works_under_all_hardening(self):
        systemctl("start", "pv-reaper.service")
        workers, trace = cgroup_of_unit("pv-reaper-workers.service"), f"{self.directory}/trace"
        self.assertLessEqual({"cpu", "memory", "pids"}, subtree_control(workers))
        self.assertEqual(subtree_control(f"{workers}/jobs"), {"memory", "pids"})
        before = {path: subtree_control(path) for path in ancestors(workers)}
        tracer = subprocess.Popen(["strace", *audit.options_of(trace), "-p",
                                   show("pv-reaper.service", "MainPID")],
                                  stderr=subprocess.DEVNULL)
        self.addCleanup(tracer.wait)
        self.addCleanup(tracer.terminate)
        pid = show("pv-reaper.service", "MainPID")
        self.wait("it is traced", lambda: re.search(r"^TracerPid:\s*[1-9]",
                                                    read(f"/proc/{pid}/status"), re.MULTILINE))
        vmm = self.vmm("anna", prefix=guest.in_scope("pvr-anna.scope"))
        self.registered(1)
        keeper = cgroup_of(vmm.keeper)
        self.assertEqual(os.path.dirname(keeper), f"{workers}/jobs")
        self.assertEqual(read(f"{keeper}/pids.max"), "1\n")
        seen = read(trace)
        self.assertEqual([path for path in audit.changed_paths(seen)
                          if path.startswith(guest.CGROUPS) and
                          not path.startswith(f"{workers}/jobs/")], [])
        vmm.do("protect")
        vmm.do("reboot")
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "done")
        self.assertGreater(self.jobs_of("anna")[0]["cpu_us"], 90_000)
        self.assertEqual({path: subtree_control(path) for path in ancestors(workers)}, before)
        if "libcgroup" not in guest.sh(f"ldd {guest.harness.DAEMON}"):
            self.skipTest("built without libcgroup; all but its own calls was right")
        # by path and with these flags only libcgroup opens them; and the call succeeded
        self.assertRegex(seen, rf'"{keeper}/pids.max", O_RDWR\|O_CLOEXEC\) = \d')
        self.assertRegex(seen, rf'"{keeper}/cgroup.procs", O_WRONLY\|O_CREAT\|O_TRUNC\S*, 0666\)'
                               r" = \d")
        self.assertNotIn('"pids.max"', seen)  # the second try


if __name__ == "__main__":
    tap.main()
