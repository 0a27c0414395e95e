#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""When is a dead VM quiet? What the daemon is told (QUIET, flags) and what it makes of it; whoever
waits (WaitQuiet, pv-reaperctl wait-quiet) is told neither too early nor never; without a daemon, or
with one that does not know the VM, /proc is looked at.
"""

import array
import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import bus
import harness
from harness import DONE, FLAG_DRAINS, FLAG_QUIET, GRANT, QUIET, hello, pack, register_2, tap
from raw import PeerCase

QUIET_NOW, WRONG_USAGE, TIME_IS_UP, CANNOT_TELL = 0, 2, 5, 6  # exit statuses
HELPER = f"{harness.BUILD}/tests/standins/aio-helper"
MARK = "user.pvreaper"
UUID = "00112233-4455-6677-8899-aabbccddeeff"


def wait_quiet_call(what):
    """A call of WaitQuiet with a limit of an age, by hand."""
    body = bus.padded(bus.string(what)) + struct.pack("<Q", 1 << 62)
    fields = b""
    for code, signature, text in ((1, "o", bus.OBJECT[1]), (3, "s", "WaitQuiet"),
                                  (2, "s", bus.INTERFACE), (8, "g", "st")):
        fields = bus.padded(fields) + bus.field(code, signature, text)
    head = struct.pack("<cBBBIII", b"l", 1, 0, 1, len(body), 1, len(fields))
    return bus.padded(head + fields) + body


def removed(group):
    """Whether a cgroup could be removed: not before all in it have exited."""
    with contextlib.suppress(OSError):
        os.rmdir(group)
    return not os.path.exists(group)


class QuietCase(PeerCase):
    def newer(self, name="raw", flags=0):
        worker = self.worker(name)
        worker.version, worker.flags = 2, flags
        worker.register()
        return worker

    def end_vmm(self, worker):
        """Of a worker, which lives on; and of a Vmm, as ever."""
        if isinstance(worker, harness.Vmm):
            super().end_vmm(worker)
            return
        worker.process.kill()
        worker.process.wait()

    def known(self, worker):
        """What the daemon says of it: (quiet, fencing)"""
        vm, = (v for v in self.ctl_json("list") if v["pid"] == worker.pid)
        return vm["quiet"], vm["fencing"]

    def setUp(self):
        """Others have keepers on this host: pv-reaperctl is shown those of the test only."""
        super().setUp()
        self.proc = f"{self.directory}/proc"
        os.mkdir(self.proc)
        self.env = {**os.environ, "PVREAPER_PROC": self.proc}

    def show(self, *pids):
        for pid in pids:
            os.symlink(f"/proc/{pid}", f"{self.proc}/{pid}")

    def wait_quiet(self, *arguments, timeout="0.1", program=harness.CTL, **popen):
        """The exit status of pv-reaperctl wait-quiet; what it said is in self.said."""
        done = subprocess.run([program, "--socket", self.control, "wait-quiet", "--timeout",
                               timeout, *arguments], stderr=subprocess.PIPE, check=False,
                              text=True, env=self.env, timeout=harness.TIMEOUT, **popen)
        self.said = done.stderr
        return done.returncode

    @contextlib.contextmanager
    def somebody_waits(self, *arguments):
        """In the block it still does, and is told after it."""
        waiting = subprocess.Popen([harness.CTL, "--socket", self.control, "wait-quiet",
                                    *arguments], env=self.env)
        try:
            with self.assertRaises(subprocess.TimeoutExpired):
                waiting.wait(0.5)
            yield
            self.assertEqual(waiting.wait(harness.TIMEOUT), QUIET_NOW)
        finally:
            waiting.kill()
            waiting.wait()


class Claims(QuietCase):
    def test_said_in_time(self):
        self.serve()
        worker = self.newer(flags=FLAG_DRAINS)
        self.assertEqual(self.known(worker), (False, "drain"))
        for what in ("raw", f"pid={worker.pid}", f"pid={worker.process.pid}"):
            self.assertEqual(self.wait_quiet(what), TIME_IS_UP, what)
            self.assertEqual(self.said, f"pv-reaperctl: {what} is not quiet yet\n")
        with self.somebody_waits("raw"), self.somebody_waits("--pid", str(worker.process.pid)):
            self.end_vmm(worker)
            self.wait("its VMM is dead", lambda: not harness.is_alive(worker.process.pid))
            self.assertEqual(self.known(worker), (False, "drain"))
            worker.say(QUIET, 0)
        self.assertEqual(self.known(worker), (True, "drain"))

    def test_said_too_early(self):
        """It is kept, and counts when the VMM is dead: it is its own disk that it speaks of."""
        self.serve()
        worker = self.newer()
        worker.say(QUIET, 0)
        with self.somebody_waits("raw"):
            self.assertEqual(self.known(worker), (False, "none"))
            self.end_vmm(worker)
        self.assertEqual(self.known(worker), (True, "none"))

    def test_said_in_register(self):
        self.serve()
        worker = self.newer()
        self.end_vmm(worker)
        with self.somebody_waits("raw"):
            worker.flags = FLAG_QUIET | FLAG_DRAINS
            worker.register()
        self.assertEqual(self.known(worker), (True, "drain"))

    def test_version_1(self):
        """It does not tell: quiet when it is gone, not when its shutdown was granted."""
        self.serve()
        worker = self.worker()
        worker.register()
        self.end_vmm(worker)
        worker.request(kind=2)
        worker.receive(GRANT)
        self.assertEqual(self.known(worker), (False, "unknown"))
        with self.somebody_waits("raw"):
            os.kill(worker.pid, signal.SIGKILL)

    def test_quiet_is_not_of_version_1(self):
        self.serve()
        for packet in (pack(QUIET, 0), pack(QUIET, 0, version=2)):
            worker = self.worker()
            worker.register()
            worker.send(packet)
            self.end_of(worker.link)
            worker.link = None

    def test_flags_nobody_knows(self):
        self.serve()
        worker = self.newer()
        worker.connect()
        worker.send(hello(2))
        worker.send(register_2(b"raw", flags=4))
        self.assertEqual(self.end_of(worker.link), [])
        worker.link = None

    def test_jobs_go_on_as_ever(self):
        """QUIET between the VMM's end and the REQUEST, in it, and again."""
        self.serve()
        worker = self.newer(flags=FLAG_DRAINS)
        self.end_vmm(worker)
        worker.say(QUIET, 0)
        worker.request(kind=2)
        worker.receive(GRANT)
        worker.say(QUIET, 0)
        worker.say(DONE, 0, 1, 2, 0, 0, 0, 0)
        worker.receive(harness.DONE_ACK)
        self.assertEqual(self.jobs_of("raw")[-1]["state"], "done")
        self.assertEqual(self.known(worker), (True, "drain"))


