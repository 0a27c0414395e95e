# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real QEMUs that write to a slow disk (slow_disk.py), and are killed in the middle.

As soon as a QEMU's pid is gone, or whatever else is to be waited for, its successor writes over the
same blocks, and is not slow. A block that is the dead QEMU's afterwards is stale: lost data.
"""

import time

import harness
import qemu
from harness import TIMEOUT
from slow_disk import BLOCK, SlowDisk

OLD, NEW, NOBODY = b"N", b"S", b"-"  # the dead QEMU's, its successor's
LANDED_SECONDS = 0.5  # without the limit, all has landed by then
DRAIN = {"PVREAPER_NATIVE_AIO": "drain", "PVREAPER_GRACE_MSEC": "600000"}


class FencingCase(qemu.QemuCase):
    n_blocks, writes_per_second = 8, 4

    def setUp(self):
        super().setUp()
        self.disk = SlowDisk(self, blocks=self.n_blocks, writes_per_second=self.writes_per_second)
        self.said = f"{self.directory}/said"

    def seconds(self, blocks=None):
        """How long so many blocks take."""
        return len(blocks or self.disk.blocks) / self.writes_per_second

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

    def write(self, vm, blocks=None):
        """Has all of them written; returns with the first of them on its way."""
        self.disk.fill(NOBODY, blocks)
        for i in blocks or self.disk.blocks:
            said = vm.command("human-monitor-command", **{
                "command-line": "qemu-io -d /machine/peripheral/disk/virtio-backend "
                                f'"aio_write -q -P {ord(OLD)} {i * BLOCK} {BLOCK}"'})
            self.assertEqual(said.strip(), "")

    def kill_in_the_middle(self, vm):
        """How many blocks have landed at most when it is killed, and when its pid is gone."""
        self.write(vm)
        time.sleep(0.1)  # threads are made one by one
        before = self.disk.count(OLD)
        took = vm.kill()
        after = self.disk.count(OLD)
        print(f"pid gone after {took:.3f} s, in which {after - before} of {self.n_blocks} blocks "
              "landed")
        self.assertLess(before, self.n_blocks, "too late to tell anything")
        return before, after

    def wait_quiet(self, name):
        """By its name: whoever's pid is gone cannot be told by it from others that are dying."""
        self.ctl("--timeout", str(TIMEOUT), "wait-quiet", name)

    def stale(self):
        """Blocks, after all that may land has landed."""
        self.disk.fill(NEW)
        self.disk.limit_writes(None)
        time.sleep(LANDED_SECONDS)
        self.disk.limit_writes(self.writes_per_second)
        print(f"{self.disk.count(OLD)} of {self.n_blocks} blocks are stale")
        return self.disk.count(OLD)

    def assert_waits_itself(self, vm):
        """Its pid is gone when its writes are."""
        before, after = self.kill_in_the_middle(vm)
        self.assertGreater(after, before)
        self.assertEqual(self.stale(), 0)

    def kill_and_look_at_once(self, vm):
        """Its pid is gone, and its writes are not."""
        _, after = self.kill_in_the_middle(vm)
        self.assertLess(after, self.n_blocks)

    def lines(self):
        return [line for line in harness.read(self.said).splitlines() if "pv-reaper" in line]
