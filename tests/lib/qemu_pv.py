# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for a stock QEMU on s390x (qemu-pv.c), under the preload library and the simulator."""

import os
import re
import select
import signal
import subprocess
import time

from harness import BUILD, Case, SIMULATOR, TIMEOUT, is_keeper
from qemu import PRELOAD, children_of

STAND_IN = f"{BUILD}/tests/standins/qemu-pv"
QEMU_NAME = "qemu-system-s390x"


class StandIn:
    """A qemu-pv under the simulator, and under the library. One command at a time."""

    def __init__(self, case, *arguments, argv0=QEMU_NAME, preload=True, env=None, path=STAND_IN):
        libraries = ([PRELOAD] if preload else []) + [SIMULATOR]
        environment = {**os.environ, "PVREAPER_SOCKET": case.socket, "PVSIM_LOG": case.sim_log,
                       "LD_PRELOAD": ":".join(libraries), **case.vmm_env, **(env or {})}
        self.process = subprocess.Popen(
            [argv0, *arguments], executable=path, env=environment, bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        case.addCleanup(self.end)
        self.pid, self.lines, self.buffer = self.process.pid, [], b""
        self.expect("ready")
        self.keeper = keeper_of(self.pid)

    def expect(self, start):
        """The first line that begins so; it is taken off. EOFError if QEMU ends before."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            for line in self.lines:
                if line.startswith(start):
                    self.lines.remove(line)
                    return line
            if not select.select([self.process.stdout], [], [], deadline - time.monotonic())[0]:
                raise AssertionError(f"no {start!r} in time; so far {self.lines}")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise EOFError(f"QEMU has ended with status {self.process.wait(TIMEOUT)}")
            *lines, self.buffer = (self.buffer + data).split(b"\n")
            self.lines += map(bytes.decode, lines)

    def send(self, command):
        self.process.stdin.write(f"{command}\n".encode())

    def do(self, command):
        self.send(command)
        return self.expect(f"ok {command.split()[0]}")

    def reboot(self):
        """As QEMU does it; then the guest is protected again."""
        answer = self.do("reboot").split()[2]
        self.do("protect")
        return answer

    def quit(self):
        """The exit status, and what was said on stderr, but by the simulator."""
        self.send("quit")
        status = self.process.wait(TIMEOUT)
        said = self.process.stderr.read().decode()
        return status, re.sub(r"^libpvsim: no /dev/kvm here: .*\n", "", said, flags=re.M)

    def end(self):
        keeper = self.keeper if hasattr(self, "keeper") else None
        self.process.kill()
        self.process.wait(TIMEOUT)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()
        if keeper and is_keeper(keeper):
            os.kill(keeper, signal.SIGKILL)


def keeper_of(pid):
    return next((child for child in children_of(pid) if is_keeper(child)), None)


class PreloadCase(Case):
    daemon_options = ("--max-concurrent", "1")

    def stand_in(self, *arguments, protect=True, **keywords):
        vm = StandIn(self, *arguments, **keywords)
        if protect:
            vm.do("protect")
        return vm

    def ended_well(self, vm):
        """QEMU never saw an error: stock QEMU would have gone with 1."""
        self.assertEqual(vm.quit(), (0, ""))

    def performs(self, vm):
        """[(who, return value)] of all PERFORMs of its VM, in order."""
        return [(e["comm"], e["ret"]) for e in self.sim.commands("PERFORM", vm=f"{vm.pid}.1")]
