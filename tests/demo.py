#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Three protected guests reboot at once, and pv-reaper takes their teardown off their hands.

Starts pv-reaperd in a cgroup of its own and three VMs in cgroups of theirs, has each reboot twice
as a protected guest and then leave, and prints what became of the teardowns. The VMMs use the real
/dev/kvm where there is one; the protected-VM commands are always simulated (libpvsim), since only
IBM Z has an Ultravisor.

Exit status: 0 only if every job is done, no more than max-concurrent ran at a time, and the CPU in
the workers' cgroups agrees within 10 % with /proc/PID/schedstat of the same processes. 128 plus the
signal's number when interrupted. Whatever the end, no process, cgroup or socket is left behind: we
are the child subreaper of all we start, so nothing gets away, not even a keeper whose VMM is dead.
"""

import argparse
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from stage import Cgroups, Failure, become_subreaper, end_children, read, wait_until  # noqa: E402
from vm import Vm  # noqa: E402

VMS = ("anna", "berta", "clara")
REBOOTS = 2
MAX_CONCURRENT = 2
MEMORY = "16G"       # what the simulated Ultravisor has to clear; only TOUCHED exists
TOUCHED = "256M"
NS_PER_PAGE = 100    # 0.42 s of CPU for 16 GiB
START_SECONDS = 20
RUN_SECONDS = 60
TOLERANCE = 0.10
FINAL = {"done", "ungoverned", "interrupted", "superseded", "failed", "foreign", "lost"}


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGHUP; args[0] is the signal's number."""


def note(text):
    print(text, file=sys.stderr, flush=True)


