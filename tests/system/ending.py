# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of a host's shutdown share: VMs, one of them being cleared, and a witness.

In the guest: Host makes them and begins the end; "ending.py --watch FILE PID..." is the witness: it
writes down, until the machine is off, how much CPU time each of these has used, and what a process
gets that connects while there is no daemon. On the host: ShutDown has what holds for every end.
Nothing here belongs to a test's process: all of that ends as the shutdown begins.
"""

import contextlib
import json
import os
import re
import signal
import socket
import sys
import time

import guest
import journal
from guest import OUT, Ended, StandingVmm, read, set_parameter, sh, systemctl, wait_until
from installed import CONFIG, FOR_EVER, RUNTIME, SERVICE, SOCKET, WORKERS, write_file

PAGES_4G = (4 << 30) // 4096
NS_PER_PAGE = 6000  # 4 GiB: 6.3 s
SOCKET_PATH = "/run/pv-reaper/handoff.sock"
WATCHED = "watched"
NS_PER_SEC = 1_000_000_000
STATUS_SECONDS = 4
STOP_SECONDS = 3  # TimeoutStopSec= of the daemon

# Nothing stops it but systemd-shutdown, when all units are gone.
WATCHER = ("systemd-run --quiet --unit=pvr-watcher --property=DefaultDependencies=no "
           "--setenv=PYTHONDONTWRITEBYTECODE=1")


# ---- the witness ----

def knock():
    """What happens to somebody who connects."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(0.2)
        try:
            client.connect(SOCKET_PATH)
            return "dropped" if client.recv(1) == b"" else "served"
        except ConnectionResetError:
            return "dropped"
        except TimeoutError:
            return "kept"
        except OSError as error:
            return error.strerror.replace(" ", "-")


def watch(path, pids):
    """Lines of "t=<CLOCK_MONOTONIC, ns> pid= run=<CPU time, ns>" or "t= knock="."""
    with open(path, "a", encoding="ascii", buffering=1) as file:
        while True:
            for pid in pids:
                try:
                    run = read(f"/proc/{pid}/schedstat").split()[0]
                except OSError:
                    continue
                file.write(f"t={time.monotonic_ns()} pid={pid} run={run}\n")
            if not os.path.exists(f"{guest.CGROUPS}/system.slice/{SERVICE}"):
                file.write(f"t={time.monotonic_ns()} knock={knock()}\n")
            time.sleep(guest.LOOK_SECONDS)


# ---- in the guest ----

