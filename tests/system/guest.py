# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the system tests share: everything of tests/lib/harness.py, as it is in the guest.

Case: in the guest, as root, systemd is PID 1. The project is the installed one, KVM is pvsim.ko
(its log, not our own counters, says what was done), and all times have room for emulation.
Ended: on the host, about a guest that has switched itself off.
"""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]

import harness  # noqa: E402
import journal  # noqa: E402
from harness import TIMEOUT, Failure, SimLog, read, tap, values, wait_until  # noqa: E402,F401

CGROUPS = "/sys/fs/cgroup"
PARAMETERS = "/sys/module/pvsim/parameters"
OUT = os.environ.get("PVR_OUT", "/run/pvr/out")
NS_PER_SEC = 1_000_000_000
LOOK_SECONDS = 0.25

harness.DAEMON = "/usr/sbin/pv-reaperd"
if not os.path.exists(harness.DAEMON):
    harness.DAEMON = "/usr/libexec/pv-reaper/pv-reaperd"
harness.CTL = "/usr/bin/pv-reaperctl"


class Log(SimLog):
    """/proc/pvsim, or what of it went to the console, from one moment of CLOCK_MONOTONIC on.

    What /proc/pvsim had before is not even read: it only grows, and is asked over and over.
    """

    def __init__(self, path="/proc/pvsim", since_ns=0):
        super().__init__(path)
        self.since_ns, self.start = since_ns, 0
        if path == "/proc/pvsim":
            self.start = len(self.text())

    def text(self):
        with open(self.path, encoding="utf-8", errors="replace") as file:
            file.seek(self.start)
            return file.read()

    def events(self):
        found = []
        for line in self.text().splitlines():
            line = line.partition("pvsim: ")[2] if self.path != "/proc/pvsim" else line
            if line.startswith("full="):
                raise AssertionError("the simulator's log is full")
            if line.startswith("t=") and "comm=" in line:
                found.append(values(line))
        return [event for event in found if int(event["t"]) >= self.since_ns]


def run(command, status=0, timeout=TIMEOUT):
    """What the command, a list of words, printed to stdout. status: the expected one; None: any."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout, check=False, errors="replace")
    if status is not None and done.returncode != status:
        raise AssertionError(f"{shlex.join(command)}: exit status {done.returncode}\n"
                             f"{done.stdout}{done.stderr}")
    return done.stdout


def sh(command, status=0, timeout=TIMEOUT):
    """The same for what bash makes of a text."""
    return run(["bash", "-c", command], status, timeout)


def systemctl(*arguments, status=0, timeout=TIMEOUT):
    return run(["systemctl", *arguments], status, timeout)


def show_all(unit, *names):
    """[value] of these properties of a unit, in one look."""
    text = systemctl("show", f"--property={','.join(names)}", unit)
    found = dict(line.split("=", 1) for line in text.splitlines())
    return [found[name] for name in names]


def show(unit, name):
    return show_all(unit, name)[0]


def cgroup_of_unit(unit):
    return CGROUPS + show(unit, "ControlGroup")


def cgroup_of(pid):
    return CGROUPS + read(f"/proc/{pid}/cgroup").strip().partition("::")[2]


def cpu_usec(cgroup, name="usage_usec"):
    """From the cpu.stat of a cgroup's directory."""
    return int(dict(line.split() for line in read(f"{cgroup}/cpu.stat").splitlines())[name])


def in_scope(name, *options):
    """prefix= of self.vmm(): the VMM in a scope of that name, as libvirt's machine-*.scope."""
    return ("systemd-run", "--scope", "--quiet", f"--unit={name}", *options)


class Journal:
    """What pvr-journal.service copies to the host, from where it is now: no process is needed."""

    path = f"{OUT}/journal.json"
    marks = 0

    def __init__(self):
        self.start = os.path.getsize(self.path)

    def mark(self):
        """Until all that was sent to journald's socket before has arrived: so has what we send."""
        Journal.marks += 1
        text = f"pvr mark {os.getpid()} {Journal.marks}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.settimeout(TIMEOUT)
            link.connect("/run/systemd/journal/socket")
            link.send(f"MESSAGE={text}\nSYSLOG_IDENTIFIER=pvr-mark\n".encode())
        wait_until(text, TIMEOUT, lambda: f'"{text}"' in self.text())

    def text(self):
        with open(self.path, encoding="utf-8", errors="replace") as file:
            file.seek(self.start)
            return file.read()

    def records(self):
        self.mark()
        return journal.parse(self.text().splitlines())


def set_parameter(name, value):
    with open(f"{PARAMETERS}/{name}", "w", encoding="ascii") as file:
        file.write(str(value))