class Demo:
    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.directory = f"{tempfile.gettempdir()}/pv-reaper-demo-{secrets.token_hex(8)}"
        self.cgroups = Cgroups(f"pv-reaper-demo-{os.getpid()}")
        self.log = f"{self.directory}/simulator.log"
        self.daemon = None
        self.vms = []
        self.jobs = []
        self.sync_us = []
        self.usage = None     # of the workers' reboots: {"cgroup": µs, "schedstat": µs}

    def path(self, name):
        return f"{self.directory}/{name}"

    def clean_up(self):
        end_children()
        self.cgroups.remove()
        shutil.rmtree(self.directory, ignore_errors=True)

    def set_up(self):
        os.mkdir(self.directory, 0o700)
        self.cgroups.make()

    # ---- starting ----

    def start_daemon(self):
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        notify.bind(self.path("notify"))
        notify.settimeout(START_SECONDS)
        group = self.cgroups.make_below("workers") if self.cgroups.top else "none"
        with open(self.path("daemon.log"), "wb") as log:
            self.daemon = subprocess.Popen(
                [f"{self.build}/src/daemon/pv-reaperd",
                 "--handoff-socket", self.path("handoff"), "--control-socket", self.path("control"),
                 "--cgroup", group, "--max-concurrent", str(MAX_CONCURRENT),
                 "--cpu-quota", "infinity"],
                env={**os.environ, "NOTIFY_SOCKET": self.path("notify")}, stderr=log, stdout=log,
                stdin=subprocess.DEVNULL, preexec_fn=self.cgroups.enter("daemon"),
                start_new_session=True)
        with notify:
            self.await_ready(notify)

    def await_ready(self, notify):
        pidfd = os.pidfd_open(self.daemon.pid)
        try:
            while True:
                ready, _, _ = select.select([notify, pidfd], [], [], START_SECONDS)
                if notify in ready and b"READY=1" in notify.recv(4096).split(b"\n"):
                    return
                if not ready or pidfd in ready:
                    raise Failure("pv-reaperd does not start")
        finally:
            os.close(pidfd)

    def start_vms(self):
        environment = {**os.environ, "LD_PRELOAD": f"{self.build}/tests/sim/libpvsim.so",
                       "PVSIM_NS_PER_PAGE": str(NS_PER_PAGE), "PVSIM_LOG": self.log,
                       "PVREAPER_SOCKET": self.path("handoff")}
        for name in VMS:
            self.vms.append(Vm(name, [f"{self.build}/tests/vmm/pvr-vmm", "--mem", MEMORY],
                               environment, self.cgroups.enter(f"vms/{name}")))
        self.pump("the VMs", lambda: all(vm.answers for vm in self.vms), START_SECONDS)
        for vm in self.vms:
            self.ask(vm, f"touch {TOUCHED}")
            self.ask(vm, "protect")
            vm.keeper = int(self.ask(vm, "pids")["keeper"])
        if self.cgroups.top:
            wait_until("keepers in their cgroups", START_SECONDS, lambda: all(
                self.cgroups.of(vm.keeper).startswith(f"{self.cgroups.top}/workers/")
                for vm in self.vms))

    # ---- running ----

    def pump(self, what, enough, seconds=RUN_SECONDS):
        """Takes lines from all VMs until it is enough."""
        deadline = time.monotonic() + seconds
        by_fd = {vm.process.stdout.fileno(): vm for vm in self.vms}
        while not enough():
            left = deadline - time.monotonic()
            ready, _, _ = select.select(list(by_fd), [], [], max(0, left))
            if not ready:
                raise Failure(f"timed out after {seconds} s: {what}")
            for fd in ready:
                by_fd[fd].take_lines()

    def ask(self, vm, command):
        vm.answers.clear()
        vm.send(command)
        self.pump(f"{vm.name}: {command}", lambda: vm.answers)
        return vm.answers.pop()

    def read_usage(self):
        """CPU of all keepers so far, in µs, as their cgroups and as their processes have it."""
        cgroup = 0
        if self.cgroups.top:
            for vm in self.vms:
                stat = dict(line.split() for line in
                            read(f"{self.cgroups.of(vm.keeper)}/cpu.stat").splitlines())
                cgroup += int(stat["usage_usec"])
        schedstat = sum(int(read(f"/proc/{vm.keeper}/schedstat").split()[0]) for vm in self.vms)
        return {"cgroup": cgroup, "schedstat": schedstat // 1000}

    def reboot_all(self):
        before = self.read_usage()
        asked = {vm: 0 for vm in self.vms}

        def step():
            for vm in self.vms:  # the next reboot as soon as the last one's teardown is over
                if asked[vm] < REBOOTS and len(vm.outcomes) == asked[vm]:
                    vm.send("reboot split")
                    asked[vm] += 1
            return all(len(vm.outcomes) == len(vm.reboots) == REBOOTS for vm in self.vms)

        self.pump("reboots and their teardown", step)
        after = self.read_usage()
        self.usage = {key: after[key] - before[key] for key in after}
        for vm in self.vms:
            if any(reboot["path"] != "handed-off" for reboot in vm.reboots):
                raise Failure(f"VM {vm.name}: a reboot was not handed off")

    def read_jobs(self):
        out = subprocess.run(
            [f"{self.build}/src/ctl/pv-reaperctl", "--socket", self.path("control"), "jobs",
             "--json=short"], check=False, stdout=subprocess.PIPE, timeout=START_SECONDS)
        if out.returncode != 0:
            raise Failure(f"pv-reaperctl jobs: exit status {out.returncode}")
        return sorted(json.loads(out.stdout), key=lambda job: job["id"])

    def await_jobs(self, n):
        def final():
            self.jobs = self.read_jobs()
            return len(self.jobs) >= n and all(job["state"] in FINAL for job in self.jobs)

        wait_until(f"{n} finished jobs in the daemon's list", START_SECONDS, final)

    def quit_all(self):
        """The VMs leave; their keepers ask to clear the memory, do it, and are gone."""
        pidfds = [os.pidfd_open(vm.keeper) for vm in self.vms]
        try:
            for vm in self.vms:
                vm.send("quit")
                vm.process.wait(START_SECONDS)
            for fd in pidfds:
                if not select.select([fd], [], [], RUN_SECONDS)[0]:
                    raise Failure("a keeper does not leave")
        finally:
            for fd in pidfds:
                os.close(fd)

    def run(self):
        self.start_daemon()
        self.start_vms()
        self.reboot_all()
        self.await_jobs(len(VMS) * REBOOTS)
        for vm in self.vms:
            self.sync_us.append(int(self.ask(vm, "disable")["us"]))
        self.quit_all()
        self.await_jobs(len(VMS) * (REBOOTS + 1))
        self.daemon.terminate()
        self.daemon.wait(START_SECONDS)

    # ---- what came of it ----

    def max_running(self):
        """How many PERFORMs overlapped, by the simulator's log and not by what the daemon says."""
        events = []
        for line in read(self.log).splitlines():
            values = dict(word.split("=", 1) for word in line.split())
            if values["cmd"] == "PERFORM":
                events.append((int(values["t"]), 1 if values["ev"] == "begin" else -1))
        running = highest = 0
        for _, change in sorted(events):
            running += change
            highest = max(highest, running)
        return highest

    def result(self):
        keys = ("id", "vm", "kind", "state", "waited_us", "ran_us", "cpu_us", "bytes")
        handoffs = sorted(int(r["handoff_ns"]) / 1000 for vm in self.vms for r in vm.reboots)
        return {
            "jobs": [{key: job.get(key) for key in keys} for job in self.jobs],
            "handoff_us": {"p50": percentile(handoffs, 50), "p99": percentile(handoffs, 99),
                           "max": handoffs[-1]},
            "sync_us": percentile(sorted(self.sync_us), 50),
            "max_running": self.max_running(),
        }

    def complaints(self, result):
        for job in result["jobs"]:
            if job["state"] != "done":
                yield f"job {job['id']} of {job['vm']} is {job['state']}, not done"
        if result["max_running"] > MAX_CONCURRENT:
            yield f"{result['max_running']} ran at a time, max-concurrent is {MAX_CONCURRENT}"
        if self.cgroups.top and self.deviation() > TOLERANCE:
            yield (f"CPU in the workers' cgroups is {self.usage['cgroup']} us, "
                   f"by schedstat {self.usage['schedstat']} us")

    def deviation(self):
        return abs(self.usage["cgroup"] - self.usage["schedstat"]) / max(
            1, self.usage["schedstat"])


def percentile(values, percent):
    """Nearest rank; values are sorted."""
    return values[max(0, -(-len(values) * percent // 100) - 1)]


def milliseconds(us):
    return "-" if us is None else f"{us / 1000:.1f} ms"


LEFT = ("VM", "KIND", "STATE", "CHARGED TO")


def print_table(demo):
    rows = [("VM", "KIND", "STATE", "WAITED", "RAN", "CPU", "CHARGED TO", "PREPARE", "HAND-OFF",
             "SYNC DISABLE")]
    seen = {vm.name: iter(vm.reboots) for vm in demo.vms}
    sync = dict(zip(VMS, demo.sync_us))
    for job in demo.jobs:
        cgroup = (job["cgroup"] or "-").split("/pv-reaper-demo-", 1)[-1].partition("/")[2] or "-"
        row = (job["vm"], job["kind"], job["state"], milliseconds(job["waited_us"]),
               milliseconds(job["ran_us"]), milliseconds(job["cpu_us"]), cgroup)
        reboot = next(seen.get(job["vm"], iter(())), None) if job["kind"] == "reboot" else None
        rows.append(row + ((milliseconds(int(reboot["prepare_us"])),
                            f"{int(reboot['handoff_ns']) / 1000:.1f} us",
                            milliseconds(sync[job["vm"]])) if reboot else ("-", "-", "-")))
    widths = [max(map(len, column)) for column in zip(*rows)]
    print(" " * (sum(widths[:7]) + 2 * 7) + "THE VMM WAS HELD UP BY")
    for row in rows:
        print("  ".join(cell.ljust(width) if title in LEFT else cell.rjust(width)
                        for cell, width, title in zip(row, widths, rows[0])).rstrip())


def print_summary(demo, result):
    handoff = result["handoff_us"]
    print(f"\nhand-off: p50 {handoff['p50']:.1f} us, p99 {handoff['p99']:.1f} us, "
          f"max {handoff['max']:.1f} us, of {len(VMS) * REBOOTS}; "
          f"a synchronous DISABLE: {milliseconds(result['sync_us'])}")
    print(f"at a time: {result['max_running']} of max-concurrent {MAX_CONCURRENT}, "
          "by the simulator's log")
    if demo.cgroups.top:
        print(f"CPU of the reboots' teardown: {demo.usage['cgroup'] / 1e6:.3f} s in the workers' "
              f"cgroups, {demo.usage['schedstat'] / 1e6:.3f} s by /proc/PID/schedstat "
              f"({demo.deviation() * 100:.2f} % apart)")
        print(f"cgroups were below {demo.cgroups.top} (removed)")


def describe(demo):
    """What is real here and what is not."""
    kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
    yield ("The Ultravisor is SIMULATED (libpvsim: PREPARE, PERFORM and DISABLE use up "
           f"{NS_PER_PAGE} ns of CPU per 4K page inside the kernel); /dev/kvm is "
           + ("real." if kvm else "NOT there or not for us: the VMs are stood in for as well."))
    if demo.cgroups.why_not:
        yield (f"No cgroups ({demo.cgroups.why_not}), so --cgroup none: no teardown is charged to "
               "a cgroup of its own or limited in CPU, and that the cgroups' CPU agrees with "
               "/proc/PID/schedstat is not checked. Run as root for that.")


def ignore(*_):
    """Not SIG_IGN: Python complains about a signal that arrived before it became that."""


def on_signal(number, _):
    set_signals(ignore)  # one is enough: nothing shall interrupt the clean-up
    raise Interrupted(number)


def set_signals(handler):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def run(demo, as_json):
    demo.set_up()
    for line in describe(demo):
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)
    try:
        demo.run()
    except (Failure, OSError, subprocess.TimeoutExpired) as failure:
        note(f"demo: {failure}")
        if os.path.exists(demo.path("daemon.log")):
            note(read(demo.path("daemon.log"))[-4000:])
        return 1
    result = demo.result()
    if as_json:
        print(json.dumps(result))
    else:
        print()
        print_table(demo)
        print_summary(demo, result)
    complaints = list(demo.complaints(result))
    for complaint in complaints:
        note(f"demo: {complaint}")
    return 1 if complaints else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="the build directory (build)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()

    become_subreaper()
    demo = Demo(arguments.build)
    status = 1
    try:
        set_signals(on_signal)
        status = run(demo, arguments.json)
    except Interrupted as interrupted:
        note("demo: interrupted, cleaning up")
        status = 128 + interrupted.args[0]
    finally:
        set_signals(ignore)
        demo.clean_up()
    return status


if __name__ == "__main__":
    sys.exit(main())
