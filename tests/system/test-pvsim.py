#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Does pvsim.ko do what KVM does? States, codes, address space, fatal signals, the last close."""

import contextlib
import errno
import fcntl
import os
import signal
import socket
import time

import guest
from guest import Case, tap
from harness import process_state
from kvm import (CHECK_EXTENSION, CREATE_VCPU, DISABLE, ENABLE, GIB, NONSENSE, PAGES_4G, PERFORM,
                 PREPARE, VERIFY, command, make_vm, pv, set_memory)


class Simulator(Case):
    ns_per_page = 0

    def vm(self, size=4 * GIB):
        vm = make_vm(size)
        self.addCleanup(self.close, vm)
        return vm

    def close(self, vm):
        with contextlib.suppress(OSError):
            os.close(vm)

    def set_aside(self, vm):
        self.assertEqual(pv(vm, ENABLE), 0)
        self.assertEqual(pv(vm, PREPARE), 0)

    def child(self, work):
        """Forks; what work() returns is the exit status. The pid."""
        pid = os.fork()
        if pid == 0:
            try:
                os._exit(work())
            finally:
                os._exit(255)
        return pid

    def reap(self, pid):
        return os.waitpid(pid, 0)[1]

    def cgroup(self, name):
        os.mkdir(f"{self.cgroups.top}/{name}")
        return f"{self.cgroups.top}/{name}"


def enter(cgroup):
    with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as file:
        file.write("0")


class States(Simulator):
    def test_fd_has_the_name_of_kvm(self):
        self.assertEqual(os.readlink(f"/proc/self/fd/{self.vm()}"), "anon_inode:kvm-vm")

    def test_capability(self):
        vm = self.vm()
        self.assertEqual(fcntl.ioctl(vm, CHECK_EXTENSION, 224), 1)
        self.assertEqual(fcntl.ioctl(vm, CHECK_EXTENSION, 9999), 0)

    def test_enable_disable(self):
        vm = self.vm()
        self.assertEqual(pv(vm, DISABLE), -errno.EINVAL)
        self.assertEqual(command(vm, ENABLE), (0, 1, 0))
        self.assertEqual(pv(vm, ENABLE), -errno.EINVAL)
        self.assertEqual(pv(vm, VERIFY), 0)
        self.assertEqual(command(vm, DISABLE), (0, 1, 0))
        self.assertEqual(pv(vm, VERIFY), -errno.EINVAL)

    def test_prepare(self):
        vm = self.vm()
        self.assertEqual(pv(vm, PREPARE), -errno.EINVAL)  # not protected
        self.assertEqual(pv(vm, ENABLE), 0)
        self.assertEqual(command(vm, PREPARE), (0, 1, 42))
        self.assertEqual(pv(vm, PREPARE), -errno.EINVAL)  # not protected any more
        self.assertEqual(pv(vm, ENABLE), 0)
        self.assertEqual(pv(vm, PREPARE), -errno.EINVAL)  # one is set aside
        self.assertEqual(pv(vm, PERFORM), 0)
        self.assertEqual(pv(vm, PREPARE), 0)

    def test_prepare_of_more_than_2_gib(self):
        vm = self.vm(2 * GIB)
        self.assertEqual(pv(vm, ENABLE), 0)
        self.assertEqual(pv(vm, PREPARE), -errno.EINVAL)
        set_memory(vm, 2 * GIB + 4096)
        self.assertEqual(pv(vm, PREPARE), 0)

    def test_perform_leaves_rc(self):
        vm = self.vm()
        self.assertEqual(command(vm, PERFORM, rc=7, rrc=9), (-errno.EINVAL, 7, 9))
        self.set_aside(vm)
        self.assertEqual(command(vm, PERFORM, rc=7, rrc=9), (0, 7, 9))
        self.assertEqual(pv(vm, PERFORM), -errno.EINVAL)
        self.assertEqual([e["seq"] for e in self.sim.performed()], ["1"])

    def test_disable_takes_what_is_set_aside(self):
        vm = self.vm()
        self.set_aside(vm)
        self.assertEqual(pv(vm, DISABLE), -errno.EINVAL)
        self.assertEqual(pv(vm, ENABLE), 0)
        self.assertEqual(pv(vm, DISABLE), 0)
        self.assertEqual(pv(vm, PERFORM), -errno.EINVAL)
        end, = self.sim.commands("DISABLE", ret=0)
        self.assertEqual((end["seq"], end["aside"]), ("2", "1"))
        self.assertEqual(int(end["pages"]), 2 * PAGES_4G)

    def test_parameters(self):
        vm = self.vm()
        self.assertEqual(pv(vm, ENABLE), 0)
        self.parameter("fail_prepare", errno.EBUSY)
        self.assertEqual(pv(vm, PREPARE), -errno.EBUSY)
        self.parameter("fail_prepare", 0)
        self.parameter("async_destroy", 0)
        self.assertEqual(pv(vm, PREPARE), -errno.EINVAL)
        self.parameter("async_destroy", 1)
        self.assertEqual(pv(vm, PREPARE), 0)
        self.parameter("fail_perform", errno.EIO)
        self.assertEqual(pv(vm, PERFORM), -errno.EIO)

    def test_arguments(self):
        vm = self.vm()
        self.assertEqual(pv(vm, NONSENSE), -errno.ENOTTY)
        self.assertEqual(pv(vm, ENABLE, flags=1), -errno.EINVAL)
        with self.assertRaises(OSError) as caught:
            fcntl.ioctl(vm, 0xAE99)
        self.assertEqual(caught.exception.errno, errno.ENOTTY)


