# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stock QEMU with QMP, whose memory is all there without a guest that runs.

    qemu = start(case, "-m", "1G", ...)    what the test asks for, behind what every test wants
    qemu.pid, qemu.keeper                  of QEMU itself, also with -daemonize; its keeper, or None
    qemu.command("stop")                   QMP
    qemu.quit(), qemu.kill()               how long until its pid could be reaped, in seconds
    start(case, reboots=True).reboot()     as a protected guest, by calls that s390x's QEMU makes

With /dev/kvm it is -accel kvm; without, -accel tcg and a stand-in for the VM (vm-in-tcg.c), which
is said. The guest is stopped (-S) and has no firmware's work to do; memory is touched by QEMU.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import time

from harness import BUILD, SIMULATOR, TIMEOUT, has_kvm, is_keeper, process_state, read, wait_until

PRELOAD = f"{BUILD}/src/preload/libpvreaper-preload.so"
VM_IN_TCG = f"{BUILD}/tests/integration/vm-in-tcg.so"
PV_IN_QEMU = f"{BUILD}/tests/integration/pv-in-qemu.so"
WRAPPER = f"{BUILD}/src/preload/qemu-with-reaper"
LIBVIRTS_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
MACHINE = {"x86_64": "pc", "s390x": "s390-ccw-virtio", "aarch64": "virt"}.get(os.uname().machine)


def program():
    """The QEMU for this machine's own architecture, or None."""
    return shutil.which(f"qemu-system-{os.uname().machine}")


def need(case):
    if not MACHINE or not program():
        case.skipTest(f"no qemu-system-{os.uname().machine}")


class Qemu:
    """Made by start(). What it leaves behind is ended when the test is over."""

    def __init__(self, case, *, memory, touch, arguments):
        self.case, self.qmp, self.keeper, self.process, self.pidfd = case, None, None, None, -1
        self.socket = f"{case.directory}/qmp-{len(os.listdir(case.directory))}"
        self.pidfile = f"{self.socket}.pid"
        touched = "on" if touch else "off"
        accelerator = ["-accel", "kvm"] if has_kvm() else ["-accel", "tcg,tb-size=8"]
        self.arguments = [
            *accelerator, "-machine", f"{MACHINE},memory-backend=ram", "-m", memory,
            "-object", f"memory-backend-ram,id=ram,size={memory},prealloc={touched}",
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
        with open(f"{self.socket}.reboot", "w", encoding="ascii"):
            pass

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
    of the guest that reboots, or None.
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
          reboots=False, path=None, env=None, **popen):
    """A QEMU that answers on QMP, with all its memory touched. sandbox: None for none.

    path: what to run instead of this machine's QEMU, the wrapper for instance.
    """
    need(case)
    if sandbox:
        arguments = ("-sandbox", sandbox, *arguments)
    qemu = Qemu(case, memory=memory, touch=touch, arguments=arguments)
    case.addCleanup(qemu.end)
    fifo = f"{qemu.socket}.reboot" if reboots else None
    if fifo:
        os.mkfifo(fifo)
    qemu.launch(path or program(), environment_for(case, preload, fifo, env), popen)
    return qemu


def children_of(pid):
    """pids of the children of all threads of a process."""
    return [int(child) for task in os.listdir(f"/proc/{pid}/task")
            for child in read(f"/proc/{pid}/task/{task}/children").split()]


def rss(pid):
    """Resident memory of a process in bytes; 0 if it has none (any more)."""
    try:
        return int(read(f"/proc/{pid}/statm").split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return 0