class Host:
    """One job at a time, two when draining, and a daemon that has little time to stop."""

    def __init__(self):
        guest.prepare_end()
        set_parameter("ns_per_page", 0)
        write_file(CONFIG, "[limits]\nmax-concurrent=1\nboost-max-concurrent=2\n")
        write_file(f"{RUNTIME}/{SERVICE}.d/pvr-test.conf",
                   f"[Service]\nTimeoutStopSec={STOP_SECONDS}s\n")
        systemctl("daemon-reload")
        systemctl("start", SOCKET)
        self.vmms = []

    def vmm(self, scope, name, **arguments):
        """Of 4 GiB, protected and then set aside, but not handed over."""
        vmm = StandingVmm(scope, name=name, **arguments)
        vmm.do("protect")
        vmm.do("prepare")
        self.vmms.append(vmm)
        return vmm

    def list(self):
        return json.loads(guest.harness.run_ctl("list", "--json=short").stdout)

    def status_is(self, **expected):
        status = json.loads(sh(f"{guest.harness.CTL} status --json=short"))
        return all(status[key] == value for key, value in expected.items())

    def prepare(self, *busy):
        """The first of these is being cleared, for ever, and the others wait."""
        wait_until("all VMs are there", guest.TIMEOUT, lambda: len(self.list()) == len(self.vmms))
        keepers = " ".join(str(vm["pid"]) for vm in self.list())
        sh(f"{WATCHER} python3 '{__file__}' --watch {OUT}/{WATCHED} {keepers}")
        wait_until("somebody watches", guest.TIMEOUT, lambda: os.path.exists(f"{OUT}/{WATCHED}"))
        set_parameter("ns_per_page", FOR_EVER)
        for n, vmm in enumerate(busy):
            vmm.do("handoff")
            wait_until(f"{n} jobs wait", guest.TIMEOUT,
                       lambda n=n: self.status_is(running=1, queued=n))

    def end(self, **status):
        """The system is stopped, and we are told so, too. Once the daemon's status is this, or
        can no longer be had, clearing takes its normal time.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        systemctl("--no-block", "poweroff")
        signal.sigwait({signal.SIGTERM})
        if status:
            with contextlib.suppress(AssertionError, guest.Failure):
                wait_until("such a status", STATUS_SECONDS, lambda: self.status_is(**status))
        set_parameter("ns_per_page", NS_PER_PAGE)


# ---- on the host ----

class ShutDown(Ended):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.watched = [guest.values(line) for line in read(f"{OUT}/{WATCHED}").splitlines()]

    def pid1(self, pattern, unit):
        return self.first(pattern, _PID="1", UNIT=unit)

    def daemon_gone(self):
        return self.pid1("^Stopped ", SERVICE)

    def clearing(self, **match):
        """(begin, end), in seconds, of what keepers cleared."""
        found = []
        for cmd in "PERFORM", "CLOSE":
            for end in self.sim.commands(cmd, comm="pvr-keeper", **match):
                begin, = self.sim.commands(cmd, ev="begin", tid=end["tid"], seq=end["seq"])
                if end["pages"] != "0":
                    found.append((int(begin["t"]) / NS_PER_SEC, int(end["t"]) / NS_PER_SEC))
        return sorted(found)

    def pids(self):
        return {line["pid"] for line in self.watched if "pid" in line}

    def idle_without_daemon(self, pid):
        """Looks for usual_share() at the longest time that it waited without a daemon."""
        gone = self.daemon_gone() * NS_PER_SEC
        events = sorted(int(e["t"]) for e in self.sim.events() if e["pid"] == pid)
        begin = max([t for t in events if t <= gone] + [gone])
        # of what was going on as the daemon went, the end
        for event in self.sim.events():
            if event["pid"] == pid and event["ev"] == "end" and event["cmd"] == "PERFORM":
                begin = max(begin, int(event["t"]))
        end = min([t for t in events if t > begin], default=float("inf"))
        return [(int(line["t"]), int(line["run"])) for line in self.watched
                if line.get("pid") == pid and begin <= int(line["t"]) <= end]

    def knocks(self):
        return [line["knock"] for line in self.watched if "knock" in line]

    def assert_nothing_killed_at_work(self):
        """All PERFORMs came to their end, and systemd had to kill none of our processes."""
        begun = self.sim.commands("PERFORM", ev="begin")
        ended = self.sim.performed(rc="0", rrc="0", pages=PAGES_4G)
        self.assertEqual(len(begun), len(ended), begun)
        for record in self.matching(_PID="1"):
            if "pv-reaper" in record.get("UNIT", ""):
                self.assertNotRegex(record["MESSAGE"], "(?i)kill|timed out|left-over|failed|abort")
        self.assertNotRegex(self.console, "Sending SIGKILL to (?!remaining)|blocked for more")

    def assert_all_cleared(self, n_vms):
        """Every page of every VM, once, and all by keepers in the workers' cgroup."""
        prepared = self.sim.commands("PREPARE", ret=0)
        self.assertEqual(len(prepared), n_vms)
        for event in prepared:
            ends = [e["cmd"] for e in self.sim.commands("PERFORM", vm=event["vm"], ret=0,
                                                        seq=event["seq"])]
            ends += [e["cmd"] for e in self.sim.commands("CLOSE", vm=event["vm"],
                                                         aside=event["seq"])]
            self.assertEqual(len(ends), 1, event)
        closed = self.sim.commands("CLOSE")
        self.assertEqual(len(closed), n_vms)
        for event in closed + self.sim.commands("PERFORM"):
            self.assertEqual(event["comm"], "pvr-keeper")
            self.assertRegex(event["cgroup"], f"/pvreaper.slice/{re.escape(WORKERS)}/jobs/vm-")

    def assert_slept(self, looks, seconds):
        """For longer than this."""
        self.assertGreater(looks[-1][0] - looks[0][0], seconds * NS_PER_SEC)
        self.assertLess(guest.usual_share(looks), 0.01)

    def assert_in_order(self, **moments):
        """Keywords are in the order that is expected."""
        self.assertEqual(list(moments), sorted(moments, key=moments.get), moments)

    def service_starts(self):
        return [journal.seconds(r) for r in self.matching(_PID="1", UNIT=SERVICE)
                if r["MESSAGE"].startswith("Started ")]


if __name__ == "__main__" and sys.argv[1:2] == ["--watch"]:
    watch(sys.argv[2], sys.argv[3:])
