#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libpvreaper-preload.so: a stock QEMU's PERFORM is the keeper's, whatever state that is in.

QEMU is a stand-in (qemu-pv.c) that makes the calls of QEMU's s390x code. And what the library is:
what it exports, needs, and lets pass. Real QEMUs: test-qemu.py.
"""

import os
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, f"{sys.path[0]}/../../lib")

from harness import (BUILD, SIMULATOR, TIMEOUT, has_tool, is_alive, is_keeper, own_fds,
                     process_state, tap)
from puppet import Puppet
from qemu import PRELOAD, children_of
from qemu_pv import PreloadCase, QEMU_NAME

UUID = "01234567-89ab-CDEF-0123-456789abcdef"
GIB = 1 << 30
LINGER_SECONDS = 10  # a keeper's, after its VMM's execve


class Handover(PreloadCase):
    """PERFORM of the thread async_cleanup."""

    def test_stock(self):
        """Without the library, to know what there is to take over."""
        vm = self.stand_in(preload=False)
        self.assertIsNone(vm.keeper)
        self.assertEqual(vm.reboot(), "async")
        vm.expect("cleaned")
        self.assertEqual(self.performs(vm), [("async_cleanup", "0")])
        self.ended_well(vm)

    def test_keeper_performs(self):
        self.daemon()
        vm = self.stand_in("-name", "guest=anna,,1,debug-threads=on", "-uuid", UUID)
        self.registered(1)
        self.assertEqual(vm.reboot(), "async")
        vm.expect("cleaned")
        self.wait("the job is done", lambda: [job["state"] for job in self.jobs_of("anna,1")] ==
                  ["done"])
        self.assertEqual(self.performs(vm), [("pvr-keeper", "0")])
        job, = self.jobs_of("anna,1")
        self.assertEqual((job["kind"], job["pid"]), ("reboot", vm.keeper))
        listed, = self.ctl_json("list")
        self.assertEqual((listed["uuid"], listed["mem_bytes"]), (UUID.lower(), 4 * GIB))
        if self.cgroups.top:
            self.assertTrue(self.cgroups.of(vm.keeper).startswith(f"{self.cgroups.top}/"))
            self.assertNotIn(self.cgroups.top, self.cgroups.of(vm.pid))
        self.ended_well(vm)

    def test_qemu_goes_on_while_it_waits(self):
        """Handed over is done, for QEMU; a second reboot begins the first one's teardown."""
        self.daemon()
        puppet = Puppet(self)
        puppet.take_slot()
        vm = self.stand_in("-name", "anna")
        self.registered(2)
        self.assertEqual(vm.reboot(), "async")
        vm.expect("cleaned")
        self.assertEqual(self.performs(vm), [])
        self.assertEqual(vm.reboot(), "async")
        vm.expect("cleaned")
        self.wait("the first one is done", lambda: self.performs(vm))
        self.assertEqual(self.performs(vm), [("pvr-keeper", "0")])
        puppet.done()
        self.wait("the second one is done", lambda: len(self.performs(vm)) == 2)
        self.assertEqual(self.performs(vm)[1], ("pvr-keeper", "0"))
        self.ended_well(vm)
        self.assert_all_cleared(performed=2)

    def test_second_reboot_with_a_keeper_that_does_not_run(self):
        """QEMU does not wait for it."""
        vm = self.stand_in()
        self.stop(vm.keeper)
        for _ in range(3):
            self.assertEqual(vm.reboot(), "async")
            vm.expect("cleaned")
        self.wait("two are done", lambda: len(self.performs(vm)) == 2)
        self.assertEqual([ret for _, ret in self.performs(vm)], ["0", "0"])
        os.kill(vm.keeper, signal.SIGCONT)
        self.ended_well(vm)

    def test_prepare_fails_as_ever(self):
        """The error is QEMU's to see, and DISABLE its answer."""
        vm = self.stand_in(env={"PVSIM_FAIL": "prepare:EIO:1"})
        self.assertEqual(vm.reboot(), "sync")
        status, said = vm.quit()
        self.assertEqual(status, 0)
        self.assertRegex(said, r"\(PREPARE\) failed: .*: -5\n")

    def test_qemu_killed_while_it_runs(self):
        """In stock QEMU the rest would be the kernel's, at the VM's end."""
        self.daemon()
        vm = self.stand_in("-name", "anna", env={"PVSIM_MIN_MS": "500"})
        self.registered(1)
        vm.reboot()
        self.performing()
        vm.process.kill()
        vm.process.wait(TIMEOUT)
        self.wait("both jobs are done", lambda: [(j["kind"], j["state"]) for j in
                  self.jobs_of("anna")] == [("reboot", "done"), ("shutdown", "done")])
        self.assert_all_cleared(performed=1)

    def test_no_daemon(self):
        vm = self.stand_in(env={"PVREAPER_GRACE_MSEC": "200"})
        self.assertEqual(vm.reboot(), "async")
        vm.expect("cleaned")
        self.wait("the keeper has gone ahead", lambda: self.performs(vm))
        self.assertEqual(self.performs(vm), [("pvr-keeper", "0")])
        self.ended_well(vm)

    def test_keeper_killed(self):
        """QEMU does it itself, as it always did."""
        vm = self.stand_in()
        self.kill_keeper(vm)
        self.assertEqual(vm.reboot(), "async")
        vm.expect("cleaned")
        self.assertEqual(self.performs(vm)[1:], [("async_cleanup", "0")])
        self.ended_well(vm)

    def test_keeper_killed_before_it_read(self):
        """Its heir takes what it was told, and QEMU's PERFORM for the next one is its own."""
        vm = self.stand_in()
        self.stop(vm.keeper)
        vm.reboot()
        vm.expect("cleaned")
        self.kill_keeper(vm)
        self.assertEqual([ret for _, ret in self.performs(vm)], ["0"])
        self.assertEqual(vm.reboot(), "async")
        vm.expect("cleaned")
        self.assertEqual(self.performs(vm)[1:], [("async_cleanup", "0")])
        self.ended_well(vm)

    def test_somebody_was_faster(self):
        """-EINVAL of QEMU's own PERFORM, where there was a keeper: done already, so 0."""
        vm = self.stand_in(env={"PVSIM_FAIL": "perform:EINVAL:1"})
        self.kill_keeper(vm)
        vm.reboot()
        vm.expect("cleaned")
        self.assertEqual(self.performs(vm)[1:], [("async_cleanup", "-22")])
        self.ended_well(vm)

    def test_other_failures_are_qemus(self):
        vm = self.stand_in(env={"PVSIM_FAIL": "perform:EIO:1"})
        self.kill_keeper(vm)
        vm.send("reboot")
        self.assertEqual(vm.process.wait(TIMEOUT), 1)
        self.assertIn("(PERFORM) failed: rc 0 rrc 0: -5", vm.process.stderr.read().decode())

    def test_no_keeper_is_stock(self):
        """Where no keeper could be made nothing is changed, -EINVAL neither."""
        vm = self.stand_in(env={"PVREAPER_PRELOAD": "0", "PVSIM_FAIL": "perform:EINVAL:1"})
        self.assertIsNone(vm.keeper)
        vm.send("reboot")
        self.assertEqual(vm.process.wait(TIMEOUT), 1)

    def kill_keeper(self, vm):
        """Until the heir has looked: then nobody but QEMU will issue a PERFORM."""
        before = len(self.performs(vm))
        os.kill(vm.keeper, signal.SIGKILL)
        self.wait("the heir has looked", lambda: len(self.performs(vm)) > before)


