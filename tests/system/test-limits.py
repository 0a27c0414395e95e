#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a worker may have where it is moved to: no more memory, threads and devices than its VMM had
in its own cgroup. The workers are those of the integration tests (puppet.c), and do what they are
told.
"""

import glob
import os
import re
import signal
import subprocess
import time

import guest
import harness
import installed
from guest import cgroup_of, in_scope, read, systemctl, tap
from installed import Installed

from raw import RawWorker  # found where guest says

MIB = 1 << 20
VM_MEMORY = 100 * MIB
LIMIT = 64 * MIB  # of what a worker may take of its own, on any machine that this runs on
NEED = 1 * MIB  # far more than an honest one takes
DELAY_SECONDS = 3


class Worker(RawWorker):
    """VMM and worker in a scope with little memory."""

    def __init__(self, case):
        name = case.id().rpartition(".")[2].replace("_", "-")
        super().__init__(case, "worker", prefix=in_scope(f"machine-{name}.scope", "-p",
                                                         f"MemoryMax={VM_MEMORY}"))

    def kill_vmm(self):
        self.process.kill()

    @property
    def leaf(self):
        found = glob.glob(f"{installed.KEEPERS}".replace("vm-*", f"vm-{self.pid}-*"))
        return found[0] if found else None


class Memory(Installed):
    def worker(self):
        worker = Worker(self)
        worker.take_slot()
        self.assertLess(int(read(f"{worker.leaf}/memory.high")), LIMIT)
        self.assertEqual(read(f"{worker.leaf}/memory.swap.max"), "0\n")
        self.assertEqual(read(f"{worker.leaf}/memory.max"), "max\n")
        return worker

    def limited(self, leaf):
        text = self.wait("it is limited", lambda: read(f"{leaf}/memory.max").strip("max\n"))
        self.assertLess(int(text), LIMIT)
        self.wait("nothing slows it", lambda: read(f"{leaf}/memory.high") == "max\n")

    def test_a_worker_takes_little_when_its_vmm_is_dead(self):
        """It is charged itself then, where its VM's limit is not."""
        worker, most = self.worker(), 0
        worker.kill_vmm()
        leaf = worker.leaf
        self.limited(leaf)
        worker.strings.send(b"touch")
        try:
            while "oom_kill 0\n" in read(f"{leaf}/memory.events"):
                most = max(most, int(read(f"{leaf}/memory.current")))
                self.assertFalse(self.answered(worker), f"{most >> 20} MiB")
        except OSError:  # its cgroup is gone, and so is it
            pass
        print(f"# {most >> 20} MiB were seen")
        self.assertLess(most, LIMIT)
        self.wait("its end is told", lambda: self.jobs_of("worker")[0]["state"] == "lost")

    def answered(self, worker):
        try:
            worker.strings.settimeout(0)
            return worker.strings.recv(8)
        except BlockingIOError:
            return None

    def test_a_worker_is_limited_by_the_next_daemon(self):
        """Its VMM died while there was none."""
        worker, old = self.worker(), self.main_pid()
        leaf = worker.leaf
        with self.stopped(old):
            worker.kill_vmm()
            os.kill(old, signal.SIGKILL)
        self.another_main_pid(old)
        self.limited(leaf)

    def test_a_keeper_needs_little(self):
        """So an honest one never meets the limit: all of its work, up to the end of its VM."""
        vmm, most = self.machine("anna"), 0
        self.registered(1)
        leaf = cgroup_of(vmm.keeper)
        vmm.do("touch 64M")
        vmm.do("protect")
        for n in range(3):
            vmm.do("reboot")
            vmm.wait_outcomes(n + 1)
        vmm.kill()
        try:
            while True:
                most = max(most, int(read(f"{leaf}/memory.peak")))
        except OSError:
            pass
        print(f"# {most >> 10} KiB at most")
        self.assertGreater(most, 0)
        self.assertLess(most, NEED)
        self.wait("it is done", lambda: self.jobs_of("anna")[-1]["state"] == "done")


class Threads(Installed):
    def refused(self, worker):
        self.assertEqual(worker.introduce(harness.register(b"worker"))[0], harness.UNGOVERNED)
        self.assertEqual(self.ctl_json("list"), [])
        self.assertIn("\npvreaper_threaded_workers_total 1\n", self.ctl("metrics"))

    def test_a_worker_is_one_thread(self):
        worker = Worker(self)
        worker.connect()
        worker.order(b"thread")
        place = cgroup_of(worker.pid)
        self.refused(worker)
        self.assertEqual(cgroup_of(worker.pid), place)
        record, = self.wait_journal(PV_PID=str(worker.pid), PRIORITY="4")
        self.assertIn("it has more than one thread, and a worker has one", record["MESSAGE"])

    def test_a_worker_stays_one_thread(self):
        worker = Worker(self)
        worker.register()
        with self.assertRaises(BlockingIOError):  # EAGAIN of clone(2)
            worker.order(b"thread")

    def test_a_thread_made_on_the_way(self):
        """After the daemon has counted, and before the worker is where it can make none."""
        worker = Worker(self)
        worker.connect()
        start = read(f"/proc/{worker.pid}/stat").rpartition(")")[2].split()[19]
        leaf = f"{guest.cgroup_of_unit(installed.WORKERS)}/jobs/vm-{worker.pid}-{start}"
        pid = self.main_pid()
        tracer = subprocess.Popen(
            ["strace", "-qq", "-P", f"{leaf}/cgroup.procs", "-e", "trace=write", "-e",
             f"inject=write:delay_enter={DELAY_SECONDS * 1_000_000}", "-p", str(pid)],
            stderr=subprocess.DEVNULL)
        self.addCleanup(tracer.wait)
        self.addCleanup(tracer.terminate)
        self.wait("it is traced", lambda: re.search(r"^TracerPid:\s*[1-9]",
                                                    read(f"/proc/{pid}/status"), re.MULTILINE))
        link, worker.link = worker.link, None
        link.send(harness.hello())
        link.send(harness.register(b"worker"))
        self.wait("it is about to be moved", lambda: os.path.exists(leaf))
        time.sleep(DELAY_SECONDS / 2)
        worker.order(b"thread")
        self.wait("it is gone", lambda: not os.path.exists(f"/proc/{worker.pid}"))
        link.close()
        self.assertEqual(self.ctl_json("list"), [])
        self.wait_journal(MESSAGE=f"process {worker.pid} made threads while it was moved: "
                          "it is killed")
        self.wait("its cgroup is gone", lambda: not os.path.exists(leaf))


class Devices(Installed):
    def tries(self, leaf, path):
        """What a shell in a worker's cgroup is told when it opens this."""
        script = f"echo $$ >{leaf}/cgroup.procs; exec 3<{path} && echo opened"
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False,
                              timeout=guest.TIMEOUT)

    def assert_closed(self, leaf):
        for path in "/dev/kvm", "/dev/kmsg":
            self.assertIn("Operation not permitted", self.tries(leaf, path).stderr)
        self.assertEqual(self.tries(leaf, "/dev/null").stdout, "opened\n")

    def test_a_worker_opens_no_device(self):
        """What it has open, its VM, it can use all the same; systemd starting anew changes none."""
        vmm = self.machine("anna")
        self.registered(1)
        self.assert_closed(cgroup_of(vmm.keeper))
        for command in "daemon-reload", "daemon-reexec":
            systemctl(command)
            self.assert_closed(cgroup_of(vmm.keeper))
        vmm.do("protect")
        vmm.do("reboot")
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "done")


if __name__ == "__main__":
    tap.main()
