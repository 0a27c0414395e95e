#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients of handoff.sock that are up to no good cost themselves their connection, and nobody else
anything: another VM's reboot, the daemon's fds and its answers to status are looked at throughout.
"""

import contextlib
import os
import random
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import DONE, GRANT, HELLO, PROGRESS, REGISTER, REQUEST, UNGOVERNED, WELCOME
from harness import cpu_seconds, hello, pack, register, tap
from raw import LINGER_SECONDS, PeerCase, kernel_refuses_fds, make_vm, slow_to_close

TYPES = (0, 1, 2, 3, 4, 5, 6, 64, 65, 66, 67, 68, 69, 0xFFFF)
SIZES = {message: struct.calcsize(harness.LAYOUT[message])
         for message in (HELLO, REGISTER, REQUEST, PROGRESS, DONE)}
MAX_LENGTH = 300
GOOD_REQUEST = pack(REQUEST, 1, 1, 1 << 30)
GOOD_DONE = pack(DONE, 0, 1, 1, 0, 0, 0, 0)


def packet_of(message, length, version=1):
    """A packet that says it is such a message, cut or filled up to a length."""
    return struct.pack("=HH", version, message).ljust(length, b"\0")[:length]


class Malformed(PeerCase):
    def test_each_length_of_each_type(self):
        self.serve()
        for message in TYPES:
            for length in range(MAX_LENGTH + 1):
                link = self.client()
                if message != HELLO:
                    link.send(hello())
                link.send(packet_of(message, length))
                if message == HELLO and length == SIZES[HELLO]:
                    self.assertEqual(select.select([link], [], [], 0)[0], [])
                    link.close()
                elif message == REGISTER and length == SIZES[REGISTER]:
                    self.assertEqual(self.end_of(link), [UNGOVERNED])
                else:
                    self.assertEqual(self.end_of(link), [], f"type {message}, {length} bytes")

    def test_each_length_from_a_worker(self):
        self.serve()
        worker = self.worker()
        for message in (HELLO, REGISTER, REQUEST, PROGRESS, DONE):
            for length in range(MAX_LENGTH + 1):
                if (message, length) != (PROGRESS, SIZES[PROGRESS]):  # that one is in order
                    worker.register()
                    worker.send(packet_of(message, length))
                    self.assertEqual(self.end_of(worker.link), [], f"{message}, {length} bytes")
        worker.take_slot()

    def test_numbers_out_of_range(self):
        self.serve()
        worker = self.worker()
        bad = [register(state=2), register(state=1 << 31), register(last=(1, 0, 0, 0, 0, 0)),
               register(last=(1, 1, 1, 0, 0, 0)), register(last=(1, 1, 0, 0, 0, 2))]
        for packet in bad:
            worker.connect()
            worker.send(hello())
            worker.send(packet)
            self.assertEqual(self.end_of(worker.link), [])
        bad = [pack(REQUEST, 0, 1, 0), pack(REQUEST, 4, 1, 0), pack(REQUEST, 1 << 31, 1, 0),
               pack(REQUEST, 1, 0, 0)]
        bad += [pack(DONE, 0, *outcome) for outcome in (
            (0, 1, 0, 0, 0, 0), (1, 0, 0, 0, 0, 0), (1, 4, 0, 0, 0, 0), (1, 1, 1, 0, 0, 0),
            (1, 1, -4096, 0, 0, 0), (1, 1, -1 << 31, 0, 0, 0), (1, 1, 0, 0, 0, 2))]
        for packet in bad:
            worker.register()
            worker.send(packet)
            self.assertEqual(self.end_of(worker.link), [])
        self.assertEqual(self.jobs_of("raw"), [])

    def test_out_of_order(self):
        self.serve()
        for packets in ([register()], [GOOD_REQUEST], [pack(PROGRESS, 0, 0)], [GOOD_DONE],
                        [hello(), hello()], [hello(), GOOD_REQUEST], [hello(), GOOD_DONE],
                        [hello(), pack(PROGRESS, 0, 0)], [pack(WELCOME, 0)],
                        [hello(), pack(GRANT, 0, 1)], [pack(UNGOVERNED, 0)]):
            link = self.client()
            self.offer(link, *packets)
            self.assertEqual(self.end_of(link), [], packets)
        worker = self.worker()
        for packet in (hello(), register()):
            worker.register()
            worker.send(packet)
            self.assertEqual(self.end_of(worker.link), [])

    def test_garbage(self):
        self.serve()
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        dice = random.Random(seed)
        worker = self.worker()
        for length in (1, 2, 3, 4, 8, 24, 32, 192, 193, 4096, 65536, 100000):
            for _ in range(10):
                worker.register()
                worker.send(dice.randbytes(length))
                self.assertEqual(self.end_of(worker.link), [])
                link = self.client()
                self.offer(link, *(dice.randbytes(length) for _ in range(5)))
                self.end_of(link)

    def test_nothing_at_all(self):
        """Zero bytes look like the end of the connection, and may as well be."""
        self.serve()
        worker = self.worker()
        for packets in ([b""], [b"", b"", hello()], [hello(), b""]):
            link = self.client()
            self.offer(link, *packets)
            self.assertEqual(self.end_of(link), [])
        worker.register()
        worker.send(b"")
        self.assertEqual(self.end_of(worker.link), [])
        for _ in range(100):
            self.client().close()

    def test_version_of_the_future(self):
        """UNGOVERNED is what every version understands; then the connection ends."""
        self.serve()
        for version in (0, 3, 4, 0xFFFF):
            for more in ([], [pack(REGISTER, *register_fields(), version=version)], [b"x" * 70]):
                link = self.client()
                self.offer(link, hello(version), *more)
                self.assertEqual(self.end_of(link), [UNGOVERNED], f"version {version}")
            link = self.client()
            self.offer(link, hello(), pack(REQUEST, 1, 1, 0, version=version))
            self.assertEqual(self.end_of(link), [])


def register_fields():
    return (0, b"future", bytes(16), 0, 0, 0, 0, 0, 0, 0, 0)


class Strangers(PeerCase):
    def test_a_plain_process_is_not_governed(self):
        daemon = self.serve()
        script = ("import socket, sys\n"
                  "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
                  "s.settimeout(float(sys.argv[2]))\n"
                  "s.connect(sys.argv[1])\n"
                  "for packet in sys.argv[3:]: s.send(bytes.fromhex(packet))\n"
                  "print(s.recv(99).hex(), s.recv(99).hex(), flush=True)\n"
                  "sys.stdin.read()\n")
        arguments = [str(harness.TIMEOUT), hello().hex(), register().hex()]
        with subprocess.Popen([sys.executable, "-c", script, self.socket, *arguments], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
            answer = stranger.stdout.readline()
            self.assertEqual(answer, f"{pack(UNGOVERNED, 0).hex()} \n")
            self.log_has(f"pid {stranger.pid} is not governed")
            self.assertNotIn("file descriptors", daemon.log())
            self.assertEqual([v["name"] for v in self.ctl_json("list")], ["bystander"])
            if self.cgroups.top:
                self.assertEqual(len(self.workers_in_cgroups()), 1)
                self.assertNotIn(self.cgroups.top, self.cgroups.of(stranger.pid))
            stranger.stdin.close()

    def test_a_process_that_is_gone(self):
        """Its connection was passed on. Its number may be anybody's by now."""
        self.serve()
        worker = self.worker()
        worker.connect()
        link, worker.link = worker.link, None
        worker.end()
        self.offer(link, hello(), register(b"ghost"))
        self.assertEqual(self.end_of(link), [UNGOVERNED])
        self.assertEqual([v["name"] for v in self.ctl_json("list")], ["bystander"])

    def test_a_worker_that_lost_its_process(self):
        """Whoever holds the connection says nothing more on it; at most it is told to go ahead."""
        self.serve()
        worker = self.worker()
        worker.register()
        link, worker.link = worker.link, None
        worker.end()
        self.wait("the worker is gone", lambda: not self.state_of("raw"))
        self.offer(link, register(b"ghost"))
        self.assertIn(self.end_of(link), ([], [UNGOVERNED]))
        self.assertIsNone(self.state_of("ghost"))

    def test_all_of_it_on_an_older_kernel(self):
        self.serve_on_old_kernel()
        link = self.client()
        self.offer(link, hello(), register())
        self.assertEqual(self.end_of(link), [UNGOVERNED])
        self.worker().take_slot()


