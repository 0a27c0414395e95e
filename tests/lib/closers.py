# SPDX-License-Identifier: LGPL-2.1-or-later
"""release.sock as systemd would serve it: a closer for each connection, each in a cgroup of its own
named like its unit, and at most so many of them; and a client that says what it is told.
"""

import array
import os
import socket
import subprocess
import threading

import harness
from raw import make_vm

CLOSER = f"{harness.BUILD}/src/closer/pv-reaper-closer"
SLOW_PERFORM = f"{harness.BUILD}/tests/standins/slow-perform.so"
START = 'exec 3<&0 </dev/null; exec env LISTEN_FDS=1 LISTEN_PID=$$ "$0"'


def slow_perform(msec, error=5):
    """The environment of a closer in whose kernel PERFORM takes a while, also of a VM that the
    simulator stands in for (see slow-perform.c).
    """
    return {"LD_PRELOAD": SLOW_PERFORM, "SLOW_PERFORM_MSEC": str(msec),
            "SLOW_PERFORM_ERROR": str(error), "SLOW_PERFORM_STANDIN": "1"}


class Closer:
    def __init__(self, case, number, connection, env):
        self.unit = f"pv-reaper-closer@{number}-9-0.service"
        self.cgroup = f"{case.cgroups.top}/{self.unit}"
        self.connection = connection  # PID 1 keeps it open, too, until the unit is dead
        self.log_path = f"{case.directory}/{self.unit}.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", START, CLOSER], stdin=connection, stderr=log,
                preexec_fn=case.cgroups.enter(self.unit),
                env={**os.environ, "PVREAPER_SOCKET": case.socket, **env})

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return harness.read(self.log_path)

    def wait(self):
        return self.process.wait(harness.TIMEOUT)

    def collect(self):
        """What PID 1 does once it has ended."""
        self.connection.close()
        os.rmdir(self.cgroup)

    def left_behind(self):
        """What PID 1 would close once the closer has ended: (data, fds) left in its connection."""
        self.connection.setblocking(False)
        try:
            data, control, _, _ = self.connection.recvmsg(4096, socket.CMSG_LEN(4 * 253))
        except ConnectionResetError:
            data, control, _, _ = self.connection.recvmsg(4096, socket.CMSG_LEN(4 * 253))
        fds = array.array("i", b"".join(c[2] for c in control))
        for fd in fds:
            os.close(fd)
        return data, len(fds)

    def holds_vm(self):
        return harness.has_vm(self.pid)


class Closers(threading.Thread):
    """What pv-reaper-release.socket is: Accept=yes, MaxConnections=limit."""

    def __init__(self, case, path, limit=64, **env):
        super().__init__(daemon=True)
        self.case, self.limit, self.env, self.started = case, limit, env, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.bind(path)
        self.socket.listen(128)
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            if sum(c.process.poll() is None for c in self.started) < self.limit:
                self.started.append(Closer(self.case, len(self.started), connection, self.env))
            else:
                connection.close()

    def end(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.join()
        self.socket.close()
        for closer in self.started:
            if closer.process.poll() is None:
                closer.process.kill()
            closer.process.wait(harness.TIMEOUT)
            closer.connection.close()


class Client:
    """A connection to release.sock."""

    def __init__(self, case):
        self.link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        case.addCleanup(self.link.close)
        self.link.settimeout(harness.TIMEOUT)
        self.link.connect(case.release_socket)

    def receive(self):
        """(type, fields...) or () at the end.

        What a closer left unread is announced by one ECONNRESET, ahead of its last words.
        """
        try:
            packet = self.link.recv(4096)
        except ConnectionResetError:
            packet = self.link.recv(4096)
        return harness.unpack(packet) if packet else ()

    def send(self, packet, *fds):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.link.sendmsg([packet], control)

    def close(self):
        self.link.close()


def release_packet(name=b"raw", mem=1 << 30):
    return harness.pack(harness.RELEASE, 0, name, mem)


class CloserCase(harness.Case):
    """close_vm() makes a VM and hands it over; nobody else holds it then.

    Without /dev/kvm, VMs are stand-ins, and what KVM says to a closer's PERFORM (-EIO, which
    test-premise.py shows) comes from slow-perform.c.
    """

    def setUp(self):
        super().setUp()
        self.release_socket = f"{self.directory}/release.sock"
        self.closers = None

    def serve(self, limit=64, **env):
        kernel = {} if harness.has_kvm() else slow_perform(0)
        self.closers = Closers(self, self.release_socket, limit, **kernel | env)
        self.addCleanup(self.closers.end)
        return self.closers

    def serve_slowly(self, msec, error=5, **env):
        return self.serve(**slow_perform(msec, error), **env)

    def close_vm(self, name="raw", n_fds=1):
        """Its closer."""
        number, vm = len(self.closers.started), make_vm()
        try:
            client = Client(self)
            self.assertEqual(client.receive()[0], harness.READY)
            client.send(release_packet(name.encode()), *[vm] * n_fds)
            self.assertEqual(client.receive(), (harness.HELD, 0))
            client.close()
        finally:
            os.close(vm)
        return self.started(number)

    def started(self, number):
        self.wait(f"closer {number}", lambda: len(self.closers.started) > number)
        return self.closers.started[number]

    def ended(self, name, n=1):
        """Waits until n jobs of that name have ended; how."""
        def ends():
            states = [j["state"] for j in self.jobs_of(name)]
            return len(states) >= n and not {"queued", "running"} & set(states) and states
        return self.wait(f"{n} jobs of {name} have ended", ends)

    def job(self, name):
        jobs = self.jobs_of(name)
        self.assertEqual(len(jobs), 1, jobs)
        return jobs[0]
