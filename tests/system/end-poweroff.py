#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""systemctl poweroff with VMs in machine-*.scope units and jobs that run and wait.

anna's old VM is being cleared, those of slow and bert wait. anna and bert end as soon as their
scopes are stopped; slow does not want to, so that the daemon, which knows what is coming, is not
stopped either for SLOW_SECONDS. late is a VM that systemd-machined does not know: it is stopped
after the daemon, reboots once more when nobody is there to hear of it, and ends LATE_SECONDS later.
"""

import guest
from ending import SOCKET, STOP_SECONDS, SERVICE, WORKERS, Host, ShutDown

DRAIN_BEGUN = "a8b49e3269064efa86425e4c969e65cc"
DRAIN_DONE = "cabf817661604d388af1459f0329712c"
SLOW_SECONDS, LATE_SECONDS = 6, 3
DEAF = "trap '' TERM; "
MACHINES = "anna", "bert", "slow"
N_VMS = len(MACHINES) + 1


def in_guest():
    host = Host()
    anna, bert = [host.vmm(f"machine-{name}.scope", name) for name in MACHINES[:2]]
    slow = host.vmm("machine-slow.scope", "slow", before=DEAF,
                    properties=(f"--property=TimeoutStopSec={SLOW_SECONDS}s",))
    on_stop = ("(trap 'echo handoff >/run/pvr/late.scope.in; exit' TERM; sleep infinity & wait) & "
               "export PVREAPER_GRACE_MSEC=5000; ")
    host.vmm("late.scope", "late", before=on_stop + DEAF,
             properties=("--property=Before=pv-reaper.service",
                         f"--property=TimeoutStopSec={LATE_SECONDS}s"))
    host.prepare(anna, slow, bert)
    anna.do("protect")
    host.end(state="draining", running=2)


class PowerOff(ShutDown):
    def vm(self, name):
        """What the simulator calls the VM of that name."""
        record = self.matching(PV_VM=name, PV_KIND="shutdown")[0]
        return next(e["vm"] for e in self.sim.events() if e["pid"] == record["PV_PID"])

    def test_order(self):
        stopped = [self.pid1("Stopped|Deactivated|Failed", f"machine-{name}.scope")
                   for name in MACHINES]
        self.assert_in_order(
            stop=self.pid1("^Stopping ", "machine-anna.scope"), vms=max(stopped),
            daemon_stops=self.pid1("^Stopping ", SERVICE),
            drained=self.first("drained", MESSAGE_ID=DRAIN_DONE),
            daemon=self.daemon_gone(), workers=self.pid1("^Stopped ", WORKERS),
            socket=self.pid1("^Closed ", SOCKET))

    def test_drain_begins_before_the_daemon_is_stopped(self):
        begun = self.first("the system is being stopped", MESSAGE_ID=DRAIN_BEGUN)
        self.assertGreater(self.pid1("^Stopping ", SERVICE), begun + SLOW_SECONDS / 2)
        performed = self.sim.performed()
        slow = next(e for e in performed if e["vm"] == self.vm("slow"))
        anna = next(e for e in performed if e["vm"] == self.vm("anna"))
        self.assertEqual(self.sim.max_overlap(), 2)
        begin, = self.sim.commands("PERFORM", ev="begin", tid=slow["tid"])
        self.assertLess(int(begin["t"]), int(anna["t"]))

    def test_drain_takes_the_time_it_needs(self):
        took = (self.first("drained", MESSAGE_ID=DRAIN_DONE) -
                self.pid1("^Stopping ", SERVICE))
        self.assertGreater(took, STOP_SECONDS + 1)

    def test_who_was_governed(self):
        """Never more than two at once, and late alone went ahead by itself."""
        for name in MACHINES:
            record, = self.matching(PV_VM=name, PV_KIND="shutdown")
            self.assertEqual(record["PV_RESULT"], "done", name)
        self.assertEqual(self.matching(PV_VM="late"), [])
        governed = [span for span in self.clearing() if span[1] < self.daemon_gone()]
        edges = sorted([(t, 1) for t, _ in governed] + [(t, -1) for _, t in governed])
        running = most = 0
        for _, step in edges:
            running += step
            most = max(most, running)
        self.assertEqual(most, 2)
        self.assertEqual(len(self.clearing()) - len(governed), 1)

    def test_nothing_is_killed_at_work(self):
        self.assert_nothing_killed_at_work()

    def test_all_is_cleared(self):
        self.assert_all_cleared(N_VMS)

    def test_late_keeper_sleeps_while_its_connections_are_dropped(self):
        self.assertIn("dropped", self.knocks())
        self.assert_slept(max((self.idle_without_daemon(pid) for pid in self.pids()), key=len),
                          LATE_SECONDS + 4)

    def test_daemon_stays_away(self):
        self.assertEqual(len(self.service_starts()), 1)


if __name__ == "__main__":
    guest.end_main(in_guest)
