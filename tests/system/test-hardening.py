#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the units give their processes, as the kernel shows it, and that everything works with that:
capabilities, what systemd-analyze(1) says, what is written to cgroups from the daemon's first
instruction on, and a journal that is real.
"""

import itertools
import os
import re
import signal
import socket
import subprocess

import guest
import kvm
from guest import cgroup_of, cgroup_of_unit, harness, read, sh, show, systemctl, tap
from closing import ClosingCase
from ping import Ping

import audit  # found where guest says

EXPOSURE = {"pv-reaper.service": 1.5, "pv-reaper-workers.service": 1.5, "closer": 1.0}
CAPABILITIES = {"cap_dac_override": 1, "cap_sys_ptrace": 19, "cap_sys_nice": 23}
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
DYNAMIC_UIDS = range(61184, 65520)
# The field of a journal record, and what pv-reaperctl jobs --json calls the same.
SAME = {"PV_VM": "vm", "PV_UUID": "uuid", "PV_UNIT": "unit", "PV_JOB": "id", "PV_KIND": "kind",
        "PV_RESULT": "state", "PV_CPU_USEC": "cpu_us", "PV_WAIT_USEC": "waited_us",
        "PV_RUN_USEC": "ran_us", "PV_BYTES": "bytes", "PV_RC": "rc", "PV_RRC": "rrc",
        "PV_PID": "pid", "PV_CGROUP": "cgroup"}
UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"


def status_of(pid):
    return dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/status").splitlines()
                if ":\t" in line)


def capabilities(pid):
    """{set: mask}"""
    status = status_of(pid)
    return {name: int(status[name], 16) for name in SETS}


class Processes(ClosingCase):
    max_concurrent = 1

    def assert_confined(self, pid):
        status = status_of(pid)
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))

    def test_daemon_has_what_its_unit_lists(self):
        mask = 0
        for name in show("pv-reaper.service", "CapabilityBoundingSet").split():
            mask |= 1 << CAPABILITIES[name]
        self.assertNotEqual(mask, 0)
        pid = self.main_pid()
        self.assertEqual(capabilities(pid), {name: mask for name in SETS})
        self.assert_confined(pid)
        self.assertEqual(sh(f"stat -c %U /proc/{pid}").strip(), "pv-reaper")

    def test_hold_has_none(self):
        hold = f"{cgroup_of_unit('pv-reaper-workers.service')}/hold/cgroup.procs"
        pid, = read(hold).split()
        self.assertEqual(capabilities(pid), dict.fromkeys(SETS, 0))
        self.assert_confined(pid)
        self.assertEqual(sh(f"stat -c %U /proc/{pid}").strip(), "pv-reaper")

    def test_closer_has_none(self):
        """And is nobody, but that it may connect to the daemon's socket, which it has done."""
        holder = self.hold_slot()
        closer = self.hand_over("guest")
        self.queued("guest")
        self.assertEqual(capabilities(closer.pid), dict.fromkeys(SETS, 0))
        self.assert_confined(closer.pid)
        status = status_of(closer.pid)
        uids = {int(uid) for uid in status["Uid"].split()}
        self.assertEqual(len(uids), 1)
        self.assertIn(uids.pop(), DYNAMIC_UIDS)
        kvm_group = int(sh("getent group kvm").split(":")[2])
        own_group = int(status["Gid"].split()[0])
        self.assertIn(kvm_group, map(int, status["Groups"].split()))
        self.assertLessEqual(set(map(int, status["Groups"].split())), {kvm_group, own_group})
        self.assertEqual(read(f"{closer.cgroup}/pids.max"), "1\n")
        self.assertEqual(read(f"{closer.cgroup}/memory.max"), f"{32 << 20}\n")
        self.exposure("closer", closer.unit)
        holder.done()
        self.assertEqual(self.ended("guest")["state"], "foreign")

    def exposure(self, key, unit):
        said = sh(f"systemd-analyze security --no-pager '{unit}'")
        level = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", said)[1])
        self.assertLessEqual(level, EXPOSURE[key], unit)

    def test_exposure_of_what_is_loaded(self):
        for unit in "pv-reaper.service", "pv-reaper-workers.service":
            self.exposure(unit, unit)

    def test_verify_what_is_installed(self):
        units = " ".join(f"/lib/systemd/system/{name}" for name in (
            "pv-reaper.socket", "pv-reaper-control.socket", "pv-reaper-closer.socket",
            "pv-reaper.service", "pv-reaper-workers.service", "pv-reaper-closer@.service",
            "pvreaper.slice"))
        self.assertEqual(sh(f"systemd-analyze verify --man=no {units} 2>&1"), "")
        for unit in "pv-reaper.service", "pv-reaper-closer.socket", "pvreaper.slice":
            self.assertEqual(show(unit, "NeedDaemonReload"), "no")


