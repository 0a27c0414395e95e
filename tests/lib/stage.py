# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a demonstration with daemons, VMs and keepers stands on: its processes and its cgroups.

Whoever called become_subreaper() is the parent of every orphan below him, so end_children() leaves
nothing alive: not a keeper whose VMM is dead, nor the child of a killed daemon. Only numbers of our
own children are ever signalled, and nobody else reaps those, so they stay theirs. All paths are
chosen before anything is made under them, so a clean-up after an exception at any moment finds it.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time

PR_SET_CHILD_SUBREAPER = 36
END_SECONDS = 20


class Failure(Exception):
    """The demonstration cannot go on; the text says why."""


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def wait_until(what, seconds, check):
    """For what announces itself to nobody: looks every 10 ms, or half of the time if a look takes
    longer than that. Returns what check() returned.
    """
    deadline = time.monotonic() + seconds
    while True:
        start = time.monotonic()
        value = check()
        if value:
            return value
        end = time.monotonic()
        if end > deadline:
            raise Failure(f"timed out after {seconds} s: {what}")
        time.sleep(max(0.01, end - start))


def become_subreaper():
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def hidden_mount(case):
    """To be put before a command: the first cgroup v2 in its list of mounts cannot be reached, as
    a bind mount below /tmp where PrivateTmp= hides it.
    """
    mount = Cgroups("").mount
    directory = tempfile.mkdtemp(prefix="pvr-mount-")
    case.addCleanup(shutil.rmtree, directory)
    os.mkdir(f"{directory}/c")
    script = (f'mount --bind {mount} {directory}/c && umount -l {mount} && '
              f'mount --bind {directory}/c {mount} && mount -t tmpfs none {directory} && exec "$@"')
    prefix = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]
    if subprocess.run([*prefix, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        case.skipTest("may not mount")
    return prefix


class Cgroups:
    """The test's own tree at top, in cgroup v2. None if it may not make one: why_not says why."""

    def __init__(self, name):
        mounts = [line.split() for line in read("/proc/self/mounts").splitlines()]
        self.mount = next((m[1] for m in mounts if m[2] == "cgroup2"), None)
        self.top = f"{self.mount}/{name}" if self.mount else None
        self.why_not = None if self.mount else "no cgroup v2 is mounted"

    def make(self):
        if not self.top:
            return
        try:
            os.mkdir(self.top)
        except OSError as error:
            self.why_not = f"{self.top}: {error.strerror}"
            self.top = None
            return
        for controller in ("cpu", "pids"):  # where the host has them to give
            try:
                with open(f"{self.top}/cgroup.subtree_control", "w", encoding="ascii") as file:
                    file.write(f"+{controller}")
            except OSError:
                pass

    def make_below(self, name):
        os.makedirs(f"{self.top}/{name}", exist_ok=True)
        return f"{self.top}/{name}"

    def enter(self, name):
        """For preexec_fn: a function that moves its process into top/name."""
        if not self.top:
            return None
        path = self.make_below(name)

        def move():
            fd = os.open(f"{path}/cgroup.procs", os.O_WRONLY)
            os.write(fd, b"0")
            os.close(fd)

        return move

    def of(self, pid):
        """The directory of the cgroup pid is in."""
        path = next(l for l in read(f"/proc/{pid}/cgroup").splitlines() if l.startswith("0::"))
        return self.mount + path[3:]

    def remove(self):
        def gone():
            for path, _, _ in os.walk(self.top, topdown=False):
                try:
                    os.rmdir(path)
                except OSError:
                    pass
            return not os.path.exists(self.top)

        if self.top and os.path.exists(self.top):
            wait_until(f"removing {self.top}", END_SECONDS, gone)


def children():
    """pids of our children; nobody but us reaps them, so the numbers stay theirs."""
    pids = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = read(f"/proc/{name}/stat").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            pids.append(int(name))
    return pids


def end_children():
    """Kills and reaps all that is ours; orphans of a dead child become children and go next."""
    def gone():
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            return True
        return False

    wait_until("ending all processes", END_SECONDS, gone)
