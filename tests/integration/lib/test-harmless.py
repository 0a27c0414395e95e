#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A keeper is harmless (G9): a VMM with one is never worse off than one without.

What a VMM does with the library is in harmless.c, one case each; what needs a daemon or a look from
outside is here. Real QEMUs are in test-fencing.py, test-qemu.py and their neighbours.
"""

import ctypes
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from ends import AT_ONCE, Ends, free_huge_pages, has_mapping
from harness import BUILD, Case, read, tap
from qemu import children_of

SKIP = 77
SECONDS = 100
# For a thread's new stack; while an earlier hand-off begins; behind a stop.
SOMETIMES = {"mmap", "mprotect", "clock_nanosleep", "nanosleep", "restart_syscall"}
MAN_PAGE = os.path.join(harness.HERE, "..", "..", "man", "pvreaper.3.scd")
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 434, 438


class SmallVmms(Case):
    def case(self, name, *arguments, prepare=None, **env):
        settings = {**self.vmm_env, "PVREAPER_SOCKET": self.socket, "PVREAPER_GRACE_MSEC": "0",
                    "LD_PRELOAD": harness.SIMULATOR, **env}
        result = subprocess.run([f"{BUILD}/tests/standins/harmless", name, *arguments],
                                env={**os.environ, **settings}, stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=SECONDS, check=False,
                                preexec_fn=prepare)
        if result.returncode == SKIP:
            self.skipTest(f"not possible here: {name}")
        print(result.stdout + result.stderr, end="")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_unloaded_library(self):
        if harness.sanitized():
            self.skipTest("the sanitizer's run-time library must come first")
        self.case("dlclose", f"{BUILD}/src/lib/libpvreaper.so.0", LD_PRELOAD="")

    def test_sandbox_without_waitid(self):
        self.case("spin")

    def test_eventfd_over_an_execve(self):
        self.case("exec", LD_PRELOAD="")

    def test_user_changes(self):
        self.case("setuid")

    def test_groups_change(self):
        self.case("setgroups")

    def test_group_of_one_thread_changes(self):
        self.case("raw-setgid")

    def chroot(self, name):
        """To a directory that has the /proc that the simulator needs."""
        if os.geteuid() != 0:
            self.skipTest("needs root, for chroot(2)")
        proc = f"{self.directory}/proc"
        os.mkdir(proc)
        self.case(name, self.directory, prepare=lambda: mount_alone(b"/proc", proc, MS_BIND))

    def test_root_directory_changes(self):
        self.chroot("chroot")

    def test_root_directory_changes_before_set_fd(self):
        self.chroot("chroot-set-fd")

    def test_root_directory_changes_before_prepare(self):
        self.chroot("chroot-prepare")

    def test_groups_of_one_thread_change(self):
        self.case("raw-setgroups")

    def test_native_aio(self):
        self.case("aio")

    def test_all_fds_closed(self):
        for _ in range(10):
            self.case("closed")

    def test_fork_of_the_same_pid(self):
        self.case("pid-1")


def status(pid, key):
    return next(line.split()[1] for line in read(f"/proc/{pid}/status").splitlines()
                if line.startswith(f"{key}:"))


def guard_of(keeper):
    """Its only child."""
    return int(read(f"/proc/{keeper}/task/{keeper}/children").split()[0])


def own_mount(case):
    """For a child: it works in a directory that nobody else has."""
    if os.geteuid() != 0:
        case.skipTest("needs root, for mount(2)")
    path = f"{case.directory}/mount"
    os.mkdir(path)

    def prepare():
        mount_alone(b"tmpfs", path, 0)
        os.chdir(path)
    return prepare


def umount(case, vmm):
    """0: it was not busy."""
    return subprocess.run(["nsenter", "--mount", "--target", str(vmm.keeper), "umount",
                           f"{case.directory}/mount"], stderr=subprocess.DEVNULL,
                          check=False).returncode


class Guard(Ends, Case):
    vmm_env = {**Case.vmm_env, "PVSIM_PROTECTABLE": "0"}

    def test_no_capabilities(self):
        vmm = self.vmm("anna")
        guard = guard_of(vmm.keeper)
        self.wait("the guard's name", lambda: read(f"/proc/{guard}/comm") == "pvr-guard\n")
        for pid in (vmm.keeper, guard):
            for key in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                self.assertEqual(int(status(pid, key), 16), 0, key)
            self.assertEqual((status(pid, "NoNewPrivs"), status(pid, "Seccomp")), ("1", "2"))

    def test_stays_in_the_cgroup_of_the_vmm(self):
        """And ends with it, whatever the queue: a machine's scope is empty then."""
        self.need_cgroup()
        self.daemon("--max-concurrent", "1")
        self.take_slot()
        vmm = self.vmm("anna")
        self.registered(2)
        guard = guard_of(vmm.keeper)
        self.assertEqual(self.cgroups.of(guard), self.cgroups.of(vmm.pid))
        self.assertNotEqual(self.cgroups.of(guard), self.cgroups.of(vmm.keeper))
        vmm.kill()
        self.gone(guard)
        self.assertTrue(harness.is_alive(vmm.keeper))

    def test_killed(self):
        """The keeper does its work, then."""
        self.daemon()
        vmm = self.vmm("anna")
        vmm.do("map ring 4K")
        self.registered(1)
        os.kill(guard_of(vmm.keeper), signal.SIGKILL)
        self.wait("it was waited for",
                  lambda: read(f"/proc/{vmm.keeper}/task/{vmm.keeper}/children") == "")
        vmm.kill()
        self.gone(vmm.keeper)
        self.wait("its job is done", lambda: [j["state"] for j in self.jobs_of("anna")] == ["done"])

    def test_working_directory_without_it(self):
        """The keeper leaves it before its turn comes."""
        self.daemon("--max-concurrent", "1")
        self.take_slot()
        vmm = self.vmm("anna", preexec=own_mount(self))
        self.registered(2)
        os.kill(guard_of(vmm.keeper), signal.SIGKILL)
        vmm.kill()
        self.wait("its mount is free", lambda: umount(self, vmm) == 0)
        self.wait("it waits for its turn",
                  lambda: [j["state"] for j in self.jobs_of("anna")] == ["queued"])

    def test_goes_with_the_keeper(self):
        vmm = self.vmm("anna")
        guard = guard_of(vmm.keeper)
        os.kill(vmm.keeper, signal.SIGKILL)
        self.gone(guard)
        self.assertTrue(harness.is_alive(vmm.pid))
        vmm.quit()


