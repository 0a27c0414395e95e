#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A dead QEMU writes no more: what is in flight when its pid is gone, and when that has landed.

Each case is shown beside the same QEMU without a keeper. See fencing.py; test-fencing-soak.py does
it 200 times.
"""

import subprocess
import sys

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import qemu
from fencing import DRAIN, FencingCase
from harness import is_alive, tap


class Plain(FencingCase):
    """The kernel waits, in QEMU's exit: what there is to keep."""

    def test_native(self):
        self.assert_waits_itself(self.with_disk("native", preload=False))

    def test_threads(self):
        self.assert_waits_itself(self.with_disk("threads", preload=False))

    def test_native_with_a_helper_of_its_own(self):
        """QEMU's own -async-teardown is worse, and nobody can wait for it, but on this host: QEMU's
        lock of the disk stays until all has landed.
        """
        said = subprocess.run([qemu.program(), "-help"], capture_output=True, text=True,
                              check=True).stdout
        helped = [option for option in ("-async-teardown", "-run-with")
                  if option in said]
        if not helped:
            self.skipTest("this QEMU has no helper of its own")
        value = ["async-teardown=on"] if helped[0] == "-run-with" else []
        vm = self.with_disk("native", helped[0], *value, preload=False)
        self.kill_and_look_at_once(vm)
        self.assertTrue(self.disk.is_locked())
        self.assertGreater(self.stale(), 0)
        self.assertFalse(self.disk.is_locked())


class LetGo(FencingCase):
    """By default there is no keeper where native AIO is."""

    def test_on_the_command_line(self):
        vm = self.with_disk("native")
        self.assertIsNone(vm.keeper)
        self.assert_waits_itself(vm)
        line, = self.lines()
        self.assertIn("aio=native: no keeper", line)

    def test_later(self):
        vm = self.start()
        self.assertTrue(is_alive(vm.keeper))
        self.plug(vm, "native")
        self.assertFalse(is_alive(vm.keeper))
        self.assert_waits_itself(vm)
        line, = self.lines()
        self.assertIn("native AIO: no keeper from now on", line)

    def test_later_where_it_daemonizes(self):
        vm = self.start("-daemonize", sandbox="on")
        self.assertTrue(is_alive(vm.keeper))
        self.plug(vm, "native")
        self.assertFalse(is_alive(vm.keeper))
        self.assert_waits_itself(vm)


class Kept(FencingCase):
    """There is a keeper, and who comes after waits for no more than he has to."""

    def kept(self, vm):
        self.assertTrue(is_alive(vm.keeper))
        self.assertEqual(self.lines(), [])
        return vm

    def test_threads(self):
        """A thread ends its write before it ends itself, and QEMU's pid is its threads'."""
        self.assert_waits_itself(self.kept(self.with_disk("threads", env=DRAIN)))

    def test_io_uring(self):
        """Linux waits for none of these, so neither does who comes after: not worse than stock."""
        self.kill_in_the_middle(self.with_disk("io_uring", preload=False))
        stock = self.stale()
        vm = self.kept(self.with_disk("io_uring", env=DRAIN))
        self.kill_in_the_middle(vm)
        self.assertLessEqual(self.stale(), stock)

    def test_native_is_drained(self):
        """QEMU's pid is gone long before; the keeper's guard goes when all has landed."""
        vm = self.kept(self.with_disk("native", env=DRAIN))
        guard, = qemu.children_of(vm.keeper)
        self.kill_and_look_at_once(vm)
        self.wait("the guard has gone", lambda: not is_alive(guard))
        self.assertEqual(self.stale(), 0)

    def test_quiet(self):
        """That is what the daemon is told, and who waits for it is told."""
        self.daemon()
        vm = self.kept(self.with_disk("native", "-name", "guest=anna", env=DRAIN))
        self.registered(1)
        self.kill_and_look_at_once(vm)
        self.wait_quiet("anna")
        self.assertEqual(self.stale(), 0)


if __name__ == "__main__":
    tap.main()
