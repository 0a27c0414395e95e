# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of adoption stand on: QEMUs with a helper of their own (-async-teardown), stand-ins
for them (teardown-helper.c), and what the daemon says of either.
"""

import os
import re
import shutil
import subprocess
import sys

import harness
import qemu

sys.path.append(os.path.join(harness.HERE, "..", "bench"))
from capping import SCHED_DEADLINE, may_deadline  # noqa: E402,F401
from service import ServiceCase  # noqa: E402

STAND_IN = f"{harness.BUILD}/tests/standins/teardown-helper"
# All that a helper does takes long enough to be looked at: 1 GiB in 4K pages is some 30 ms of CPU.
SLOW = "[cpu]\ncpu-enforce=deadline\ncpu-quota=2%\n"


def name_of(pid):
    try:
        return harness.read(f"/proc/{pid}/comm").strip()
    except OSError:
        return None


def helper_of(pid):
    """The pid of a QEMU's own helper."""
    name = f"cleanup/{pid}"
    return harness.wait_until(f"{pid} has a helper", harness.TIMEOUT, lambda: next(
        (child for child in qemu.children_of(pid) if name_of(child) == name), None))


def cpu_usec(cgroup):
    return int(re.search(r"usage_usec (\d+)", harness.read(f"{cgroup}/cpu.stat"))[1])


def own_copy(case, program):
    """For a daemon that looks at all processes: no test beside this one runs that."""
    return shutil.copy(program, case.directory)


class StandIn:
    """A process with such a helper."""

    def __init__(self, case, mem=1 << 20, *, grace_msec=5000, prefix=(), program=STAND_IN):
        env = {**os.environ, "PVREAPER_SOCKET": case.socket, "PVREAPER_GRACE_MSEC": str(grace_msec),
               "LD_LIBRARY_PATH": f"{harness.BUILD}/src/lib"}  # for a copy
        self.process = subprocess.Popen([*prefix, program, str(mem)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, bufsize=0, env=env)
        case.addCleanup(self.end)
        self.pid = self.process.pid
        word, helper = self.process.stdout.readline().split()
        assert word == b"ready", word
        self.helper = int(helper)
        self.await_name(self.helper, f"cleanup/{self.pid}")

    @staticmethod
    def await_name(pid, name):
        harness.wait_until(f"{pid} is called {name}", harness.TIMEOUT,
                           lambda: name_of(pid) == name)

    def do(self, line):
        self.process.stdin.write(f"{line}\n".encode())
        return self.process.stdout.readline().decode().strip()

    def child(self, how, name):
        """A child of that name; how: fork or thread."""
        pid = int(self.do(f"{how} {name}"))
        self.await_name(pid, name)
        return pid

    def make_keeper(self):
        """Its pid."""
        assert self.do("keeper") == "keeper"
        return next(child for child in qemu.children_of(self.pid) if harness.is_keeper(child))

    def end(self):
        """Again does no harm."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(harness.TIMEOUT)


class AdoptCase(ServiceCase):
    cpu_quota = None  # the command line would win over SLOW
    emulator, firmware = None, ()  # of a QEMU, if it is a copy
    stand_in = STAND_IN

    def setUp(self):
        super().setUp()
        self.need_cgroup()

    def need_deadline(self):
        if not may_deadline():
            self.skipTest("SCHED_DEADLINE is refused here: the release would be over at once")

    def qemu(self, *arguments, preload=False, **options):
        """A QEMU and its helper; all of 1 GiB is touched, in 4K pages."""
        qemu.need(self)
        if "async-teardown" not in self.qemu_help():
            self.skipTest("this QEMU has no -async-teardown")
        enter = self.cgroups.enter("guest")

        def prepare():
            enter()
            qemu.no_huge_pages()

        process = qemu.start(self, "-async-teardown", *self.firmware, *arguments, preload=preload,
                             path=self.emulator, preexec_fn=prepare, **options)
        process.helper = helper_of(process.pid)
        return process

    @staticmethod
    def qemu_help():
        return subprocess.run([qemu.program(), "-help"], capture_output=True, text=True,
                              check=True).stdout

    def use_own_emulator(self):
        """A copy has to be told where its firmware is."""
        qemu.need(self)
        said = subprocess.run([qemu.program(), "-L", "help"], capture_output=True, text=True,
                              check=True).stdout
        self.firmware = [word for path in said.splitlines() for word in ("-L", path)]
        self.emulator = own_copy(self, qemu.program())

    def use_own_stand_in(self):
        self.stand_in = own_copy(self, STAND_IN)

    def standin(self, *arguments):
        return StandIn(self, *arguments, program=self.stand_in)

    def configure(self, text="", emulators=None, scan="no"):
        self.write_config(f"{text}[adopt]\nqemu={scan}\nadopt-interval=1\n"
                          f"emulators={emulators or self.stand_in}\n")

    def adopt(self, pid):
        return self.ctl("adopt", str(pid))

    def refused(self, pid, word, text):
        """pv-reaperctl says why not and fails; the bus and the journal have a word for it."""
        said = subprocess.run([harness.CTL, "--socket", self.control, "adopt", str(pid)],
                              capture_output=True, text=True, check=False)
        self.assertEqual(said.returncode, 1)
        self.assertIn(text, said.stderr)
        sentence = said.stderr.partition("pv-reaperctl: ")[2]
        self.assertIn(f"not adopted: {sentence}", self.served.log())
        if harness.has_tool("busctl"):
            said = subprocess.run(
                ["busctl", f"--address=unix:path={self.control}", "--json=short", "call",
                 "org.pvreaper", "/org/pvreaper/Manager", "org.pvreaper.Manager1", "Adopt", "u",
                 str(pid)], capture_output=True, text=True, check=False,
                env={**os.environ, "SYSTEMD_LOG_LEVEL": "debug"})
            self.assertNotEqual(said.returncode, 0)
            self.assertIn(f"org.pvreaper.Error.{word}", said.stderr)

    def vm_of(self, pid):
        return next((vm for vm in self.ctl_json("list") if vm["pid"] == pid), None)

    def adopted(self, pid, state="adopted"):
        """Waits until it is a worker in that state; what the daemon says of it."""
        self.wait(f"{pid} is {state}", lambda: (self.vm_of(pid) or {}).get("state") == state)
        return self.vm_of(pid)

    def job_of(self, pid):
        """Waits for the end of its job."""
        def ended():
            return [job for job in self.ctl_json("jobs")
                    if job["pid"] == pid and job["state"] not in ("queued", "running")]
        job, = self.wait(f"the job of {pid} has ended", ended)
        return job

    def jobs_cgroup(self, pid):
        start = harness.read(f"/proc/{pid}/stat").rpartition(")")[2].split()[19]
        return f"{self.cgroups.top}/jobs/vm-{pid}-{start}"
