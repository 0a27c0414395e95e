#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The closer and pvr_release_vm_fd(): real VM fds, the real daemon, systemd played by closers.py.

What the kernel of today answers to a closer's PERFORM is -EIO, so most jobs here end as `foreign`;
slow-perform.c stands in for a kernel that lets it.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from closers import CLOSER, Client, CloserCase, release_packet
from harness import DONE, HELD, READY, REGISTER, UNGOVERNED, pack, tap
from ping import Ping, percentile
from puppet import Puppet
from raw import RawWorker, make_vm

SLOW_CLOSE = f"{harness.BUILD}/tests/standins/slow-close"
SKIP = 77
STATUS_SECONDS = 0.010
SLOWEST_SECONDS = 0.4  # less than the hanging lasts


class Release(CloserCase):
    """A VM on its way, with everybody there."""

    def test_foreign(self):
        """A VMM without keeper; the kernel refuses PERFORM, and the close is the work."""
        self.daemon()
        self.serve()
        vm = self.vmm("guest", "--no-keeper", env={"PVREAPER_RELEASE_SOCKET": self.release_socket})
        vm.do("release")
        self.assertFalse(harness.has_vm(vm.pid))
        self.assertEqual(self.ended("guest"), ["foreign"])
        job, closer = self.job("guest"), self.started(0)
        self.assertEqual((job["kind"], job["error"], job["pid"]), ("close", -5, closer.pid))
        self.assertEqual(job["bytes"], 4 << 30)
        if self.cgroups.top:
            self.assertEqual(job["cgroup"], f"{self.cgroups.top}/{closer.unit}")
            self.assertIn(closer.unit, job["unit"])
            self.assertGreater(job["cpu_us"], 0)
        self.assertEqual((closer.wait(), closer.log()), (0, ""))

    def test_done(self):
        """A kernel that permits PERFORM: its CPU time is in the bill of the closer's cgroup."""
        self.daemon()
        self.serve_slowly(200, error=0)
        self.close_vm("guest")
        self.assertEqual(self.ended("guest"), ["done"])
        self.assertGreaterEqual(self.job("guest")["cpu_us"], 190000)

    def test_failed(self):
        self.daemon()
        self.serve_slowly(0, error=12)
        closer = self.close_vm("guest")
        self.assertEqual(self.ended("guest"), ["failed"])
        self.assertEqual(closer.wait(), 0)
        self.assertIn("Cannot allocate memory", closer.log())

    def test_no_cgroup(self):
        """With --cgroup none there is nothing to know a closer by: it is taken for one."""
        self.daemon("--cgroup=none")
        self.serve()
        self.close_vm("guest")
        self.assertEqual(self.ended("guest"), ["foreign"])

    def test_waits_its_turn(self):
        """It holds the VM, alone, until there is a slot; and its place in the list is a `close`."""
        self.daemon("--max-concurrent=1")
        self.serve()
        puppet = Puppet(self)
        puppet.take_slot()
        closer = self.close_vm("guest")
        self.wait("it is in the queue", lambda: [j["state"] for j in self.jobs_of("guest")])
        self.assertEqual(self.job("guest")["state"], "queued")
        self.assertEqual(self.job("guest")["kind"], "close")
        self.assertEqual(self.state_of("guest"), "waiting")
        self.assertTrue(closer.holds_vm())
        puppet.done()
        self.assertEqual(self.ended("guest"), ["foreign"])
        self.assertEqual(closer.wait(), 0)

    def test_order_and_limit(self):
        """In the order of their requests, and never more than two at once."""
        self.daemon("--max-concurrent=2")
        self.serve_slowly(300)
        names = [f"guest-{i}" for i in range(6)]
        for i, name in enumerate(names):
            self.close_vm(name)
            self.wait("it has asked", lambda n=name: self.jobs_of(n))
        most = 0
        while len(running := self.ctl_json("jobs")) and any(
                j["state"] in ("queued", "running") for j in running):
            most = max(most, sum(j["state"] == "running" for j in running))
        self.assertEqual(most, 2)
        ends = sorted((j for j in self.ctl_json("jobs")), key=lambda j: j["id"])
        self.assertEqual([j["vm"] for j in ends], names)
        waits = [j["waited_us"] for j in ends]
        self.assertLess(max(waits[:2]), min(waits[2:]))

    def test_keeper_beside_it(self):
        """Both sorts of worker in one queue."""
        self.daemon("--max-concurrent=1")
        self.serve()
        vm = self.vmm("keeper")
        vm.do("protect")
        vm.do("reboot")
        self.close_vm("closer")
        self.assertEqual(vm.wait_outcomes(1)[0]["result"], "done")
        self.assertEqual(self.ended("closer"), ["foreign"])


