#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""pvr_vm_disable_async(): either nothing was set aside, or there is somebody who tears it down.

pvr-vmm's `reboot` calls it where a VMM would issue DISABLE, and issues DISABLE itself where it is
refused (path=sync). What then happened to each VM that was set aside is read from the simulator.
"""

import os
import resource
import signal
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import Case, tap
from puppet import Puppet

HURRY_USEC = 500000  # of a reboot that finds the kernel's place taken: far less than a DISABLE

SHORT_GRACE = {"PVREAPER_GRACE_MSEC": "100"}


class Refused(Case):
    """PREPARE says no: that is passed on, and DISABLE does it all."""

    def check_sync(self, vmm, error="-EINVAL"):
        answer = vmm.do("reboot")
        self.assertEqual((answer["path"], answer["error"]), ("sync", error))
        self.assertNotEqual(answer["disable_us"], "-")

    def check_nothing_aside(self, vmm):
        """And nobody was told to do anything."""
        self.assertEqual(self.sim.commands("PREPARE", ret=0), [])
        self.assertEqual(vmm.do("disable").get("rc"), "1")
        self.assertEqual(self.sim.commands("PERFORM", ev="begin"), [])
        self.assertEqual(vmm.outcomes, [])

    def refused(self, error="-EINVAL", mem="4G", **env):
        self.daemon()
        vmm = self.vmm("anna", mem=mem, env=env)
        self.registered(1)
        vmm.do("protect")
        self.check_sync(vmm, error)
        self.check_nothing_aside(vmm)
        self.assertEqual(self.ctl_json("jobs"), [])

    def test_not_protected(self):
        vmm = self.vmm("anna", env=SHORT_GRACE)
        self.assertEqual(vmm.do("reboot", error=True)["errno"], "EINVAL")
        vmm.do("protect")
        self.check_nothing_aside(vmm)

    def test_two_gigabytes(self):
        self.refused(mem="2G")

    def test_async_destroy_is_off(self):
        self.refused(PVSIM_ASYNC_DESTROY="0")

    def test_prepare_fails(self):
        self.refused("-EIO", PVSIM_FAIL="prepare:EIO")

    def test_one_is_aside_already(self):
        """By somebody else: DISABLE then destroys both, and nobody here tries anything."""
        vmm = self.vmm("anna")
        vmm.do("protect")
        vmm.do("prepare")
        vmm.do("protect")
        self.check_sync(vmm)
        self.assertEqual(vmm.outcomes, [])
        self.assert_all_cleared(disabled=1)


class Hurried(Case):
    """The kernel's one place is taken by a hand-off that waits: that one begins, and makes room."""

    def setUp(self):
        super().setUp()
        self.daemon("--max-concurrent", "1")
        self.puppet = Puppet(self)
        self.puppet.take_slot()

    def reboots(self, vmm, times):
        vmm.do("protect")
        for _ in range(times):
            answer = vmm.do("reboot")
            self.assertEqual(answer["path"], "handed-off")
            self.assertLess(int(answer["total_us"]), HURRY_USEC)

    def test_by_the_keeper(self):
        vmm = self.vmm("anna", env={"PVSIM_MIN_MS": "200"})
        self.registered(2)
        self.reboots(vmm, 2)
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "ungoverned")
        self.assertEqual(self.sim.performed()[0]["pid"], str(vmm.keeper))
        self.puppet.done()
        self.assertEqual(vmm.wait_outcomes(2)[1]["result"], "done")
        self.assert_all_cleared(performed=2)

    def test_by_a_thread(self):
        """The keeper is busy with the first; the second is queued behind it."""
        vmm = self.vmm("anna", env={"PVSIM_MIN_MS": "2000"})
        self.registered(2)
        self.reboots(vmm, 4)
        self.assertGreater(self.sim.n_performing(), 1)
        vmm.wait_outcomes(3)
        self.puppet.done()
        self.wait("all of them", lambda: len(self.sim.performed()) == 4)
        self.assert_all_cleared(performed=4)

    def test_in_vain(self):
        """What waits makes no difference: PREPARE is refused for another reason, and soon."""
        vmm = self.vmm("anna")
        self.registered(2)
        self.reboots(vmm, 1)
        vmm.do("disable")
        begin = time.monotonic()
        self.assertEqual(vmm.do("reboot", error=True)["errno"], "EINVAL")
        self.assertLess((time.monotonic() - begin) * 1e6, HURRY_USEC)
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "superseded")
        # And nothing waits any more that would be looked for again.
        begin = time.monotonic()
        self.assertEqual(vmm.do("reboot", error=True)["errno"], "EINVAL")
        self.assertLess(time.monotonic() - begin, 0.1)
        self.puppet.done()
        self.assert_all_cleared(disabled=1)

    def test_keeper_stopped(self):
        """It does not answer: a thread does it."""
        vmm = self.vmm("anna")
        self.registered(2)
        os.kill(vmm.keeper, signal.SIGSTOP)
        self.reboots(vmm, 2)
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "ungoverned")
        self.assertEqual(self.sim.performed()[0]["pid"], str(vmm.pid))
        os.kill(vmm.keeper, signal.SIGCONT)
        self.puppet.done()
        self.wait("both", lambda: len(self.sim.performed()) == 2)
        self.assert_all_cleared(performed=2)


