#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""200 VMs reboot at once while the daemon dies ten times: nothing lost or twice, never too many.

Everything is judged from the simulator's log and from what the VMMs were told. PVR_STORM_VMS,
PVR_STORM_KILLS and PVR_STORM_SEED change the size and the moments.
"""

import os
import random
import resource
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

from harness import Case, tap

VMS = int(os.environ.get("PVR_STORM_VMS", "200"))
KILLS = int(os.environ.get("PVR_STORM_KILLS", "10"))
SEED = int(os.environ.get("PVR_STORM_SEED", str(random.randrange(1 << 32))))
MAX_CONCURRENT = 4
RESTART_SECONDS = 5  # the most that the daemon stays away
STORM_SECONDS = 240


class Storm(Case):
    # 4 GiB: PREPARE 10 ms, PERFORM 250 ms, so that 200 of them outlast the kills
    vmm_env = {"PVSIM_NS_PER_PAGE": "20", "PVSIM_MIN_MS": "250"}
    daemon_options = ("--max-concurrent", str(MAX_CONCURRENT))

    def setUp(self):
        super().setUp()
        self.need_cgroup()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.random = random.Random(SEED)

    def kill_daemons(self, daemon):
        """Kills it KILLS times at random moments; returns the one that lives."""
        for _ in range(KILLS):
            time.sleep(self.random.uniform(0, 1.5))
            daemon.kill()
            away = self.random.uniform(0, RESTART_SECONDS - 1)
            time.sleep(self.random.choice((0, 0.05, 0.5, away)))
            daemon = self.daemon()
        return daemon

    def test_storm(self):
        print(f"seed {SEED}")
        daemon = self.daemon()
        vmms = [self.vmm(f"vm-{i}") for i in range(VMS)]
        self.registered(VMS)
        for vmm in vmms:
            vmm.do("protect")
        for vmm in vmms:
            vmm.send("reboot")
        self.kill_daemons(daemon)
        for vmm in vmms:
            vmm.wait_outcomes(1, STORM_SECONDS)

        self.assertEqual({r for vmm in vmms for r in vmm.results()}, {"done"})
        self.assertEqual([len(vmm.outcomes) for vmm in vmms], [1] * VMS)
        prepared = self.sim.commands("PREPARE", ret=0)
        performed = self.sim.performed()
        self.assertEqual(len(prepared), VMS)
        self.assertEqual(len({(e["vm"], e["seq"]) for e in performed}), VMS)
        self.assertEqual(len(performed), VMS)
        self.assertEqual({e["comm"] for e in performed}, {"pvr-keeper"})
        self.assertLessEqual(self.sim.max_overlap(), MAX_CONCURRENT)
        self.registered(VMS)
        self.assertEqual({v["state"] for v in self.ctl_json("list")}, {"idle"})


if __name__ == "__main__":
    tap.main()
