#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Why there is a keeper at all: KVM serves a VM's own address space and nobody else. No simulator.

Whoever has the VM fd but not the memory gets EIO for any question, however he came by the fd. A
keeper shares the memory and gets past that check: to whatever this machine says to a command for
IBM Z, which is ENOTTY on all others. If a kernel ever changes this, it is seen here first.
"""

import errno
import fcntl
import os
import platform
import socket
import subprocess
import sys

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import Case, tap

KVM_CREATE_VM, KVM_CHECK_EXTENSION = 0xAE01, 0xAE03
PV_COMMAND, PERFORM, COMMAND_SIZE = 0xC020AEC5, 10, 32

RECEIVER = """
import fcntl, socket, sys
message, fds, _, _ = socket.recv_fds(socket.socket(fileno=0), 4, 1)
try:
    fcntl.ioctl(fds[0], int(sys.argv[1]), bytearray.fromhex(sys.argv[2]) if sys.argv[2] else 0)
    print(0)
except OSError as error:
    print(error.errno)
"""


def command(number):
    """struct kvm_pv_cmd: the command, zeroes."""
    return bytearray(number.to_bytes(4, sys.byteorder)) + bytearray(COMMAND_SIZE - 4)


def ask(fd, request, argument):
    """The errno of an ioctl, 0 for none."""
    try:
        fcntl.ioctl(fd, request, argument)
        return 0
    except OSError as error:
        return error.errno


def ask_in_fork(fd, request, argument):
    pid = os.fork()
    if pid == 0:
        os._exit(ask(fd, request, argument))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def ask_elsewhere(fd, request, argument):
    """By a program that gets the fd by SCM_RIGHTS."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.send_fds(ours, [b"fd"], [fd])
        result = subprocess.run(
            [sys.executable, "-c", RECEIVER, str(request),
             argument.hex() if isinstance(argument, bytearray) else ""],
            stdin=theirs, capture_output=True, text=True, timeout=harness.TIMEOUT, check=True)
    return int(result.stdout)


class Premise(Case):
    def setUp(self):
        super().setUp()
        if not harness.has_kvm():
            self.skipTest("no /dev/kvm: it is KVM itself that is asked")
        self.kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        self.addCleanup(os.close, self.kvm)

    def new_vm(self):
        vm = fcntl.ioctl(self.kvm, KVM_CREATE_VM, 0)
        self.addCleanup(os.close, vm)
        return vm

    def own_answer(self):
        """What KVM says to a PERFORM with nothing set aside, in the VM's own address space."""
        answer = ask(self.new_vm(), PV_COMMAND, command(PERFORM))
        if platform.machine() == "x86_64":
            self.assertEqual(answer, errno.ENOTTY)
        self.assertNotIn(answer, (0, errno.EIO))
        return answer

    def check_refused(self, how):
        vm = self.new_vm()
        self.assertEqual(how(vm, PV_COMMAND, command(PERFORM)), errno.EIO)
        # not even the most harmless question, which its owner may ask
        self.assertEqual(how(vm, KVM_CHECK_EXTENSION, 0), errno.EIO)
        self.assertEqual(ask(vm, KVM_CHECK_EXTENSION, 0), 0)

    def test_fork_is_refused(self):
        self.check_refused(ask_in_fork)

    def test_receiver_is_refused(self):
        self.check_refused(ask_elsewhere)

    def check_keeper(self, vmm):
        answer = errno.errorcode[self.own_answer()]
        vmm.do("handoff")
        outcome = vmm.wait_outcomes(1)[0]
        self.assertEqual(outcome["error"], f"-{answer}")
        self.assertEqual(outcome["result"], "superseded" if answer == "EINVAL" else "failed")
        self.assertEqual(outcome["job"], "1")  # by the keeper

    def test_keeper_is_not(self):
        self.check_keeper(self.vmm("anna", sim=False, env={"PVREAPER_GRACE_MSEC": "100"}))

    def test_keeper_in_a_cgroup_of_its_own_is_not(self):
        self.daemon()
        vmm = self.vmm("anna", sim=False)
        self.registered(1)
        self.check_keeper(vmm)
        if self.cgroups.top:
            self.assertNotEqual(self.cgroups.of(vmm.keeper), self.cgroups.of(vmm.pid))


if __name__ == "__main__":
    tap.main()
