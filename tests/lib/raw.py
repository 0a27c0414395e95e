# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of a hostile client stand on: workers that say what they are told (puppet.c), a
daemon on an older kernel, an fd whose last close takes long, and a case that looks whether anybody
else noticed.
"""

import array
import contextlib
import ctypes
import fcntl
import os
import platform
import re
import socket
import struct
import subprocess
import threading
import time

import harness
from puppet import Puppet

SLOW_SECONDS = 5  # a daemon that answers later than that was held up by somebody
LINGER_SECONDS = 25
SO_PASSRIGHTS = 83
KVM_CREATE_VM = 0xAE01


class RawWorker(Puppet):
    """A Puppet that sleeps unless it is told not to, and may have a second worker beside it."""

    beat_msec = -1

    def __init__(self, case, name="raw", mem=1 << 30, prefix=()):
        super().__init__(case, name, mem, prefix)

    def order(self, word):
        """(pid of who answered, its connection or None)"""
        self.strings.send(word)
        size = struct.calcsize("ii")
        data, control, _, _ = self.strings.recvmsg(size, socket.CMSG_SPACE(4))
        pid, error = struct.unpack("ii", data)
        if error:
            raise OSError(error, os.strerror(error))
        fds = array.array("i", control[0][2] if control else b"")
        return pid, socket.socket(fileno=fds[0]) if fds else None

    def burn(self):
        self.order(b"burn")

    def introduce(self, packet):
        """A new connection with HELLO and this REGISTER; what the daemon answers to it."""
        self.connect()
        self.send(harness.hello())
        self.send(packet)
        return self.receive()


def old_kernel():
    """For preexec_fn: no SO_PASSRIGHTS and no SO_PEERPIDFD from here on, as before Linux 6.5."""
    getsockopt, setsockopt = SYSCALLS[platform.machine()]
    option = 16 + 8 * 2 + (4 if struct.pack("=H", 1) == b"\0\1" else 0)  # low half of args[2]
    program = [  # code, if true, if false, value; jumps are relative
        (0x20, 0, 0, 0),                    # the number of the system call
        (0x15, 1, 0, setsockopt),
        (0x15, 2, 4, getsockopt),
        (0x20, 0, 0, option),
        (0x15, 3, 2, SO_PASSRIGHTS),
        (0x20, 0, 0, option),
        (0x15, 1, 0, 77),                   # SO_PEERPIDFD
        (0x06, 0, 0, 0x7FFF0000),           # SECCOMP_RET_ALLOW
        (0x06, 0, 0, 0x00050000 | 92),      # SECCOMP_RET_ERRNO, ENOPROTOOPT
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *p) for p in program))
    header = struct.pack("@HP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if libc.prctl(22, 2, header, 0, 0) < 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "seccomp")


SYSCALLS = {"x86_64": (55, 54), "s390x": (365, 366)}  # getsockopt, setsockopt


def kernel_refuses_fds():
    """Whether this kernel has SO_PASSRIGHTS (Linux 6.16)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        try:
            s.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
        except OSError:
            return False
    return True


@contextlib.contextmanager
def slow_to_close():
    """A socket whose last close blocks for LINGER_SECONDS: nobody reads what it still has to send.

    That stands for a VM fd, whose last close can take minutes. Whoever exits is spared.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(bytes(1 << 16))
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER_SECONDS))
    try:
        yield ours
    finally:
        theirs.close()  # nothing to wait for any more
        ours.close()


def make_vm():
    """A VM fd; without /dev/kvm, the simulator's stand-in for one."""
    try:
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return os.memfd_create("kvm-vm")
    try:
        return fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
    finally:
        os.close(kvm)


def resident_kib(pid):
    """Its memory; 0 under a sanitizer, which keeps what was freed, and terabytes of addresses."""
    status = dict(line.split(":", 1) for line in
                  harness.read(f"/proc/{pid}/status").splitlines() if ":" in line)
    sizes = [int(status[key].split()[0]) for key in ("VmRSS", "VmSize")]
    return sizes[0] if sizes[1] < 1 << 30 else 0


