#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A dead QEMU writes no more: what is in flight when its pid is gone, and when that has landed.

QEMU writes to a slow disk and is killed in the middle. As soon as its pid is gone, or whatever else
is to be waited for, its successor writes over the same blocks, through the page cache of the file
behind the disk, which is not slow: as another host would. A block that is the dead QEMU's afterwards
is stale: lost data. Each case is shown beside the same QEMU without a keeper.
"""

import subprocess
import time

import harness
import qemu
from harness import is_alive, tap
from slow_disk import BLOCK, SlowDisk

BLOCKS, PER_SECOND = 8, 4
SECONDS = BLOCKS / PER_SECOND
DRAIN = {"PVREAPER_NATIVE_AIO": "drain", "PVREAPER_GRACE_MSEC": "600000"}


class FencingCase(qemu.QemuCase):
    def setUp(self):
        super().setUp()
        self.disk = SlowDisk(self, blocks=BLOCKS, writes_per_second=PER_SECOND)
        self.said = f"{self.directory}/said"

    def start(self, *arguments, **keywords):
        with open(self.said, "wb") as said:
            return self.qemu(*arguments, memory="64M", preexec_fn=self.disk.enter, stderr=said,
                             **keywords)

    def with_disk(self, aio, *arguments, **keywords):
        """Its disk is there from the beginning."""
        return self.start("-blockdev", "driver=raw,node-name=disk,cache.direct=on,file.driver="
                          f"host_device,file.filename={self.disk.path},file.aio={aio}",
                          "-device", "virtio-blk,drive=disk,id=disk", *arguments, **keywords)

    def plug(self, vm, aio):
        vm.command("blockdev-add", **{"driver": "host_device", "node-name": "disk", "aio": aio,
                                      "filename": self.disk.path, "cache": {"direct": True}})
        vm.command("device_add", driver="virtio-blk", drive="disk", id="disk")

    def write(self, vm):
        """All blocks; returns with the first of them on its way."""
        self.disk.clear()
        for i in range(BLOCKS):
            said = vm.command("human-monitor-command", **{
                "command-line": "qemu-io -d /machine/peripheral/disk/virtio-backend "
                                f'"aio_write -q -P {ord("N")} {i * BLOCK} {BLOCK}"'})
            self.assertEqual(said.strip(), "")

    def kill_in_the_middle(self, vm):
        self.write(vm)
        took = vm.kill()
        print(f"pid gone after {took:.3f} s, {self.disk.stale()} of {BLOCKS} blocks have landed")
        return took

    def stale(self):
        """After all that may land has landed."""
        self.disk.overwrite()
        time.sleep(SECONDS + 0.5)
        print(f"{self.disk.stale()} of {BLOCKS} blocks are stale")
        return self.disk.stale()

    def assert_waits_itself(self, vm):
        """Its pid is gone when its writes are."""
        self.assertGreater(self.kill_in_the_middle(vm), SECONDS / 2)
        self.assertEqual(self.stale(), 0)

    def lines(self):
        return [line for line in harness.read(self.said).splitlines() if "pv-reaper" in line]


class Plain(FencingCase):
    """The kernel waits, in QEMU's exit: what there is to keep."""

    def test_native(self):
        self.assert_waits_itself(self.with_disk("native", preload=False))

    def test_threads(self):
        self.assert_waits_itself(self.with_disk("threads", preload=False))

    def test_native_with_a_helper_of_its_own(self):
        """QEMU's own -async-teardown is worse, and nobody can wait for it."""
        said = subprocess.run([qemu.program(), "-help"], capture_output=True, text=True,
                              check=True).stdout
        helped = [option for option in ("-async-teardown", "-run-with")
                  if option in said]
        if not helped:
            self.skipTest("this QEMU has no helper of its own")
        value = ["async-teardown=on"] if helped[0] == "-run-with" else []
        vm = self.with_disk("native", helped[0], *value, preload=False)
        self.assertLess(self.kill_in_the_middle(vm), SECONDS / 2)
        self.assertGreater(self.stale(), 0)


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


if __name__ == "__main__":
    tap.main()
