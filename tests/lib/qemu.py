# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stock QEMU with QMP, whose memory is all there without a guest that runs.

    qemu = start(case, "-m", "1G", ...)    what the test asks for, behind what every test wants
    qemu.pid, qemu.keeper                  of QEMU itself, also with -daemonize; its keeper, or None
    qemu.command("stop")                   QMP
    qemu.quit(), qemu.kill()               how long until its pid could be reaped, in seconds
    start(case, told=True).reboot()        as a protected guest, by calls that s390x's QEMU makes
    start(case, told=True).exec()          it becomes another program (pv-in-qemu.c)

With /dev/kvm it is -accel kvm; without, -accel tcg and a stand-in for the VM (vm-in-tcg.c), which
is said. The guest is stopped (-S) and has no firmware's work to do; memory is touched by QEMU.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import time

from ends import resident
from harness import (BUILD, SIMULATOR, TIMEOUT, Case, has_kvm, is_alive, is_keeper, process_state,
                     read, wait_until)

PRELOAD = f"{BUILD}/src/preload/libpvreaper-preload.so"
VM_IN_TCG = f"{BUILD}/tests/standins/vm-in-tcg.so"
PV_IN_QEMU = f"{BUILD}/tests/standins/pv-in-qemu.so"
WRAPPER = f"{BUILD}/src/preload/qemu-with-reaper"
LIBVIRTS_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
PR_SET_THP_DISABLE = 41
MACHINE = {"x86_64": "pc", "s390x": "s390-ccw-virtio", "aarch64": "virt"}.get(os.uname().machine)


def program():
    """The QEMU for this machine's own architecture, or None."""
    return shutil.which(f"qemu-system-{os.uname().machine}")


def need(case):
    if not MACHINE or not program():
        case.skipTest(f"no qemu-system-{os.uname().machine}")


class Qemu:
    """Made by start(). What it leaves behind is ended when the test is over."""

    def __init__(self, case, *, memory, backend, touch, arguments):
        self.case, self.qmp, self.keeper, self.process, self.pidfd = case, None, None, None, -1
        self.socket = f"{case.directory}/qmp-{len(os.listdir(case.directory))}"
        self.pidfile = f"{self.socket}.pid"
        touched = "on" if touch else "off"
        accelerator = ["-accel", "kvm"] if has_kvm() else ["-accel", "tcg,tb-size=8"]
        self.arguments = [
            *accelerator, "-machine", f"{MACHINE},memory-backend=ram", "-m", memory,
            "-object", f"{backend},id=ram,size={memory},prealloc={touched}",
            "-nodefaults", "-no-user-config", "-display", "none", "-S", "-pidfile", self.pidfile,
            "-qmp", f"unix:{self.socket},server=on,wait=off", *arguments]

    def launch(self, path, environment, popen):
        self.process = subprocess.Popen([path, *self.arguments], stdin=subprocess.DEVNULL,
                                        env=environment, **popen)
        if "-daemonize" in self.arguments:
            status = self.process.wait(TIMEOUT)
            if status != 0:
                raise AssertionError(f"QEMU -daemonize: exit status {status}")
        self.connect()
        self.pid = int(read(self.pidfile))
        self.pidfd = os.pidfd_open(self.pid)
        keepers = [pid for pid in children_of(self.pid) if is_keeper(pid)]
        self.keeper = keepers[0] if keepers else None

    def connect(self):
        def try_once():
            if self.process.poll() not in (None, 0):
                raise AssertionError(f"QEMU: exit status {self.process.poll()}")
            qmp = socket.socket(socket.AF_UNIX)
            try:
                qmp.connect(self.socket)
            except OSError:
                qmp.close()
                return None
            return qmp

        connection = wait_until("QEMU listens", TIMEOUT, try_once)
        connection.settimeout(TIMEOUT)
        self.qmp = connection.makefile("rwb", buffering=0)
        connection.close()  # the file holds it
        self.read_answer("QMP")
        self.command("qmp_capabilities")

    def read_answer(self, key):
        for line in self.qmp:
            answer = json.loads(line)
            if "error" in answer:
                raise AssertionError(answer["error"])
            if key in answer:
                return answer[key]
        raise EOFError("QEMU closed QMP")

    def send(self, command, **arguments):
        request = {"execute": command, "arguments": arguments}
        self.qmp.write(json.dumps(request).encode() + b"\n")

    def command(self, command, **arguments):
        self.send(command, **arguments)
        return self.read_answer("return")

    def wait_gone(self, since):
        """Until its pid can be reaped; how long after since (time.monotonic()) that was."""
        if not select.select([self.pidfd], [], [], TIMEOUT)[0]:
            raise AssertionError(f"QEMU {self.pid} has not ended in {TIMEOUT} s")
        took = time.monotonic() - since
        self.reap()
        return took

    def reap(self):
        if self.process.pid == self.pid:
            self.process.wait(TIMEOUT)
        elif process_state(self.pid) == "Z":
            os.waitpid(self.pid, 0)  # -daemonize: we are its reaper

    def reboot(self):
        """Sets the guest aside, once, and has it performed; returns as that begins."""
        self.tell("r")

    def exec(self):
        """Its pid is that of sleep(1) then; not with a sandbox that denies it."""
        self.tell("x")
        wait_until("it is another program", TIMEOUT,
                   lambda: read(f"/proc/{self.pid}/comm").strip() == "sleep")

    def tell(self, what):
        with open(f"{self.socket}.told", "w", encoding="ascii") as fifo:
            fifo.write(what)

    def quit(self):
        begin = time.monotonic()
        self.send("quit")
        return self.wait_gone(begin)

    def kill(self, number=signal.SIGKILL):
        begin = time.monotonic()
        signal.pidfd_send_signal(self.pidfd, number)
        return self.wait_gone(begin)

    def end(self):
        if self.pidfd >= 0:
            if process_state(self.pid) not in (None, "Z"):
                self.kill()
            os.close(self.pidfd)
        elif self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(TIMEOUT)
        if self.qmp:
            self.qmp.close()
        if self.keeper and is_keeper(self.keeper):
            os.kill(self.keeper, signal.SIGKILL)


