#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How the daemon stops, and whether it drains before: that depends on what else is being stopped,
which a fake PID 1 says on a bus of the test's own.
"""

import os
import signal
import socket
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import tap
from helpers import STAND_IN, StandIn
from puppet import Puppet
from raw import RawWorker
from service import BusCase, Pinger

SHUTDOWN, SOCKET = "shutdown.target", "pv-reaper.socket"
ASK_SECONDS = 2  # how long PID 1 may take to answer
SOON = 5  # seconds; drain-time and a drain without progress are longer


class Stopping(BusCase):
    def test_sigterm_alone(self):
        """A restart, as far as we know: everybody is left where he is, and told nothing."""
        self.serve_with_bus("--max-concurrent=1")
        one, two = self.puppet("one"), self.puppet("two")
        one.request()
        one.receive(harness.GRANT)
        two.request()
        self.status_is(queued=1, state="running")
        self.terminate()
        self.pid1_says("asked")
        self.assertLess(self.ends(), ASK_SECONDS / 2)
        self.assertEqual((self.end_of(one), self.end_of(two)), ([], []))
        self.log_has("stopping with 1 running and 1 queued; workers wait for the next daemon")
        self.heard("STOPPING=1")
        self.assertNotIn("draining", self.served.log())

    def test_restart_of_the_socket(self):
        """A job of the type restart: there will be a next daemon."""
        self.serve_with_bus()
        one = self.puppet("one")
        one.request()
        self.tell_pid1(f"new {SOCKET} restart")
        self.tell_pid1(f"new {SHUTDOWN} stop")
        self.terminate()
        self.assertLess(self.ends(), ASK_SECONDS / 2)
        self.assertNotIn(harness.UNGOVERNED, self.end_of(one))

    def test_system_stops(self):
        """From the moment it begins to stop: boost, no new VM; to the end after our SIGTERM."""
        self.write_config("[limits]\nboost-max-concurrent=3\n")
        self.serve_with_bus("--max-concurrent=1")
        pinger = Pinger(self)
        pinger.start()
        workers = [self.puppet(f"vm-{i}") for i in range(6)]
        self.queue_up(workers[:4])
        self.tell_pid1(f"new {SHUTDOWN} start")
        for worker in workers[1:3]:
            worker.receive(harness.GRANT)
        self.status_is(running=3, queued=1, state="draining", max_concurrent=3)
        self.log_has("the system is being stopped: no new VMs, at most 3 at once; draining: ")
        self.heard("STATUS=draining: 3 running, 1 queued, 4.0 GiB to clear; 1 done, 0 failed")
        self.assertNotIn("STOPPING=1", self.hear())

        stranger = RawWorker(self, "stranger")
        stranger.connect()
        stranger.send(harness.hello())
        stranger.send(harness.register(b"stranger"))
        stranger.receive(harness.UNGOVERNED)
        self.assertEqual(self.end_of(stranger), [])
        self.log_has("is not governed: the daemon takes in no new VMs")
        workers[4].register()  # a known one may come back, and ask
        workers[4].request()

        self.terminate()
        self.heard("STOPPING=1")
        self.heard("EXTEND_TIMEOUT_USEC=30000000")
        n_extended = self.hear().count("EXTEND_TIMEOUT_USEC=30000000")
        for worker in workers[:3]:
            worker.done()
            worker.receive(harness.DONE_ACK)
        for worker in workers[3:5]:
            worker.receive(harness.GRANT)
        self.wait("more time was asked for", lambda: self.hear().count(
            "EXTEND_TIMEOUT_USEC=30000000") > n_extended)
        self.assertIsNone(self.served.process.poll())
        for worker in workers[3:5]:
            worker.done()
        self.assertLess(self.ends(), SOON)
        for worker in workers:
            self.assertEqual(self.end_of(worker)[-1:], [harness.UNGOVERNED])
        self.assertRegex(self.served.log(), r"drained in [\d.]+ s, nothing is left; 7 workers")
        pinger.stop()
        self.assertIsNone(pinger.error)
        self.assertLess(pinger.slowest, 0.5)

    def test_system_stop_is_called_off(self):
        self.write_config("[limits]\nboost-max-concurrent=3\n")
        self.serve_with_bus("--max-concurrent=2")
        self.tell_pid1(f"new {SHUTDOWN} start")
        self.draining()
        self.tell_pid1(f"removed {SHUTDOWN}")
        self.status_is(state="running", max_concurrent=2)
        self.puppet("new").request()
        self.status_is(running=1)

    def test_system_stops_before_we_start(self):
        self.start_bus()
        self.tell_pid1(f"new {SHUTDOWN} start")
        self.serve()
        self.draining()

    def test_a_dead_guest_is_waited_for(self):
        """Its keeper is about to ask for the greatest job there is."""
        self.serve_with_bus()
        vmm = self.vmm("dying")
        self.registered(1)
        self.tell_pid1(f"new {SHUTDOWN} start")
        self.draining()
        self.stop(vmm.keeper)
        vmm.kill()
        self.terminate()
        self.heard("EXTEND_TIMEOUT_USEC=30000000")  # it drains after SIGTERM, too
        self.assertIsNone(self.served.process.poll())
        os.kill(vmm.keeper, signal.SIGCONT)
        self.ends()
        self.assertRegex(self.served.log(), r"shutdown of dying .* done: waited")

    def test_a_dead_guest_that_was_sent_away(self):
        """The same; its keeper has no connection yet, for it had no job since."""
        self.need_cgroup()
        self.serve_with_bus()
        vmm = self.vmm("dying")
        self.registered(1)
        self.tell_pid1(f"new {SOCKET} stop")
        self.terminate()
        self.ends()
        self.tell_pid1(f"removed {SOCKET}")

        self.serve()
        self.status_is(vms=1, running=0, connections=0)
        self.stop(vmm.keeper)
        self.tell_pid1(f"new {SHUTDOWN} start")
        self.draining()
        vmm.kill()
        self.terminate()
        self.heard("EXTEND_TIMEOUT_USEC=30000000")  # it drains after SIGTERM, too
        self.assertIsNone(self.served.process.poll())
        os.kill(vmm.keeper, signal.SIGCONT)
        self.ends()
        self.assertRegex(self.served.log(), r"shutdown of dying .* done: waited")

    def test_what_is_left_is_said(self):
        """Also what does not run and does not wait: here, a dead guest that has not asked yet."""
        self.serve_with_bus()
        vmm = self.vmm("dying")
        self.registered(1)
        self.tell_pid1(f"new {SHUTDOWN} start")
        self.draining()
        self.stop(vmm.keeper)
        vmm.kill()
        self.terminate()
        self.heard("STOPPING=1")
        self.terminate()
        self.ends()
        os.kill(vmm.keeper, signal.SIGCONT)
        self.log_has("0 running and 0 queued are left, 1 silent")

    def test_socket_stops(self):
        """At most drain-time; then all are sent away, also who waits and who runs."""
        self.write_config("[limits]\nboost-max-concurrent=1\ndrain-time=2\n")
        self.serve_with_bus("--max-concurrent=1")
        one, two, idle = self.puppet("one"), self.puppet("two"), self.puppet("idle")
        one.request()
        one.receive(harness.GRANT)
        two.request()
        self.status_is(queued=1)
        self.tell_pid1(f"new {SOCKET} stop")
        self.draining()
        self.terminate()
        start = time.monotonic()
        while time.monotonic() < start + 1:
            one.burn()  # progress does not help here
            self.assertIsNone(self.served.process.poll())
        self.assertLess(self.ends(), 3)
        for worker in (one, two, idle):
            self.assertEqual(self.end_of(worker), [harness.UNGOVERNED])
        self.log_has("pv-reaper.socket is being stopped")
        self.assertRegex(self.served.log(), r"drained for [23]\.\d s, 1 running and 1 queued are")

    def test_nobody_is_left_waiting(self):
        """Real keepers of dead VMMs, which would wait for an hour if nobody told them."""
        self.write_config("[limits]\nboost-max-concurrent=1\ndrain-time=1\n")
        self.serve_with_bus("--max-concurrent=1")
        holder = self.puppet("holder")
        holder.request()
        holder.receive(harness.GRANT)
        vmms = [StandIn(self, grace_msec=3600000) for _ in range(3)]
        keepers = [vmm.make_keeper() for vmm in vmms]
        self.registered(4)
        for vmm in vmms:
            vmm.end()
        self.status_is(running=1, queued=3)
        self.tell_pid1(f"new {SOCKET} stop")
        self.draining()
        self.terminate()
        self.ends()
        self.assertRegex(self.served.log(), r"1 running and 3 queued are left.* 4 workers sent")
        for keeper in keepers:
            self.wait(f"{keeper} is gone", lambda k=keeper: not harness.is_alive(k))

    def test_adopted_helper_in_a_drain(self):
        """It is waited for like any job, and told nothing: it does not listen."""
        self.need_cgroup()
        self.write_config(f"[limits]\ndrain-time=1\n[adopt]\nemulators={STAND_IN}\n")
        self.serve_with_bus()
        vmm, late = StandIn(self), StandIn(self)
        self.ctl("adopt", str(vmm.helper))
        with self.stopped(vmm.helper):
            vmm.end()
            self.status_is(running=1)
            self.tell_pid1(f"new {SOCKET} stop")
            self.draining()
            self.ctl("adopt", str(late.helper), status=1)
            self.log_has(f"cannot adopt {late.helper}: the daemon drains and takes in no workers")
            self.terminate()
            self.ends()
            self.log_has("1 running and 0 queued are left")
        self.wait("it is gone", lambda: not harness.is_alive(vmm.helper))

    def test_socket_stops_when_idle(self):
        self.serve_with_bus()
        idle = self.puppet("idle")
        self.tell_pid1(f"new {SOCKET} stop")
        self.terminate()
        self.assertLess(self.ends(), SOON)
        self.assertEqual(self.end_of(idle), [harness.UNGOVERNED])

    def test_second_sigterm(self):
        self.serve_with_bus()
        one = self.puppet("one")
        one.request()
        one.receive(harness.GRANT)
        self.tell_pid1(f"new {SHUTDOWN} start")
        self.draining()
        self.terminate()
        self.heard("STOPPING=1")
        self.assertIsNone(self.served.process.poll())
        self.terminate()
        self.assertLess(self.ends(), SOON)
        self.assertEqual(self.end_of(one), [harness.UNGOVERNED])

    def sigterm_decided_after(self, least, most):
        """SIGTERM, an exit at once as soon as that is decided, and a loop that never waits."""
        pinger = Pinger(self)
        pinger.start()
        self.terminate()
        start = time.monotonic()
        self.ends()
        took = time.monotonic() - start
        pinger.stop()
        self.assertIsNone(pinger.error)
        self.assertLess(pinger.slowest, 0.5)
        self.assertGreaterEqual(took, least)
        self.assertLess(took, most)
        self.log_has("workers wait for the next daemon")

    def test_no_bus(self):
        self.serve()
        self.log_has("no answer from systemd on the system bus (No such file or directory)")
        time.sleep(1.5)  # one more try
        self.assertEqual(self.served.log().count("system bus"), 1)
        self.sigterm_decided_after(0, ASK_SECONDS / 2)

    def test_bus_says_nothing(self):
        """It accepts, or does not even that, and never answers."""
        for backlog in (128, 0):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bus:
                bus.bind(f"{self.directory}/bus")
                bus.listen(backlog)
                self.serve()
                self.puppet().end()
                self.sigterm_decided_after(ASK_SECONDS - 0.5, ASK_SECONDS + 2)
                os.unlink(f"{self.directory}/bus")

    def test_bus_has_no_room(self):
        """connect(2) would wait, if it were allowed to."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bus, \
                socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            bus.bind(f"{self.directory}/bus")
            bus.listen(0)
            other.connect(f"{self.directory}/bus")
            self.serve()
            self.log_has("no answer from systemd on the system bus (Resource")
            self.sigterm_decided_after(0, ASK_SECONDS / 2)

    def test_pid1_hangs(self):
        self.serve_with_bus()
        self.tell_pid1("hang")
        self.sigterm_decided_after(ASK_SECONDS - 0.5, ASK_SECONDS + 2)

    def test_bus_comes_back(self):
        """Also with another PID 1 on it, of which all is asked anew."""
        self.serve_with_bus()
        self.end(self.pid1)
        self.end(self.bus)
        self.start_bus()
        self.pid1_says("asked")
        self.tell_pid1(f"new {SHUTDOWN} start")
        self.draining()
        self.assertLessEqual(self.served.log().count("system bus"), 1)

    def test_sent_away(self):
        """Who was idle and sent away does not count in the next daemon until it moves."""
        self.need_cgroup()
        self.write_config("[limits]\ndrain-time=0\n")
        self.serve_with_bus("--max-concurrent=2")
        idle, busy = self.puppet("idle"), Puppet(self, "busy")
        busy.take_slot()
        self.tell_pid1(f"new {SOCKET} stop")
        self.terminate()
        self.ends()
        self.assertEqual(self.end_of(idle), [harness.UNGOVERNED])
        self.tell_pid1(f"removed {SOCKET}")

        self.serve("--max-concurrent=2")
        self.status_is(running=1, found=2)
        states = {vm["pid"]: vm["state"] for vm in self.ctl_json("list")}
        self.assertEqual((states[idle.pid], states[busy.pid]), ("away", "found"))
        self.served.kill()  # it stays so, whatever comes next
        self.serve("--max-concurrent=2")
        self.status_is(running=1, found=2)
        busy.end()
        self.status_is(running=0, found=1)
        idle.burn()
        self.status_is(running=1)
        idle.register()
        self.status_is(found=0)
        self.assertEqual({vm["pid"]: vm["state"] for vm in self.ctl_json("list")}[idle.pid], "idle")
        self.served.kill()
        self.serve("--max-concurrent=2")
        self.status_is(running=1, found=1)  # what an idle one is that was not sent away


if __name__ == "__main__":
    tap.main()