class AddressSpace(Simulator):
    def assert_refused(self, vm):
        self.assertEqual(pv(vm, PERFORM), -errno.EIO)
        for request in CHECK_EXTENSION, CREATE_VCPU, 0xAE99:
            with self.assertRaises(OSError) as caught:
                fcntl.ioctl(vm, request, 224)
            self.assertEqual(caught.exception.errno, errno.EIO)

    def test_child_of_fork_is_refused(self):
        vm = self.vm()
        self.set_aside(vm)
        pid = self.child(lambda: self.assert_refused(vm) or 0)
        self.assertEqual(self.reap(pid), 0)
        refused, = self.sim.commands("PERFORM", ret=-errno.EIO)
        self.assertEqual(refused["pid"], str(pid))
        self.assertEqual(pv(vm, PERFORM), 0)

    def test_receiver_of_the_fd_is_refused(self):
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        vm = self.vm()

        def receive():
            os.close(vm)
            _, fds, _, _ = socket.recv_fds(there, 1, 1)
            self.assert_refused(fds[0])
            return 0

        with here, there:
            pid = self.child(receive)
            socket.send_fds(here, [b"x"], [vm])
            self.assertEqual(self.reap(pid), 0)

    def test_process_that_shares_memory_is_served(self):
        vmm = self.vmm("eva")  # without a daemon: the keeper goes ahead once it has none
        self.daemon()
        vmm.do("protect")
        vmm.do("reboot")
        vmm.wait_outcomes(1)
        performed, = self.sim.performed()
        self.assertEqual((performed["comm"], performed["pid"]), ("pvr-keeper", str(vmm.keeper)))
        self.assertNotEqual(performed["pid"], performed["vm"].partition(".")[0])


