# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk on which writes take their time: a loop device, with a cgroup's limit of writes a second.

    disk = SlowDisk(case, blocks=8, writes_per_second=4)
    disk.path                    the device
    disk.enter                   for preexec_fn: writes of this process and its children are slow
    disk.fill(b"S", blocks)      at once, as another host would: through the file behind the device
    disk.limit_writes(None)      no limit from now on: writes that wait land at once
    disk.count(b"N", blocks)     how many of them have that content
    disk.is_locked()             somebody has it open, in QEMU's way

Block i is the i-th 4 KiB; blocks is a range, by default all of them.
"""

import fcntl
import os
import struct
import subprocess

import harness
from stage import Cgroups

BLOCK = 4096
F_OFD_GETLK = 36
V1 = "/sys/fs/cgroup/blkio"


class SlowDisk:
    def __init__(self, case, *, blocks, writes_per_second):
        self.blocks, self.image = range(blocks), f"{case.directory}/disk"
        with open(self.image, "wb") as image:
            image.truncate(blocks * BLOCK)
        self.path = self.attach(case)
        self.cgroup = self.make_cgroup(case)
        self.limit_writes(writes_per_second)

    def attach(self, case):
        if not harness.has_tool("losetup"):
            case.skipTest("no losetup")
        made = subprocess.run(["losetup", "--find", "--show", self.image], capture_output=True,
                              text=True, check=False)
        if made.returncode != 0:
            case.skipTest(f"no loop device: {made.stderr.strip()}")
        path = made.stdout.strip()
        case.addCleanup(subprocess.run, ["losetup", "--detach", path], check=True)
        return path

    def make_cgroup(self, case):
        """With a controller for disks, of v1 or v2."""
        name, v2 = os.path.basename(case.directory), Cgroups("").mount
        if os.path.exists(f"{V1}/cgroup.procs"):
            path = f"{V1}/{name}"
        elif v2 and "io" in harness.read(f"{v2}/cgroup.subtree_control").split():
            path = f"{v2}/{name}-io"
        else:
            case.skipTest("no cgroup controller that makes a disk slow")
        try:
            os.mkdir(path)
        except OSError as error:
            case.skipTest(f"{path}: {error.strerror}")
        case.addCleanup(lambda: case.wait("the cgroup is empty", self.remove_cgroup))
        return path

    def remove_cgroup(self):
        try:
            os.rmdir(self.cgroup)
        except OSError:
            return False
        return True

    def limit_writes(self, per_second):
        """None: no limit."""
        device = os.stat(self.path).st_rdev
        number = f"{os.major(device)}:{os.minor(device)}"
        if self.cgroup.startswith(V1):
            self.limit("blkio.throttle.write_iops_device", f"{number} {per_second or 0}")
        else:
            self.limit("io.max", f"{number} wiops={per_second or 'max'}")

    def limit(self, file, value):
        with open(f"{self.cgroup}/{file}", "w", encoding="ascii") as f:
            f.write(value)

    def enter(self):
        with open(f"{self.cgroup}/cgroup.procs", "w", encoding="ascii") as f:
            f.write("0")

    def fill(self, byte, blocks=None):
        blocks = blocks or self.blocks
        with open(self.image, "r+b") as image:
            image.seek(blocks.start * BLOCK)
            image.write(byte * len(blocks) * BLOCK)
            image.flush()
            os.fsync(image.fileno())

    def count(self, byte, blocks=None):
        blocks = blocks or self.blocks
        with open(self.image, "rb") as image:
            image.seek(blocks.start * BLOCK)
            return image.read(len(blocks) * BLOCK)[::BLOCK].count(byte)

    def is_locked(self):
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        with open(self.path, "r+b", buffering=0) as disk:
            lock = fcntl.fcntl(disk, F_OFD_GETLK, lock)
        return struct.unpack_from("h", lock)[0] != fcntl.F_UNLCK