class Audit(ClosingCase):
    """The daemon stops itself before its first instruction, in its own sandbox, to be traced."""

    STOPPED = ("[Service]\nExecStart=\nExecStart=/bin/sh -c 'kill -STOP $$$$; exec {daemon}'\n"
               "TimeoutStartSec=2min\n")

    def forget_controllers(self, workers):
        """As after boot: the daemon finds nothing enabled, and no jobs/."""
        systemctl("stop", "pv-reaper.socket")
        for path in f"{workers}/jobs", workers:
            for controller in read(f"{path}/cgroup.subtree_control").split():
                with open(f"{path}/cgroup.subtree_control", "w", encoding="ascii") as file:
                    file.write(f"-{controller}")
        os.rmdir(f"{workers}/jobs")

    def start_traced(self, trace):
        self.drop_in("pv-reaper.service", self.STOPPED.format(daemon=harness.DAEMON))
        systemctl("start", "pv-reaper.socket")
        systemctl("start", "--no-block", "pv-reaper.service")
        pid = self.wait("the shell has stopped itself",
                        lambda: harness.process_state(pid := self.main_pid()) == "T" and pid)
        tracer = subprocess.Popen(["strace", *audit.options_of(trace), "-p", str(pid)],
                                  stderr=subprocess.DEVNULL)
        self.addCleanup(tracer.wait)
        self.addCleanup(tracer.terminate)
        self.wait("it is traced", lambda: status_of(pid)["TracerPid"] == str(tracer.pid))
        os.kill(pid, signal.SIGCONT)
        systemctl("start", "pv-reaper.service")
        self.assertEqual(self.main_pid(), pid)
        return pid

    def test_nothing_above_is_written_from_the_start(self):
        """Enabling, limits, moves, removal; a keeper's life, a closer's, and a reload."""
        workers, trace = cgroup_of_unit("pv-reaper-workers.service"), f"{self.directory}/trace"
        self.forget_controllers(workers)
        self.start_traced(trace)
        vmm = self.vmm("anna", prefix=guest.in_scope("pvr-anna.scope"))
        self.registered(1)
        keeper = cgroup_of(vmm.keeper)
        self.assertEqual(read(f"{keeper}/pids.max"), "1\n")
        vmm.do("protect")
        vmm.do("reboot")
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "done")
        self.hand_over("guest")
        self.assertEqual(self.ended("guest")["state"], "foreign")
        vmm.quit()
        self.wait("its cgroup is gone", lambda: not os.path.exists(keeper))
        systemctl("stop", "pv-reaper.socket")
        changed = [path for path in audit.changed_paths(read(trace))
                   if path.startswith(guest.CGROUPS)]
        for path in (f"{workers}/cgroup.subtree_control", f"{workers}/jobs", keeper,
                     f"{workers}/jobs/cgroup.subtree_control", f"{keeper}/pids.max",
                     f"{keeper}/cgroup.procs"):
            self.assertIn(path, changed)
        self.assertEqual([path for path in changed if not path.startswith(f"{workers}/")], [])
        self.assertEqual({path for path in changed if path.endswith("subtree_control")},
                         {f"{workers}/cgroup.subtree_control",
                          f"{workers}/jobs/cgroup.subtree_control"})


class Journal(ClosingCase):
    def reboot(self, name="anna"):
        vmm = self.vmm(name, "--uuid", UUID, prefix=guest.in_scope(f"pvr-{name}.scope"))
        self.registered(1)
        vmm.do("protect")
        vmm.do("reboot")
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "done")

    def test_records_say_what_ctl_says(self):
        self.reboot()
        self.hand_over("guest")
        self.ended("guest")
        daemon = str(self.main_pid())
        for name, kind in ("anna", "reboot"), ("guest", "close"):
            job, = self.jobs_of(name)
            record, = self.wait_journal(PV_VM=name)
            self.assertEqual(job["kind"], kind)
            for field, key in SAME.items():
                value = job.get(key)
                self.assertEqual(record.get(field), None if value is None else str(value), field)
            self.assertRegex(record["MESSAGE_ID"], "^[0-9a-f]{32}$")
            self.assertEqual((record["_PID"], record["_SYSTEMD_UNIT"]),
                             (daemon, "pv-reaper.service"))
        explained = sh("journalctl --quiet --no-pager --boot --catalog PV_VM=anna")
        self.assertIn("The memory of anna was cleared (reboot)", explained)
        self.assertRegex(explained, rf"{4 * kvm.GIB} bytes, by its own\n\S+ claim")
        explained = sh("journalctl --quiet --no-pager --boot --catalog PV_VM=guest")
        self.assertIn("Defined-By: pv-reaper", explained)

    def fill(self):
        """So that journald's socket takes no datagram more, from anybody."""
        while self.filled_by_one() > 0:
            pass

    def filled_by_one(self):
        """How many it took of a sender; its own buffer is full long before the queue is."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.setblocking(False)
            link.connect("/run/systemd/journal/socket")
            for n in itertools.count():
                try:
                    link.send(b"MESSAGE=pvr fills the queue\n")
                except BlockingIOError:
                    return n

    def test_journal_stands_still(self):
        """journald is stopped, its queue full: jobs go on, and the daemon answers."""
        vmm = self.vmm("anna", prefix=guest.in_scope("pvr-anna.scope"))
        self.registered(1)
        vmm.do("protect")
        journald = int(show("systemd-journald.service", "MainPID"))
        with self.stopped(journald), Ping(self, msec=20) as ping:
            self.fill()
            for n in range(1, 4):
                vmm.do("reboot")
                self.assertEqual(vmm.wait_outcomes(n)[-1]["result"], "done")
            self.hand_over("guest")
            self.assertEqual(self.ended("guest")["state"], "foreign")
        took = ping.seconds()
        self.assertGreater(len(took), 20)
        self.assertLess(took[-1], 1)
        self.assertEqual(len(self.jobs_of("anna")), 3)
        said = self.wait_journal(4, _SYSTEMD_UNIT="pv-reaper.service")
        self.assertTrue([record for record in said if "job" in record["MESSAGE"]])


if __name__ == "__main__":
    tap.main()