class Work(Simulator):
    def test_pages_cost_cpu_time_of_the_caller(self):
        vm, cgroup = self.vm(), self.cgroup("performer")
        self.set_aside(vm)
        self.parameter("ns_per_page", 500)
        before = time.thread_time_ns()
        self.assertEqual(pv(vm, PERFORM), 0)
        spent = time.thread_time_ns() - before
        self.assertGreater(spent, 500 * PAGES_4G * 95 // 100)
        self.assertLess(spent, 500 * PAGES_4G * 2)
        self.assertEqual(guest.cpu_usec(cgroup), 0)

    def killed_inside_perform(self, cgroup):
        """A VM whose maker was killed one tenth into PERFORM; we have the last fd of it."""
        here, there = socket.socketpair()

        def make_and_perform():
            enter(cgroup)
            vm = make_vm()
            self.set_aside(vm)
            guest.set_parameter("ns_per_page", 2000)  # 2.1 s
            socket.send_fds(there, [b"x"], [vm])
            return pv(vm, PERFORM) and 1

        with here, there:
            pid = self.child(make_and_perform)
            _, (vm,), _, _ = socket.recv_fds(here, 1, 1)
        self.wait("PERFORM has begun", lambda: self.sim.commands("PERFORM", ev="begin"))
        time.sleep(0.2)
        begin = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.reap(pid), signal.SIGKILL)
        self.assertLess(time.monotonic() - begin, 1)
        return vm

    def test_sigkill_ends_perform_and_last_close_does_the_rest(self):
        maker, closer = self.cgroup("maker"), self.cgroup("closer")
        vm = self.killed_inside_perform(maker)
        end, = self.sim.commands("PERFORM")
        self.assertEqual((end["ret"], end["rc"], end["rrc"]), ("0", "1", "42"))
        self.assertLess(int(end["pages"]), PAGES_4G * 3 // 4)
        self.assertGreater(int(end["pages"]), 0)
        self.assertEqual(self.sim.commands("CLOSE", ev="begin"), [])

        def close():
            enter(closer)
            os.close(vm)
            return 0

        ours = guest.cpu_usec(maker)
        pid = self.child(lambda: close())
        os.close(vm)
        self.assertEqual(self.reap(pid), 0)
        closed, = self.sim.commands("CLOSE")
        self.assertEqual(int(closed["pages"]), PAGES_4G - int(end["pages"]))
        self.assertEqual((closed["pid"], f"{guest.CGROUPS}{closed['cgroup']}"), (str(pid), closer))
        self.assertGreater(guest.cpu_usec(closer, "system_usec"),
                           int(closed["pages"]) * 2 * 9 // 10)
        self.assertEqual(guest.cpu_usec(maker), ours)

    def test_last_close_cannot_be_killed(self):
        vm = self.vm()
        self.set_aside(vm)
        self.assertEqual(pv(vm, ENABLE), 0)  # one set aside, one protected: 8 GiB
        self.parameter("ns_per_page", 500)
        pid = self.child(lambda: os.close(vm) or 0)
        os.close(vm)
        self.wait("the end has begun", lambda: self.sim.commands("CLOSE", ev="begin"))
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.reap(pid), signal.SIGKILL)
        closed, = self.sim.commands("CLOSE")
        self.assertEqual(int(closed["pages"]), 2 * PAGES_4G)
        self.assertEqual((closed["seq"], closed["aside"]), ("2", "1"))
        begin, = self.sim.commands("CLOSE", ev="begin")
        self.assertGreater(int(closed["t"]) - int(begin["t"]), 500 * 2 * PAGES_4G)

    def test_disable_does_the_rest_of_a_killed_perform(self):
        vmm = self.vmm("ida")
        self.daemon()
        vmm.do("protect")
        self.parameter("ns_per_page", 2000)
        vmm.do("reboot")
        self.performing()
        os.kill(vmm.keeper, signal.SIGKILL)
        end = self.wait("PERFORM has ended", lambda: self.sim.commands("PERFORM"))[0]
        self.assertEqual((end["rc"], end["rrc"]), ("1", "42"))
        self.parameter("ns_per_page", 0)
        vmm.do("disable")
        disabled, = self.sim.commands("DISABLE", ret=0)
        self.assertEqual(int(disabled["pages"]), 2 * PAGES_4G - int(end["pages"]))

    def test_mapping_of_a_vcpu_keeps_the_vm(self):
        vmm = self.vmm("ute")
        with open(f"/proc/{vmm.keeper}/task/{vmm.keeper}/children", encoding="ascii") as children:
            guard = int(children.read())
        self.assertEqual(self.sim.commands("CLOSE", ev="begin"), [])
        os.kill(vmm.keeper, signal.SIGSTOP)
        vmm.kill()
        self.wait("the guard has ended", lambda: process_state(guard) == "Z")
        self.assertEqual(self.sim.commands("CLOSE", ev="begin"), [])  # the keeper has the mapping
        os.kill(vmm.keeper, signal.SIGKILL)
        closed = self.wait("the VM has ended", lambda: self.sim.commands("CLOSE"))
        self.assertEqual([e["comm"] for e in closed], ["pvr-keeper"])


if __name__ == "__main__":
    tap.main()