class Fds(PeerCase):
    """The daemon never takes an fd: the last close of a VM fd would hold it up for minutes."""

    def fds_of_many_kinds(self):
        with contextlib.ExitStack() as stack:
            fds = list(os.pipe())
            fds += [os.open("/dev/null", os.O_RDWR), os.open(self.directory, os.O_PATH),
                    os.memfd_create("passed"), os.eventfd(0), os.pidfd_open(os.getpid()), make_vm()]
            fds += [s.detach() for s in (*socket.socketpair(), socket.socket())]
            for fd in fds:
                stack.callback(os.close, fd)
            stack.pop_all()
        self.addCleanup(lambda: [os.close(fd) for fd in fds])
        return fds

    def test_refused_by_the_kernel(self):
        if not kernel_refuses_fds():
            self.skipTest("no SO_PASSRIGHTS: Linux before 6.16")
        daemon = self.serve()
        for fd in self.fds_of_many_kinds():
            link = self.client()
            with self.assertRaises(PermissionError):
                socket.send_fds(link, [hello()], [fd])
            link.send(hello())  # the connection itself goes on
            link.close()
        with self.stopped(daemon.pid):  # nor before it is accepted
            link = self.client()
            with self.assertRaises(PermissionError):
                socket.send_fds(link, [hello()], [0])

    def test_cost_the_connection(self):
        daemon = self.serve_on_old_kernel()
        known = set(harness.own_fds(daemon.pid).values())
        seen, leave = set(), threading.Event()

        def look():
            while not leave.is_set():
                seen.update(harness.own_fds(daemon.pid).values())

        looker = threading.Thread(target=look)
        looker.start()
        fds = self.fds_of_many_kinds()
        with contextlib.ExitStack() as stack:
            stack.callback(looker.join)
            stack.callback(leave.set)
            for fd in fds:
                for n in (1, 253):
                    for packet in (b"", hello(), b"garbage"):
                        link = self.client()
                        socket.send_fds(link, [packet], [fd] * n)
                        self.assertEqual(self.end_of(link), [])
        ours = {os.readlink(f"/proc/self/fd/{fd}") for fd in fds} - {"/dev/null"}
        self.assertEqual(ours & (seen - known), set())
        self.assertIn(f"pid {os.getpid()} sent file descriptors: disconnected", daemon.log())

    def close_in_daemon(self, *packets, close=False):
        """These packets, then one with an fd whose last close would hold the daemon up."""
        with slow_to_close() as slow, self.stopped(self.served.pid):
            link = self.client()
            self.offer(link, *packets)
            socket.send_fds(link, [b""], [slow.fileno()])
            self.offer(link, hello())
            slow.close()  # from here on the daemon's end has the only one
            if close:
                link.close()
            os.kill(self.served.pid, signal.SIGCONT)
            start = time.monotonic()
            if not close:
                self.end_of(link, LINGER_SECONDS + 5)
            self.ctl_json("status")
            self.assertLess(time.monotonic() - start, LINGER_SECONDS / 2, packets)

    def test_unread_fds_are_closed_elsewhere(self):
        """Behind packets that cost the connection already, and whoever ended it."""
        self.serve_on_old_kernel()
        for packets in ([], [hello()], [b"garbage"], [b""], [b"", b"", b""], [hello(), hello()],
                        [hello(), register()], [hello(2)], [hello(2), b"", b"garbage", b""]):
            self.close_in_daemon(*packets)
            self.close_in_daemon(*packets, close=True)

    def test_fds_of_a_worker(self):
        """It asks for a slot and floods the queue behind that with fds."""
        self.serve_on_old_kernel()
        worker = self.worker()
        worker.register()
        with slow_to_close() as slow, self.stopped(self.served.pid):
            worker.send(GOOD_REQUEST)
            for _ in range(20):
                socket.send_fds(worker.link, [GOOD_DONE], [slow.fileno()])
            slow.close()
            os.kill(self.served.pid, signal.SIGCONT)
            start = time.monotonic()
            self.assertIn(self.end_of(worker.link, LINGER_SECONDS + 5), ([], [GRANT]))
            self.ctl_json("status")
            self.assertLess(time.monotonic() - start, LINGER_SECONDS / 2)

    def test_unread_fds_when_the_daemon_stops(self):
        daemon = self.serve_on_old_kernel()
        with slow_to_close() as slow:
            link = self.client()
            self.wait("it is accepted",
                      lambda: self.ctl_json("status")["connections"] == 2)
            self.stop(daemon.pid)
            socket.send_fds(link, [hello()], [slow.fileno()])
            slow.close()
            self.watch.stop()
            start = time.monotonic()
            self.assertEqual(daemon.kill(signal.SIGTERM), 0)
            self.assertLess(time.monotonic() - start, LINGER_SECONDS / 2)
        self.served = None