class Waiters(QuietCase):
    def test_nobody_is_meant(self):
        self.serve()
        worker = self.newer()
        for what in ("other", UUID, "00000000-0000-0000-0000-000000000000", "pid=1", "pid=x",
                     f"pid={worker.pid}x"):
            self.assertEqual(self.wait_quiet(what, timeout="10"), QUIET_NOW, what)
            if os.geteuid() == 0:
                self.assertEqual(self.said, "pv-reaperctl: neither the daemon nor /proc knows "
                                 f"{what}: it has ended or never existed\n")
            self.assertEqual(self.wait_quiet("-q", what), QUIET_NOW, what)
            self.assertEqual(self.said, "")

    def test_each_that_is_meant(self):
        """Two of one name: both must be quiet."""
        self.serve()
        first, second = self.newer("same"), self.newer("same")
        self.end_vmm(first)
        first.say(QUIET, 0)
        with self.somebody_waits("same"):
            self.end_vmm(second)
            second.say(QUIET, 0)

    def test_by_uuid(self):
        self.serve()
        worker = self.newer()
        packet = bytearray(worker.register_packet(0, (0,) * 6))
        packet[72:88] = bytes.fromhex(UUID.replace("-", ""))
        worker.connect()
        worker.send(hello(2))
        worker.send(bytes(packet))
        worker.receive(harness.WELCOME)
        with self.somebody_waits(UUID), self.somebody_waits(UUID.upper()):
            self.end_vmm(worker)
            worker.say(QUIET, 0)

    def test_names_as_they_are_shown(self):
        """A name that is not printable is found under itself."""
        self.serve()
        self.newer("n\N{LATIN SMALL LETTER A WITH DIAERESIS}me" + "x" * 80)
        for what in ("n\N{LATIN SMALL LETTER A WITH DIAERESIS}me" + "x" * 80, "n??me" + "x" * 59):
            self.assertEqual(self.wait_quiet(what), TIME_IS_UP)

    def test_over_the_bus(self):
        """The number of workers that were meant; an error with a name; no more than 64 wait."""
        self.serve()
        if not bus.has_busctl():
            self.skipTest("no busctl or dbus-send")
        address = f"unix:path={self.control}"
        worker = self.newer()
        self.assertEqual(bus.call(address, "WaitQuiet", "st", "other", "0")[1]["data"], [0])
        self.assertEqual(bus.error_name(address, "WaitQuiet", "string:raw", "uint64:1000"),
                         "org.pvreaper.Error.Timeout")
        with bus.Ping(self.control) as link:
            for _ in range(64):
                link.link.sendall(wait_quiet_call("raw"))
            link.ask()
            self.assertEqual(bus.error_name(address, "WaitQuiet", "string:raw", "uint64:1000"),
                             "org.pvreaper.Error.TooManyWaiters")
        self.wait("they are gone", lambda: bus.error_name(
            address, "WaitQuiet", "string:raw", "uint64:1000") == "org.pvreaper.Error.Timeout")
        self.end_vmm(worker)
        worker.say(QUIET, 0)
        self.assertEqual(bus.call(address, "WaitQuiet", "st", "raw", str(1 << 63))[1]["data"], [1])

    def test_wrong_usage(self):
        for arguments in ((), ("raw", "--pid", "5")):
            self.assertEqual(self.wait_quiet(*arguments), WRONG_USAGE, arguments)
            self.assertEqual(self.said,
                             "pv-reaperctl: wait-quiet: give either a VM or --pid PID\n")
        for pid in ("x", "0", "", "99999999999"):
            self.assertEqual(self.wait_quiet("--pid", pid), WRONG_USAGE, pid)
            self.assertEqual(self.said,
                             f'pv-reaperctl: --pid is a process number, not "{pid}"\n')


    def test_said_again(self):
        """It costs nothing then: the mark is not written anew."""
        self.need_cgroup()
        self.serve()
        worker = self.newer()
        self.end_vmm(worker)
        worker.say(QUIET, 0)
        self.wait("it is quiet", lambda: self.known(worker)[0])
        leaf, = (v["cgroup"] for v in self.ctl_json("list") if v["pid"] == worker.pid)
        os.removexattr(leaf, MARK)
        for _ in range(3):
            worker.say(QUIET, 0)
        self.wait("they are read", lambda: array.array("i", fcntl.ioctl(
            worker.link, termios.TIOCOUTQ, bytes(4)))[0] == 0)
        self.assertTrue(self.known(worker)[0])
        self.assertNotIn(MARK, os.listxattr(leaf))


