#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""systemctl stop pv-reaper.socket: what becomes of workers while there is no daemon, and later.

Who runs and who waits when it is turned off goes ahead; who is idle is remembered as such. A job
that begins while it is off waits for its grace time, asleep. Judged by the simulator's log.
"""

import time

import guest
from guest import systemctl, tap
from harness import run_time_ns
from installed import SOCKET, Busy

LEFTOVERS = "00b1517b238f4394a3c2f98f161fa909"
JOB_DONE = "07c4c29f4f39431d8c162c9dd10763f8"
AT_ONCE_USEC = 5_000_000  # half of what a worker that is found counts
N_LOOKS = 40
GRACE_SECONDS = 60  # of a reboot


class TurnOff(Busy):
    limits = {"drain_time": 1}

    def test_nothing_waits_afterwards(self):
        idle = self.machine("idle")
        self.registered(self.n_vms + 1)
        self.begin()
        systemctl("stop", SOCKET)
        left, = self.wait_journal(MESSAGE_ID=LEFTOVERS)
        self.assertEqual((left["PV_RUNNING"], left["PV_QUEUED"]), ("1", "2"))
        self.assertRegex(left["MESSAGE"], "4 workers sent away")
        self.wait("those who waited go ahead: they were told to",
                  lambda: self.sim.n_performing() == self.n_vms, GRACE_SECONDS / 2)
        guest.set_parameter("ns_per_page", 0)
        for vmm in self.vmms:
            vmm.wait_outcomes(1)
        self.assertEqual(sorted(vmm.results()[0] for vmm in self.vmms),
                         ["done", "ungoverned", "ungoverned"])
        self.assert_all_cleared(performed=self.n_vms)
        self.assertEqual(idle.outcomes, [])

    def test_idle_ones_do_not_count_in_the_next(self):
        """Those that a daemon cannot know to be idle count for 10 s; these not at all."""
        systemctl("stop", SOCKET)
        self.turn_on()
        self.status_is(running=0, found=self.n_vms)
        self.assertEqual({vm["state"] for vm in self.ctl_json("list")}, {"away"})
        vmm = self.vmms[0]
        vmm.do("protect")
        vmm.do("reboot")
        vmm.wait_outcomes(1)
        job, = self.wait_journal(MESSAGE_ID=JOB_DONE)
        self.assertLess(int(job["PV_WAIT_USEC"]), AT_ONCE_USEC)
        self.assert_all_cleared(performed=1)


class Off(Busy):
    n_vms = 2

    def usual_shares(self):
        """Of a CPU, that keepers took while we watched."""
        looks = {vmm.keeper: [] for vmm in self.vmms}
        for _ in range(N_LOOKS):
            for pid, seen in looks.items():
                seen.append((time.monotonic_ns(), run_time_ns(pid)))
            time.sleep(guest.LOOK_SECONDS)
        return [guest.usual_share(seen) for seen in looks.values()]

    def test_who_has_a_job_sleeps_until_it_is_on_again(self):
        systemctl("stop", SOCKET)
        for vmm in self.vmms:
            vmm.do("protect")
            vmm.do("reboot")
        # what the host took from an emulated CPU that was theirs is not taken twice
        self.assertTrue(any(max(self.usual_shares()) < 0.01 for _ in range(2)))
        self.assertEqual(self.sim.commands("PERFORM", ev="begin"), [])
        self.turn_on()
        for vmm in self.vmms:
            vmm.wait_outcomes(1)
        self.finish_off()

    def finish_off(self):
        self.assertEqual([vmm.results() for vmm in self.vmms], [["done"]] * self.n_vms)
        self.assert_all_cleared(performed=self.n_vms)
        self.assertEqual(self.sim.max_overlap(), 1)
        self.assertEqual(self.complaints(), [])


if __name__ == "__main__":
    tap.main()