class Case(harness.Case):
    """A test in the guest. VMMs find the daemon that self.daemon() started by hand, or, after
    self.use_units(), the one that systemd starts.
    """

    ns_per_page = 100  # 4 GiB: 0.1 s of CPU time, and as much again for PREPARE's 2 GiB

    def setUp(self):
        super().setUp()
        self.start_ns = time.monotonic_ns()
        self.log = Journal()
        self.sim = Log(since_ns=self.start_ns)
        self.parameter("ns_per_page", self.ns_per_page)

    def parameter(self, name, value):
        """Sets one of pvsim.ko's until the end of the test."""
        self.addCleanup(set_parameter, name, read(f"{PARAMETERS}/{name}").strip())
        set_parameter(name, value)

    def use_units(self):
        self.socket = "/run/pv-reaper/handoff.sock"
        self.control = "/run/pv-reaper/control.sock"

    def vmm(self, name="vm", *options, **arguments):
        return super().vmm(name, *options, **{"sim": False, **arguments})

    def wait(self, what, check, timeout=TIMEOUT):
        return wait_until(what, timeout, check)

    def journal(self, **fields):
        """Records since the test began that have all these fields."""
        return [record for record in journal.matching(self.log.records(), **fields)
                if journal.seconds(record) * NS_PER_SEC >= self.start_ns]

    def wait_journal(self, n=1, timeout=TIMEOUT, **fields):
        """Until there are n such records; all of them."""
        def found():
            records = self.journal(**fields)
            return records if len(records) >= n else None

        return self.wait(f"{n} records with {json.dumps(fields)}", found, timeout)


class StandingVmm:
    """A pvr-vmm in a scope of its own that nobody's end ends but that of the scope: not ours, as
    when the guest shuts down. It reads commands from a FIFO that it holds open itself. before:
    what bash is to do first.
    """

    def __init__(self, scope, *options, name="vm", mem="4G", properties=(), before=""):
        self.stem = f"/run/pvr/{scope}"
        os.mkfifo(f"{self.stem}.in")
        command = f"{before}exec '{harness.VMM}' --name {name} --mem {mem} {' '.join(options)}"
        subprocess.Popen([*in_scope(scope, *properties), "bash", "-c",
                          f"{command} 0<>'{self.stem}.in' >'{self.stem}.out' 2>&1"])
        self._wait("ready ", 1)

    def _wait(self, prefix, n):
        def found():
            lines = read(f"{self.stem}.out").splitlines() if self._has_output() else []
            lines = [line for line in lines if line.startswith(prefix)]
            return lines[-1] if len(lines) >= n else None

        return wait_until(f"{self.stem}: {prefix}", TIMEOUT, found)

    def _has_output(self):
        return os.path.exists(f"{self.stem}.out")

    def do(self, command):
        """The values of the answer, which must be ok."""
        prefix = f"ok {command.split()[0]}"
        n = sum(line.startswith(prefix) for line in read(f"{self.stem}.out").splitlines())
        with open(f"{self.stem}.in", "w", encoding="ascii") as file:
            file.write(f"{command}\n")
        return values(self._wait(prefix, n + 1))


class Ended(unittest.TestCase):
    """Cases of an end-*.py, which ends with end_main(). records: the whole journal; sim: what the
    simulator logged after prepare_end(); console: the text on the guest's console.
    """

    @classmethod
    def setUpClass(cls):
        cls.records = journal.load(f"{OUT}/journal.json")
        cls.sim = Log(f"{OUT}/console.log")
        cls.console = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", read(f"{OUT}/console.log"))

    def matching(self, **fields):
        return journal.matching(self.records, **fields)

    def first(self, pattern, **fields):
        """When the first message that matches was logged, in seconds since boot; fails if none."""
        for record in self.matching(**fields):
            if re.search(pattern, record.get("MESSAGE", "")):
                return journal.seconds(record)
        return self.fail(f"nothing in the journal matches {pattern!r} {fields}")


def usual_share(looks):
    """Of a CPU, that a process usually takes. looks: (time, its CPU time), every LOOK_SECONDS.

    An emulated CPU that the host takes away goes on counting for who was on it, a hundred times now
    and then what that one needs. So it is the lesser of two: all but the look that had the most,
    which is right for few; how often it ran times what that cost in the cheaper fourth, for many.
    """
    spent = sorted(run - before for (_, before), (_, run) in zip(looks, looks[1:]) if run > before)
    usual = min(sum(spent[:-1]), len(spent) * spent[len(spent) // 4]) if spent else 0
    return usual / (looks[-1][0] - looks[0][0])


def prepare_end():
    """In the guest, before power-off: from now on the simulator's log goes to the console, too."""
    set_parameter("echo", 1)


def end_main(in_guest):
    """in_guest() must see to it that the machine goes off; its processes may be killed by that."""
    if sys.argv[1:] == ["--in-guest"]:
        in_guest()
    else:
        tap.main()
