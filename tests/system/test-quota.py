# SPDX-License-Identifier: LGPL-2.1-or-later
"""A CPU quota under the installed unit: the daemon tries what this kernel's cpu.max does.

Linux 6.1 holds a task inside a system call, so that is what it must find, with nothing but the
capabilities and system calls that the unit leaves it, and without keeping anybody waiting.
"""

import os

from guest import CGROUPS, read, systemctl, tap
from installed import CONFIG, SERVICE, Installed, write_file

CPU_CAP = "a3ea9a4e2aad48cb8d50e05e8cf0f2f1"
JOBS = f"{CGROUPS}/pvreaper.slice/pv-reaper-workers.service/jobs"


class Quota(Installed):
    def quota(self):
        systemctl("reload", SERVICE)
        return self.ctl_json("status")["cpu_quota"]

    def test_default_goes_by_the_weight_of_the_slice(self):
        self.assertIsNone(self.quota())
        self.addCleanup(systemctl, "set-property", "--runtime", "pvreaper.slice", "CPUWeight=20")
        systemctl("set-property", "--runtime", "pvreaper.slice", "CPUWeight=100")
        self.wait("the slice weighs as much as others",
                  lambda: read(f"{CGROUPS}/pvreaper.slice/cpu.weight").strip() == "100")
        self.assertEqual(self.quota(), 20000 * os.cpu_count())

    def test_quota_is_that_of_cpu_max(self):
        write_file(CONFIG, "[cpu]\ncpu-quota=20%\n")
        before = len(self.journal(MESSAGE_ID=CPU_CAP))
        systemctl("restart", SERVICE)
        entry = self.wait_journal(before + 2, MESSAGE_ID=CPU_CAP)[-1]
        if "too busy to tell" in entry["PV_REASON"]:
            self.assertEqual(entry["PV_BACKEND"], "deadline")
            self.skipTest(entry["PV_REASON"])
        self.assertEqual(entry["PV_BACKEND"], "cgroup")
        self.assertIn("acts inside system calls", entry["PV_REASON"])
        quota, period = map(int, read(f"{JOBS}/cpu.max").split())
        self.assertEqual(quota / period, 0.2)

        write_file(CONFIG, "[cpu]\ncpu-quota=infinity\n")
        systemctl("reload", SERVICE)
        self.wait("the quota is gone", lambda: read(f"{JOBS}/cpu.max").startswith("max "))

    def test_quota_of_a_daemon_before(self):
        write_file(CONFIG, "[cpu]\ncpu-quota=20%\n")
        systemctl("restart", SERVICE)
        self.wait("there is a quota", lambda: not read(f"{JOBS}/cpu.max").startswith("max "))
        write_file(CONFIG, "[cpu]\ncpu-quota=infinity\n")
        systemctl("restart", SERVICE)
        self.assertTrue(read(f"{JOBS}/cpu.max").startswith("max "))


if __name__ == "__main__":
    tap.main()
