#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many jobs run, and whose is the next: seen from outside, in the GRANTs that puppets get. A
unit is a cgroup here, as it is for the daemon where there is no systemd. How often a job starts and
how much CPU it gets is measured in test-pace.py.
"""

import os
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

from governed import GovernorCase
from harness import GRANT, tap


class Starts(GovernorCase):
    def test_live_concurrency(self):
        """SIGHUP acts on what waits, and on what runs: nothing is stopped for it."""
        self.configure(limits="max-concurrent=1")
        self.serve()
        workers = [self.asks(f"raw-{i}") for i in range(6)]
        workers[0].receive(GRANT)
        self.assertEqual(self.ctl_json("status")["queued"], 5)
        self.reload(limits="max-concurrent=4")
        for worker in workers[1:4]:
            worker.receive(GRANT)
        self.reload(limits="max-concurrent=2")
        self.assertEqual(self.ctl_json("status")["running"], 4)
        for worker in workers[:2]:
            self.finish(worker)
        self.assertEqual(self.ctl_json("status")["queued"], 2)
        self.finish(workers[2])
        workers[4].receive(GRANT)
        self.finish(workers[3])
        workers[5].receive(GRANT)
        for worker in workers[4:]:
            self.finish(worker)

    def test_overdue(self):
        """It works, and works, and keeps its slot from nobody any longer."""
        self.configure(limits="max-concurrent=1\noverdue=2s")
        daemon = self.serve()
        burner, other = self.worker("burner"), self.worker("other")
        burner.take_slot()
        burner.burn()
        other.register()
        other.request()
        other.receive(GRANT)
        self.assertIn("is overdue: it runs for too long", daemon.log())
        self.finish(other)
        self.assertEqual(self.ctl_json("status")["overdue"], 1)
        self.assertEqual(self.state_of("burner"), "overdue")


class Fairness(GovernorCase):
    N_GREEDY = 60

    def test_one_against_many(self):
        """One unit has all those requests, another one: it waits for one job at most."""
        self.need_cgroup()
        self.configure(limits="max-concurrent=1")
        self.serve()
        with self.in_unit("greedy.scope"):
            greedy = [self.asks(f"greedy-{i}") for i in range(self.N_GREEDY)]
        with self.in_unit("modest.scope"):
            modest = self.asks("modest")
        self.assertEqual(self.ctl_json("status")["queued"], self.N_GREEDY)
        units = {vm["name"]: vm["unit"] for vm in self.ctl_json("list")}
        self.assertEqual({os.path.basename(units[name]) for name in ("greedy-0", "modest")},
                         {"greedy.scope", "modest.scope"})
        greedy[0].receive(GRANT)
        self.finish(greedy[0])
        modest.link.settimeout(2)
        modest.receive(GRANT)  # the second grant of all
        self.finish(modest)
        greedy[1].receive(GRANT)

    def test_one_unit_does_not_stop_the_others(self):
        """It has all slots and works without end: the other's job begins within the time promised,
        which is counted, and what twitches has its slot no longer."""
        self.need_cgroup()
        self.configure(limits="max-concurrent=4\nstarvation-timeout=3s")
        self.serve()
        with self.in_unit("evil.scope"):
            evil = [self.asks(f"evil-{i}") for i in range(8)]
        for worker in evil[:4]:
            worker.receive(GRANT)
        with self.in_unit("good.scope"):
            good = self.asks("good")
        asked = time.monotonic()
        good.receive(GRANT)
        self.assertLess(time.monotonic() - asked, 5)
        status = self.ctl_json("status")
        self.assertEqual((status["running"], status["overdue"], status["starved"]), (5, 0, 1))
        self.assertEqual(status["queued"], 4)  # the one unit has its share
        self.finish(good)
        self.assertIn("pvreaper_starved_jobs_total 1\n", self.ctl("metrics"))

    def in_unit(self, name):
        """What is started inside belongs to that unit."""
        return _Elsewhere(self, name)


class _Elsewhere:
    """This process in a cgroup of the test's, for a while: children start where their parent is."""

    def __init__(self, case, name):
        self.path, self.back = case.cgroups.make_below(name), case.cgroups.of(os.getpid())

    def move(self, path):
        with open(f"{path}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("0")

    def __enter__(self):
        self.move(self.path)

    def __exit__(self, *_):
        self.move(self.back)


if __name__ == "__main__":
    tap.main()
