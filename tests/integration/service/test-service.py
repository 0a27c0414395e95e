#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon as a service of systemd's: what it says over NOTIFY_SOCKET, and how it reloads."""

import os
import select
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import tap
from raw import old_kernel, slow_to_close
from service import ServiceCase


class Notify(ServiceCase):
    def test_status_line(self):
        self.serve("--max-concurrent=1")
        self.heard("READY=1")
        self.heard("STATUS=idle with 0 VMs; 0 done, 0 failed")
        one, two = self.puppet("one", 3 << 30), self.puppet("two", 1 << 29)
        self.heard("STATUS=idle with 2 VMs; 0 done, 0 failed")
        one.request()
        one.receive(harness.GRANT)
        two.request()
        self.heard("STATUS=1 running, 1 queued, 3.5 GiB to clear; 0 done, 0 failed")
        one.done(error=-5)
        one.receive(harness.DONE_ACK)
        two.receive(harness.GRANT)
        two.done()
        one.request(2)
        one.receive(harness.GRANT)
        one.end()
        # EIO is "foreign", which is no failure; who died in there is lost.
        self.heard("STATUS=idle with 1 VM; 2 done, 1 failed")
        self.served.kill(signal.SIGINT)
        self.heard("STOPPING=1")
        times = [at for at, _ in self.statuses()]
        self.assertGreater(min(b - a for a, b in zip(times, times[1:])), 0.7)

    def test_a_hanging_loop_is_not_fed(self):
        """What hangs is close(2), on a kernel that cannot refuse fds; not the whole process."""
        try:
            subprocess.run(["true"], preexec_fn=old_kernel, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            self.skipTest(f"cannot hide SO_PASSRIGHTS: {error}")
        self.serve(env={"WATCHDOG_USEC": "400000"}, preexec_fn=old_kernel)

        def n_fed(seconds):
            before = self.hear().count("WATCHDOG=1")
            time.sleep(seconds)
            return self.hear().count("WATCHDOG=1") - before

        self.heard("WATCHDOG=1")
        self.assertGreaterEqual(n_fed(2), 4)
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(client.close)
        client.connect(self.control)
        with slow_to_close() as slow:
            with self.stopped(self.served.pid):
                socket.send_fds(client, [b"\0AUTH EXTERNAL\r\n"], [slow.fileno()])
                slow.close()  # from here on the daemon has the only one
            self.wait("it hangs in close()", lambda: harness.read(
                f"/proc/{self.served.pid}/wchan") not in ("", "0", "do_epoll_wait", "ep_poll"))
            time.sleep(0.5)  # what was fed before
            self.assertEqual(n_fed(1.5), 0)
            self.served.kill()

    def test_without_systemd(self):
        """Nobody listens, and there is no bus to look for."""
        bus = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(bus.close)
        bus.bind(f"{self.directory}/bus")
        bus.listen()
        self.served = self.daemon(
            env={"DBUS_SYSTEM_BUS_ADDRESS": self.environment["DBUS_SYSTEM_BUS_ADDRESS"]})
        self.puppet()
        self.assertEqual(select.select([bus], [], [], 1)[0], [])
        self.terminate()
        self.assertLess(self.ends(), 1)


class Reload(ServiceCase):
    def reload(self):
        """SIGHUP, until it is ready again; what the log says then."""
        start, n = len(self.served.log()), self.hear().count("READY=1")
        begin = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.served.process.send_signal(signal.SIGHUP)
        self.wait("it is ready again", lambda: self.hear().count("READY=1") > n)
        reloading = [lines for _, lines in self.messages if lines[0] == "RELOADING=1"][-1]
        self.assertGreaterEqual(int(reloading[1].removeprefix("MONOTONIC_USEC=")), begin)
        order = [line for line in self.hear() if line in ("RELOADING=1", "READY=1")]
        self.assertEqual(order[-2:], ["RELOADING=1", "READY=1"])
        return self.served.log()[start:]

    def test_limits(self):
        """More are granted at once; with less, who runs goes on."""
        self.write_config("[limits]\nmax-concurrent=1\n")
        self.serve()
        workers = [self.puppet(f"vm-{i}") for i in range(4)]
        self.queue_up(workers)
        self.write_config("[limits]\nmax-concurrent=3\n")
        self.assertIn("configuration read again: at most 3 at once", self.reload())
        for worker in workers[1:3]:
            worker.receive(harness.GRANT)
        self.status_is(running=3, queued=1, max_concurrent=3)
        self.write_config("[limits]\nmax-concurrent=1\n")
        self.reload()
        self.status_is(running=3, queued=1, max_concurrent=1)
        for n in (0, 1):
            workers[n].done()
            self.assertEqual(workers[n].receive()[0], harness.DONE_ACK)
        self.status_is(running=1, queued=1)
        workers[2].done()
        workers[3].receive(harness.GRANT)

    def test_command_line_wins(self):
        self.serve("--max-concurrent=2")
        self.write_config("[limits]\nmax-concurrent=7\n")
        self.assertIn("at most 2 at once", self.reload())

    def test_wrong_file(self):
        """All of the old stays, also what comes before the error."""
        self.serve()
        self.write_config("[limits]\nmax-concurrent=9\nmax-concurrent=none\n")
        said = self.reload()
        self.assertIn(f"error: {self.config}:3: max-concurrent=none: must be a number", said)
        self.assertIn("error: the configuration cannot be used, the old one stays", said)
        self.assertEqual(self.ctl_json("status")["max_concurrent"], harness.AUTO_JOBS)
        os.unlink(self.config)
        self.assertIn("No such file", self.reload())
        self.write_config("[limits]\nmax-concurrent=9\n")
        self.reload()
        self.assertEqual(self.ctl_json("status")["max_concurrent"], 9)

    def test_what_needs_a_restart(self):
        """Sockets and cgroups stay as they are, and are named; the rest is applied."""
        daemon_options = ["--config", self.config]
        self.write_config(f"[sockets]\nhandoff={self.socket}\ncontrol={self.control}\n"
                          f"[cgroup]\npath={self.cgroup_option}\n")
        command = [harness.DAEMON, *daemon_options]
        with open(f"{self.directory}/daemon.log", "wb") as log:
            process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL,
                                       env={**os.environ, **self.environment})
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.heard("READY=1")
        self.write_config("[sockets]\nhandoff=/nowhere/x\n[cgroup]\npath=/nowhere\n"
                          f"[limits]\nmax-concurrent=5\n[sockets]\ncontrol={self.control}\n")
        process.send_signal(signal.SIGHUP)
        self.wait("it is ready again", lambda: self.hear().count("READY=1") == 2)
        log = harness.read(f"{self.directory}/daemon.log")
        self.assertIn("handoff in section [sockets] has changed; a restart applies it", log)
        self.assertIn("path in section [cgroup] has changed", log)
        self.assertNotIn("control in section", log)
        self.assertEqual(self.ctl_json("status")["max_concurrent"], 5)
        self.puppet().end()
        process.terminate()
        self.assertEqual(process.wait(harness.TIMEOUT), 0)
        self.assertFalse(os.path.exists(self.socket))


if __name__ == "__main__":
    tap.main()
