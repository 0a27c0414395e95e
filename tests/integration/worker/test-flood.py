#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A worker that sends as fast as it can and does not read: how long others' reboots take then."""

import contextlib
import select
import sys
import threading
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

from harness import DONE, REQUEST, pack, tap
from raw import PeerCase, resident_kib

FLOOD_SECONDS = 2


class Flood(PeerCase):
    def flood(self, packets):
        """A worker sends these over and over without reading; the bystander's slowest reboot."""
        self.serve()
        quiet = max(self.reboot() for _ in range(3))
        worker = self.worker()
        worker.register()
        worker.link.setblocking(False)
        sent, ended, leave = 0, threading.Event(), threading.Event()

        def send():
            nonlocal sent
            try:
                while not leave.is_set():
                    select.select([], [worker.link], [], 0.1)
                    with contextlib.suppress(BlockingIOError):
                        for _ in range(100):
                            worker.link.send(packets(sent))
                            sent += 1
            except OSError:
                ended.set()

        before, sender = resident_kib(self.served.pid), threading.Thread(target=send)
        sender.start()
        try:
            end, times = time.monotonic() + FLOOD_SECONDS, []
            while time.monotonic() < end:
                times.append(self.reboot())
        finally:
            leave.set()
            sender.join()
        print(f"reboots: {quiet:.3f} s, then {max(times):.3f} s; {sent} packets"
              f"{', cut off' if ended.is_set() else ''}")
        self.assertLess(max(times), 3 * quiet + 1)
        self.assertLess(resident_kib(self.served.pid) - before, 512)
        return sent, ended.is_set()

    def test_requests(self):
        """The newest replaces the others, so there is one, and it keeps its place."""
        sent, ended = self.flood(lambda n: pack(REQUEST, 1, n + 1, 1 << 30))
        self.assertFalse(ended)
        self.assertGreater(sent, 1000)
        self.assertEqual(len(self.jobs_of("raw")), 1)

    def test_jobs(self):
        """Request, outcome, request, ...: who does not read its grants is cut off."""
        def packets(n):
            if n % 2 == 0:
                return pack(REQUEST, 1, n // 2 + 1, 1 << 30)
            return pack(DONE, 0, n // 2 + 1, 1, 0, 0, 0, 0)

        _, ended = self.flood(packets)
        self.assertTrue(ended)


if __name__ == "__main__":
    tap.main()
