# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of the daemon as a service stand on: a NOTIFY_SOCKET to listen at, a bus of their own
with a fake PID 1 (fake-pid1.c) on it, and a worker that measures how fast the daemon answers.
"""

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import time

import harness
from raw import RawWorker

FAKE_PID1 = f"{harness.BUILD}/tests/standins/fake-pid1"
BUS_CONFIG = """<busconfig>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true"/><allow receive_type="method_call"/>
    <allow receive_type="signal"/><allow receive_type="method_return"/>
    <allow receive_type="error"/>
  </policy>
</busconfig>
"""


class Pinger(threading.Thread):
    """Has a worker repeat its outcome all the time, and notes how long the answer takes."""

    def __init__(self, case):
        super().__init__(daemon=True)
        self.worker, self.slowest, self.leave = RawWorker(case, "pinger"), 0, threading.Event()
        self.error = None
        self.worker.take_slot()
        self.worker.done()
        self.worker.receive(harness.DONE_ACK)

    def run(self):
        try:
            while not self.leave.wait(0.01):
                start = time.monotonic()
                self.worker.done()
                if self.worker.receive()[:1] != (harness.DONE_ACK,):
                    return
                self.slowest = max(self.slowest, time.monotonic() - start)
        except (ConnectionError, BrokenPipeError):
            pass  # the daemon is gone
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def stop(self):
        self.leave.set()
        self.join()


class ServiceCase(harness.Case):
    """serve() starts a daemon that is listened to; see heard()."""

    def setUp(self):
        super().setUp()
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.notify.close)
        self.notify.bind(f"{self.directory}/notify")
        self.notify.setblocking(False)
        self.messages = []  # (time, [lines])
        self.environment = {"NOTIFY_SOCKET": f"{self.directory}/notify",
                            "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self.directory}/bus"}

    def serve(self, *options, env=None, **arguments):
        self.served = self.daemon(*options, env={**self.environment, **(env or {})}, **arguments)
        return self.served

    def write_config(self, text):
        with open(self.config, "w", encoding="ascii") as file:
            file.write(text)

    def hear(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self.notify.recv(4096)
                self.messages.append((time.monotonic(), data.decode().splitlines()))
        return [line for _, lines in self.messages for line in lines]

    def heard(self, pattern, timeout=harness.TIMEOUT):
        """Waits for a line; everything until then is in messages."""
        return self.wait(f"systemd hears {pattern}",
                         lambda: any(re.fullmatch(pattern, line) for line in self.hear()), timeout)

    def statuses(self):
        return [(at, line) for at, lines in self.messages for line in lines
                if line.startswith("STATUS=")]

    def puppet(self, name="puppet", mem=1 << 30):
        worker = RawWorker(self, name, mem)
        worker.register()
        return worker

    def log_has(self, text):
        return self.wait(f"the log says: {text}", lambda: text in self.served.log())

    def status_is(self, **expected):
        def check():
            status = self.ctl_json("status")
            return all(status[key] == value for key, value in expected.items())
        return self.wait(f"status {expected}", check)

    def queue_up(self, workers):
        """All ask, in this order; the first is granted the only slot."""
        for n, worker in enumerate(workers):
            worker.request()
            if n == 0:
                worker.receive(harness.GRANT)
            self.status_is(running=1, queued=n)

    def end_of(self, worker):
        """What a worker is still told before its connection ends: types of messages."""
        types = []
        while fields := worker.receive():
            types.append(fields[0])
        return types

    def ends(self, timeout=harness.TIMEOUT):
        """Waits for the daemon's end; how long that took."""
        start = time.monotonic()
        self.assertEqual(self.served.process.wait(timeout), 0, self.served.log())
        return time.monotonic() - start

    def terminate(self):
        self.served.process.send_signal(signal.SIGTERM)


class BusCase(ServiceCase):
    """With a bus and a PID 1 on it."""

    bus_config = BUS_CONFIG

    def setUp(self):
        super().setUp()
        self.bus = self.pid1 = None
        if not shutil.which("dbus-daemon"):
            self.skipTest("no dbus-daemon")

    def start_bus(self):
        path = f"{self.directory}/bus.conf"
        with open(path, "w", encoding="ascii") as file:
            file.write(self.bus_config.format(path=f"{self.directory}/bus"))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.directory}/bus")
        self.bus = subprocess.Popen(["dbus-daemon", f"--config-file={path}", "--nofork",
                                     "--nopidfile", "--print-address"],
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.addCleanup(self.end, self.bus)
        self.assertIn(b"unix:", self.bus.stdout.readline())  # it listens
        self.pid1 = subprocess.Popen([FAKE_PID1], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     bufsize=0, env={**os.environ, **self.environment})
        self.addCleanup(self.end, self.pid1)
        self.pid1_says("ok")

    def end(self, process):
        process.kill()
        process.wait()
        for pipe in filter(None, (process.stdin, process.stdout)):
            pipe.close()

    def pid1_says(self, word):
        """Reads until it says word, and forgets all before."""
        while True:
            if not select.select([self.pid1.stdout], [], [], harness.TIMEOUT)[0]:
                raise AssertionError(f"PID 1 does not say {word}")
            line = self.pid1.stdout.readline().decode().strip()
            if line == word:
                return
            self.assertEqual(line, "asked")

    def tell_pid1(self, line):
        self.pid1.stdin.write(f"{line}\n".encode())
        self.pid1_says("ok")

    def serve_with_bus(self, *options, **arguments):
        self.start_bus()
        self.serve(*options, **arguments)
        self.pid1_says("asked")

    def draining(self):
        return self.status_is(state="draining")