class Limits(PeerCase):
    def more_fds(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        if hard < 3000:
            self.skipTest(f"RLIMIT_NOFILE is {hard}")

    def serve_with_few_fds(self, n):
        return self.serve(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)))

    def test_who_does_not_register_leaves(self):
        daemon = self.serve()
        silent, polite = self.client(), self.client()
        start = time.monotonic()
        polite.send(hello())
        for link in (silent, polite):
            self.assertEqual(self.end_of(link), [])
            self.assertGreater(time.monotonic() - start, 9)
        self.assertLess(time.monotonic() - start, 20)
        self.assertEqual(daemon.log().count("connected and did not register in time"), 2)

    def test_2000_connections(self):
        """All of one unit: it gets half of what there are fds for, and the others their own."""
        self.more_fds()
        daemon = self.serve_with_few_fds(400)
        links = [self.client() for _ in range(2000)]
        refused = [self.end_of(link) for link in links[100:]]
        self.assertEqual(refused, [[UNGOVERNED]] * len(refused))
        n_held = self.ctl_json("status")["connections"] - 1  # the bystander's is one
        self.assertAlmostEqual(n_held, 400 / 4 / 3, delta=10)
        n_logged = daemon.log().count("its unit has too many connections")
        self.assertLess(n_logged, 50)  # the log is limited
        self.assertLess(daemon.n_fds(), 400)
        if self.cgroups.top:
            other = self.vmm("other", preexec=self.cgroups.enter("other.scope"))
            other.do("protect")
            self.registered(2)
            other.quit()
        for link in links[:100]:
            link.close()
        self.wait("all of them are gone",
                  lambda: self.ctl_json("status")["connections"] <= 1)
        self.worker().take_slot()

    def test_workers_that_stay_away(self):
        """Each is watched by an fd and accounted in a directory, connected or not."""
        daemon = self.serve_with_few_fds(200)
        workers, answers = [self.worker(f"raw-{i}") for i in range(110)], []
        for worker in workers:
            answers.append(worker.introduce(register(worker.name.encode()))[0])
            worker.unplug()
        self.assertEqual(set(answers), {WELCOME, UNGOVERNED})
        self.wait("they are away", lambda: self.ctl_json("status")["connections"] <= 1)
        links = [self.client() for _ in range(8)]
        for link in links:  # those that were accepted wait for a REGISTER, so none may spin
            self.assertEqual(select.select([link], [], [], 0)[0], [])
        before = cpu_seconds(daemon.pid)
        time.sleep(1)
        self.assertLess(cpu_seconds(daemon.pid) - before, 0.5)
        self.assertLess(daemon.n_fds(), 200)
        for link in links:
            link.close()
        for worker in workers:
            worker.end()
        self.wait("all of them are gone", lambda: len(self.ctl_json("list")) == 1)
        self.worker().take_slot()

    def test_queued_and_gone(self):
        self.serve("--max-concurrent", "1")
        holder, quitter = self.worker("holder"), self.worker("quitter")
        holder.take_slot()
        for leave in (quitter.unplug, quitter.end):
            quitter.register()
            quitter.request()
            self.wait("it is queued", lambda: self.ctl_json("status")["queued"] == 1)
            leave()
            self.wait("it is not", lambda: self.ctl_json("status")["queued"] == 0)
        self.assertLessEqual({job["state"] for job in self.jobs_of("quitter")}, {"lost"})
        holder.done()
        self.assertEqual(holder.receive()[0], harness.DONE_ACK)


