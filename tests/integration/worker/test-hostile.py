#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Workers that know the protocol, and mean ill by it: the rest of SECURITY.md's table. What must
hold is that each harms itself at most. Afterwards, as in test-peers.py, the bystander's guest
reboots as before, and the daemon has what it had.
"""

import os
import socket
import stat
import subprocess
import sys
import threading
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import DONE, DONE_ACK, GRANT, UNGOVERNED, hello, pack, register, tap
from raw import PeerCase

FLOOD_SECONDS = 2
SHUTDOWN = 2


class HostileCase(PeerCase):
    def configure(self, text):
        with open(self.config, "a", encoding="ascii") as file:
            file.write(text)

    def finish(self, worker, seq=1):
        worker.send(pack(DONE, 0, seq, 1, 0, 0, 0, 0))
        worker.receive(DONE_ACK)

    def refused(self, link, name):
        """A worker that would be a second one of its address space is none."""
        self.offer(link, hello(), register(name))
        self.assertEqual(self.end_of(link), [UNGOVERNED])
        self.assertIsNone(self.state_of(name.decode()))


class Floods(HostileCase):
    def test_hello_over_and_over(self):
        """Each on a connection of its own, which is left behind half made."""
        self.serve()
        quiet, times, leave = max(self.reboot() for _ in range(3)), [], threading.Event()
        sent = 0

        def flood():
            nonlocal sent
            while not leave.is_set():
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
                    link.connect(self.socket)
                    self.offer(link, hello(), hello())
                    sent += 1

        flooder = threading.Thread(target=flood)
        flooder.start()
        try:
            end = time.monotonic() + FLOOD_SECONDS
            while time.monotonic() < end:
                times.append(self.reboot())
        finally:
            leave.set()
            flooder.join()
        print(f"reboots: {quiet:.3f} s, then {max(times):.3f} s; {sent} connections")
        self.assertGreater(sent, 100)
        self.assertLess(max(times), 3 * quiet + 1)
        self.wait("they are all gone", lambda: self.ctl_json("status")["connections"] == 1)
        self.assertEqual(len(self.ctl_json("list")), 1)


class Lies(HostileCase):
    def test_a_shutdown_of_a_living_vmm(self):
        """When memory is short shutdowns go first, but of VMMs that are dead."""
        self.configure("max-concurrent=1\nboost-max-concurrent=1\n[memory]\nmemory-low=100%\n")
        self.serve()
        self.assertEqual(self.ctl_json("status")["mode"], "boost")
        holder, honest, liar = (self.worker(name) for name in ("holder", "honest", "liar"))
        holder.take_slot()
        honest.register()
        honest.request()
        liar.register()
        liar.request(kind=SHUTDOWN)
        self.wait("both wait", lambda: self.ctl_json("status")["queued"] == 2)
        self.finish(holder)
        honest.receive(GRANT)
        self.finish(honest)
        liar.receive(GRANT)

    def test_waiting_for_nothing(self):
        """Who says that he has a job, and does not ask for a slot, takes none."""
        self.serve("--max-concurrent", "1")
        liar, honest = self.worker("liar"), self.worker("honest")
        liar.register(state=1)
        honest.take_slot()
        self.assertEqual(self.ctl_json("status")["queued"], 0)
        self.finish(honest)

    def test_stops_itself(self):
        """With the only slot. It is not waited for for ever, and loses nothing by it."""
        self.configure("overdue=1s\n")
        daemon = self.serve("--max-concurrent", "1")
        liar, honest = self.worker("liar"), self.worker("honest")
        liar.take_slot()
        with self.stopped(liar.pid):
            honest.register()
            honest.request()
            honest.receive(GRANT)
            self.assertIn("of liar is overdue", daemon.log())
            self.finish(honest)
        self.finish(liar)


class Twice(HostileCase):
    """One worker per address space, whoever's child it is."""

    def test_child_of_a_worker(self):
        """It was made before its parent was moved to where nothing can be made."""
        self.serve()
        worker = self.worker()
        _, link = worker.order(b"child")
        worker.register()
        self.refused(link, b"child")
        if self.cgroups.top:
            self.assertEqual(len(self.workers_in_cgroups()), 2)  # the bystander's and the first's

    def test_child_of_a_worker_in_place(self):
        """Without cgroups (--cgroup=none) the worker stays in the cgroup where it was."""
        self.cgroup_option = "none"
        self.serve()
        worker = self.worker()
        worker.register()
        self.refused(worker.order(b"child")[1], b"child")

    def test_parent_of_a_worker(self):
        """The child comes first, then the parent: the same address space all the same."""
        self.serve()
        worker = self.worker()
        _, link = worker.order(b"child")
        self.offer(link, hello(), register(b"child"))
        self.wait("it is registered", lambda: self.state_of("child"))
        self.assertEqual(worker.introduce(register())[0], UNGOVERNED)
        link.close()


