#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The main job, once: a protected guest reboots, and somebody else clears its memory."""

import sys

sys.path.insert(0, f"{sys.path[0]}/../../lib")

from harness import Case, tap


class Smoke(Case):
    def test_reboot(self):
        self.daemon()
        vmm = self.vmm("anna")
        self.registered(1)
        vmm.do("protect")
        self.assertEqual(vmm.do("reboot")["path"], "handed-off")
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "done")
        self.assertEqual([e["comm"] for e in self.sim.performed()], ["pvr-keeper"])
        job, = self.ctl_json("jobs")
        self.assertEqual((job["vm"], job["kind"], job["state"]), ("anna", "reboot", "done"))
        if self.cgroups.top:
            self.assertGreater(job["cpu_us"], 10000)
            self.assertIn("vm-", job["cgroup"])


if __name__ == "__main__":
    tap.main()
