# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests of the installed units: a configuration, VMs in scopes, and work that lasts until told.

Each case begins with a daemon that knows nothing of the cases before: the service is restarted,
which brings the sockets with it. What cases change is gone with them; the sockets and the daemon
stay as they are, for the next to restart. The unit of the workers stays in any case: nothing stops
it but the end of the machine. What systemd and the daemon had to say meanwhile is read in the end
of some: see COMPLAINTS.
"""

import collections
import contextlib
import glob
import os
import re
import signal

import guest
from guest import Case, cgroup_of, cgroup_of_unit, read, show, show_all, systemctl
from harness import Failure

CONTROL = "pv-reaper-control.socket"
SERVICE, SOCKET, WORKERS = "pv-reaper.service", "pv-reaper.socket", "pv-reaper-workers.service"
CONFIG = "/etc/pv-reaper/pv-reaper.conf"
RUNTIME = "/run/systemd/system"
CLOSERS = f"{guest.CGROUPS}/pvreaper.slice/pv-reaper-closer@*.service"
KEEPERS = f"{guest.CGROUPS}/pvreaper.slice/{WORKERS}/jobs/vm-*"
PAGES_4G = (4 << 30) // 4096
FOR_EVER = 1_000_000  # ns per page: 17 minutes of CPU time for 4 GiB
REST_MSEC = 20  # most of which the worker sleeps: see pvsim's rest_msec

# What must never be in the journal, whatever is done to the daemon.
COMPLAINTS = re.compile(r"[Ll]eft-over process|219/CGROUP|[Tt]rigger limit|request repeated too|"
                        r"Failed with result '(resources|start-limit-hit|trigger-limit-hit|"
                        r"protocol)'")
ERROR = 3


def write_file(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def closer_cgroups():
    return set(glob.glob(CLOSERS.replace("[", "[[]")))


def is_populated(cgroup):
    with contextlib.suppress(OSError):  # it is removed meanwhile
        return "populated 1" in read(f"{cgroup}/cgroup.events")
    return False


class Installed(Case):
    ns_per_page = 0
    max_concurrent = 1  # one that runs leaves a CPU to the tests; None: as configured by default
    limits = {}  # other keys of [limits]
    service = ""  # more settings of the daemon's unit
    begins_on = True  # with sockets and daemon

    def setUp(self):
        super().setUp()
        self.use_units()
        self.release_socket = "/run/pv-reaper/release.sock"
        self.addCleanup(self.tidy)
        self.configure(**self.limits)
        if self.service:
            self.drop_in(SERVICE, f"[Service]\n{self.service}\n")
        if self.begins_on:
            systemctl("stop", SERVICE)  # over a restart the daemon remembers the case before
            systemctl("start", SERVICE)
        else:
            systemctl("stop", SOCKET)

    def tidy(self):
        """Nobody who worked for the case is left, and no unit has failed."""
        guest.set_parameter("ns_per_page", 0)
        self.wait("closers and keepers are gone", lambda: not (
            closer_cgroups() or any(map(is_populated, glob.glob(KEEPERS)))))
        failed = systemctl("--failed", "--no-legend", "--plain")
        if failed:
            systemctl("reset-failed")
        os.unlink(CONFIG)
        self.assertEqual(failed, "")

    def configure(self, **limits):
        """Keys of [limits], with _ for -. Read at the start of the daemon and at a reload."""
        if self.max_concurrent:
            limits = {"max_concurrent": self.max_concurrent,
                      "boost_max_concurrent": self.max_concurrent, **limits}
        lines = [f"{key.replace('_', '-')}={value}" for key, value in limits.items()]
        write_file(CONFIG, "\n".join(["[limits]", *lines, ""]))

    def drop_in(self, unit, text):
        """Runtime settings of a unit, until the end of the test."""
        path = f"{RUNTIME}/{unit}.d/pvr-test.conf"
        write_file(path, text)
        self.addCleanup(systemctl, "daemon-reload")
        self.addCleanup(os.unlink, path)
        systemctl("daemon-reload")

    def turn_on(self):
        systemctl("start", SOCKET)

    def machine(self, name, **arguments):
        """A VMM in a scope of its own, named as those of libvirt's guests are."""
        return self.vmm(name, prefix=guest.in_scope(f"machine-{name}.scope"), **arguments)

    def main_pid(self):
        return int(show(SERVICE, "MainPID"))

    def another_main_pid(self, old):
        """Waits until the daemon is another one, and ready."""
        def found():
            pid, state = show_all(SERVICE, "MainPID", "ActiveState")
            return int(pid) if int(pid) not in (0, old) and state == "active" else None

        return self.wait("another daemon is ready", found)

    def status_is(self, **expected):
        last = {}

        def look():
            last.update(self.ctl_json("status"))
            return all(last[key] == value for key, value in expected.items())

        try:
            self.wait(f"status {expected}", look)
        except Failure:
            self.fail(f"the status should be {expected}, but is {last}")

    def in_place(self, *pids):
        """Are these where keepers belong?"""
        place = f"{cgroup_of_unit(WORKERS)}/jobs/vm-"
        return place.startswith(f"{guest.CGROUPS}/pvreaper.slice/") and all(
            cgroup_of(pid).startswith(place) for pid in pids)

    def complaints(self):
        """Of PID 1 about our units, and of the daemon."""
        def is_complaint(record):
            if record.get("SYSLOG_IDENTIFIER") == "pv-reaperd":
                return int(record["PRIORITY"]) <= ERROR
            return COMPLAINTS.search(record["MESSAGE"])

        records = [record for record in self.journal() if any(
            record.get(name, "").startswith("pv-reaper") for name in ("UNIT", "_SYSTEMD_UNIT"))]
        self.assertGreater(len(records), 0)
        return [record["MESSAGE"] for record in records if is_complaint(record)]