class Size(PreloadCase):
    def test_memory_slots(self):
        """A job says how large the guest is at that time."""
        self.daemon()
        vm = self.stand_in("-name", "anna", "-m", "3072")
        self.registered(1)
        for n, (command, gib) in enumerate((("plug 1024", 4), ("unplug", 3), ("plug 2048", 5)), 1):
            vm.do(command)
            vm.reboot()
            vm.expect("cleaned")
            self.wait("the job is done", lambda n=n: [j["state"] for j in self.jobs_of("anna")] ==
                      ["done"] * n)
            self.assertEqual(self.jobs_of("anna")[-1]["bytes"], gib * GIB)
        self.ended_well(vm)


class Start(PreloadCase):
    """Where a keeper is made, and where not."""

    def keeper(self, *arguments, **keywords):
        vm = self.stand_in(*arguments, protect=False, **keywords)
        self.ended_well(vm)
        return vm.keeper is not None

    def test_names(self):
        self.assertTrue(self.keeper())
        self.assertTrue(self.keeper(argv0="/usr/libexec/qemu-kvm"))
        self.assertFalse(self.keeper(argv0="/usr/bin/qemu-img"))
        self.assertTrue(self.keeper(argv0="vmm", env={"PVREAPER_PRELOAD": "1"}))

    def test_no_guest(self):
        """libvirt asks an emulator what it can do, often."""
        self.assertFalse(self.keeper("-S", "-no-user-config", "-nodefaults", "-nographic",
                                     "-machine", "none,accel=kvm:tcg", "-daemonize"))
        self.assertFalse(self.keeper("-version"))
        self.assertTrue(self.keeper("-machine", "none", "-machine", "virt"))

    def test_failure_is_said_once(self):
        vm = self.stand_in(env={"PVREAPER_SOCKET": "/" * 200})
        self.assertIsNone(vm.keeper)
        vm.reboot()
        vm.expect("cleaned")
        status, said = vm.quit()
        self.assertEqual(status, 0)
        self.assertEqual(said, f"pv-reaper: {QEMU_NAME}: cannot make a keeper; "
                               "QEMU runs without one: File name too long\n")
        self.assertEqual(self.performs(vm), [("async_cleanup", "0")])

    def test_no_handler_of_fork(self):
        """QEMU will fork, and the library cannot make a keeper in the child: that is said now."""
        libraries = [f"{BUILD}/tests/standins/no-atfork.so", PRELOAD, SIMULATOR]
        vm = self.stand_in("-daemonize", env={"LD_PRELOAD": ":".join(libraries)})
        self.assertIsNone(vm.keeper)
        status, said = vm.quit()
        self.assertEqual(status, 0)
        self.assertEqual(said, f"pv-reaper: {QEMU_NAME}: cannot make a keeper; "
                               "QEMU runs without one: Cannot allocate memory\n")

    def test_exec_itself(self):
        """The new QEMU has a keeper of its own; the old one leaves, its memory is gone already."""
        self.daemon()
        vm = self.stand_in("-name", "anna")
        self.registered(1)
        old = vm.keeper
        vm.send("exec")
        vm.expect("ready")
        vm.keeper = next(pid for pid in children_of(vm.pid) if is_keeper(pid) and pid != old)
        self.wait("the old keeper has left", lambda: process_state(old) in (None, "Z"),
                  TIMEOUT + LINGER_SECONDS)
        self.registered(1)
        vm.do("protect")
        vm.reboot()
        vm.expect("cleaned")
        self.wait("the new keeper performs", lambda: [j["pid"] for j in self.jobs_of("anna") if
                  j["state"] == "done"] == [vm.keeper])
        self.ended_well(vm)

    def test_fds(self):
        """QEMU has a few more, as pvreaper.h says; whatever it inherits is not the keeper's."""
        vm, stock = self.stand_in(), self.stand_in(preload=False)
        self.assertLessEqual(len(own_fds(vm.pid)), len(own_fds(stock.pid)) + 5)
        self.assertEqual([what for what in own_fds(vm.keeper).values() if "pipe:" in what], [])