def environment_for(case, preload, fifo, env):
    """preload: our library. The VM's stand-in comes behind it, where there is no /dev/kvm. fifo:
    where a QEMU is told what to do, or None.
    """
    libraries = [PRELOAD] if preload else []
    settings = {**os.environ, "PVREAPER_SOCKET": case.socket, **case.vmm_env, **(env or {})}
    if fifo:
        libraries += [PV_IN_QEMU]
        settings |= {"PV_IN_QEMU": fifo}
    if not has_kvm():
        libraries += [VM_IN_TCG]
        settings |= {"PVSIM_STANDIN": "1"}
    if fifo or not has_kvm():
        libraries += [SIMULATOR]
        settings |= {"PVSIM_LOG": case.sim_log}
    return settings | {"LD_PRELOAD": ":".join(libraries)}


def start(case, *arguments, memory="1G", touch=True, sandbox=LIBVIRTS_SANDBOX, preload=True,
          told=False, backend="memory-backend-ram", path=None, env=None, **popen):
    """A QEMU that answers on QMP, with all its memory touched. sandbox: None for none.

    backend: what its memory is. told: it can be told what to do (pv-in-qemu.c).
    path: what to run instead of this machine's QEMU, the wrapper for instance.
    """
    need(case)
    if sandbox:
        arguments = ("-sandbox", sandbox, *arguments)
    qemu = Qemu(case, memory=memory, backend=backend, touch=touch, arguments=arguments)
    case.addCleanup(qemu.end)
    fifo = f"{qemu.socket}.told" if told else None
    if fifo:
        os.mkfifo(fifo)
    qemu.launch(path or program(), environment_for(case, preload, fifo, env), popen)
    return qemu


def children_of(pid):
    """pids of the children of all threads of a process."""
    return [int(child) for task in os.listdir(f"/proc/{pid}/task")
            for child in read(f"/proc/{pid}/task/{task}/children").split()]


def no_huge_pages():
    """For preexec_fn: no transparent ones here and after execve, so that memory goes slowly."""
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


class QemuCase(Case):
    daemon_options = ("--max-concurrent", "1")

    @classmethod
    def setUpClass(cls):
        if not has_kvm():
            print("no /dev/kvm: QEMU runs with TCG, and the VM is a stand-in")

    def setUp(self):
        super().setUp()
        need(self)

    def qemu(self, *arguments, **keywords):
        return start(self, *arguments, **keywords)

    def kept(self, vm, size):
        """Its pid is free, and the keeper holds the guest's memory."""
        self.assertIsNone(process_state(vm.pid))
        self.assertGreaterEqual(resident(vm.keeper), size)

    def released(self, vm):
        """The keeper has gone, and the memory with it."""
        self.wait("the memory is back", lambda: not is_alive(vm.keeper))
        self.assertEqual(resident(vm.keeper), 0)

    def jobs(self, name):
        return [(job["kind"], job["state"]) for job in self.jobs_of(name)]