class Busy(Installed):
    """n VMs were set aside: as many as may be are being cleared, slowly, and the others wait."""

    n_vms = 3

    def setUp(self):
        super().setUp()
        self.vmms = [self.machine(f"vm-{i}") for i in range(self.n_vms)]
        self.registered(self.n_vms)

    def begin(self):
        for vmm in self.vmms:
            vmm.do("protect")
            vmm.do("prepare")
        guest.set_parameter("ns_per_page", FOR_EVER)
        self.parameter("rest_msec", REST_MSEC)
        for vmm in self.vmms:
            vmm.do("handoff")
        self.performing(self.max_concurrent)
        self.in_the_middle()

    def in_the_middle(self):
        """The same jobs still run, the same wait, and whatever daemon there is knows it."""
        self.status_is(running=self.max_concurrent, queued=self.n_vms - self.max_concurrent)
        self.assertEqual(len(self.sim.commands("PERFORM", ev="begin")), self.max_concurrent)
        self.assertEqual(self.sim.n_performing(), self.max_concurrent)

    def finish(self, results=None, n_jobs=1):
        """All was done, once, by workers in their cgroups, and never too much at a time. results:
        how many outcomes of each sort there were, if not all were "done".
        """
        guest.set_parameter("ns_per_page", 0)
        for vmm in self.vmms:
            vmm.wait_outcomes(n_jobs)
        seen = collections.Counter(result for vmm in self.vmms for result in vmm.results())
        self.assertEqual(seen, results or {"done": self.n_vms * n_jobs})
        self.assert_all_cleared(performed=self.n_vms * n_jobs)
        self.assertEqual({event["comm"] for event in self.sim.performed()}, {"pvr-keeper"})
        if not results:
            self.assertLessEqual(self.sim.max_overlap(), self.max_concurrent)
        self.status_is(vms=self.n_vms, running=0, queued=0)
        self.assertTrue(self.in_place(*(vmm.keeper for vmm in self.vmms)))
        self.assertEqual(self.complaints(), [])

    def signal_main(self, number=signal.SIGKILL):
        pid = self.main_pid()
        self.assertGreater(pid, 0)
        os.kill(pid, number)
        return pid