class Escapes(HostileCase):
    def test_a_worker_makes_no_more(self):
        """Our cgroup has none of its VM's limits: what comes in is one task and stays one."""
        self.need_cgroup()
        self.serve()
        worker = self.worker()
        worker.register()
        name, = [name for name in self.workers_in_cgroups() if name.startswith(f"vm-{worker.pid}-")]
        path = f"{self.cgroups.top}/jobs/{name}"
        if not os.path.exists(f"{path}/pids.max"):
            self.skipTest("no pids controller in this cgroup v2")
        self.assertEqual(harness.read(f"{path}/pids.max"), "1\n")
        with self.assertRaises(BlockingIOError):  # EAGAIN of clone(2)
            worker.order(b"child")

    def test_a_worker_of_two_threads(self):
        """The limit to one task stops the next one, and not the one that is there."""
        self.serve()
        worker = self.worker()
        worker.connect()
        worker.order(b"thread")
        self.refused(worker.link, b"two")
        if self.cgroups.top:
            self.assertNotIn(self.cgroups.top, self.cgroups.of(worker.pid))
        self.assertIn("\npvreaper_threaded_workers_total 1\n", self.ctl("metrics"))

    def test_exec_after_connecting(self):
        """It connected itself; what it runs by now is a set-uid program.

        Somebody else holds the connection, too, and speaks on it.
        """
        self.serve()
        os.chmod(self.directory, 0o755)
        program = f"{self.directory}/cat"
        with open("/bin/cat", "rb") as source, open(program, "wb") as copy:
            copy.write(source.read())
        os.chmod(program, 0o755 | stat.S_ISUID)
        script = ("import os, socket, sys\n"
                  "socket.socket(fileno=int(sys.argv[1])).connect(sys.argv[2])\n"
                  "os.execv(sys.argv[3], ['cat'])\n")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link, subprocess.Popen(
                ["python3", "-c", script, str(link.fileno()), self.socket, program],
                pass_fds=[link.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            process.stdin.write(b"x\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), b"x\n")  # it has connected, and is cat
            link.settimeout(harness.TIMEOUT)
            self.offer(link, hello(), register(b"set-uid"))
            self.assertEqual(harness.unpack(link.recv(99))[0], UNGOVERNED)
            if self.cgroups.top:
                self.assertNotIn(self.cgroups.top, self.cgroups.of(process.pid))
            process.stdin.close()
        self.assertIsNone(self.state_of("set-uid"))


class Killed(HostileCase):
    def test_connections_with_fds_unread(self):
        """kill -9: what was in the queues goes with it, and the next one knows nothing of it."""
        daemon = self.serve_on_old_kernel()
        outside, inside = os.pipe()
        self.addCleanup(os.close, outside)
        with self.stopped(daemon.pid):
            links = [self.client() for _ in range(20)]
            for link in links:
                for packet in (hello(), b"garbage", b""):
                    socket.send_fds(link, [packet], [inside] * 3)
            os.close(inside)
            self.watch.stop()
            daemon.ended = True
            daemon.process.kill()
        daemon.kill()
        self.assertEqual(os.read(outside, 1), b"")  # nobody has the other end any more
        for link in links:
            self.assertEqual(self.end_of(link), [])
        self.served = self.daemon()
        self.registered(1)
        self.reboot()


if __name__ == "__main__":
    tap.main()