def fds_at_rest(case, daemon):
    """How many fds it has when nobody asks it for anything and no job runs."""
    case.wait("no job runs", lambda: case.ctl_json("status")["running"] == 0)
    # The name a socket was bound to stays with it, also when the file is renamed (listen.c).
    connected = re.compile(rf"^(\S+ ){{5}}03 +\d+ {re.escape(case.control)}(\.new)?$", re.M)
    case.wait("nobody asks", lambda: not connected.search(harness.read("/proc/net/unix")))
    return daemon.n_fds()


class Watch(threading.Thread):
    """Asks the daemon for its status all the time and notes how long that takes."""

    def __init__(self, case):
        super().__init__(daemon=True)
        self.case, self.slowest, self.error, self.leave = case, 0, None, threading.Event()

    def run(self):
        try:
            while not self.leave.wait(0.1):
                start = time.monotonic()
                self.case.ctl_json("status")
                self.slowest = max(self.slowest, time.monotonic() - start)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def stop(self):
        self.leave.set()
        self.join()


class PeerCase(harness.Case):
    """serve() starts a daemon and a VMM that knows nothing of what the test does to the daemon.

    After each test: the daemon lives and serves that VMM, has no fd more than before, has answered
    quickly all the time, and its log is printable ASCII.
    """

    served = None

    def setUp(self):
        super().setUp()
        self.workers = []
        with open(self.config, "w", encoding="ascii") as file:  # all of a test is one unit
            file.write("[limits]\nunit-arrivals=infinity\n")

    def serve(self, *options, **arguments):
        self.served = self.daemon(*options, **arguments)
        self.vm = self.vmm("bystander")
        self.vm.do("protect")
        self.registered(1)
        self.reboot()
        self.n_fds = fds_at_rest(self, self.served)
        self.watch = Watch(self)
        self.watch.start()
        return self.served

    def serve_on_old_kernel(self, *options, **arguments):
        if platform.machine() not in SYSCALLS:
            self.skipTest("cannot hide SO_PASSRIGHTS: system call numbers unknown here")
        try:
            subprocess.run(["true"], preexec_fn=old_kernel, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            self.skipTest(f"cannot hide SO_PASSRIGHTS: {error}")
        return self.serve(*options, preexec_fn=old_kernel, **arguments)

    def tearDown(self):
        for worker in self.workers:
            worker.end()
        if not self.served:
            return
        self.watch.stop()
        self.assertIsNone(self.watch.error)
        self.assertLess(self.watch.slowest, SLOW_SECONDS, "status answered too late")
        self.assertIsNone(self.served.process.poll(), self.served.log()[-1000:])
        self.assertLess(self.reboot(), SLOW_SECONDS)
        self.wait(f"the daemon has {self.n_fds} fds again, not {harness.own_fds(self.served.pid)}",
                  lambda: self.served.n_fds() == self.n_fds)
        self.assertNotRegex(self.served.log(), r"[^\x20-\x7e\n]")

    def reboot(self):
        """The bystander's guest reboots; how long it takes until its memory is cleared."""
        start, n = time.monotonic(), len(self.vm.outcomes)
        self.vm.do("reboot")
        self.assertEqual(self.vm.wait_outcomes(n + 1)[-1]["result"], "done")
        return time.monotonic() - start

    def worker(self, *arguments):
        self.workers.append(RawWorker(self, *arguments))
        return self.workers[-1]

    def client(self):
        """A connection of this process, which is no keeper."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(client.close)
        client.settimeout(harness.TIMEOUT)
        client.connect(self.socket)
        return client

    def end_of(self, link, timeout=harness.TIMEOUT):
        """Waits until the daemon ends a connection; the types of the messages before."""
        link.settimeout(timeout)
        types = []
        with contextlib.suppress(ConnectionResetError):
            while packet := link.recv(4096):
                types.append(harness.unpack(packet)[0])
        link.close()
        return types

    def offer(self, link, *packets):
        """Sends until the daemon has had enough."""
        for packet in packets:
            try:
                link.send(packet)
            except (BrokenPipeError, ConnectionResetError):
                return

    def log_has(self, text):
        return self.wait(f"the log says: {text}", lambda: text in self.served.log())

    def workers_in_cgroups(self):
        return [name for name in os.listdir(f"{self.cgroups.top}/jobs") if name.startswith("vm-")]
