# SPDX-License-Identifier: LGPL-2.1-or-later
"""VMs of this process: what pvsim.ko has of KVM's interface, by ioctl(2) from Python.

An fd that make_vm() returns is the caller's. Such a VM has no vCPU, whose mapping would hold it, so
it ends with the last of its fds.
"""

import fcntl
import os
import struct

CREATE_VM, CREATE_VCPU, CHECK_EXTENSION = 0xAE01, 0xAE41, 0xAE03
SET_REGION, PV_COMMAND = 0x4020AE46, 0xC020AEC5
ENABLE, DISABLE, PREPARE, PERFORM = 0, 1, 9, 10
VERIFY, NONSENSE = 4, 99
GIB = 1 << 30
PAGES_4G = 4 * GIB // 4096


def set_memory(vm, size):
    fcntl.ioctl(vm, SET_REGION, struct.pack("=IIQQQ", 0, 0, 0, size, 0))


def make_vm(size=4 * GIB):
    dev = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    vm = fcntl.ioctl(dev, CREATE_VM, 0)
    os.close(dev)
    set_memory(vm, size)
    return vm


def command(vm, number, rc=0, rrc=0, flags=0):
    """(0 or -errno, rc, rrc)"""
    buffer = bytearray(struct.pack("=IHHQIIII", number, rc, rrc, 0, flags, 0, 0, 0))
    try:
        result = fcntl.ioctl(vm, PV_COMMAND, buffer)
    except OSError as error:
        result = -error.errno
    return result, *struct.unpack_from("=HH", buffer, 4)


def pv(vm, number, **arguments):
    return command(vm, number, **arguments)[0]
