# SPDX-License-Identifier: LGPL-2.1-or-later
"""How much anonymous memory the processes of a test have, as the kernel counts it: by cgroup v2
where that has a memory controller to give, by a v1 hierarchy where the host still has one.
"""

import contextlib
import os

from stage import read


class MemoryBill:
    """For whoever enters with enter(), or is in the case's cgroup, and what they leave behind."""

    def __init__(self, case):
        self.stat, self.key, self.group = f"{case.cgroups.top}/memory.stat", "anon", None
        if os.path.exists(self.stat):
            return
        self.stat = None
        mount = next((m[1] for m in map(str.split, read("/proc/self/mounts").splitlines())
                      if m[2] == "cgroup" and "memory" in m[3].split(",")), None)
        own = next((line.split(":", 2)[2] for line in read("/proc/self/cgroup").splitlines()
                    if "memory" in line.split(":")[1].split(",")), None)
        if not mount or not own:
            return
        group = f"{mount}{own.rstrip('/')}/{os.path.basename(case.directory)}"
        with contextlib.suppress(OSError):
            os.mkdir(group)
            case.addCleanup(case.wait, f"removing {group}", self.remove)
            self.group, self.stat, self.key = group, f"{group}/memory.stat", "total_rss"

    def enter(self):
        """In the child, before exec()."""
        if self.group:
            with open(f"{self.group}/cgroup.procs", "w", encoding="ascii") as file:
                file.write("0")

    def remove(self):
        """Whether it is gone; whoever was killed may take a moment to leave."""
        with contextlib.suppress(OSError):
            os.rmdir(self.group)
        return not os.path.exists(self.group)

    def bytes(self):
        """None where the kernel does not count."""
        if not self.stat:
            return None
        return next(int(line.split()[1]) for line in read(self.stat).splitlines()
                    if line.split()[0] == self.key)
