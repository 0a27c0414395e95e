#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The installed units under the real systemd: who is started by what, lives where, who pays."""

import os
import re

import guest
import installed
from guest import cgroup_of_unit, cpu_usec, show, systemctl, tap
from installed import CONTROL, PAGES_4G, SERVICE, SOCKET, WORKERS, Busy, Installed
from many import FDS_PER_WORKER, Crowd, n_workers

MANY, CROWD = 4500, 200
NS_PER_PAGE = 2000  # 4 GiB: two seconds of CPU time: what a busy host adds to others is small
PERFORM_USEC = PAGES_4G * NS_PER_PAGE // 1000


class Sockets(Installed):
    begins_on = False

    def test_socket_turns_all_on_and_off(self):
        units = (SOCKET, CONTROL, "pv-reaper-closer.socket")
        systemctl("start", SOCKET)
        for unit in units:
            self.assertEqual(show(unit, "SubState"), "listening", unit)
        entered = {unit: int(show(unit, "ActiveEnterTimestampMonotonic")) for unit in units}
        self.assertEqual(max(entered, key=entered.get), SOCKET)
        self.assertEqual(show(SERVICE, "ActiveState"), "inactive")
        self.assertEqual(self.ctl_json("status")["vms"], 0)
        for unit in (SERVICE, WORKERS):
            self.assertEqual(show(unit, "ActiveState"), "active", unit)
        systemctl("stop", SOCKET)
        for unit in (*units, SERVICE):
            self.assertEqual(show(unit, "ActiveState"), "inactive", unit)
        self.assertEqual(os.listdir("/run/pv-reaper"), [])

    def test_without_the_control_socket(self):
        """A group that is not there (a typo): workers are served as ever."""
        self.drop_in(CONTROL, "[Socket]\nSocketGroup=nosuchgroup\n")
        systemctl("start", SOCKET)
        self.assertEqual(show(CONTROL, "ActiveState"), "failed")
        vmm = self.machine("anna")
        vmm.do("protect")
        vmm.do("reboot")
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "done")
        self.assertEqual(show(SERVICE, "NRestarts"), "0")
        self.assertEqual(len(self.wait_journal(1, _SYSTEMD_UNIT=SERVICE, PRIORITY="4")), 1)
        systemctl("stop", SOCKET)
        systemctl("reset-failed", CONTROL)


class Accounts(Installed):
    begins_on = False
    ns_per_page = NS_PER_PAGE

    def test_work_is_charged_to_the_workers(self):
        self.turn_on()
        vmm = self.machine("anna")  # starts the service
        self.registered(1)
        keeper, scope = guest.cgroup_of(vmm.keeper), cgroup_of_unit("machine-anna.scope")
        self.assertTrue(self.in_place(vmm.keeper), keeper)
        self.assertEqual(guest.cgroup_of(vmm.pid), scope)

        vmm.do("protect")
        vmm.do("prepare")
        bills = keeper, scope, cgroup_of_unit(SERVICE)
        before = {path: cpu_usec(path, "system_usec") for path in bills}
        vmm.do("handoff")
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "done")
        spent = {path: cpu_usec(path, "system_usec") - before[path] for path in bills}
        performed, = self.sim.performed()
        self.assertEqual((performed["pid"], int(performed["pages"])), (str(vmm.keeper), PAGES_4G))
        self.assertEqual(f"{guest.CGROUPS}{performed['cgroup']}", keeper)
        self.assertGreater(spent[keeper], PERFORM_USEC * 95 // 100)
        self.assertLess(spent[scope], PERFORM_USEC // 10)
        self.assertLess(spent[bills[2]], PERFORM_USEC // 2)  # the daemon is busy with us, too
        job, = self.ctl_json("jobs")
        self.assertEqual((job["vm"], job["state"]), ("anna", "done"))
        self.assertGreater(job["cpu_us"], PERFORM_USEC * 95 // 100)

        place = show(WORKERS, "ControlGroup")
        self.assertEqual(place, "/pvreaper.slice/pv-reaper-workers.service")
        vmm.do("quit")
        self.wait("nobody is left", lambda: self.ctl_json("status")["vms"] == 0)
        systemctl("stop", SOCKET)
        systemctl("daemon-reload")
        self.assertEqual(show(WORKERS, "ControlGroup"), place)
        self.assertEqual(show(WORKERS, "ActiveState"), "active")
        self.assertEqual(guest.read(f"{guest.CGROUPS}{place}/cgroup.procs"), "")


class Limits(Installed):
    """4,500 workers at once are test-many.py's, on the host; that they fit in is judged here."""

    def test_fds_and_backlog_are_for_many(self):
        pid = self.ctl_json("status")["pid"]
        before = len(os.listdir(f"/proc/{pid}/fd"))
        crowd = Crowd(self, CROWD)
        crowd.all_there()
        each = (len(os.listdir(f"/proc/{pid}/fd")) - before) / CROWD
        self.assertLessEqual(each, FDS_PER_WORKER)
        limit = re.search(r"^Max open files +(\d+)", guest.read(f"/proc/{pid}/limits"), re.M)
        self.assertGreater(int(limit[1]), before + MANY * FDS_PER_WORKER)
        self.assertGreater(int(show(SOCKET, "Backlog")), MANY)

        systemctl("restart", SERVICE)
        crowd.all_there()
        jobs = f"{cgroup_of_unit(WORKERS)}/jobs"
        self.assertEqual(n_workers(jobs), CROWD)
        crowd.all_gone(jobs)
        self.assertEqual(self.complaints(), [])


class StatusLine(Busy):
    n_vms, max_concurrent = 4, 2

    def test_status_while_it_runs(self):
        self.begin()
        line = "2 running, 2 queued, 16.0 GiB to clear; 0 done, 0 failed"
        self.wait("the status says so", lambda: show(SERVICE, "StatusText") == line)
        text = systemctl("status", "pv-reaper")
        self.assertIn(f'Status: "{line}"', text)
        installed.write_file(f"{guest.OUT}/systemctl-status.txt", text)
        self.finish()
        line = "idle with 4 VMs; 4 done, 0 failed"
        self.wait("the status says so", lambda: show(SERVICE, "StatusText") == line)


if __name__ == "__main__":
    tap.main()