class Accepted(Case):
    """It returned 0: there is somebody."""

    def reboot(self, vmm):
        answer = vmm.do("reboot")
        self.assertEqual(answer["path"], "handed-off")
        return answer

    def protected(self, **env):
        vmm = self.vmm("anna", env=env)
        vmm.do("protect")
        return vmm

    def without_keeper(self, **env):
        """A VMM that lost its keeper; its heir has looked, and found nothing to do."""
        vmm = self.protected(**env)
        os.kill(vmm.keeper, signal.SIGKILL)
        self.wait("the heir has looked", lambda: self.sim.commands("PERFORM", ret=-22))
        return vmm

    def check_tasks(self, vmm, own_thread):
        performed = self.sim.performed()
        self.assertEqual({e["pid"] for e in performed}, {str(vmm.pid)})
        self.assertEqual([e["tid"] != str(vmm.pid) for e in performed], own_thread)

    def test_keeper(self):
        self.daemon()
        vmm = self.protected()
        self.registered(1)
        self.reboot(vmm)
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "done")
        self.assertEqual(self.sim.performed()[0]["pid"], str(vmm.keeper))
        self.assert_all_cleared(performed=1)

    def test_no_daemon(self):
        vmm = self.protected(**SHORT_GRACE)
        for n in range(1, 4):
            self.reboot(vmm)
            self.assertEqual(vmm.wait_outcomes(n)[-1]["result"], "ungoverned")
        self.assertEqual({e["pid"] for e in self.sim.performed()}, {str(vmm.keeper)})
        self.assert_all_cleared(performed=3)

    def test_keeper_dead(self):
        vmm = self.without_keeper()
        for n in range(1, 4):
            self.reboot(vmm)
            self.assertEqual(vmm.wait_outcomes(n)[-1]["result"], "ungoverned")
        self.check_tasks(vmm, own_thread=[True] * 3)
        self.assert_all_cleared(performed=3)

    def test_keeper_dead_and_no_thread(self):
        """No memory for another thread's stack: then the caller himself, as the last resort.

        The first reboot has the stack of the heir, who is gone; the second finds no other.
        """
        if harness.sanitized():
            self.skipTest("a sanitizer needs more memory than the stack for which there is none")
        vmm = self.without_keeper(PVSIM_MIN_MS="1000")
        size = int(harness.read(f"/proc/{vmm.pid}/statm").split()[0]) * resource.getpagesize()
        resource.prlimit(vmm.pid, resource.RLIMIT_AS, (size + (1 << 15), size + (1 << 15)))
        self.reboot(vmm)
        self.performing()
        answer = self.reboot(vmm)
        self.assertGreaterEqual(int(answer["total_us"]), 1000000)
        vmm.wait_outcomes(2)
        self.assertEqual(vmm.results(), ["ungoverned"] * 2)
        self.check_tasks(vmm, own_thread=[True, False])
        self.assert_all_cleared(performed=2)

    def test_keeper_dies_at_that_moment(self):
        """Wherever it is: before the ring, with it, inside PERFORM, or done with it."""
        vmms = [self.vmm(f"vm-{n}", env={"PVREAPER_GRACE_MSEC": "1"}) for n in range(12)]
        for n, vmm in enumerate(vmms):
            vmm.do("protect")
            vmm.send("reboot")
            if n % 4 == 1:
                self.wait("PREPARE", lambda: self.sim.commands("PREPARE", pid=vmm.pid))
            elif n % 4 == 2:
                self.wait("PERFORM", lambda: self.sim.commands("PERFORM", "begin", pid=vmm.keeper))
            elif n % 4 == 3:
                self.wait("its end", lambda: self.sim.commands("PERFORM", pid=vmm.keeper))
            os.kill(vmm.keeper, signal.SIGKILL)
        for vmm in vmms:
            vmm.expect(lambda line: line.startswith("ok reboot path=handed-off"))
            prepared, = self.sim.commands("PREPARE", pid=vmm.pid, ret=0)
            word, = self.wait("the end of what was set aside", lambda: [
                word for word in self.sim.ends_of(prepared["vm"], prepared["seq"])
                if word != "running"])
            if word == "killed":  # "lost" is also said of a keeper that had just finished
                self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "lost")
        ends = self.assert_all_cleared()
        self.assertEqual(set(ends) - {"performed", "killed"}, set())
        self.assertGreater(ends["performed"], 0)

    def test_perform_fails(self):
        """The kernel took the VM and did not tear it down: neither done nor superseded."""
        self.daemon()
        vmm = self.protected(PVSIM_FAIL="perform:ENOMEM:1")
        self.registered(1)
        self.reboot(vmm)
        outcome = vmm.wait_outcomes(1)[0]
        self.assertEqual((outcome["result"], outcome["error"]), ("failed", "-ENOMEM"))
        self.wait("the job is over",
                  lambda: [job["state"] for job in self.jobs_of("anna")] == ["failed"])
        self.reboot(vmm)
        vmm.wait_outcomes(2)
        self.assertEqual(vmm.results(), ["failed", "done"])
        self.assert_all_cleared(failed=1, performed=1)


if __name__ == "__main__":
    tap.main()
