# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real daemon, real VMMs on /dev/kvm, the simulated Ultravisor: what integration tests share.

A Case has a directory, a cgroup and sockets of its own. Whatever it starts, it ends: after each
test no process, cgroup or fd of it may be left (tap.py looks for the processes). What happened is
read from the simulator's log, never from the daemon's own counters, unless those are tested.
"""

import collections
import contextlib
import json
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True

import tap  # noqa: E402,F401
from stage import Cgroups, Failure, hidden_mount, read, wait_until  # noqa: E402,F401

BUILD = os.path.abspath(os.environ.get("PVR_BUILD", os.path.join(HERE, "..", "..", "build")))
DAEMON = f"{BUILD}/src/daemon/pv-reaperd"
CTL = f"{BUILD}/src/ctl/pv-reaperctl"
AUTO_JOBS = max(4, os.sysconf("SC_NPROCESSORS_ONLN") // 8)  # max-concurrent=auto
VMM = f"{BUILD}/tests/vmm/pvr-vmm"
SIMULATOR = f"{BUILD}/tests/sim/libpvsim.so"
TIMEOUT = int(os.environ.get("PVR_TIMEOUT", "30"))  # an emulated machine needs more
ALL_MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # never all available


class Daemon:
    """A pv-reaperd; stderr goes to a file, so that it never blocks on us."""

    def __init__(self, case, *options, prefix=(), env=None, **popen):
        self.ended = False  # by us
        self.started = time.time()
        self.log_path = f"{case.directory}/daemon.log"
        self.log_start = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        config = ["--config", case.config] if case.config else []
        quota = ["--cpu-quota", case.cpu_quota] if case.cpu_quota else []
        command = [*prefix, DAEMON, *config, "--handoff-socket", case.socket, *quota,
                   "--control-socket", case.control, "--cgroup", case.cgroup_option, *options]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL,
                                            env={**os.environ, **(env or {})}, **popen)
        try:
            wait_until("the daemon is ready", TIMEOUT,
                       lambda: "ready:" in self.log() or self.process.poll() is not None)
        except BaseException:
            self.kill()
            raise
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon did not start: {self.log()}")

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            log.seek(self.log_start)
            return log.read()

    def kill(self, number=signal.SIGKILL):
        """Ends it and returns its exit status. A daemon that crashed before is a failure."""
        if self.process.poll() is None:
            self.ended = True
            if number != signal.SIGKILL:  # all others reach it only when it runs
                self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        status = self.process.wait(TIMEOUT)
        if status < 0 and not self.ended:
            raise AssertionError(f"the daemon died of signal {-status}: {self.log()}")
        if refused := denials(DAEMON, self.started):
            raise AssertionError(f"not in the daemon's list of system calls: {refused}")
        return status

    def n_fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Vmm:
    """A pvr-vmm under the simulator. One command at a time; outcomes come whenever they come."""

    def __init__(self, case, name="vm", *options, env=None, sim=True, wait=True, preexec=None,
                 mem="4G", prefix=(), **popen):
        environment = {**os.environ, "PVREAPER_SOCKET": case.socket, **case.vmm_env, **(env or {})}
        if sim:
            environment |= {"LD_PRELOAD": SIMULATOR, "PVSIM_LOG": case.sim_log}
        self.name, self.outcomes, self.lines, self.buffer = name, [], [], b""
        self.process = subprocess.Popen(
            [*prefix, VMM, "--name", name, "--mem", mem, *options], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, bufsize=0, env=environment, preexec_fn=preexec, **popen)
        self.keeper = None
        if wait:
            self.ready = self.expect(lambda line: line.startswith("ready "))
            pids = self.do("pids")
            self.pid = int(pids["vmm"])
            self.keeper = int(pids["keeper"]) if pids.get("keeper", "-").isdigit() else None

    def send(self, line):
        self.process.stdin.write(f"{line}\n".encode())

    def _fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
            raise AssertionError(f"{self.name}: no answer in time; so far {self.lines}")
        data = os.read(self.process.stdout.fileno(), 65536)
        if not data:
            raise EOFError(f"{self.name} has died with status {self.process.wait(TIMEOUT)}")
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in map(bytes.decode, lines):
            if line.startswith("outcome "):
                self.outcomes.append(values(line))
            else:
                self.lines.append(line)

    def expect(self, check, timeout=TIMEOUT):
        """The first line (no outcome) for which check() holds; it is taken off."""
        deadline = time.monotonic() + timeout
        while True:
            for i, line in enumerate(self.lines):
                if check(line):
                    return self.lines.pop(i)
            self._fill(deadline)

    def do(self, command, timeout=TIMEOUT, error=False):
        """Sends a command; its answer's values. error: an error line is expected, and returned."""
        self.send(command)
        verb = command.split()[0]
        line = self.expect(lambda l: l.split()[:2] in (["ok", verb], ["error", verb]), timeout)
        if line.startswith("error") != error:
            raise AssertionError(f"{self.name}: {command}: {line}")
        return values(line)

    def wait_outcomes(self, n, timeout=TIMEOUT):
        """Until n outcomes in all were read; returns them."""
        deadline = time.monotonic() + timeout
        while len(self.outcomes) < n:
            self._fill(deadline)
        return self.outcomes

    def results(self):
        return [o["result"] for o in self.outcomes]

    def quit(self):
        if self.process.poll() is None:
            self.send("quit")
        return self.process.wait(TIMEOUT)

    def kill(self, number=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(number)
            if number == signal.SIGKILL:
                self.process.wait(TIMEOUT)


def values(line):
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


class SimLog:
    """The simulator's log: who did what to which VM, and when."""

    def __init__(self, path):
        self.path = path

    def events(self):
        if not os.path.exists(self.path):
            return []
        return [values(line) for line in read(self.path).splitlines()]

    def commands(self, cmd, ev="end", **match):
        return [e for e in self.events() if e["cmd"] == cmd and e["ev"] == ev and
                all(e.get(k) == str(v) for k, v in match.items())]

    def performed(self, **match):
        """PERFORMs that tore something down."""
        return self.commands("PERFORM", ret=0, **match)

    def ends_of(self, vm, seq):
        """How the set-aside incarnation seq of a VM ended: a word for each time it was taken.

        performed, disabled, failed: by a command that said so; killed: its task died in there;
        running: not over yet; left: nobody took it and nobody can, for the VMM is dead.
        """
        words, vmm_alive = [], is_alive(vm.partition(".")[0])
        for begin in (e for e in self.events() if e["vm"] == vm and e["ev"] == "begin"):
            taken = {"PERFORM": begin["seq"], "DISABLE": begin["aside"]}.get(begin["cmd"])
            if taken != seq:
                continue
            alive = is_alive(begin["tid"])  # before the log is read, where it may just be writing
            same = {key: begin[key] for key in ("vm", "tid", "seq", "aside")}
            end = self.commands(begin["cmd"], **same)
            if not end:
                words.append("running" if alive else "killed")
            elif end[0]["ret"] != "0":
                words.append("failed")
            else:
                words.append("performed" if begin["cmd"] == "PERFORM" else "disabled")
        # The log says it first (vm.c): who was killed before it was done had taken nothing.
        words = [word for word in words[:-1] if word != "killed"] + words[-1:]
        return words or ([] if vmm_alive else ["left"])

    def n_performing(self):
        """How many PERFORMs are inside the kernel now (those killed there count for ever)."""
        return self.max_overlap(last=True)

    def max_overlap(self, last=False, comm=None):
        """The most PERFORMs that ran at once. A PERFORM that took nothing counts for an instant."""
        running, most = set(), 0
        for e in sorted(self.events(), key=lambda e: int(e["t"])):
            if e["cmd"] != "PERFORM" or comm and e["comm"] != comm:
                continue
            if e["ev"] == "begin":
                running.add(e["tid"])
            else:
                running.discard(e["tid"])
            most = max(most, len(running))
        return len(running) if last else most


class Case(unittest.TestCase):
    """One test: a directory, a cgroup below the v2 mount (none without root), sockets, children."""

    vmm_env = {"PVSIM_NS_PER_PAGE": "50"}  # 4 GiB in 50 ms of CPU, 16 GiB in 0.2 s
    daemon_options = ()
    cpu_quota = "infinity"  # whatever the default is: tests are to be quick

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="pvr-test-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.socket = f"{self.directory}/handoff.sock"
        self.control = f"{self.directory}/control.sock"
        self.config = f"{self.directory}/pv-reaper.conf"
        open(self.config, "w", encoding="ascii").close()
        self.sim_log = f"{self.directory}/sim.log"
        self.sim = SimLog(self.sim_log)
        self.cgroups = Cgroups(os.path.basename(self.directory))
        self.cgroups.make()
        self.cgroup_option = self.cgroups.top or "none"
        self.addCleanup(self.remove_cgroup)
        self.addCleanup(self.assert_nothing_refused, time.time())

    def assert_nothing_refused(self, since):
        """To keepers, by their filter: their VMM has none. To daemons: see Daemon.kill()."""
        self.assertEqual(denials(VMM, since), [], "not in the keeper's list of system calls")

    def remove_cgroup(self):
        """Keepers outlive their VMMs and a killed daemon: whatever is left in our cgroup goes."""
        if self.cgroups.top and os.path.exists(self.cgroups.top):
            with open(f"{self.cgroups.top}/cgroup.kill", "w", encoding="ascii") as file:
                file.write("1")
            self.cgroups.remove()

    def need_cgroup(self):
        if not self.cgroups.top:
            self.skipTest(f"no cgroup of our own: {self.cgroups.why_not}")

    def daemon(self, *options, **arguments):
        daemon = Daemon(self, *self.daemon_options, *options, **arguments)
        self.addCleanup(daemon.kill)
        return daemon

    def vmm(self, name="vm", *options, **arguments):
        vmm = Vmm(self, name, *options, **arguments)
        self.addCleanup(self.end_vmm, vmm)
        return vmm

    def end_vmm(self, vmm):
        vmm.kill()
        vmm.process.stdin.close()
        vmm.process.stdout.close()
        if vmm.keeper and is_keeper(vmm.keeper):
            # It would go by itself once the daemon or its grace time lets it; tests do not wait.
            os.kill(vmm.keeper, signal.SIGKILL)

    def wait(self, what, check, timeout=TIMEOUT):
        return wait_until(what, timeout, check)

    def ctl(self, *arguments, status=0):
        result = run_ctl("--socket", self.control, *arguments)
        self.assertEqual(result.returncode, status, result.stderr)
        return result.stdout

    def ctl_json(self, verb):
        return json.loads(self.ctl(verb, "--json=short"))

    def jobs_of(self, name):
        return [job for job in self.ctl_json("jobs") if job["vm"] == name]

    def stop(self, pid):
        """SIGSTOP, until it has stopped. In the simulator's PERFORM a task stops, too."""
        os.kill(pid, signal.SIGSTOP)
        self.wait(f"{pid} has stopped", lambda: process_state(pid) == "T")

    @contextlib.contextmanager
    def stopped(self, pid):
        self.stop(pid)
        yield
        os.kill(pid, signal.SIGCONT)

    def sleeper_in(self, cgroup):
        """A process in it that stays until it is killed, or else until the test is over."""
        sleeper = subprocess.Popen(["sleep", "infinity"])
        self.addCleanup(sleeper.wait)
        self.addCleanup(sleeper.kill)
        with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(sleeper.pid))
        return sleeper

    def assert_all_cleared(self, **expected):
        """G2: each VM that was set aside had exactly one end (see SimLog.ends_of).

        From the simulator's log alone. expected: how many of each there were, no others.
        """
        ends = collections.Counter()
        for prepared in self.sim.commands("PREPARE", ret=0):
            words = self.sim.ends_of(prepared["vm"], prepared["seq"])
            self.assertEqual(len(words), 1, f"VM {prepared['vm']}, incarnation {prepared['seq']}")
            ends.update(words)
        self.assertNotIn("running", ends)
        if expected:
            self.assertEqual(ends, expected)
        return ends

    def registered(self, n):
        """Waits until n VMs are connected."""
        return self.wait(f"{n} VMs are registered",
                         lambda: sum(v["connected"] for v in self.ctl_json("list")) >= n)

    def state_of(self, name):
        return next((v["state"] for v in self.ctl_json("list") if v["name"] == name), None)

    def performing(self, n=1):
        return self.wait(f"{n} PERFORMs are running", lambda: self.sim.n_performing() >= n)