class Deaths(CloserCase):
    """Who dies, and what becomes of the VM."""

    def test_no_daemon(self):
        """Nobody listens: it goes ahead, and tells a daemon that comes a little later."""
        self.serve_slowly(0, error=0, PVREAPER_GRACE_MSEC="600000")
        closer = self.close_vm("guest")
        self.wait("the VM is closed", lambda: not closer.holds_vm())
        self.wait("it has said so", lambda: "without a grant" in closer.log())
        self.daemon()
        self.assertEqual(self.ended("guest"), ["ungoverned"])
        self.assertEqual(closer.wait(), 0)

    def test_no_daemon_ever(self):
        self.serve(PVREAPER_GRACE_MSEC="0")
        closer = self.close_vm("guest")
        start = time.monotonic()
        self.assertEqual(closer.wait(), 0)
        self.assertGreater(time.monotonic() - start, 5)

    def test_ungoverned(self):
        """A daemon that sends it away: it closes at once and leaves without reporting."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.socket)
            listener.listen()
            self.serve()
            closer = self.close_vm("guest")
            with listener.accept()[0] as link:
                link.settimeout(harness.TIMEOUT)
                self.assertEqual(harness.unpack(link.recv(4096))[0], harness.HELLO)
                self.assertEqual(harness.unpack(link.recv(4096))[0], REGISTER)
                link.send(pack(UNGOVERNED, 0, version=2))
                start = time.monotonic()
                self.assertEqual(closer.wait(), 0)
                self.assertLess(time.monotonic() - start, 5)

    def test_daemon_killed_while_it_waits(self):
        daemon = self.daemon("--max-concurrent=1")
        self.serve()
        puppet = Puppet(self)
        puppet.take_slot()
        closer = self.close_vm("guest")
        self.wait("it is in the queue", lambda: self.jobs_of("guest"))
        daemon.kill()
        self.daemon()
        self.assertEqual(self.ended("guest"), ["foreign"])
        self.assertEqual(closer.wait(), 0)

    def test_daemon_killed_while_it_runs(self):
        """The new one counts it from its cgroup, and hears how it ended."""
        self.need_cgroup()
        daemon = self.daemon("--max-concurrent=1")
        self.serve_slowly(1000, error=0)
        closer = self.close_vm("guest")
        self.wait("it runs", lambda: self.state_of("guest") == "running")
        daemon.kill()
        self.daemon("--max-concurrent=1")
        status = self.ctl_json("status")
        self.assertEqual((status["found"], status["running"]), (1, 1))
        self.close_vm("next")
        self.wait("the next one waits", lambda: self.state_of("next") == "waiting")
        self.assertEqual(self.ended("guest"), ["done"])
        self.assertEqual(closer.wait(), 0)
        self.assertEqual(self.ended("next"), ["done"])

    def test_killed_while_it_waits(self):
        self.daemon("--max-concurrent=1")
        self.serve()
        Puppet(self).take_slot()
        closer = self.close_vm("guest")
        self.wait("it is in the queue", lambda: self.jobs_of("guest"))
        closer.process.kill()
        self.assertEqual(self.ended("guest"), ["lost"])
        self.assertEqual(self.ctl_json("status")["queued"], 0)

    def test_killed_while_it_runs(self):
        self.daemon("--max-concurrent=1")
        self.serve_slowly(20000)
        closer = self.close_vm("guest")
        self.wait("it runs", lambda: self.state_of("guest") == "running")
        closer.process.kill()
        self.assertEqual(self.ended("guest"), ["lost"])
        self.assertEqual(self.ctl_json("status")["running"], 0)
        self.assertIsNone(self.state_of("guest"))

    def test_terminated_while_it_waits(self):
        """It begins at once, ungoverned, and says so."""
        self.daemon("--max-concurrent=1")
        self.serve_slowly(0, error=0)
        Puppet(self).take_slot()
        closer = self.close_vm("guest")
        self.wait("it is in the queue", lambda: self.jobs_of("guest"))
        closer.process.terminate()
        self.assertEqual(closer.wait(), 0)
        self.assertEqual(self.ended("guest"), ["ungoverned"])

    def test_terminated_while_it_runs(self):
        """It ends what it does; nothing is lost."""
        self.daemon()
        self.serve_slowly(500, error=0)
        closer = self.close_vm("guest")
        self.wait("it runs", lambda: self.state_of("guest") == "running")
        closer.process.terminate()
        self.assertEqual(self.ended("guest"), ["done"])
        self.assertEqual(closer.wait(), 0)

    def test_terminated_without_daemon(self):
        """It lingers a second only."""
        self.serve()
        closer = self.close_vm("guest")
        closer.process.terminate()
        start = time.monotonic()
        self.assertEqual(closer.wait(), 0)
        self.assertLess(time.monotonic() - start, 5)

    def test_client_dies(self):
        """Right after it sent: the VM has come, and goes the way of all."""
        self.daemon()
        self.serve()
        vm, client = make_vm(), Client(self)
        self.assertEqual(client.receive()[0], READY)
        self.stop(self.started(0).pid)
        client.send(release_packet(b"orphan"), vm)
        os.close(vm)
        client.close()
        os.kill(self.started(0).pid, signal.SIGCONT)
        self.assertEqual(self.ended("orphan"), ["foreign"])


class Hostile(CloserCase):
    """Whatever a client sends, it costs the client its closer, and nobody else anything."""

    def offer(self, packet, *fds):
        """(what the closer answered, its log) to this packet."""
        number, client = len(self.closers.started), Client(self)
        self.assertEqual(client.receive(), (READY, 0))
        client.send(packet, *fds)
        answer = client.receive()
        closer = self.started(number)
        self.assertEqual(closer.wait(), 1)
        self.assertEqual(client.receive(), ())
        self.assertIn(f"pid {os.getpid()} of uid {os.getuid()} ", closer.log())
        return answer, closer.log()

    def refused(self, error, why, packet, *fds):
        answer, log = self.offer(packet, *fds)
        self.assertEqual(answer, (HELD, error))
        self.assertIn(why, log)

    def test_packets(self):
        self.serve()
        good, vm = release_packet(), make_vm()
        self.addCleanup(os.close, vm)
        for packet in (good[:-1], good + b"x", good[:4], b"x", bytes(80), b"y" * 100000,
                       harness.hello(), pack(DONE, 0, 1, 3, 0, 0, 0, 0),
                       pack(harness.RELEASE, 0, b"", 0, version=2)):
            self.refused(-71, "no RELEASE", packet, vm)

    def test_fds(self):
        self.serve()
        good, vm = release_packet(), make_vm()
        self.addCleanup(os.close, vm)
        null = os.open("/dev/null", os.O_RDWR)
        self.addCleanup(os.close, null)
        a, b = socket.socketpair()
        with a, b:
            self.refused(-71, "no fd", good)
            self.refused(-71, "more than one", good, vm, vm)
            self.refused(-71, "more than one", good, *[vm] * 253)
            self.refused(-22, "/dev/null, which is no VM", good, null)
            self.refused(-22, "socket:[", good, a.fileno())
            self.refused(-22, "anon_inode:[eventpoll]", good, self.epoll())

    def test_leaves_nothing_behind(self):
        """PID 1 holds the connection as well: what stayed in it would be for PID 1 to close."""
        self.serve()
        vm = make_vm()
        self.addCleanup(os.close, vm)
        for packet, fds in ((release_packet(), (vm, vm)), (b"", (vm,)), (b"x", (vm,))):
            number, client = len(self.closers.started), Client(self)
            self.assertEqual(client.receive(), (READY, 0))
            closer = self.started(number)
            self.stop(closer.pid)
            client.send(packet, *fds)
            client.send(b"", vm)
            client.send(b"y")
            client.send(release_packet(), vm, vm)
            client.close()
            os.kill(closer.pid, signal.SIGCONT)
            self.assertEqual(closer.wait(), 1)
            self.assertEqual(closer.left_behind(), (b"", 0))

    def test_sends_more_fds(self):
        """Behind a good one: gone before the job, and after HELD nothing can be sent any more."""
        self.daemon("--max-concurrent=1")
        self.serve()
        Puppet(self).take_slot()
        vm, client = make_vm(), Client(self)
        self.addCleanup(os.close, vm)
        self.assertEqual(client.receive()[0], READY)
        closer = self.started(0)
        self.stop(closer.pid)
        client.send(release_packet(b"guest"), vm)
        client.send(release_packet(b"second"), vm)
        os.kill(closer.pid, signal.SIGCONT)
        self.assertEqual(client.receive(), (HELD, 0))
        self.assertEqual(client.receive(), ())
        self.assertRaises(BrokenPipeError, client.send, b"x", vm)
        self.wait("it is in the queue", lambda: self.jobs_of("guest"))
        self.assertEqual(closer.left_behind(), (b"", 0))

    def epoll(self):
        import select  # pylint: disable=import-outside-toplevel
        epoll = select.epoll()
        self.addCleanup(epoll.close)
        return epoll.fileno()

    def test_name_of_a_file(self):
        """It may hold anything; the log holds none of it."""
        self.serve()
        path = f"{self.directory}/a\n\x1b[2Jb" + "c" * 100
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, fd)
        _, log = self.offer(release_packet(), fd)
        self.assertNotRegex(log, r"[^\x20-\x7e\n]")
        self.assertEqual(log.count("\n"), 1)

    def test_empty(self):
        self.serve()
        _, log = self.offer(b"")
        self.assertIn("left without sending anything", log)

    def test_leaves(self):
        self.serve()
        client = Client(self)
        client.receive()
        client.close()
        self.assertEqual(self.started(0).wait(), 1)
        self.assertIn("left without sending anything", self.started(0).log())

    def test_silent(self):
        """Connections that say nothing do not use up the limit for long."""
        self.serve(limit=4)
        clients = [Client(self) for _ in range(4)]
        for client in clients:
            self.assertEqual(client.receive()[0], READY)
        self.assertEqual(Client(self).receive(), ())
        self.assertEqual(clients[0].receive(), (HELD, -110))
        for closer in self.closers.started[:4]:
            self.assertEqual(closer.wait(), 1)
            self.assertIn("sent nothing", closer.log())
        self.close_vm("late")

    def test_hanging_close(self):
        """An fd whose close hangs, hangs in the closer only: the daemon answers as ever.

        Asked all the time; one answer of 50 is the machine's, the slowest is nobody's that hung.
        """
        self.daemon()
        self.serve()
        with Ping(self) as ping:
            closer = self.attack_by_hanging_close()
        took = ping.seconds()
        self.assertGreater(len(took), 20)
        self.assertLess(percentile(took, 98), STATUS_SECONDS)
        self.assertLess(took[-1], SLOWEST_SECONDS)
        self.assertIn("which is no VM", closer.log())

    def attack_by_hanging_close(self):
        """The closer, which is gone now."""
        with subprocess.Popen([SLOW_CLOSE, self.release_socket], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as slow:
            if (line := slow.stdout.readline()) == "":
                self.assertEqual(slow.wait(), SKIP)
                self.skipTest("no FUSE for us")
            lines = [line, slow.stdout.readline(), slow.stdout.readline()]
            self.assertIn("released -22\n", lines)
            self.assertIn("flushes 2\n", lines)
            closer = self.started(0)
            self.assertIsNone(closer.process.poll())
            closer.process.kill()
            self.close_vm("guest")
            self.assertEqual(self.ended("guest"), ["foreign"])
            time.sleep(0.5)
            self.assertIsNone(closer.process.poll())
            slow.stdin.close()
            closer.wait()
            self.assertEqual(slow.wait(harness.TIMEOUT), 0)
        return closer

    def test_many(self):
        self.daemon()
        self.serve(limit=1000)
        closers = [self.close_vm("crowd") for _ in range(50)]
        self.assertEqual(self.ended("crowd", 50), ["foreign"] * 50)
        for closer in closers:
            self.assertEqual((closer.wait(), closer.log()), (0, ""))
        self.wait("the daemon has forgotten them", lambda: self.ctl_json("status")["vms"] == 0)

    def test_kinds(self):
        """Who sits in a closer's cgroup has closes to do; a keeper has none."""
        self.need_cgroup()
        daemon = self.daemon()
        for as_closer, right, wrong in ((False, 1, 3), (True, 3, 1)):
            for what in ("request", "done", "register"):
                worker = RawWorker(self, f"{what}-{as_closer}")
                if as_closer:
                    self.make_closer(worker)
                if what == "register":
                    worker.connect()
                    worker.send(harness.hello())
                    worker.send(harness.register(last=(1, wrong, 0, 0, 0, 0)))
                else:
                    worker.register()
                    worker.request(kind=right)
                    worker.receive(harness.GRANT)
                    worker.send(pack(harness.REQUEST, wrong, 2, 0) if what == "request" else
                                pack(DONE, 0, 1, wrong, 0, 0, 0, 0))
                self.assertEqual(worker.receive(), ())
                self.assertIn(f"pid {worker.pid} sent an unknown or misplaced message",
                              daemon.log())
                worker.end()

    def make_closer(self, worker):
        """Moves a puppet's worker to where closers live."""
        unit = self.cgroups.make_below(f"pv-reaper-closer@{worker.name}.service")
        pid, _ = worker.order(b"burn")
        with open(f"{unit}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(pid))

    def test_one_for_each_cgroup(self):
        self.need_cgroup()
        daemon = self.daemon()
        first, second = RawWorker(self, "one"), RawWorker(self, "one")
        self.make_closer(first)
        self.make_closer(second)
        first.register()
        self.assertEqual(second.introduce(harness.register())[0], UNGOVERNED)
        self.assertIn(f"pid {second.pid} is not governed: File exists", daemon.log())

    def test_found_without_a_word(self):
        """One that had no VM yet when the daemon came is neither a job nor lost."""
        self.need_cgroup()
        self.serve()
        client = Client(self)
        client.receive()
        daemon = self.daemon()
        self.assertEqual(self.ctl_json("status")["found"], 1)
        client.close()
        self.wait("it is gone", lambda: self.ctl_json("status")["found"] == 0)
        self.assertEqual(self.ctl_json("jobs"), [])
        self.assertIn("ended without a report", daemon.log())


class Start(unittest.TestCase):
    """Started otherwise than systemd does it takes nothing and says so."""

    def start(self, *arguments, stdin=subprocess.DEVNULL, script='"$0" "$@"', **env):
        return subprocess.run(["sh", "-c", f"exec 3<&0; exec {script}", CLOSER, *arguments],
                              stdin=stdin, capture_output=True, text=True,
                              env={**os.environ, **env}, timeout=harness.TIMEOUT,
                              check=False)

    def refused(self, why, **how):
        done = self.start(**how)
        self.assertEqual(done.returncode, 2)
        self.assertIn(why, done.stderr)

    def test_start_by_hand(self):
        self.refused("no connection was passed")

    def test_start_for_another(self):
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with a, b:
            self.refused("no connection was passed", stdin=a, LISTEN_FDS="1", LISTEN_PID="1")

    def test_start_wrong_socket(self):
        mine = 'env LISTEN_FDS=1 LISTEN_PID=$$ "$0"'
        a, b = socket.socketpair()
        with a, b:
            self.refused("Protocol wrong type for socket", stdin=a, script=mine)
        self.refused("Socket operation on non-socket", script=mine)

    def test_start_arguments(self):
        self.assertEqual(self.start("--nonsense").returncode, 2)
        self.assertEqual(self.start("--help").returncode, 0)
        self.assertIn("pv-reaper-closer ", self.start("--version").stdout)


class Api(CloserCase):
    """pvr_release_vm_fd() as a VMM meets it; what needs no closer is in api-errors.c."""

    def release(self, error=None, **env):
        vm = self.vmm("guest", "--no-keeper", sim=not harness.has_kvm(),
                      env={"PVREAPER_RELEASE_SOCKET": self.release_socket, **env})
        answer = vm.do("release keep", error=error is not None)
        self.assertEqual(answer.get("errno"), error)
        self.assertTrue(harness.has_vm(vm.pid))
        self.assertFalse([w for w in harness.own_fds(vm.pid).values() if w.startswith("socket:")])

    def listen(self, *packets):
        """A listener that says this to the first who comes, and hangs up."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(listener.close)
        listener.bind(self.release_socket)
        listener.listen(1)

        def serve():
            link, _ = listener.accept()
            with link:
                for packet in packets:
                    link.send(packet)
                    if packet[2] == READY:
                        link.recv(4096)
        import threading  # pylint: disable=import-outside-toplevel
        threading.Thread(target=serve, daemon=True).start()

    def test_release_held(self):
        self.serve(PVREAPER_GRACE_MSEC="0")
        self.release()
        self.wait("it was closed", lambda: not self.started(0).holds_vm())

    def test_release_nobody(self):
        self.release("ENOENT")

    def test_release_no_room(self):
        """systemd hangs up: the fd never left."""
        self.serve(limit=0)
        self.release("EBUSY")

    def test_release_closer_dies(self):
        self.listen(pack(READY, 0))
        self.release("ECONNRESET")

    def test_release_refused(self):
        self.listen(pack(READY, 0), pack(HELD, -22))
        self.release("EINVAL")

    def test_release_nonsense(self):
        self.listen(pack(HELD, 0))
        self.release("EBADMSG")

    def test_release_next_version(self):
        """READY and HELD are the same in every version."""
        self.listen(pack(READY, 0, version=2), pack(HELD, -71, version=2))
        self.release("EPROTO")


if __name__ == "__main__":
    tap.main()