class Names(PeerCase):
    def test_are_shown_as_printable_ascii(self):
        daemon = self.serve()
        names = {
            b"plain-1": "plain-1", b"": "?", b"\0hidden": "?", b"two words": "two words",
            b"\x1b[31mred\x1b[0m": "?[31mred?[0m", b"a\nb\tc\rd": "a?b?c?d",
            "grün".encode(): "gr??n", b"\x7f\x80\xff": "???", b"%n%s%d": "%n%s%d",
            b"x" * 64: "x" * 64, b"\xc3" * 64: "?" * 64, b'"quo\\ted"': '"quo\\ted"',
        }
        for name, shown in names.items():
            worker = self.worker()
            self.assertEqual(worker.introduce(register(name))[0], WELCOME)
            self.assertIsNotNone(self.state_of(shown), name)
            worker.request()
            worker.receive(GRANT)
            worker.done()
            worker.receive(harness.DONE_ACK)
            self.assertEqual(self.jobs_of(shown)[-1]["pid"], worker.pid)
            self.assertIn(f"reboot of {shown} (pid {worker.pid}, ", daemon.log())
            worker.end()
            self.wait("it is gone", lambda: len(self.ctl_json("list")) == 1)
        for verb in ("list", "jobs"):
            self.assertNotRegex(self.ctl(verb), r"[^\x20-\x7e\n]")


if __name__ == "__main__":
    tap.main()
