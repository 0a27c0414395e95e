#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""org.pvreaper.Manager1: methods, signals, properties and errors, on control.sock and on a bus of
our own with the policy that we install. Asked and listened to by busctl and dbus-send.
"""

import os
import pwd
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import bus
import harness
import service
from harness import DONE_ACK, GRANT, UNGOVERNED, tap
from raw import PeerCase

GIB = 1 << 30
POLICY = f"{harness.BUILD}/conf/org.pvreaper.conf"
ERROR = "org.pvreaper.Error."


class ControlCase(PeerCase):
    def setUp(self):
        super().setUp()
        if not bus.has_busctl():
            self.skipTest("no busctl or dbus-send")
        self.address = f"unix:path={self.control}"
        with open(self.config, "a", encoding="ascii") as file:
            file.write("max-concurrent=1\nboost-max-concurrent=3\n")

    def status(self, *keys):
        status = self.ctl_json("status")
        return tuple(status[key] for key in keys)

    def asks(self, name):
        worker = self.worker(name)
        worker.register()
        worker.request()
        return worker

    def finish(self, worker, seq=1):
        worker.done(seq)
        worker.receive(DONE_ACK)

    def change(self, method):
        status, _, error = bus.call(self.address, method)
        self.assertEqual((status, error), (0, ""))


class Methods(ControlCase):
    def test_introspection(self):
        """Arguments have names, and what is there is what is documented."""
        self.serve()
        _, answer, _ = bus.busctl(self.address, "call", *bus.OBJECT,
                                  "org.freedesktop.DBus.Introspectable", "Introspect")
        tree = xml.fromstring(answer["data"][0])
        ours = next(i for i in tree.iter("interface") if i.get("name") == bus.INTERFACE)
        self.assertEqual([a for a in ours.iter("arg") if not a.get("name")], [])
        page = harness.read(f"{harness.HERE}/../../man/pv-reaperctl.1.scd")
        for kind in ("method", "signal", "property"):
            names = [e.get("name") for e in ours.iter(kind)]
            self.assertGreater(len(names), 2)
            for name in names:
                self.assertRegex(page, rf"(\*|_){name}(\*|_)", kind)
        signatures = {e.get("name"): "".join(a.get("type") for a in e.iter("arg"))
                      for e in ours.iter("signal")}
        self.assertEqual(signatures, {"JobQueued": "ta{sv}", "JobStarted": "ta{sv}",
                                      "JobFinished": "tsa{sv}"})

    def test_get_job(self):
        """While it waits, runs, and when it has ended; under the number that it always had."""
        self.serve()
        first, second = self.asks("first"), self.asks("second")
        first.receive(GRANT)
        jobs = {job["vm"]: job["id"] for job in self.ctl_json("jobs")}
        for vm, state in (("bystander", "done"), ("first", "running"), ("second", "queued")):
            _, answer, _ = bus.call(self.address, "GetJob", "t", str(jobs[vm]))
            job = bus.plain(answer["data"][0])
            self.assertEqual((job["Id"], job["VM"], job["State"]), (jobs[vm], vm, state))
        self.finish(first)
        second.receive(GRANT)
        self.finish(second)
        _, answer, _ = bus.call(self.address, "GetJob", "t", str(jobs["second"]))
        self.assertEqual(bus.plain(answer["data"][0])["State"], "done")

    def test_get_limits(self):
        self.serve()
        self.ctl("set", "drain-time=9s")
        _, answer, _ = bus.call(self.address, "GetLimits")
        limits = {key: (value, origin) for key, value, origin in answer["data"][0]}
        self.assertEqual(limits["drain-time"], ("9s", "pv-reaperctl set"))
        self.assertEqual(limits["max-concurrent"][0], "1")
        self.assertRegex(limits["max-concurrent"][1], rf"^{self.config}:\d+$")
        self.assertEqual(limits["overdue"], ("12h", "default"))
        self.assertNotIn("handoff", limits)  # it cannot be changed

    def test_list_failures(self):
        self.serve()
        worker = self.worker()
        worker.register()
        for seq in range(1, 8):
            worker.request(seq)
            worker.receive(GRANT)
            worker.done(seq, error=-5 if seq == 1 else -14)
            worker.receive(DONE_ACK)
        _, answer, _ = bus.call(self.address, "ListFailures")
        jobs = [bus.plain(job) for job in answer["data"][0]]
        self.assertEqual([job["Seq"] for job in jobs], [7, 6, 5, 4, 3])
        self.assertEqual({job["Error"] for job in jobs}, {-14})

    def test_errors_have_names(self):
        self.serve()
        for expected, call in (
                ("NoSuchJob", ("GetJob", "uint64:99999")),
                ("Timeout", ("WaitMemory", f"uint64:{harness.ALL_MEMORY}", "uint64:1000")),
                ("MoreThanTheHostHas", ("WaitMemory", f"uint64:{1 << 60}", "uint64:1000"))):
            self.assertEqual(bus.error_name(self.address, *call), ERROR + expected)
        code, _, said = bus.call(self.address, "SetLimits", "a(ss)", "1", "max-concurrent", "0")
        self.assertEqual(code, 1)
        self.assertIn("max-concurrent=0: must be a number from 1 to 100000", said)
        self.assertEqual(bus.error_name(self.address, "GetJob", "string:x"),
                         "org.freedesktop.DBus.Error.InvalidArgs")
        with open(self.config, "a", encoding="ascii") as file:
            file.write("max-concurrent=none\n")
        self.assertEqual(bus.error_name(self.address, "Reload"), ERROR + "ConfigurationRefused")
        self.assertIn("the old one stays", self.served.log())

    def test_drain_and_resume(self):
        """Boosted limits, no new VMs; a reload changes nothing of that, resume all."""
        daemon = self.serve()
        workers = [self.asks(f"raw-{i}") for i in range(4)]
        workers[0].receive(GRANT)
        self.change("Drain")
        for worker in workers[1:3]:
            worker.receive(GRANT)
        self.assertEqual(self.status("state", "drain_reason", "mode", "max_concurrent", "queued"),
                         ("draining", "administrator", "draining", 3, 1))
        late = self.worker("late")
        self.assertEqual(late.introduce(harness.register(b"late")), (UNGOVERNED, 0))
        self.change("Drain")  # once is enough
        self.change("Reload")
        self.assertEqual(self.status("state", "max_concurrent"), ("draining", 3))
        self.assertEqual(daemon.log().count("an administrator asked for a drain"), 1)
        self.change("Resume")
        self.assertEqual(self.status("state", "drain_reason", "mode", "max_concurrent"),
                         ("running", None, "normal", 1))
        for worker in workers[:3]:
            self.finish(worker)
        workers[3].receive(GRANT)
        self.finish(workers[3])
        self.asks("later").receive(GRANT)
        self.change("Resume")  # nothing to call off
        self.assertIn("late", [vm["name"] for vm in self.ctl_json("list")])

    def test_a_restart_ends_a_drain(self):
        daemon = self.daemon()
        self.change("Drain")
        daemon.kill()
        self.daemon()
        self.assertEqual(self.status("state"), ("running",))

    def test_reload(self):
        self.serve()
        with open(self.config, "a", encoding="ascii") as file:
            file.write("max-concurrent=2\n")
        self.change("Reload")
        self.assertEqual(self.status("max_concurrent"), (2,))

    def test_estimate(self):
        """Unknown until a job of the kind has ended; then from its rate."""
        self.serve()
        worker, other = self.worker("burns"), self.worker("waits")
        for each in (worker, other):
            each.register()
        worker.request(1, kind=2)  # the bystander has taught it about reboots
        worker.receive(GRANT)
        other.request(1, kind=2)
        job = self.jobs_of("burns")[-1]
        self.assertEqual((job["progress_percent"], job["eta_us"]), (None, None))
        self.assertEqual(self.status("eta_us"), (None,))
        for _ in range(2):  # 20 ms each
            worker.burn()
        self.wait("it has used CPU time",
                  lambda: (self.jobs_of("burns")[-1]["cpu_us"] or 0) > 30000)
        worker.done(1)
        worker.receive(DONE_ACK)
        other.receive(GRANT)
        job = self.jobs_of("waits")[-1]
        self.assertIsNone(job["progress_percent"])  # it has just begun
        self.assertGreater(job["eta_us"], 0)
        self.assertGreater(self.status("eta_us")[0], 0)
        self.finish(other)
        self.assertEqual(self.status("eta_us", "bytes_to_clear"), (0, 0))


class Signals(ControlCase):
    def test_signals(self):
        self.serve()
        with bus.Monitor(self.address) as monitor:
            worker = self.asks("seen")
            number, job = monitor.seen("JobQueued")
            self.assertEqual((bus.plain(job)["VM"], bus.plain(job)["State"]), ("seen", "queued"))
            again, job = monitor.seen("JobStarted")
            self.assertEqual((again, bus.plain(job)["State"]), (number, "running"))
            worker.receive(GRANT)
            worker.done(error=-14)
            again, result, job = monitor.seen("JobFinished")
            self.assertEqual((again, result, bus.plain(job)["Error"]), (number, "failed", -14))

    def test_properties_changed(self):
        """Told when they change, a few times a second however often that is, and they are right."""
        self.serve()
        with bus.Monitor(self.address) as monitor:
            self.ctl("set", "max-concurrent=2")
            monitor.seen("PropertiesChanged",  # one that tells of the start may come before
                         lambda data: data[1].get("MaxConcurrent", {}).get("data") == 2)
            worker = self.worker()
            worker.register()
            monitor.seen("PropertiesChanged", lambda data: "VMs" in data[1])
            start = time.monotonic()
            for seq in range(1, 201):
                worker.request(seq)
                worker.receive(GRANT)
                self.finish(worker, seq)
            seen = [message.get("member") for message in monitor.lines(5)]
        self.assertEqual(seen.count("JobFinished"), 200)
        self.assertLessEqual(seen.count("PropertiesChanged"),
                             (time.monotonic() - start) / 0.25 + 2)
        _, value, _ = bus.busctl(self.address, "get-property", *bus.OBJECT, bus.INTERFACE,
                                 "MaxConcurrent")
        self.assertEqual(value, {"type": "u", "data": 2})

    def test_only_who_asked_is_told(self):
        """Thousands of signals: who asked for them and does not read is cut off, others are not."""
        self.serve()
        with bus.Deaf(self.control).link as deaf, bus.Ping(self.control) as quiet:
            worker, seq = self.worker(), 0
            worker.register()
            while not self.is_closed(deaf):
                seq += 1
                self.assertLess(seq, 5000, "a reader that does not read is still there")
                worker.request(seq)
                worker.receive(GRANT)
                self.finish(worker, seq)
            self.assertGreater(3 * seq, 1000)
            self.assertFalse(self.is_closed(quiet.link))
            quiet.ask()

    def is_closed(self, link):
        """Whether the other end is gone, whatever there is to read."""
        poll = bus.select.poll()
        poll.register(link, 0)
        return bool(poll.poll(0))


def busctl_as(uid, gid, groups=()):
    return {"user": uid, "group": gid, "extra_groups": list(groups)}


class SystemBus(service.BusCase):
    """Whoever is there may look, root and the control group may change."""

    bus_config = service.BUS_CONFIG.replace(
        '<allow own="*"/>', '<allow own="org.freedesktop.systemd1"/>').replace(
        "</busconfig>", f"<include>{POLICY}</include></busconfig>")

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("needs root to become somebody else")
        if not bus.has_busctl():
            self.skipTest("no busctl or dbus-send")
        self.address = self.environment["DBUS_SYSTEM_BUS_ADDRESS"]
        self.nobody = pwd.getpwnam("nobody")
        os.chmod(self.directory, 0o755)

    def on_the_bus(self):
        return self.wait("it is on the bus", lambda: bus.call(self.address, "GetStatus")[0] == 0)

    def test_who_may_do_what(self):
        self.serve_with_bus()
        self.on_the_bus()
        somebody = busctl_as(self.nobody.pw_uid, self.nobody.pw_gid)
        member = busctl_as(self.nobody.pw_uid, self.nobody.pw_gid, [0])  # control-group: root
        for method in ("GetStatus", "GetLimits", "ListVMs", "ListJobs", "ListFailures",
                       "GetMetrics"):
            self.assertEqual(bus.call(self.address, method, **somebody)[0], 0, method)
        code, value, _ = bus.busctl(self.address, "get-property", *bus.OBJECT, bus.INTERFACE,
                                    "State", **somebody)
        self.assertEqual((code, value["data"]), (0, "running"))
        denied = "org.freedesktop.DBus.Error.AccessDenied"
        for call in (("Drain",), ("Resume",), ("Reload",),
                     ("WaitMemory", "uint64:1", "uint64:1"),
                     ("WaitQuiet", "string:x", "uint64:1")):
            self.assertEqual(bus.error_name(self.address, *call, peer=False, **somebody), denied)
        code, _, _ = bus.call(self.address, "SetLimits", "a(ss)", "1", "max-concurrent", "9",
                              **somebody)
        self.assertEqual(code, 1)
        self.assertEqual(self.ctl_json("status")["max_concurrent"], harness.AUTO_JOBS)
        for who in (member, {}):
            self.assertEqual(bus.call(self.address, "Drain", **who), (0, None, ""))
            self.assertEqual(self.ctl_json("status")["drain_reason"], "administrator")
            self.assertEqual(bus.call(self.address, "Resume", **who), (0, None, ""))

    def test_signals_on_the_bus(self):
        """Somebody who is nobody sees them."""
        self.serve_with_bus()
        self.on_the_bus()
        monitor = subprocess.Popen(
            ["dbus-monitor", "--address", self.address, f"interface='{bus.INTERFACE}'"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, **busctl_as(self.nobody.pw_uid, self.nobody.pw_gid))
        self.addCleanup(self.end, monitor)
        worker = self.puppet()
        time.sleep(0.5)
        seen = ""
        for seq in range(1, 4):
            worker.request(seq)
            worker.receive(GRANT)
            worker.done(seq)
            worker.receive(DONE_ACK)
        while "member=JobFinished" not in seen:
            line = monitor.stdout.readline()
            self.assertTrue(line, seen)
            seen += line
        self.assertIn("member=JobQueued", seen)
        self.assertIn("member=JobStarted", seen)

    def test_a_bus_that_comes_late_and_goes(self):
        """Early boot, and a bus that is restarted: control.sock serves all the time."""
        self.serve()
        self.assertEqual(self.ctl_json("status")["state"], "running")
        self.start_bus()
        self.on_the_bus()
        self.bus.kill()
        self.bus.wait()
        self.assertEqual(self.ctl_json("status")["state"], "running")
        self.start_bus()
        self.on_the_bus()
        self.assertIn("org.pvreaper is not on D-Bus (", self.served.log())

    def test_a_bus_that_says_nothing(self):
        """It accepts and is silent: nobody waits for it."""
        listener = bus.socket.socket(bus.socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(f"{self.directory}/bus")
        listener.listen(8)
        self.serve()
        for _ in range(5):
            start = time.monotonic()
            self.assertEqual(self.ctl_json("status")["state"], "running")
            self.assertLess(time.monotonic() - start, 5)

    def test_a_bus_without_our_policy(self):
        """It is told once, and that is all."""
        self.bus_config = self.bus_config.replace(f"<include>{POLICY}</include>", "")
        self.start_bus()
        self.serve()
        self.log_has("org.pvreaper is not on D-Bus (")
        time.sleep(1.5)  # one more try
        self.assertEqual(self.served.log().count("org.pvreaper is not on D-Bus"), 1)
        self.assertEqual(self.ctl_json("status")["state"], "running")

    def test_who_waits_on_the_bus_may_go(self):
        """The connection that we share with him stays: his name is watched."""
        self.serve_with_bus()
        self.on_the_bus()
        self.queue_up([self.puppet("runs")])  # or nothing would be left to wait for
        waiting = subprocess.Popen(
            ["busctl", f"--address={self.address}", "call", *bus.OBJECT, bus.INTERFACE,
             "WaitMemory", "tt", str(harness.ALL_MEMORY), str((1 << 64) - 1)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(waiting.wait)
        self.addCleanup(waiting.kill)
        self.status_is(waiters=1, mode="boost")
        waiting.kill()
        self.status_is(waiters=0, mode="normal")


if __name__ == "__main__":
    tap.main()