class Restart(QuietCase):
    def test_what_was_said_is_kept(self):
        """On its cgroup: one that works does not come back to say it again."""
        self.need_cgroup()
        daemon = self.daemon()
        worker = self.newer(flags=FLAG_DRAINS)
        self.end_vmm(worker)
        worker.say(QUIET, 0)
        self.wait("it is quiet", lambda: self.known(worker)[0])
        daemon.kill()
        self.daemon()
        self.assertEqual(self.known(worker), (True, "unknown"))
        self.assertEqual(self.wait_quiet("raw", timeout="10"), QUIET_NOW)

    def test_who_has_no_name_yet(self):
        """Whoever was found could be the one, until it says who it is; unless its VMM lives."""
        self.need_cgroup()
        daemon = self.daemon()
        dead, living = self.newer("dead"), self.newer("living")
        self.end_vmm(dead)
        daemon.kill()
        self.daemon()
        self.assertEqual(self.ctl_json("status")["found"], 2)
        with self.somebody_waits("other"):
            dead.register()
        self.assertEqual(self.wait_quiet("dead"), TIME_IS_UP)
        self.assertEqual(self.wait_quiet("living", timeout="10"), QUIET_NOW)
        living.register()
        self.assertEqual(self.wait_quiet("living"), TIME_IS_UP)


