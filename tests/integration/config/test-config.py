#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host's configuration as the daemon finds it: main files, drop-ins, what is said of wrong
ones; and 1,000 reloads while VMs reboot. PVR_RELOADS changes that number.

The files are below a directory of the test's own (PVREAPER_CONFIG_ROOT).
"""

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import tap
from raw import fds_at_rest, resident_kib
from service import ServiceCase

RELOADS = int(os.environ.get("PVR_RELOADS", "1000"))
RUN = "run/pv-reaper"
CAPACITY = 3  # the most that any of the configurations allows


def administrators():
    """Where this build has its /etc/pv-reaper, without the first slash."""
    text = subprocess.run([harness.DAEMON, "--help"], capture_output=True, text=True, check=True,
                          timeout=harness.TIMEOUT).stdout
    return re.search(r"instead of /(\S+)/pv-reaper.conf", text)[1]


class HostCase(ServiceCase):
    def setUp(self):
        super().setUp()
        self.config = None  # the host's
        self.environment["PVREAPER_CONFIG_ROOT"] = self.directory
        self.etc = administrators()

    def put(self, path, text):
        path = f"{self.directory}/{path}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(f"{path}.new", "w", encoding="ascii") as file:
            file.write(text)
        os.rename(f"{path}.new", path)
        return path

    def drop_in(self, name, text, directory=None):
        return self.put(f"{directory or self.etc}/pv-reaper.conf.d/{name}.conf", text)


class Files(HostCase):
    def run_daemon(self, *options, status=0):
        done = subprocess.run([harness.DAEMON, *options], timeout=harness.TIMEOUT,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              env={**os.environ, **self.environment})
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def places(self, *options):
        """{key: (where it is from, value)} of --print-config."""
        out = self.run_daemon("--print-config", *options).stdout
        return {key: (place.removeprefix(self.directory + "/"), value) for place, key, value in
                re.findall(r"^# (.*)\n([a-z-]+)=(.*)$", out, re.M)}

    def test_where_limits_come_from(self):
        self.put(f"{RUN}/pv-reaper.conf", "[limits]\nmax-concurrent=20\noverdue=1h\n")
        self.assertEqual(self.places()["overdue"], (f"{RUN}/pv-reaper.conf:3", "1h"))
        self.put(f"{self.etc}/pv-reaper.conf", "[limits]\n\nmax-concurrent=21\n[memory]\n"
                                               "memory-low=10%\n")
        self.drop_in("50-x", "[cpu]\ncpu-quota=50%\n", RUN)
        self.drop_in("60-y", "[limits]\nmax-concurrent=22\n")
        places = self.places()
        self.assertEqual(places["overdue"], ("default", "12h"))
        self.assertEqual(places["memory-low"], (f"{self.etc}/pv-reaper.conf:5", "10%"))
        self.assertEqual(places["cpu-quota"], (f"{RUN}/pv-reaper.conf.d/50-x.conf:2", "50%"))
        self.assertEqual(places["max-concurrent"],
                         (f"{self.etc}/pv-reaper.conf.d/60-y.conf:2", "22"))
        self.assertEqual(self.places("--max-concurrent=23")["max-concurrent"],
                         ("command line", "23"))
        # What is named stands alone.
        alone = self.put("alone", "[limits]\nstart-burst=2\n")
        places = self.places(f"--config={alone}")
        self.assertEqual(places.pop("start-burst"), ("alone:2", "2"))
        self.assertEqual({place for place, _ in places.values()}, {"default"})

    def test_what_is_printed_is_a_configuration(self):
        self.drop_in("a", "[limits]\nstart-rate=1/s\nmax-concurrent=5\n[cpu]\ncpus=0 2\n")
        printed = self.run_daemon("--print-config").stdout
        path = self.put("again", printed)
        again = self.run_daemon("--print-config", f"--config={path}")
        self.assertEqual(again.stderr, "")

        def values(text):
            return re.findall(r"^[^#\n].*$", text, re.M)
        self.assertEqual(values(again.stdout), values(printed))
        self.assertGreater(len(values(printed)), 20)

    def test_check_of_the_host(self):
        self.assertEqual(self.run_daemon("--check-config").stderr, "")
        good = self.drop_in("10-good", "[limits]\nmax-concurrent=5\nmax-current=5\n")
        done = self.run_daemon("--check-config", status=2)
        self.assertIn(f'{good}:3: unknown key "max-current" in section [limits], ignored',
                      done.stderr)
        first = self.drop_in("20-bad", "[cpu]\ncpu-period=2h\n\ncpu-quota=half\n")
        second = self.drop_in("30-bad", "[memory\n", RUN)
        done = self.run_daemon("--check-config", status=2)
        self.assertIn(f"{first}:2: cpu-period=2h: must be a time span", done.stderr)
        self.assertIn("from 1ms to 1s\n", done.stderr)
        self.assertIn(f'{first}:4: cpu-quota=half: must be a percentage from 1% to 1000000% '
                      'or "auto" or "infinity"',
                      done.stderr)
        self.assertIn(f"{second}:1: neither [section] nor key=value", done.stderr)
        self.assertEqual(self.run_daemon("--print-config", status=2).stdout, "")

    def test_check_of_pairs(self):
        """Both places are named, also if they are in different files."""
        quota = self.drop_in("10", "[cpu]\ncpu-quota=200%\n")
        boost = self.drop_in("20", "[cpu]\n\nboost-cpu-quota=100%\n", RUN)
        done = self.run_daemon("--check-config", status=2)
        self.assertIn(f"{boost}:3: boost-cpu-quota=100%: must not be below cpu-quota=200% "
                      f"({quota}:2)", done.stderr)
        self.drop_in("20", "[limits]\nboost-max-concurrent=6\n", RUN)
        done = self.run_daemon("--check-config", "--max-concurrent=7", status=2)
        self.assertIn(f"{boost}:2: boost-max-concurrent=6: must not be below max-concurrent=7 "
                      "(command line)", done.stderr)
        self.run_daemon("--check-config", "--max-concurrent=6")


class Reloads(HostCase):
    vmm_env = {"PVSIM_NS_PER_PAGE": "10"}  # 4 GiB in 10 ms

    def reload(self):
        """What is logged from its beginning to its end. Does not poll: it is done often."""
        start = os.path.getsize(self.served.log_path)
        self.hear()
        self.messages.clear()
        self.served.process.send_signal(signal.SIGHUP)
        while "READY=1" not in self.hear():
            self.assertTrue(select.select([self.notify], [], [], harness.TIMEOUT)[0])
        with open(self.served.log_path, "rb") as log:
            log.seek(start)
            return log.read().decode()

    def test_bad_drop_in_at_reload(self):
        """It changes nothing, not even what good files and earlier lines say; and is named."""
        self.drop_in("10", "[limits]\nmax-concurrent=5\n")
        self.serve()
        self.assertEqual(self.ctl_json("status")["max_concurrent"], 5)
        self.drop_in("10", "[limits]\nmax-concurrent=6\n")
        bad = self.drop_in("20", "[limits]\nmax-concurrent=7\ndrain-time=soon\n", RUN)
        said = self.reload()
        self.assertIn(f"error: {bad}:3: drain-time=soon: must be a time span", said)
        self.assertIn("error: the configuration cannot be used, the old one stays", said)
        self.assertEqual(self.ctl_json("status")["max_concurrent"], 5)
        # An error of two keys together is one, too.
        self.drop_in("20", "[limits]\nmax-concurrent=7\nboost-max-concurrent=6\n", RUN)
        self.assertIn("must not be below max-concurrent=7", self.reload())
        self.assertEqual(self.ctl_json("status")["max_concurrent"], 5)
        # Masked, it does no harm; and the good one counts at last.
        self.drop_in("20", "")
        self.assertIn("configuration read again: at most 6 at once", self.reload())
        self.assertEqual(self.ctl_json("status")["max_concurrent"], 6)

    def reboot_all_the_time(self, vmm, leave):
        while not leave.is_set():
            n = len(vmm.outcomes)
            vmm.do("reboot")  # which may have its outcome before its answer
            vmm.wait_outcomes(n + 1)

    def reload_often(self, n):
        """Each time with another configuration; every fifth is refused."""
        refused = 0
        for i in range(n):
            concurrent = "none" if i % 5 == 4 else 1 + i % CAPACITY
            self.drop_in("50", f"[limits]\nmax-concurrent={concurrent}\noverdue={i + 1}s\n"
                               f"[cpu]\ncpus=0,{i % 8000}\n")
            said = self.reload()
            time.sleep(0.003)  # so that the VMs get somewhere, too
            refused += "the old one stays" in said
            self.assertIn("old one stays" if concurrent == "none" else
                          f"at most {concurrent} at once", said)
        return refused

    def test_a_thousand_reloads_under_load(self):
        self.need_cgroup()
        self.drop_in("50", f"[limits]\nmax-concurrent={CAPACITY}\n")
        daemon = self.serve()
        vmms = [self.vmm(f"vm-{i}", mem="4G") for i in range(6)]
        self.registered(len(vmms))
        for vmm in vmms:
            vmm.do("protect")
            vmm.do("reboot")
            vmm.wait_outcomes(1)
        self.reload_often(20)
        before = fds_at_rest(self, daemon), resident_kib(daemon.pid)

        leave, errors = threading.Event(), []

        def work(vmm):
            try:
                self.reboot_all_the_time(vmm, leave)
            except Exception as error:  # pylint: disable=broad-except
                errors.append(error)
        threads = [threading.Thread(target=work, args=(vmm,)) for vmm in vmms]
        for thread in threads:
            thread.start()
        try:
            refused = self.reload_often(RELOADS)
        finally:
            leave.set()
            for thread in threads:
                thread.join()
        self.assertEqual(errors, [])
        self.assertEqual(refused, RELOADS // 5)

        jobs = [len(vmm.outcomes) for vmm in vmms]
        print(f"{RELOADS} reloads, {sum(jobs)} jobs, {jobs} per VM")
        self.assertGreater(min(jobs), RELOADS // 50)
        self.assertEqual({r for vmm in vmms for r in vmm.results()}, {"done"})
        performed = self.sim.performed()
        self.assertEqual(len(performed), sum(jobs))
        torn_down = {(e["vm"], e["seq"]) for e in performed}
        set_aside = {(e["vm"], e["seq"]) for e in self.sim.commands("PREPARE", ret=0)}
        self.assertEqual(sorted(torn_down ^ set_aside)[:10], [])
        self.assertEqual({e["comm"] for e in performed}, {"pvr-keeper"})
        self.assertLessEqual(self.sim.max_overlap(), CAPACITY)
        after = fds_at_rest(self, daemon), resident_kib(daemon.pid)
        print(f"fds and KiB: {before}, then {after}")
        self.assertEqual(after[0], before[0])
        self.assertLess(after[1] - before[1], 512)


if __name__ == "__main__":
    tap.main()