class NativeAio(PreloadCase):
    """It and a keeper exclude each other, unless somebody waits for the keeper's last word."""

    NATIVE = ("-blockdev", '{"driver":"file","filename":"x","aio":"native"}')

    def check_said(self, vm, *words):
        """One line, or none, which says all of it."""
        status, said = vm.quit()
        self.assertEqual((status, said.count("\n")), (0, 1 if words else 0), said)
        for word in words:
            self.assertIn(word, said)

    def let_go(self, vm):
        """It has a ring, and no keeper any more; what is left to do is its own."""
        vm.do("aio 1")
        vm.expect("ring 0")
        self.assertFalse(is_alive(vm.keeper))
        self.assertEqual(vm.reboot(), "async")
        vm.expect("cleaned")

    def nothing_waits(self):
        return all(self.sim.ends_of(prepared["vm"], prepared["seq"]) not in ([], ["running"])
                   for prepared in self.sim.commands("PREPARE", ret=0))

    def test_on_the_command_line(self):
        vm = self.stand_in(*self.NATIVE)
        self.assertIsNone(vm.keeper)
        self.assertEqual(vm.reboot(), "async")
        vm.expect("cleaned")
        self.assertEqual(self.performs(vm), [("async_cleanup", "0")])
        self.check_said(vm, "aio=native: no keeper", "PVREAPER_NATIVE_AIO=drain")

    def test_later(self):
        vm = self.stand_in()
        self.let_go(vm)
        self.assertEqual(self.performs(vm)[-1], ("async_cleanup", "0"))
        vm.do("aio 1")
        vm.expect("ring 0")
        self.check_said(vm, "native AIO: no keeper from now on", "PVREAPER_NATIVE_AIO=drain")

    def test_drained(self):
        vm = self.stand_in(*self.NATIVE, env={"PVREAPER_NATIVE_AIO": "drain",
                                              "PVREAPER_GRACE_MSEC": "0"})
        vm.do("aio 1")
        vm.expect("ring 0")
        self.assertTrue(is_keeper(vm.keeper))
        vm.reboot()
        vm.expect("cleaned")
        self.wait("the keeper has gone ahead", lambda: self.performs(vm))
        self.assertEqual(self.performs(vm), [("pvr-keeper", "0")])
        self.check_said(vm)

    def test_words(self):
        vm = self.stand_in(*self.NATIVE, env={"PVREAPER_NATIVE_AIO": "let-go"})
        self.assertIsNone(vm.keeper)
        self.check_said(vm, "aio=native: no keeper")
        vm = self.stand_in(env={"PVREAPER_NATIVE_AIO": "drains"})
        self.assertIsNotNone(vm.keeper)
        self.check_said(vm, "set PVREAPER_NATIVE_AIO to drain or let-go; "
                            "let-go is used instead of drains")

    def test_in_the_middle_of_a_teardown(self):
        """The keeper cannot leave, and writes could land after QEMU's end: refused, for now."""
        vm = self.stand_in(env={"PVSIM_MIN_MS": "3000", "PVREAPER_GRACE_MSEC": "0"})
        vm.reboot()
        self.performing()
        start = time.monotonic()
        vm.do("aio 1")
        vm.expect("ring -11")
        took = time.monotonic() - start
        self.assertEqual(self.sim.n_performing(), 1, "too late to tell anything")
        self.assertTrue(is_alive(vm.keeper))
        self.assertGreater(took, 0.9)
        self.wait("the keeper has left", lambda: not is_alive(vm.keeper))
        self.assertEqual(self.performs(vm)[0], ("pvr-keeper", "0"))
        vm.do("aio 1")
        vm.expect("ring 0")
        status, said = vm.quit()
        self.assertEqual((status, said.count("\n")), (0, 2), said)
        self.assertRegex(said, "in the middle of a teardown(?s:.*)no keeper from now on")

    def test_a_keeper_that_does_not_leave(self):
        """It is not inside PERFORM, so nothing is lost if it is killed."""
        vm = self.stand_in()
        os.kill(vm.keeper, signal.SIGSTOP)
        self.let_go(vm)
        self.check_said(vm, "no keeper from now on")

    def test_taken_and_not_begun(self):
        """What the keeper had taken is not lost, and QEMU does not see somebody else do it."""
        vm = self.stand_in(env={"PVREAPER_GRACE_MSEC": "60000"})
        self.assertEqual(vm.reboot(), "async")
        vm.expect("cleaned")
        self.let_go(vm)
        self.wait("all is over", self.nothing_waits)
        self.assert_all_cleared(performed=2)
        self.check_said(vm, "no keeper from now on")

    def test_beside_reboots(self):
        """Several threads at once, and others in the middle of what they hand over."""
        for _ in range(10):
            vm = self.stand_in(env={"PVREAPER_GRACE_MSEC": "0"})
            vm.send("aio 4")
            ways = [vm.reboot() for _ in range(4)]
            for _ in range(4):
                vm.expect("ring 0")
            for _ in range(ways.count("async")):
                vm.expect("cleaned")
            self.assertFalse(is_alive(vm.keeper))
            self.wait("all is over", self.nothing_waits)
            self.assert_all_cleared()
            status, said = vm.quit()
            self.assertEqual((status, said.count("no keeper from now on")), (0, 1), said)