class Proc(QuietCase):
    """What root sees without a daemon's help."""

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("only root may look")
        self.disk = f"{self.directory}/disk"
        with open(self.disk, "wb") as file:
            file.truncate(1 << 20)

    def helper(self, comm="pvr-keeper", device=None, **popen):
        """A VMM with native AIO and a process that shares its memory: (VMM, pid)"""
        vmm = subprocess.Popen([HELPER, comm, device or self.disk, "-name", "guest=aio,x=y",
                                "-uuid", UUID], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               bufsize=0, **popen)
        self.addCleanup(vmm.wait)
        self.addCleanup(vmm.stdout.close)
        self.addCleanup(vmm.stdin.close)
        self.addCleanup(vmm.kill)
        line = vmm.stdout.readline().split()
        if line[:1] != [b"ready"]:
            self.skipTest("no direct I/O on " + self.directory)
        pid = int(line[1])
        self.wait("it has its name", lambda: harness.read(f"/proc/{pid}/comm").startswith(comm))
        self.show(1, vmm.pid, pid)
        return vmm, pid

    def kill(self, vmm):
        vmm.kill()
        vmm.wait()

    def test_a_keeper_nobody_knows(self):
        """By its QEMU's command line, which is in the memory that it keeps."""
        vmm, pid = self.helper()
        for arguments in (("aio",), (UUID,), ("--pid", str(vmm.pid)), ("--pid", str(pid))):
            self.assertEqual(self.wait_quiet(*arguments), TIME_IS_UP, arguments)
        self.assertEqual(self.wait_quiet("other"), QUIET_NOW)
        with self.somebody_waits("aio"), self.somebody_waits("--pid", str(vmm.pid)):
            self.kill(vmm)
            self.assertEqual(self.wait_quiet(UUID), TIME_IS_UP)
            vmm.stdin.write(b"!")
        self.assertEqual(vmm.stdout.readline(), b"quiet\n")
        self.assertTrue(harness.is_alive(pid))
        for arguments in (("aio",), (UUID,), ("--pid", str(pid))):
            self.assertEqual(self.wait_quiet(*arguments), QUIET_NOW, arguments)

    def qemu(self, comm="qemu-system-x"):
        """One without a keeper."""
        os.symlink(sys.executable, f"{self.directory}/{comm}")
        vmm = subprocess.Popen([f"{self.directory}/{comm}", "-c", "print(flush=True); input()",
                                "-name", "guest=live,x=y", "-uuid", UUID],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(vmm.wait)
        self.addCleanup(vmm.stdout.close)
        self.addCleanup(vmm.stdin.close)
        self.addCleanup(vmm.kill)
        vmm.stdout.readline()
        self.show(1, vmm.pid)
        return vmm

    def test_a_qemu_that_lives(self):
        """Nobody shares its memory, and no daemon knows it."""
        vmm = self.qemu()
        for arguments in (("live",), (UUID,), ("--pid", str(vmm.pid)), (f"pid={vmm.pid}",)):
            self.assertEqual(self.wait_quiet(*arguments), TIME_IS_UP, arguments)
            self.assertIn(f" is not quiet yet: qemu-system-x (pid {vmm.pid}) lives\n", self.said)
        for arguments in (("other",), ("--pid", "99999999")):
            self.assertEqual(self.wait_quiet(*arguments, timeout="10"), QUIET_NOW, arguments)
            self.assertRegex(self.said,
                             "/proc does not know .*never existed .no daemon listens on ")
        with self.somebody_waits("live"), self.somebody_waits("--pid", str(vmm.pid)):
            self.kill(vmm)

    def test_a_process_that_lives(self):
        """By pid it need not be a QEMU; by name it must."""
        vmm = self.qemu("python-x")
        self.assertEqual(self.wait_quiet("--pid", str(vmm.pid)), TIME_IS_UP)
        self.assertEqual(self.wait_quiet("live", timeout="10"), QUIET_NOW)

    def test_a_qemu_that_is_known(self):
        """Nothing is said of it when it is gone."""
        vmm = self.qemu()
        waiting = subprocess.Popen([harness.CTL, "--socket", self.control, "wait-quiet", "live"],
                                   env=self.env, stderr=subprocess.PIPE, text=True)
        with self.assertRaises(subprocess.TimeoutExpired):
            waiting.wait(0.5)
        self.kill(vmm)
        self.assertEqual((waiting.communicate(timeout=harness.TIMEOUT)[1], waiting.returncode),
                         ("", QUIET_NOW))

    def test_a_daemon_that_does_not_know_it(self):
        """With /proc as it is."""
        self.env = dict(os.environ)
        self.serve()
        vmm, _ = self.helper("pvr-guard")
        self.kill(vmm)
        with self.somebody_waits("aio"):
            vmm.stdin.write(b"!")

    def test_a_process_that_lets_its_reader_wait(self):
        """As one may, whose command line is in a file that is not answered for."""
        path = f"{self.proc}/77"
        os.mkdir(path)
        for name, text in (("comm", "pvr-keeper\n"), ("stat", f"77 (x) S {'1 ' * 30}\n")):
            with open(f"{path}/{name}", "w", encoding="ascii") as file:
                file.write(text)
        os.mkfifo(f"{path}/cmdline")
        start = time.monotonic()
        self.assertEqual(self.wait_quiet("raw", timeout="1"), -signal.SIGALRM)
        self.assertLess(time.monotonic() - start, 20)

    def test_the_limit_of_a_read(self):
        """It ends a wait of hours, too; not before the wait is over."""
        if not harness.has_tool("strace"):
            self.skipTest("no strace")
        vmm = self.qemu()
        trace = f"{self.directory}/trace"
        pathlib.Path(trace).touch()
        waiting = subprocess.Popen(["strace", "-o", trace, "-e", "trace=?alarm,setitimer",
                                    harness.CTL, "--socket", self.control, "--timeout", "2h",
                                    "wait-quiet", "live"],
                                   # which cannot be looked for under strace
                                   env={**self.env, "ASAN_OPTIONS": "detect_leaks=0"})
        try:
            self.wait("it is set", lambda: re.search(r"\b720[45]\b", harness.read(trace)))
        finally:
            self.kill(vmm)
            self.assertEqual(waiting.wait(harness.TIMEOUT), QUIET_NOW)

    def test_not_root(self):
        """Without the daemon's word and the right to look: it says so."""
        program = shutil.copy(harness.CTL, self.directory)
        nobody = {"user": 65534, "group": 65534, "extra_groups": [], "program": program}
        os.chmod(self.directory, 0o755)
        self.assertEqual(self.wait_quiet("raw", **nobody), CANNOT_TELL)
        self.serve()
        os.chmod(self.control, 0o666)
        worker = self.newer()
        self.assertEqual(self.wait_quiet("other", **nobody), CANNOT_TELL)
        self.assertEqual(self.wait_quiet("raw", **nobody), TIME_IS_UP)
        self.end_vmm(worker)
        worker.say(QUIET, 0)
        self.assertEqual(self.wait_quiet("raw", timeout="10", **nobody), QUIET_NOW)

    def slow_device(self):
        """A loop device, and what to do before exec so that each 4 KiB take a third of a second."""
        group = f"/sys/fs/cgroup/blkio/{os.path.basename(self.directory)}"
        try:
            os.mkdir(group)
            self.addCleanup(self.wait, "the group is empty", lambda: removed(group))
            loop = subprocess.check_output(["losetup", "--find", "--show", "--direct-io=on",
                                            self.disk], text=True, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            self.skipTest(f"no slow device: {error}")
        self.addCleanup(subprocess.run, ["losetup", "--detach", loop.strip()], check=True)
        number = os.stat(loop.strip()).st_rdev
        with open(f"{group}/blkio.throttle.write_bps_device", "w", encoding="ascii") as file:
            file.write(f"{os.major(number)}:{os.minor(number)} 12288")

        def enter():
            with open(f"{group}/cgroup.procs", "w", encoding="ascii") as file:
                file.write("0")
        return loop.strip(), enter

    def landed(self):
        data = pathlib.Path(self.disk).read_bytes()
        return data[:8 * 4096].count(b"N" * 4096)

    def assert_nothing_lands_later(self, comm):
        device, enter = self.slow_device()
        vmm, _ = self.helper(comm, device, preexec_fn=enter)
        self.kill(vmm)
        if comm == "pvr-keeper":
            vmm.stdin.write(b"!")
        self.assertLess(self.landed(), 8)
        self.assertEqual(self.wait_quiet("aio", timeout="30"), QUIET_NOW)
        self.assertEqual(self.landed(), 8)

    def test_a_keeper_that_waits_for_slow_writes(self):
        """In io_destroy(2) the ring is gone before the I/O is."""
        self.assert_nothing_lands_later("pvr-keeper")

    def test_a_helper_that_exits_with_slow_writes(self):
        """It has neither ring nor command line by then."""
        self.assert_nothing_lands_later("cleanup/")


if __name__ == "__main__":
    tap.main()
