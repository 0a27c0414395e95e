#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stock QEMUs that end, in the ways that test-shutdown.py shows with a small VMM.

Their memory is real, and of every kind that a guest's RAM may be; see qemu.py for the rest.
"""

import os
import signal
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import ends
import qemu
from ends import MIB, Ends, anonymous, has_mapping
from harness import TIMEOUT, has_vm, process_state, tap

ORDINARY = {"PVSIM_PROTECTABLE": "0", "PVREAPER_GRACE_MSEC": "600000"}  # guests, and patient
SIZE = 128 * MIB
HUGE_PAGE = 2 * MIB
GRACE, WORK = 1, 5  # seconds; of the grace time up to a quarter more
RING = "[io_uring]"


class EndsCase(Ends, qemu.QemuCase):
    def queued(self, name, kind="shutdown"):
        self.wait(f"{kind} of {name} waits", lambda: self.jobs(name) == [(kind, "queued")])


class AtOnce(EndsCase):
    """With its shutdown waiting, others have back what they may be waiting for; RAM is held."""

    def check(self, released, *arguments, size=SIZE, **keywords):
        """size: what is held, in anonymous memory."""
        self.daemon()
        puppet = self.take_slot()
        vm = self.qemu("-name", "guest=anna", *arguments, memory="128M",
                       **{"env": ORDINARY, **keywords})
        self.registered(2)
        self.assert_at_once(vm.kill, lambda: released(vm.keeper))
        self.queued("anna")
        self.assertIsNone(process_state(vm.pid))
        self.assertGreaterEqual(anonymous(vm.keeper), size)
        self.assertFalse(has_vm(vm.keeper))
        puppet.done()
        self.released(vm)
        self.wait("the job is done", lambda: self.jobs("anna") == [("shutdown", "done")])

    def more_memory(self):
        """Arguments for 128 MiB of anonymous memory besides; a DIMM where the machine has any."""
        more = ["-object", f"memory-backend-ram,id=more,size={SIZE},prealloc=on"]
        if qemu.MACHINE != "pc":
            return more
        return [*more, "-m", "slots=1,maxmem=1G", "-device", "pc-dimm,memdev=more"]

    def check_huge_pages(self, protectable):
        pages = SIZE // HUGE_PAGE
        self.add_huge_pages(pages)
        before = ends.free_huge_pages()
        self.check(lambda keeper: ends.free_huge_pages() >= before, *self.more_memory(),
                   backend="memory-backend-memfd,hugetlb=on,hugetlbsize=2M",
                   env={**ORDINARY, "PVSIM_PROTECTABLE": protectable})

    def test_huge_pages(self):
        self.check_huge_pages("0")

    def test_huge_pages_of_a_protected_guest(self):
        """The Ultravisor takes none of them."""
        self.check_huge_pages("1")

    def test_file_on_a_disk(self):
        path = self.path_on_disk()
        self.check(lambda keeper: not has_mapping(keeper, path), *self.more_memory(),
                   backend=f"memory-backend-file,mem-path={path},share=on")

    def test_mapped_device(self):
        """A ring of the kernel's, through which QEMU reads and writes a disk."""
        path = self.path_on_disk("disk")
        with open(path, "wb") as disk:
            disk.truncate(MIB)
        self.check(lambda keeper: not has_mapping(keeper, RING), "-blockdev",
                   f"driver=raw,node-name=disk,file.driver=file,file.filename={path},"
                   "file.aio=io_uring")


