#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""systemctl poweroff where there is no system bus: the daemon cannot know, and exits at once.

It is the worst that a shutdown can be for keepers: one is inside PERFORM and others wait as their
VMMs end, the daemon leaves them for good, and whoever connects is dropped by PID 1. They wait for
their grace time, without using the CPU, and go ahead ungoverned; nobody kills them in the middle.
"""

import ending
import guest
from ending import PAGES_4G, SERVICE, SOCKET, WORKERS, Host, ShutDown
from guest import systemctl

STOPPING = "68b505970f5846cb80daab19178f821a"
NAMES = "anna", "bert", "carl"
GRACE_SECONDS = 5 * 1.25  # of a shutdown, with jitter
CLEAR_SECONDS = PAGES_4G * ending.NS_PER_PAGE / 1e9
SLOWNESS = 4  # of an emulated machine whose host is busy


def in_guest():
    systemctl("stop", "dbus.socket", "dbus.service")
    host = Host()
    vmms = [host.vmm(f"machine-{name}.scope", name) for name in NAMES]
    host.prepare(*vmms)
    vmms[0].do("protect")
    host.end()


class WithoutBus(ShutDown):
    def test_daemon_exits_at_once(self):
        self.first("1 running and 2 queued|workers wait for the next daemon", MESSAGE_ID=STOPPING)
        self.assertLess(self.daemon_gone() - self.pid1("^Stopping ", SERVICE), ending.STOP_SECONDS)
        self.assertEqual(len(self.service_starts()), 1)

    def test_order_all_the_same(self):
        stopped = [self.pid1("^Stopped ", f"machine-{name}.scope") for name in NAMES]
        self.assert_in_order(
            vms=max(stopped), daemon=self.daemon_gone(), cleared=self.clearing()[-1][1],
            workers=self.pid1("^Stopped ", WORKERS), socket=self.pid1("^Closed ", SOCKET))

    def test_keepers_go_on_by_themselves(self):
        """anna's from the middle of PERFORM."""
        self.assert_nothing_killed_at_work()
        self.assert_all_cleared(len(NAMES))
        left = self.first("", MESSAGE_ID=STOPPING)
        (begun, ended), *rest = self.clearing()
        self.assertLess(begun, self.daemon_gone())
        self.assertGreater(ended, self.daemon_gone())
        for begin, _ in rest:
            self.assertGreater(begin, left + 5)

    def test_it_comes_to_an_end(self):
        """A grace time after anna's PERFORM, and then her other VM, beside those of two others."""
        limit = 2 * GRACE_SECONDS + SLOWNESS * 3 * CLEAR_SECONDS
        self.assertLess(self.pid1("^Stopped ", WORKERS) - self.daemon_gone(), limit)

    def test_keepers_sleep_while_their_connections_are_dropped(self):
        self.assertIn("dropped", self.knocks())
        for pid in self.pids():
            self.assert_slept(self.idle_without_daemon(pid), 3)


if __name__ == "__main__":
    guest.end_main(in_guest)
