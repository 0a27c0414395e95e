#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory that is short, and limits that are changed while the daemon runs. A file stands in for
/proc/meminfo and says how much is available. The GRANTs that puppets get show what follows.
"""

import subprocess
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import DONE, DONE_ACK, GRANT, pack, tap
from raw import PeerCase

GIB = 1 << 30


class MemoryCase(PeerCase):
    def setUp(self):
        super().setUp()
        self.meminfo = f"{self.directory}/meminfo"
        self.available(8)
        self.waiting = []

    def tearDown(self):
        for process in self.waiting:
            process.kill()
            process.communicate()
        super().tearDown()

    def available(self, gib):
        with open(f"{self.meminfo}.new", "w", encoding="ascii") as file:
            file.write(f"MemTotal: 99999999 kB\nMemAvailable:   {int(gib * (1 << 20))} kB\n")
        subprocess.run(["mv", f"{self.meminfo}.new", self.meminfo], check=True)

    def serve(self, *options, text="", **arguments):
        with open(self.config, "a", encoding="ascii") as file:
            file.write(f"max-concurrent=1\nboost-max-concurrent=3\n{text}\n")
        return super().serve(*options, env={"PVREAPER_MEMINFO": self.meminfo}, **arguments)

    def status(self, key):
        return self.ctl_json("status")[key]

    def mode_is(self, mode):
        self.wait(f"the mode is {mode}", lambda: self.status("mode") == mode)

    def finish(self, worker, seq=1):
        worker.send(pack(DONE, 0, seq, 1, 0, 0, 0, 0))
        worker.receive(DONE_ACK)

    def asks(self, name):
        worker = self.worker(name)
        worker.register()
        worker.request()
        return worker

    def in_vain(self, size):
        done = harness.run_ctl("--socket", self.control, "wait-memory", size)
        self.assertEqual((done.stdout, done.returncode), ("", 7))
        return done.stderr

    def wait_memory(self, *arguments):
        process = subprocess.Popen([harness.CTL, "--socket", self.control, "wait-memory",
                                    *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True)
        self.waiting.append(process)
        return process


class Short(MemoryCase):
    def test_boost_with_hysteresis(self):
        daemon = self.serve(text="[memory]\nmemory-low=4G\nmemory-high=6G")
        workers = [self.asks(f"raw-{i}") for i in range(5)]
        workers[0].receive(GRANT)
        self.assertEqual((self.status("mode"), self.status("queued")), ("normal", 4))
        self.available(3.9)
        for worker in workers[1:3]:
            worker.receive(GRANT)
        self.assertEqual((self.status("mode"), self.status("queued")), ("boost", 2))
        self.available(5)
        time.sleep(1.5)
        self.assertEqual(self.status("mode"), "boost")
        self.available(6.1)
        self.mode_is("normal")
        for worker in workers[:2]:
            self.finish(worker)
        self.assertEqual((self.status("queued"), self.status("max_concurrent")), (2, 1))
        self.available(5)
        time.sleep(1.5)
        self.assertEqual(self.status("mode"), "normal")
        self.assertEqual(daemon.log().count("memory is short ("), 1)
        self.assertEqual(daemon.log().count("memory is no longer short"), 1)
        for worker in workers[2:]:
            if worker is not workers[2]:
                worker.receive(GRANT)
            self.finish(worker)

    def test_not_looked_at_without_work(self):
        self.serve(text="[memory]\nmemory-low=4G")
        self.available(1)
        time.sleep(1.5)
        self.assertEqual(self.status("mode"), "normal")


class Wait(MemoryCase):
    def test_wait_memory(self):
        """It boosts while somebody waits, and returns as soon as the memory is there."""
        self.serve()
        first, second = self.asks("first"), self.asks("second")
        first.receive(GRANT)
        waiting = self.wait_memory("16G")
        second.receive(GRANT)
        self.assertEqual((self.status("mode"), self.status("waiters")), ("boost", 1))
        self.available(16)
        start = time.monotonic()
        self.assertEqual(waiting.communicate(timeout=5), ("16.0 GiB available\n", ""))
        self.assertLess(time.monotonic() - start, 1)
        self.assertEqual(waiting.returncode, 0)
        self.mode_is("normal")
        self.assertEqual(self.status("waiters"), 0)
        for worker in (first, second):
            self.finish(worker)

    def test_wait_memory_in_vain(self):
        """Not in time; more than there is; nothing left to clear."""
        self.serve()
        self.assertIn("no teardown is left", self.in_vain("16G"))
        self.assertIn("less than 1.0 TiB", self.in_vain("1T"))
        worker = self.asks("first")
        worker.receive(GRANT)
        start = time.monotonic()
        waiting = self.wait_memory("--timeout", "1", "16G")
        out, err = waiting.communicate(timeout=10)
        self.assertEqual((out, waiting.returncode), ("", 1))
        self.assertIn("Only 8.0 GiB of memory are available, not 16.0 GiB", err)
        self.assertGreater(time.monotonic() - start, 1)
        self.assertLess(time.monotonic() - start, 3)
        self.mode_is("normal")
        self.finish(worker)

    def test_who_waits_may_go(self):
        self.serve()
        self.asks("first").receive(GRANT)
        waiting = [self.wait_memory("16G") for _ in range(3)]
        self.wait("they wait", lambda: self.status("waiters") == 3)
        for process in waiting:
            process.kill()
        self.wait("they do not", lambda: self.status("waiters") == 0)
        self.mode_is("normal")

    def test_there_already(self):
        daemon = self.serve()
        self.assertEqual(self.ctl("wait-memory", "7.5G"), "8.0 GiB available\n")
        self.assertNotIn("memory is short", daemon.log())

    def test_not_a_size(self):
        self.serve()
        self.ctl("wait-memory", "much", status=2)
        self.ctl("wait-memory", status=2)
        self.ctl("--timeout", "soon", "wait-memory", "1G", status=2)


class Set(MemoryCase):
    def test_set(self):
        """At once, for what waits; until the configuration is read again."""
        daemon = self.serve()
        workers = [self.asks(f"raw-{i}") for i in range(3)]
        workers[0].receive(GRANT)
        self.ctl("set", "max-concurrent=3")
        for worker in workers[1:]:
            worker.receive(GRANT)
        self.ctl("set", "start-rate=7/h")  # from now on: whoever wanted a burst has had it
        self.assertEqual((self.status("max_concurrent"), self.status("start_rate")), (3, 7))
        daemon.process.send_signal(1)
        self.wait("it is read again", lambda: self.status("max_concurrent") == 1)
        self.assertIsNone(self.status("start_rate"))
        for worker in workers:
            self.finish(worker)

    def test_all_or_none(self):
        self.serve()
        for wrong in ("max-concurrent=0", "max-concurrent=", "no-such-key=1", "handoff=/x",
                      "boost-max-concurrent=1"):
            self.ctl("set", "start-rate=5/h", "max-concurrent=2", wrong, status=1)
            self.assertEqual((self.status("max_concurrent"), self.status("start_rate")),
                             (1, None), wrong)
        self.ctl("set", "max-concurrent", status=2)


if __name__ == "__main__":
    tap.main()