def has_kvm():
    """Where not, VMs of a pvr-vmm are the simulator's stand-ins (tests/sim/standin.c)."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
        return True
    except OSError:
        return False


def run_ctl(*arguments):
    """pv-reaperctl, again where it gave up waiting, after 5 s: a host may be busy."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        result = subprocess.run([CTL, *arguments], capture_output=True, text=True, timeout=TIMEOUT,
                                check=False)
        if "no answer within" not in result.stderr or time.monotonic() > deadline:
            return result


def is_keeper(pid):
    try:
        return read(f"/proc/{pid}/comm").strip() == "pvr-keeper"
    except OSError:
        return False


def is_alive(pid):
    return process_state(pid) not in (None, "X", "Z")


def process_state(pid):
    """R, S, T, Z, ... or None if there is no such process."""
    try:
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0]
    except OSError:
        return None


def own_fds(pid):
    """{fd: what it is} of a process; the simulator's stand-in for a VM is called as a real one."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            what = os.readlink(f"/proc/{pid}/fd/{fd}")
            found[int(fd)] = "anon_inode:kvm-vm" if what == "/memfd:kvm-vm (deleted)" else what
        except OSError:
            pass
    return found


def has_vm(pid):
    return "anon_inode:kvm-vm" in own_fds(pid).values()


# ---- the wire, as wire.h describes it, written a second time from the description ----

HELLO, REGISTER, REQUEST, PROGRESS, DONE, QUIET, BEGUN = 1, 2, 3, 4, 5, 6, 7
RELEASE, READY, HELD = 33, 97, 98
WELCOME, GRANT, DONE_ACK, UNGOVERNED = 65, 66, 67, 68
OUTCOME = "QIiHHI"
LAYOUT = {
    HELLO: "=HHI", REGISTER: "=HHI64s16sQ" + OUTCOME + "Q", REQUEST: "=HHIQQ", PROGRESS: "=HHIQ",
    DONE: "=HHI" + OUTCOME, WELCOME: "=HHI", GRANT: "=HHIQ", DONE_ACK: "=HHIQ", UNGOVERNED: "=HHI",
    RELEASE: "=HHI64sQ", READY: "=HHI", HELD: "=HHi", QUIET: "=HHI", BEGUN: "=HHIQ",
}
FLAG_QUIET, FLAG_DRAINS = 1, 2  # of a REGISTER of version 2


def pack(message, *fields, version=1):
    return struct.pack(LAYOUT[message], version, message, *fields)


def unpack(packet):
    """(type, fields...) of a packet."""
    version, message = struct.unpack_from("=HH", packet)
    layout = LAYOUT[message] + ("II" if (version, message) == (2, REGISTER) else "")
    return (message, *struct.unpack(layout, packet)[2:])


def hello(version=1):
    return pack(HELLO, 0, version=version)


def register(name=b"raw", state=0, mem=0, last=(0, 0, 0, 0, 0, 0), unreported=0):
    return pack(REGISTER, state, name, bytes(16), mem, *last, unreported)


def register_2(*arguments, flags=0, **more):
    """REGISTER as version 2 has it; all other packets of that connection need version=2, too."""
    first = register(*arguments, **more)
    return struct.pack("=H", 2) + first[2:] + struct.pack("=II", flags, 0)


def denials(program, since):
    """System calls (numbers) that seccomp refused to a program since a time, as the kernel logs it.

    Nothing where that cannot be read, or an audit daemon has it; test-harness.py says so.
    """
    found, wanted = [], re.compile(
        rf'type=1326 audit\((\d+\.\d+):.* exe="{re.escape(program)}".* syscall=(\d+)')
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return found
    with os.fdopen(log, "rb", buffering=0):
        while True:
            try:
                match = wanted.search(os.read(log, 8192).decode(errors="replace"))
            except BrokenPipeError:  # older ones are gone
                continue
            except OSError:
                return found
            if match and float(match[1]) >= since - 0.02:  # the kernel's clock is a coarse one
                found.append(int(match[2]))


def introspect(what):
    return json.loads(read(f"{BUILD}/meson-info/intro-{what}.json"))


def sanitized():
    options = {option["name"]: option["value"] for option in introspect("buildoptions")}
    return options["b_sanitize"] != "none"


def run_time_ns(pid):
    """CPU time of a process's first task so far."""
    return int(read(f"/proc/{pid}/schedstat").split()[0])


def cpu_seconds(pid):
    return run_time_ns(pid) / 1e9


def has_tool(name):
    return shutil.which(name) is not None