class Again(EndsCase):
    """It is started again as soon as its pid is gone, as libvirt would."""

    def test_huge_pages_of_its_own_size(self):
        """Twenty times, and the pool has room for one of it only."""
        self.add_huge_pages(SIZE // HUGE_PAGE)
        free, worst = ends.free_huge_pages(), 0
        if free > SIZE // HUGE_PAGE:
            self.skipTest("somebody else's huge pages are free")
        for i in range(21):
            vm = self.qemu("-name", f"guest={i}", memory="128M", env=ORDINARY,
                           backend="memory-backend-memfd,hugetlb=on,hugetlbsize=2M")
            self.assertEqual(ends.free_huge_pages(), 0)
            vm.kill()
            start = time.monotonic()
            if i % 2 == 0:  # the others are followed at once, whatever there is
                self.wait("the pool is full again", lambda: ends.free_huge_pages() >= free)
                worst = max(worst, time.monotonic() - start)
        print(f"the pool was full again {worst * 1000:.1f} ms after the pid had gone, at worst")


class Together(EndsCase):
    """Many at once, and a daemon that comes and goes."""
    daemon_options = ("--max-concurrent", "2")

    def test_ten_and_a_daemon_killed_three_times(self):
        self.need_cgroup()
        self.cpu_quota = "10%"
        vms = [self.qemu("-name", f"guest={i}", memory="128M", env=ORDINARY,
                         preexec_fn=qemu.no_huge_pages) for i in range(10)]
        self.assertGreaterEqual(min(anonymous(vm.keeper) for vm in vms), SIZE)

        def kill():
            for vm in vms:
                os.kill(vm.pid, signal.SIGKILL)

        self.end_all_at_once([vm.keeper for vm in vms], kill)
        for vm in vms:
            self.released(vm)

    def test_all_killed_at_once(self):
        self.daemon()
        vms = [self.qemu("-name", f"guest={i}", memory="256M") for i in range(10)]
        self.registered(10)
        for vm in vms:
            os.kill(vm.pid, signal.SIGKILL)
        for vm in vms:
            vm.kill()
        for vm in vms:
            self.released(vm)
        self.wait("all jobs are done", lambda: [self.jobs(str(i)) for i in range(10)] ==
                  [[("shutdown", "done")]] * 10)
        self.assertEqual(self.ctl_json("status")["ungoverned"], 0)


class Others(EndsCase):
    def test_daemon_killed_and_not_started_again(self):
        """Every waiting process is gone, and the memory back, after the grace time and the work."""
        daemon = self.daemon()
        self.take_slot()
        vms = [self.qemu("-name", f"guest={i}", memory="128M",
                         env={"PVREAPER_GRACE_MSEC": str(1000 * GRACE)}) for i in range(3)]
        self.registered(4)
        for vm in vms:
            vm.kill()
        for i, vm in enumerate(vms):
            self.queued(str(i))
            self.kept(vm, SIZE)
        killed = time.monotonic()
        daemon.kill()
        for vm in vms:
            self.released(vm)
        took = time.monotonic() - killed
        print(f"all gone {took:.2f} s after the daemon")
        self.assertGreaterEqual(took, GRACE)
        self.assertLess(took, 1.25 * GRACE + WORK)

    def test_exec(self):
        """QEMU's pid lives on, so nobody knows whose the memory is: it is not touched, and then
        left to the kernel, without a job.
        """
        self.daemon()
        path = self.path_on_disk()
        vm = self.qemu("-name", "guest=anna", "-object",
                       f"memory-backend-file,id=file,size=64M,mem-path={path},share=on",
                       memory="128M", env=ORDINARY, sandbox=None, told=True)
        self.registered(1)
        begin = time.monotonic()
        vm.exec()
        self.assert_left_to_the_kernel("anna", vm, begin)

    def test_oom_kill(self):
        """Whoever shares the memory goes with it; the job is lost, and said to be."""
        self.need_cgroup()
        daemon = self.daemon()
        self.take_slot()
        vm = self.qemu("-name", "guest=anna", memory="4G", touch=False, told=True,
                       preexec_fn=self.memory_cgroup(384 * MIB),
                       env={"PVSIM_PROTECTABLE": "1"})
        self.registered(2)
        vm.reboot()
        self.queued("anna", kind="reboot")
        vm.send("object-add", **{"qom-type": "memory-backend-ram", "id": "more",
                                 "size": 512 * MIB, "prealloc": True})
        self.assertEqual(vm.process.wait(TIMEOUT), -signal.SIGKILL)
        self.released(vm)
        self.wait("its job is lost", lambda: self.jobs("anna") == [("reboot", "lost")])
        self.assertIn("reboot of anna", daemon.log())
        self.assert_all_cleared(left=1)


if __name__ == "__main__":
    tap.main()
