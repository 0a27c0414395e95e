#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A dead QEMU writes no more: 200 kills with native AIO in flight, and not one stale block.

Each QEMU has blocks of its own, and all of them are looked at when the last one could have landed.
"""

import random
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

from fencing import DRAIN, FencingCase, NEW, OLD
from harness import tap

KILLS, BLOCKS = 200, 8


class Kills(FencingCase):
    n_blocks, writes_per_second = KILLS * BLOCKS, 25  # a third of a second for each QEMU

    def check(self, wait, **keywords):
        """wait: for what, after its pid is gone, its successor waits; with a QEMU and its name."""
        in_the_middle = 0
        for i in range(KILLS):
            blocks = range(i * BLOCKS, (i + 1) * BLOCKS)
            vm = self.with_disk("native", "-name", f"guest=soak-{i}", **keywords)
            self.write(vm, blocks)
            time.sleep(random.uniform(0, self.seconds(blocks) / 2))
            in_the_middle += self.disk.count(OLD, blocks) < BLOCKS
            vm.kill()
            wait(vm, f"soak-{i}")
            self.disk.fill(NEW, blocks)
        time.sleep(self.seconds(blocks) + 1)
        stale = self.disk.count(OLD)
        print(f"{in_the_middle} of {KILLS} kills in the middle of it, {stale} stale blocks")
        self.assertGreater(in_the_middle, KILLS / 2)
        self.assertEqual(stale, 0)
        self.assertEqual(self.disk.count(NEW), self.n_blocks)

    def test_by_default(self):
        """There is no keeper, so the end of the pid is all that there is to wait for."""
        self.check(lambda vm, _: self.assertIsNone(vm.keeper))

    def test_drained(self):
        """The pid tells nothing, so wait-quiet does."""
        self.daemon()
        self.check(lambda _, name: self.wait_quiet(name), env=DRAIN)


if __name__ == "__main__":
    tap.main()
