#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The system bus with its policy, and the metrics' timer, under the installed units' hardening."""

import contextlib
import json
import os
import subprocess

from guest import read, run, systemctl, tap
from installed import Installed

BUS = ("busctl", "--system", "--json=short")
OBJECT = ("org.pvreaper", "/org/pvreaper/Manager")
MANAGER = "org.pvreaper.Manager1"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
METRICS = "/var/lib/prometheus/node-exporter"
TIMER = "pv-reaper-metrics.timer"


class Bus(Installed):
    def setUp(self):
        super().setUp()
        self.wait("the name is on the bus", lambda: subprocess.run(
            [*BUS, "status", OBJECT[0]], capture_output=True, check=False).returncode == 0)

    def call(self, method, *arguments, prefix=(), error=None):
        """The values that it returned. error: it must fail, and say that."""
        done = subprocess.run([*prefix, *BUS, "call", *OBJECT, MANAGER, method, *arguments],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode != 0, bool(error), done.stderr)
        if error:
            return self.assertIn(error, done.stderr)
        return json.loads(done.stdout or '{"data": []}')["data"]

    @contextlib.contextmanager
    def monitor(self):
        """The members of our signals that busctl monitor has seen so far, by a function."""
        path = f"{self.directory}/monitor"
        with open(path, "wb") as file, subprocess.Popen(
                [*BUS, "monitor", OBJECT[0]], stdout=file, stderr=subprocess.DEVNULL) as process:
            try:
                self.wait("it listens", lambda: self.hears(path))
                yield lambda: self.signals(path)
            finally:
                process.terminate()

    def hears(self, path):
        """Whatever it is that comes over the bus, once the monitor is one."""
        self.call("GetStatus")
        return os.path.getsize(path) > 0

    def signals(self, path):
        messages = [json.loads(line) for line in read(path).splitlines() if line.endswith("}")]
        return [m["member"] for m in messages
                if m["type"] == "signal" and m.get("interface") == MANAGER]

    def test_monitor_sees_the_signals(self):
        with self.monitor() as signals:
            vmm = self.machine("anna")
            vmm.do("protect")
            vmm.do("reboot")
            vmm.wait_outcomes(1)
            self.wait("the job's end", lambda: "JobFinished" in signals())
            self.assertEqual([name for name in signals() if name.startswith("Job")],
                             ["JobQueued", "JobStarted", "JobFinished"])

    def test_who_has_no_rights_reads_and_changes_nothing(self):
        status, = self.call("GetStatus", prefix=NOBODY)
        self.assertEqual(status["MaxConcurrent"]["data"], self.max_concurrent)
        version = run([*NOBODY, *BUS, "get-property", *OBJECT, MANAGER, "Version"])
        self.assertRegex(json.loads(version)["data"], r"^\d+")
        self.assertIn("JobFinished", run([*NOBODY, "busctl", "--system", "introspect", *OBJECT]))
        denied = "Access denied"
        self.call("Drain", prefix=NOBODY, error=denied)
        self.call("Reload", prefix=NOBODY, error=denied)
        self.call("SetLimits", "a(ss)", "1", "max-concurrent", "64", prefix=NOBODY,
                  error=denied)
        self.call("WaitMemory", "tt", "1", "1", prefix=NOBODY, error=denied)
        self.status_is(max_concurrent=self.max_concurrent, state="running")

    def test_root_changes(self):
        self.call("SetLimits", "a(ss)", "2", "max-concurrent", "3", "boost-max-concurrent", "3")
        self.status_is(max_concurrent=3)


class Metrics(Installed):
    """With a directory that its user may write to, as pv-reaper(8) has it."""

    @classmethod
    def setUpClass(cls):
        run(["install", "-d", "-o", "pv-reaper", METRICS])

    def test_timer_writes_and_replaces_the_file(self):
        path = f"{METRICS}/pv-reaper.prom"
        self.assertFalse(os.path.exists(path))
        self.addCleanup(systemctl, "stop", TIMER)
        systemctl("start", TIMER)
        self.wait("a file", lambda: os.path.exists(path), 60)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o644)
        vmm = self.machine("anna")
        vmm.do("protect")
        vmm.do("reboot")
        vmm.wait_outcomes(1)
        self.wait("the job in it", lambda: 'outcome="done"} 1' in read(path), 60)
        self.assertEqual(os.listdir(METRICS), ["pv-reaper.prom"])


if __name__ == "__main__":
    tap.main()
