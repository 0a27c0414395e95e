# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real thing for measurements: VMMs on /dev/kvm (or its stand-in) whose teardown takes for ever
under the simulator, in PERFORM, and a pv-reaperd that limits it; or stock QEMU's way, without.

All of it ends with its "with" block; the caller must be a subreaper (stage.become_subreaper()), and
what else he has started ends with it, too.
"""

import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")]

import capping  # noqa: E402
from stage import Cgroups, Failure, end_children, read, wait_until  # noqa: E402
from vm import Vm  # noqa: E402

# A minute of CPU time for each PERFORM, 0.25 s for each PREPARE, which clears 2 GiB.
MEMORY, NS_PER_PAGE = "512G", 500
SECONDS = 30


class Host:
    """n teardowns that run, or wait for their turn. settings: a list of "key=value" for the daemon;
    None: no daemon, each VMM performs on a thread of its own.
    """

    enter_others = None  # they are where we are

    def __init__(self, n, settings):
        self.n, self.settings = n, settings
        name = f"pv-reaper-bench-{secrets.token_hex(8)}"
        self.directory = f"{tempfile.gettempdir()}/{name}"
        self.cgroups = Cgroups(name)
        self.vms = []

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        end_children()
        for vm in self.vms:
            vm.process.stdin.close()
            vm.process.stdout.close()
        self.cgroups.remove()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self):
        os.mkdir(self.directory, 0o700)
        self.cgroups.make()
        if self.settings is not None:
            self.start_daemon()
        for i in range(self.n):
            self.start_vm(f"vm-{i}")
        for vm in self.vms:
            self.ask(vm, "reboot")
        running = self.n if self.settings is None else min(self.n, self.max_concurrent())
        wait_until("the teardowns run", SECONDS, lambda: self.log().count(" ev=begin") >= running)

    def start_daemon(self):
        daemon_log = f"{self.directory}/daemon.log"
        options = [f"--cgroup={self.cgroups.make_below('workers') if self.cgroups.top else 'none'}",
                   f"--handoff-socket={self.directory}/handoff",
                   f"--control-socket={self.directory}/control", "--config=/dev/null"]
        with open(daemon_log, "wb") as log:
            subprocess.Popen([f"{capping.BUILD}/src/daemon/pv-reaperd", *options], stderr=log,
                             stdin=subprocess.DEVNULL)
        wait_until("pv-reaperd is ready", SECONDS, lambda: "ready:" in read(daemon_log))
        if self.settings:
            self.ctl("set", *self.settings)

    def ctl(self, *arguments):
        return subprocess.run([f"{capping.BUILD}/src/ctl/pv-reaperctl",
                               f"--socket={self.directory}/control", *arguments], check=True,
                              capture_output=True, text=True).stdout

    def max_concurrent(self):
        return json.loads(self.ctl("status", "--json=short"))["max_concurrent"]

    def log(self):
        path = f"{self.directory}/sim.log"
        lines = read(path).splitlines() if os.path.exists(path) else []
        return "\n".join(line for line in lines if "cmd=PERFORM" in line)

    def start_vm(self, name):
        environment = {**os.environ, "LD_PRELOAD": f"{capping.BUILD}/tests/sim/libpvsim.so",
                       "PVSIM_NS_PER_PAGE": str(NS_PER_PAGE),
                       "PVSIM_LOG": f"{self.directory}/sim.log",
                       "PVREAPER_SOCKET": f"{self.directory}/handoff"}
        command = [f"{capping.BUILD}/tests/vmm/pvr-vmm", "--mem", MEMORY,
                   *(["--no-keeper"] if self.settings is None else [])]
        vm = Vm(name, command, environment, self.cgroups.enter(f"vms/{name}"))
        self.vms.append(vm)
        self.answers(vm, lambda: vm.answers)
        self.ask(vm, "protect")
        pids = self.ask(vm, "pids")
        vm.worker = vm.process.pid if self.settings is None else int(pids["keeper"])

    def answers(self, vm, enough):
        deadline = time.monotonic() + SECONDS
        while not enough():
            if not select.select([vm.process.stdout], [], [], deadline - time.monotonic())[0]:
                raise Failure(f"VM {vm.name} does not answer")
            vm.take_lines()

    def ask(self, vm, command):
        n = len(vm.answers) + len(vm.reboots)
        vm.send(command)
        self.answers(vm, lambda: len(vm.answers) + len(vm.reboots) > n)
        return vm.answers[-1]

    def cpu(self):
        """Seconds that all workers have used so far."""
        return sum(int(read(f"/proc/{vm.worker}/task/{tid}/schedstat").split()[0])
                   for vm in self.vms for tid in os.listdir(f"/proc/{vm.worker}/task")) / 1e9