class Perform(Ends, Case):
    """QEMU dies while its keeper is inside PERFORM: nobody waits for that."""

    vmm_env = {**Case.vmm_env, "PVSIM_PROTECTABLE": "1", "PVSIM_MIN_MS": "4000"}

    def perform(self, *maps, **arguments):
        vmm = self.vmm("anna", **arguments)
        for what in maps:
            vmm.do(f"map {what}")
        self.registered(1)
        vmm.do("protect")
        vmm.do("reboot")
        self.performing()
        return vmm

    def seconds_until(self, what, check):
        begin = time.monotonic()
        self.wait(what, check)
        took = time.monotonic() - begin
        self.assertEqual(self.sim.n_performing(), 1, "PERFORM is over, so this tells nothing")
        return took

    def test_poll_of_a_ring(self):
        self.daemon()
        vmm = self.perform("ring 4K")
        vmm.kill()
        self.assertLess(self.seconds_until("the ring goes", lambda: not has_mapping(
            vmm.keeper, "[io_uring]")), AT_ONCE)

    def test_huge_pages(self):
        self.daemon()
        self.add_huge_pages(8)
        free = free_huge_pages()
        vmm = self.perform("hugetlb 16M")
        self.assertEqual(free_huge_pages(), free - 8)
        vmm.kill()
        self.assertLess(self.seconds_until("the pool is full again", lambda:
                                           free_huge_pages() == free), AT_ONCE)

    def test_working_directory(self):
        self.daemon()
        vmm = self.perform(preexec=own_mount(self))
        self.assertNotEqual(umount(self, vmm), 0, "the VMM is in it")
        vmm.kill()
        self.assertLess(self.seconds_until("its mount is free", lambda: umount(self, vmm) == 0),
                        1)

    def test_quiet_is_told(self):
        """By the guard, since the keeper cannot."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.socket)
            listener.listen()
            listener.settimeout(harness.TIMEOUT)
            vmm = self.vmm("anna")
            link = listener.accept()[0]
        with link:
            link.settimeout(harness.TIMEOUT)
            for expected in (harness.HELLO, harness.REGISTER):
                self.assertEqual(harness.unpack(link.recv(4096))[0], expected)
            link.send(harness.pack(harness.WELCOME, 0, version=2))
            vmm.do("protect")
            vmm.do("reboot")
            _, _, seq, _ = harness.unpack(link.recv(4096))
            link.send(harness.pack(harness.GRANT, 0, seq, version=2))
            self.performing()
            vmm.kill()
            self.assertEqual(harness.unpack(link.recv(4096))[0], harness.QUIET)
            self.assertEqual(self.sim.n_performing(), 1)


class Rings(Case):
    def test_a_fork_holds_the_keepers_end(self):
        """A hand-off is not taken by a keeper that is dead, whoever has a copy of its socket."""
        vmm = self.vmm("anna")
        libc = ctypes.CDLL(None, use_errno=True)
        pidfd = libc.syscall(SYS_PIDFD_OPEN, vmm.keeper, 0)
        bell = libc.syscall(SYS_PIDFD_GETFD, pidfd, 3, 0)
        if bell < 0:
            self.skipTest(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
        self.addCleanup(os.close, bell)
        os.close(pidfd)
        os.kill(vmm.keeper, signal.SIGKILL)
        self.wait("the heir has looked", lambda: self.sim.commands("PERFORM", ret=-errno.EINVAL))
        self.assertEqual(vmm.do("handoff", error=True)["errno"], "EPIPE")


class Steered(Case):
    """A guest that broke out writes to its keeper's stack: it gets nothing that QEMU gave up."""

    def test_keeper_outside_the_root(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, for chroot(2)")
        if harness.sanitized():
            self.skipTest("the sanitizer's stacks are elsewhere")
        root = f"{self.directory}/root"
        os.mkdir(root)
        secret = f"{self.directory}/secret"
        with open(secret, "w", encoding="ascii") as file:
            file.write("secret")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{self.directory}/listener")
            listener.listen()
            result = subprocess.run(
                [f"{BUILD}/tests/standins/steered", root, secret,
                 f"{self.directory}/listener"], stdin=subprocess.DEVNULL, capture_output=True,
                text=True, timeout=SECONDS, check=False,
                env={**os.environ, "PVREAPER_SOCKET": self.socket})
        print(result.stdout + result.stderr, end="")
        self.assertEqual(result.returncode, 0, result.stderr)


class Alone(Case):
    def test_without_proc(self):
        """Native AIO could not be found there: no keeper, and the VMM is told why."""
        if os.geteuid() != 0:
            self.skipTest("needs root, to hide /proc")
        result = subprocess.run([harness.VMM, "--mem", "1G"], stdin=subprocess.DEVNULL, text=True,
                                capture_output=True, check=False,
                                preexec_fn=lambda: mount_alone(b"tmpfs", "/proc", 0),
                                timeout=harness.TIMEOUT)
        self.assertIn("cannot start a keeper: No such file or directory", result.stderr)


class Sandbox(Case):
    """A VMM's sandbox must let the library's own threads do what pvreaper(3) lists, and no more."""

    def listed(self):
        """Rows of the table: sets of names of which one is used."""
        page = read(MAN_PAGE)
        section = page.partition("# SANDBOX\n")[2].partition("\n# ")[0]
        return [set(re.findall(r"\w+", row)) for row in re.findall(r"^[|\]]. ([\w, ]+)$", section,
                                                                   re.M)]

    def trace(self):
        path = f"{self.directory}/trace"
        traced = subprocess.Popen(
            ["strace", "-f", "-o", path, f"{BUILD}/tests/standins/calls"], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PVREAPER_SOCKET": self.socket})
        self.addCleanup(traced.communicate)
        self.addCleanup(traced.kill)
        if not (word := traced.stdout.readline()):
            self.skipTest(f"strace: {traced.stderr.read().strip()}")
        self.assertEqual(word, "1\n")
        vmm = next(iter(children_of(traced.pid)))
        keeper = next(pid for pid in children_of(vmm) if harness.is_keeper(pid))
        self.go_on(traced, "2\n")
        os.kill(keeper, signal.SIGKILL)
        self.wait("the heir has ended", lambda: len(os.listdir(f"/proc/{vmm}/task")) == 1)
        self.go_on(traced, "3\n")
        self.wait("the thread has ended", lambda: len(os.listdir(f"/proc/{vmm}/task")) == 1)
        traced.stdin.write("\n")
        traced.stdin.flush()
        self.assertEqual(traced.wait(harness.TIMEOUT), 0)
        return read(path).splitlines(), str(vmm)

    def go_on(self, traced, word):
        time.sleep(0.2)  # whatever the keeper said is there
        traced.stdin.write("\n")
        traced.stdin.flush()
        self.assertEqual(traced.stdout.readline(), word)

    def test_table(self):
        if harness.sanitized():
            self.skipTest("the sanitizer has system calls of its own")
        lines, vmm = self.trace()
        marks = [n for n, line in enumerate(lines) if "getpriority(" in line]
        self.assertEqual(len(marks), 2)
        threads, used = {vmm}, set()
        for n, line in enumerate(lines):
            pid, _, call = line.partition(" ")
            call = re.sub(r"^<\.\.\. ", "", call.strip())
            made = re.match(r"clone\w*\b.*= (\d+)$", call)
            if made and pid in threads and "clone3" in call:
                threads.add(made[1])
            name = re.match(r"(\w+)\(", call)
            if name and pid in threads and n > marks[0] and (pid != vmm or n < marks[1]):
                used.add(name[1])
        used -= {"write"}  # calls.c's own
        used.add("futex")  # in which the heir was before
        listed = self.listed()
        self.assertLessEqual(used, set().union(*listed), "used and not listed")
        self.assertEqual([row for row in listed if not row & (used | SOMETIMES)], [],
                         "listed and not used")


def mount_alone(source, target, flags):
    """For a child: a mount namespace that has one more mount."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) < 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if libc.mount(b"none", b"/", None, MS_PRIVATE | MS_REC, None) < 0:
        raise OSError(ctypes.get_errno(), "mount")
    if libc.mount(source, target.encode(), b"tmpfs", flags, None) < 0:
        raise OSError(ctypes.get_errno(), "mount")


if __name__ == "__main__":
    tap.main()