class Rights(PreloadCase):
    def test_no_keeper_where_qemu_gives_rights_up(self):
        for arguments in (("-runas", "nobody"), ("-chroot", "/var/empty"), ("-daemonize", "-runas",
                          "65534:65534"), ("-run-with", "async-teardown=off,user=nobody")):
            vm = self.stand_in(*arguments, protect=False)
            self.assertIsNone(vm.keeper)
            self.assertRegex(vm.quit()[1], "^pv-reaper: [^\n]*no keeper with -runas[^\n]*\n$")

    def test_rights_given_up_later(self):
        """Not on the command line: the keeper leaves, and a line says so once, at PREPARE."""
        if os.getuid() != 0:
            self.skipTest("not root, who alone has rights to give up")
        vm = self.stand_in()
        vm.do("drop")
        self.wait("the keeper has left", lambda: not is_alive(vm.keeper), 1)
        for _ in range(2):
            self.assertEqual(vm.reboot(), "async")
            vm.expect("cleaned")
        status, said = vm.quit()
        self.assertEqual(status, 0)
        self.assertRegex(said, "^pv-reaper: [^\n]*the keeper has left[^\n]* not permitted\n$")


class Library(unittest.TestCase):
    def readelf(self, *arguments):
        return subprocess.run(["readelf", *arguments], capture_output=True, text=True,
                              check=True).stdout

    def setUp(self):
        if not has_tool("readelf"):
            self.skipTest("no readelf")

    def test_exports_two_calls_alone(self):
        symbols = re.findall(r" (\w+) +(?:FUNC|OBJECT) +(?:GLOBAL|WEAK) +DEFAULT +\d+ (\S+)",
                             self.readelf("-W", "--dyn-syms", PRELOAD))
        self.assertEqual(sorted(name for _, name in symbols), ["io_setup", "ioctl"])

    def test_needs_the_c_library_alone(self):
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", self.readelf("-d", PRELOAD))
        self.assertLessEqual(set(needed), {"libc.so.6", "ld64.so.1", "ld-linux-x86-64.so.2"})

    def test_calls_are_bound_at_load(self):
        """Nor does the library's own ioctl() come back to ours."""
        self.assertRegex(self.readelf("-dW", PRELOAD), r"FLAGS.*\bNOW\b|BIND_NOW")
        own = re.findall(r"JUMP_SLO\w* +\w+ (\w+)|GLOB_DAT +\w+ (ioctl)",
                         self.readelf("-rW", PRELOAD))
        self.assertLessEqual({a or b for a, b in own}, {"__register_atfork", "__stack_chk_fail"})


if __name__ == "__main__":
    tap.main()
