# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of a VMM's end stand on, whether it is our own VMM or a QEMU: how much memory a
process has, by the kernel's word, who maps what, huge pages, and a cgroup that is too small.
"""

import contextlib
import os
import re
import subprocess
import time

import harness
from harness import is_alive, read
from puppet import Puppet

MIB = 1 << 20
BEGUN = 8 * MIB  # who has given up so much has begun
POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB"
AT_ONCE = 0.1  # seconds
EXEC_SECONDS = 5  # a keeper that waited for its VMM's end would wait twice that long


def resident(pid):
    """Bytes; 0 if it has no memory (any more)."""
    try:
        return int(read(f"/proc/{pid}/statm").split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return 0


def anonymous(pid):
    """Bytes of it that are in no file; 0 if there are none (any more)."""
    try:
        found = re.search(r"^RssAnon:\s+(\d+) kB$", read(f"/proc/{pid}/status"), re.M)
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0


def has_mapping(pid, name):
    try:
        return name in read(f"/proc/{pid}/maps")
    except OSError:
        return False


def free_huge_pages():
    return int(read(f"{POOL}/free_hugepages"))


class Ends:
    """Of a Case."""

    def path_on_disk(self, name="ram"):
        """A file that is on no tmpfs, wherever the tests are."""
        path = f"{harness.BUILD}/{os.path.basename(self.directory)}-{name}"
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        return path

    def take_slot(self):
        puppet = Puppet(self)
        puppet.take_slot()
        return puppet

    def gone(self, pid):
        self.wait(f"process {pid} has gone", lambda: not is_alive(pid))

    def lateness(self):
        """What this machine takes at the moment to start and end a process."""
        start = time.monotonic()
        subprocess.run(["/bin/true"], check=True)
        return time.monotonic() - start

    def assert_at_once(self, end, released):
        """Not before end(), and within 100 ms of it, and of what the machine itself is late."""
        self.assertFalse(released())
        late = self.lateness()
        end()
        start = time.monotonic()
        self.wait("it is released", released)
        took = time.monotonic() - start
        late += self.lateness()
        print(f"released {took * 1e3:.1f} ms after the VMM's end "
              f"(a process took {late * 500:.1f} ms)")
        self.assertLess(took, AT_ONCE + 10 * late)

    def add_huge_pages(self, pages):
        """To the kernel's pool, for as long as the test runs."""
        try:
            had = int(read(f"{POOL}/nr_hugepages"))
            self.set_huge_pages(had + pages)
        except OSError as error:
            self.skipTest(f"no huge pages: {error.strerror}")
        self.addCleanup(self.set_huge_pages, had)
        if free_huge_pages() < pages:
            self.skipTest("no memory for huge pages")

    @staticmethod
    def set_huge_pages(pages):
        with open(f"{POOL}/nr_hugepages", "w", encoding="ascii") as file:
            file.write(str(pages))

    def memory_cgroup(self, limit):
        """A cgroup with that limit, of v1 or v2, as a preexec function."""
        v1 = "/sys/fs/cgroup/memory"
        if os.path.exists(f"{v1}/memory.limit_in_bytes"):
            path, file = f"{v1}/{os.path.basename(self.directory)}", "memory.limit_in_bytes"
        elif "memory" in read(f"{self.cgroups.top}/cgroup.controllers").split():
            path, file = f"{self.cgroups.top}-oom", "memory.max"
        else:
            self.skipTest("no memory controller for us")
        os.mkdir(path)
        self.addCleanup(lambda: self.wait("the cgroup is empty", lambda: self.try_rmdir(path)))
        for name, value in ((file, limit), ("memory.swap.max", 0)):
            if os.path.exists(f"{path}/{name}"):
                with open(f"{path}/{name}", "w", encoding="ascii") as f:
                    f.write(str(value))

        def enter():
            with open(f"{path}/cgroup.procs", "w", encoding="ascii") as f:
                f.write("0")

        return enter

    @staticmethod
    def try_rmdir(path):
        with contextlib.suppress(OSError):
            os.rmdir(path)
        return not os.path.exists(path)

    def assert_left_to_the_kernel(self, name, vmm, since):
        """After an execve: the keeper goes at once, and has no job."""
        self.gone(vmm.keeper)
        self.assertLess(time.monotonic() - since, EXEC_SECONDS)
        self.assertTrue(is_alive(vmm.pid))
        self.assertEqual(self.jobs_of(name), [])

    def end_all_at_once(self, keepers, kill, most=2):
        """kill() ends their VMMs. Until all keepers have gone, never more than so many have given
        up some of their memory and not all, and that many have. Three daemons are killed meanwhile.
        """
        daemon, kills, seen = self.daemon(), 0, 0
        self.registered(len(keepers))
        full = {pid: anonymous(pid) for pid in keepers}
        kill()
        deadline = time.monotonic() + 4 * harness.TIMEOUT
        while any(map(is_alive, keepers)):
            self.assertLess(time.monotonic(), deadline, "they do not come to an end")
            begun = [pid for pid in keepers if anonymous(pid) < full[pid] - BEGUN]
            now = sum(map(is_alive, begun))
            self.assertLessEqual(now, most)
            seen = max(seen, now)
            n_gone = sum(not is_alive(pid) for pid in keepers)
            if kills < 3 and n_gone >= 3 * kills + 1 and now:
                daemon.kill()
                daemon, kills = self.daemon(), kills + 1
        self.assertEqual((kills, seen), (3, most))
        self.wait("the daemon has seen them all", lambda: self.ctl_json("status")["vms"] == 0)
        self.assertEqual(self.ctl_json("status")["running"], 0)
        self.assertNotIn("ungoverned", read(daemon.log_path))
