# SPDX-License-Identifier: LGPL-2.1-or-later
"""When this process got no CPU: then others did not, either, and were late without being wrong."""

import threading
import time

EVERY = 0.02  # seconds
LONG = 10**8  # what is a pause, ns


class Pauses(threading.Thread):
    """Watches from start() to end()."""

    def __init__(self):
        super().__init__(daemon=True)
        self.seen, self.over = [], threading.Event()

    def run(self):
        before = time.monotonic_ns()
        while not self.over.wait(EVERY):
            now = time.monotonic_ns()
            if now - before > LONG:
                self.seen.append((before, now))
            before = now

    def end(self):
        self.over.set()
        self.join()

    def between(self, begin, end):
        """How long all pauses were that lie there, ns of CLOCK_MONOTONIC."""
        return sum(max(0, min(until, end) - max(since, begin)) for since, until in self.seen)
