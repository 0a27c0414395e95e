#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever dies, and whenever: each VM that was set aside has exactly one end (G2).

One case for each way a daemon, a keeper or a VMM can go while there is a reboot's teardown to do.
How often something was torn down is counted in the simulator's log. max-concurrent is 1 throughout,
and where a job has to wait, a puppet holds the slot until the test lets it go. Where a PERFORM has
to last, its task is stopped inside (the simulator allows that, the real thing does not).
"""

import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import Case, tap
from puppet import Puppet, outcome

HELD = {"PVSIM_MIN_MS": "1500"}  # time enough to stop it while it runs
SHORT_GRACE = {"PVREAPER_GRACE_MSEC": "300"}


class Death(Case):
    daemon_options = ("--max-concurrent", "1")

    def protected(self, name="anna", **env):
        vmm = self.vmm(name, env=env)
        vmm.do("protect")
        return vmm

    def reboot(self, vmm):
        answer = vmm.do("reboot")
        self.assertEqual(answer["path"], "handed-off")
        return answer

    def take_slot(self):
        """The only one there is."""
        puppet = Puppet(self)
        puppet.take_slot()
        return puppet

    def queued(self, name="anna"):
        self.wait(f"{name} waits", lambda: self.state_of(name) == "waiting")

    def hold(self, vmm):
        """Reboots it and stops its keeper inside PERFORM."""
        self.reboot(vmm)
        self.performing()
        self.stop(vmm.keeper)
        self.assertEqual(self.sim.n_performing(), 1, "over before it could be stopped")

    def jobs_are(self, name, *expected):
        """Waits until the jobs of a VM are these, "kind state" each, oldest first; returns them."""
        jobs = []

        def look():
            jobs[:] = self.jobs_of(name)
            return tuple(f"{job['kind']} {job['state']}" for job in jobs) == expected

        try:
            self.wait(f"jobs of {name}", look)
        except harness.Failure:
            self.fail(f"the jobs of {name} should be {expected}, but are {jobs}")
        return jobs

    def status_is(self, **expected):
        def look():
            status = self.ctl_json("status")
            return {key: status[key] for key in expected} == expected

        self.wait(f"status {expected}", look)

    def began(self):
        """PERFORMs that took something, finished or not."""
        return [e for e in self.sim.commands("PERFORM", ev="begin") if e["seq"] != "0"]

    def heir_found_nothing(self):
        self.wait("the heir has looked", lambda: self.sim.commands("PERFORM", ret=-22))

    def by_vmm(self, vmm, performed):
        """These were done in the VMM itself."""
        self.assertEqual({e["pid"] for e in performed}, {str(vmm.pid)})
        self.assertNotIn("pvr-keeper", {e["comm"] for e in performed})


class DaemonDies(Death):
    def both_done(self, *vmms):
        for vmm in vmms:
            vmm.wait_outcomes(1)
        self.assertEqual([result for vmm in vmms for result in vmm.results()], ["done"] * len(vmms))

    def test_no_daemon_at_vm_start(self):
        """Nobody listens, and nobody ever did: a guest's reboot waits for nobody."""
        vmm = self.protected(PVREAPER_GRACE_MSEC="600000")
        place = self.cgroups.of(vmm.keeper) if self.cgroups.top else None
        self.reboot(vmm)
        first = vmm.wait_outcomes(1)[0]
        self.assertEqual((first["result"], first["job"]), ("ungoverned", "1"))
        self.assertLess(int(first["waited_us"]), 1000000)
        if place:
            self.assertEqual(self.cgroups.of(vmm.keeper), place)
        self.daemon()
        self.registered(1)
        self.reboot(vmm)
        vmm.wait_outcomes(2)
        self.assertEqual(vmm.results(), ["ungoverned", "done"])
        self.jobs_are("anna", "reboot ungoverned", "reboot done")
        self.assertEqual({e["comm"] for e in self.sim.performed()}, {"pvr-keeper"})
        self.assert_all_cleared(performed=2)

    def test_each_job_tries_again(self):
        """A keeper that was told to stay away comes back with its next job."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.socket)
            listener.listen()
            listener.settimeout(harness.TIMEOUT)
            vmm = self.protected()
            link, _ = listener.accept()
            with link:
                link.settimeout(harness.TIMEOUT)
                types = [harness.unpack(link.recv(4096))[0] for _ in range(2)]
                self.assertEqual(types, [harness.HELLO, harness.REGISTER])
                link.send(harness.pack(harness.UNGOVERNED, 0))
                self.assertEqual(link.recv(4096), b"")
        os.unlink(self.socket)
        self.daemon()
        self.reboot(vmm)
        vmm.wait_outcomes(1)
        self.assertEqual(vmm.results(), ["done"])
        self.assert_all_cleared(performed=1)

    def test_ungoverned_with_a_job_goes_ahead(self):
        """And at once, not after the grace time; the daemon may be one that knows us no more."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.socket)
            listener.settimeout(harness.TIMEOUT)
            vmm = self.protected()
            self.reboot(vmm)
            listener.listen()
            link, _ = listener.accept()
            with link:
                link.send(harness.pack(harness.UNGOVERNED, 0, version=99))
                vmm.wait_outcomes(1)
        self.assertEqual(vmm.results(), ["ungoverned"])
        self.assert_all_cleared(performed=1)

    def test_job_queued(self):
        self.need_cgroup()
        daemon = self.daemon()
        puppet = self.take_slot()
        vmm = self.protected()
        self.reboot(vmm)
        self.queued()
        daemon.kill()
        self.daemon()
        self.queued()
        self.status_is(found=1, running=1, queued=1)
        self.assertEqual(self.began(), [])
        puppet.register(last=outcome())
        vmm.wait_outcomes(1)
        self.assertEqual(vmm.results(), ["done"])
        self.jobs_are("anna", "reboot done")
        self.assert_all_cleared(performed=1)

    def test_perform_running(self):
        self.need_cgroup()
        daemon = self.daemon()
        anna, berta = self.protected("anna", **HELD), self.protected("berta")
        self.registered(2)
        self.hold(anna)
        daemon.kill()
        self.daemon()
        self.registered(1)
        self.status_is(found=1, running=1)
        self.reboot(berta)
        self.queued("berta")
        self.assertEqual(len(self.began()), 1)
        os.kill(anna.keeper, signal.SIGCONT)
        self.both_done(anna, berta)
        job, = self.jobs_are("anna", "reboot done")
        self.assertGreater(job["cpu_us"], 40000)  # 4 GiB at 50 ns a page: 52 ms
        self.assertGreater(job["ran_us"], 1400000)
        self.assertEqual(self.sim.max_overlap(), 1)
        self.assert_all_cleared(performed=2)

    def test_grant_sent(self):
        """The keeper has not read it yet: it is stopped."""
        self.need_cgroup()
        daemon = self.daemon()
        puppet = self.take_slot()
        anna, berta = self.protected("anna"), self.protected("berta")
        self.registered(3)
        self.reboot(anna)
        self.queued("anna")
        self.stop(anna.keeper)
        puppet.done()
        self.wait("anna has the slot", lambda: self.state_of("anna") == "running")
        puppet.end()
        daemon.kill()
        self.daemon()
        self.registered(1)
        self.status_is(found=1, running=1, queued=0)
        self.reboot(berta)
        self.queued("berta")
        self.assertEqual(self.began(), [])
        os.kill(anna.keeper, signal.SIGCONT)
        self.both_done(anna, berta)
        self.jobs_are("anna", "reboot done")
        # had it asked again, it would have been the second
        self.assertEqual([int(e["pid"]) for e in self.began()], [anna.keeper, berta.keeper])
        self.assertEqual(self.sim.max_overlap(), 1)
        self.assert_all_cleared(performed=2)

    def test_outcome_is_reported_once(self):
        """The daemon recorded it and died before the worker got the acknowledgement."""
        self.need_cgroup()
        daemon = self.daemon()
        puppet = self.take_slot()
        puppet.done()
        self.jobs_are("puppet", "reboot done")
        daemon.kill()
        daemon = self.daemon()
        puppet.register(last=outcome())
        self.assertEqual(self.ctl_json("jobs"), [])
        self.assertNotIn("reboot of puppet", daemon.log())
        puppet.request(2)
        puppet.receive(harness.GRANT)
        puppet.done(2)
        self.jobs_are("puppet", "reboot done")

    def test_outcome_is_reported_after_all(self):
        """The worker said so to a daemon that died before it listened."""
        self.need_cgroup()
        daemon = self.daemon()
        puppet = self.take_slot()
        self.stop(daemon.pid)
        puppet.done()
        daemon.kill()
        self.daemon()
        puppet.register(last=outcome())
        self.jobs_are("puppet", "reboot done")

    def test_stop_and_start(self):
        self.need_cgroup()
        daemon = self.daemon()
        anna, berta = self.protected("anna", **HELD), self.protected("berta")
        self.registered(2)
        self.hold(anna)
        self.reboot(berta)
        self.queued("berta")
        self.assertEqual(daemon.kill(signal.SIGTERM), 0)
        self.assertIn("stopping with 1 running and 1 queued", daemon.log())
        self.daemon()
        self.queued("berta")
        self.status_is(found=1, running=1, queued=1)
        self.assertEqual(len(self.began()), 1)
        os.kill(anna.keeper, signal.SIGCONT)
        self.both_done(anna, berta)
        self.jobs_are("anna", "reboot done")
        self.jobs_are("berta", "reboot done")
        self.assertEqual(self.sim.max_overlap(), 1)
        self.assert_all_cleared(performed=2)

    def test_hang(self):
        """Who is its client waits for its end, which the watchdog sees to."""
        daemon = self.daemon()
        vmm = self.protected(**SHORT_GRACE)
        self.registered(1)
        self.stop(daemon.pid)
        self.reboot(vmm)
        time.sleep(0.5)  # longer than the grace time, which counts from the loss of the connection
        self.assertEqual(self.began(), [])
        daemon.kill()
        self.daemon()
        vmm.wait_outcomes(1)
        self.jobs_are("anna", f"reboot {vmm.results()[0]}")  # slow machines: ungoverned
        self.assert_all_cleared(performed=1)

    def test_hanging_daemon_is_none(self):
        """connect() succeeds, and proves nothing."""
        daemon = self.daemon()
        with self.stopped(daemon.pid):
            vmm = self.protected(**SHORT_GRACE)
            self.reboot(vmm)
            vmm.wait_outcomes(1)
        self.registered(1)
        self.jobs_are("anna", "reboot ungoverned")
        self.reboot(vmm)
        vmm.wait_outcomes(2)
        self.assertEqual(vmm.results(), ["ungoverned", "done"])
        self.jobs_are("anna", "reboot ungoverned", "reboot done")
        self.assert_all_cleared(performed=2)


class KeeperDies(Death):
    def test_idle(self):
        self.daemon()
        vmm = self.protected()
        self.registered(1)
        os.kill(vmm.keeper, signal.SIGKILL)
        self.heir_found_nothing()
        vmm.do("prepare")
        self.assertEqual(vmm.do("handoff", error=True)["errno"], "EPIPE")
        vmm.do("perform")
        vmm.do("protect")
        self.reboot(vmm)
        self.assertEqual(vmm.wait_outcomes(1)[0]["job"], "0")
        answer = vmm.do("reboot split")
        self.assertEqual((answer["path"], answer["error"]), ("thread", "-EPIPE"))
        vmm.wait_outcomes(2)
        self.assertEqual(vmm.results(), ["ungoverned"] * 2)
        self.by_vmm(vmm, self.sim.performed())
        self.assert_all_cleared(performed=3)
        self.status_is(vms=0, lost=0)

    def check_heir(self, vmm):
        outcomes = vmm.wait_outcomes(1)
        self.assertEqual([(o["result"], o["job"]) for o in outcomes], [("ungoverned", "0")])
        self.by_vmm(vmm, self.sim.performed())
        self.assert_all_cleared(performed=1)

    def test_job_queued(self):
        self.daemon()
        self.take_slot()
        vmm = self.protected()
        self.reboot(vmm)
        self.queued()
        os.kill(vmm.keeper, signal.SIGKILL)
        self.check_heir(vmm)
        self.status_is(vms=1, queued=0, running=1)

    def test_bell_unread(self):
        vmm = self.protected()
        self.stop(vmm.keeper)
        self.reboot(vmm)
        os.kill(vmm.keeper, signal.SIGKILL)
        self.check_heir(vmm)

    def test_grant_unread(self):
        """The daemon cannot know what became of it, and says so."""
        self.daemon()
        puppet = self.take_slot()
        vmm = self.protected()
        self.reboot(vmm)
        self.queued()
        self.stop(vmm.keeper)
        puppet.done()
        self.wait("anna has the slot", lambda: self.state_of("anna") == "running")
        os.kill(vmm.keeper, signal.SIGKILL)
        self.check_heir(vmm)
        self.jobs_are("anna", "reboot lost")
        self.status_is(running=0)

    def test_inside_perform(self):
        daemon = self.daemon()
        vmm = self.protected(**HELD)
        self.registered(1)
        self.reboot(vmm)
        self.performing()
        os.kill(vmm.keeper, signal.SIGKILL)
        first = vmm.wait_outcomes(1)[0]
        self.assertEqual((first["result"], first["job"]), ("lost", "1"))
        job, = self.jobs_are("anna", "reboot lost")
        self.assertIsNone(job["error"])
        self.assertRegex(daemon.log(), r"job 1: reboot of anna \(pid \d+, .*\) lost")
        self.heir_found_nothing()
        answer = vmm.do("reboot split")
        self.assertEqual((answer["path"], answer["error"]), ("thread", "-EPIPE"))
        vmm.wait_outcomes(2)
        self.assertEqual(vmm.results(), ["lost", "ungoverned"])
        self.assert_all_cleared(killed=1, performed=1)

    def test_behind_perform(self):
        """Before it could tell anybody: the VMM hears how it ended, the daemon that it cannot."""
        self.daemon()
        vmm = self.protected()
        self.registered(1)
        self.delay_second_send(vmm.keeper)  # the first one asks for the slot
        self.reboot(vmm)
        self.wait("PERFORM is over", lambda: self.sim.commands("PERFORM"))
        time.sleep(0.2)
        os.kill(vmm.keeper, signal.SIGKILL)
        first = vmm.wait_outcomes(1)[0]
        self.assertEqual((first["result"], first["job"]), ("done", "1"))
        self.jobs_are("anna", "reboot lost")
        self.assert_all_cleared(performed=1)

    def delay_second_send(self, pid):
        if not harness.has_tool("strace"):
            self.skipTest("no strace")
        strace = subprocess.Popen(
            ["strace", "-o", "/dev/null", "-e", "trace=sendto", "-e",
             "inject=sendto:delay_enter=2000000:when=2", "-p", str(pid)],
            stderr=subprocess.PIPE, text=True)
        self.addCleanup(strace.communicate)
        self.addCleanup(strace.kill)
        if "attached" not in (line := strace.stderr.readline()):
            self.skipTest(f"strace cannot attach: {line.strip()}")

    def test_together_with_the_vmm(self):
        """What the OOM killer does: whoever shares the memory goes."""
        self.daemon()
        vmm = self.protected(**HELD)
        self.registered(1)
        self.reboot(vmm)
        self.performing()
        os.kill(vmm.keeper, signal.SIGKILL)
        vmm.kill()
        self.jobs_are("anna", "reboot lost")
        self.status_is(vms=0, running=0)
        self.assert_all_cleared(killed=1)

    def test_reported_and_gone(self):
        """Its last word was DONE, and the daemon sees both at once, among others: not lost."""
        daemon = self.daemon()
        puppet, other = self.take_slot(), Puppet(self, "other")
        other.register()
        with self.stopped(daemon.pid):
            other.request()
            puppet.send(harness.pack(harness.PROGRESS, 0, 1))
            puppet.done()
            puppet.end()
        self.jobs_are("puppet", "reboot done")
        self.jobs_are("other", "reboot running")

    def test_freed_with_bell_unread(self):
        vmm = self.protected()
        with self.stopped(vmm.keeper):
            self.reboot(vmm)
            vmm.do("free")
        self.wait("the heir has performed", self.sim.performed)
        self.by_vmm(vmm, self.sim.performed())
        self.assert_all_cleared(performed=1)

    def test_freed_with_job_queued(self):
        self.daemon()
        self.take_slot()
        vmm = self.protected()
        self.reboot(vmm)
        self.queued()
        vmm.do("free")
        self.wait("the heir has performed", self.sim.performed)
        self.by_vmm(vmm, self.sim.performed())
        self.assert_all_cleared(performed=1)
        self.status_is(vms=1, queued=0, running=1)

    def test_freed_inside_perform(self):
        """It goes on; who was let go reports to the daemon before he leaves."""
        self.daemon()
        vmm = self.protected(**HELD)
        self.registered(1)
        self.hold(vmm)
        vmm.do("free")
        os.kill(vmm.keeper, signal.SIGCONT)
        self.jobs_are("anna", "reboot done")
        self.heir_found_nothing()
        self.assertEqual([e["comm"] for e in self.sim.performed()], ["pvr-keeper"])
        self.assert_all_cleared(performed=1)


class VmmDies(Death):
    def gone(self, vmm):
        self.wait("the keeper has left", lambda: not harness.is_alive(vmm.keeper))

    def test_job_queued(self):
        """The kernel destroys what is set aside with the rest: another job, and no PERFORM."""
        self.daemon()
        puppet = self.take_slot()
        vmm = self.protected()
        self.reboot(vmm)
        self.queued()
        vmm.kill()
        self.jobs_are("anna", "shutdown queued")
        self.assertTrue(harness.is_alive(vmm.keeper))
        puppet.done()
        self.gone(vmm)
        self.jobs_are("anna", "shutdown done")
        self.assertEqual(self.sim.commands("PERFORM", ev="begin"), [])
        self.assert_all_cleared(left=1)

    def test_bell_unread(self):
        self.daemon()
        vmm = self.protected()
        self.registered(1)
        with self.stopped(vmm.keeper):
            self.reboot(vmm)
            vmm.kill()
        self.gone(vmm)
        self.jobs_are("anna", "shutdown done")
        self.assertEqual(self.sim.commands("PERFORM", ev="begin"), [])
        self.assert_all_cleared(left=1)

    def test_perform_running(self):
        self.daemon()
        vmm = self.protected(**HELD)
        self.registered(1)
        self.hold(vmm)
        vmm.kill()
        died = time.monotonic_ns()
        os.kill(vmm.keeper, signal.SIGCONT)
        self.gone(vmm)
        self.jobs_are("anna", "reboot done", "shutdown done")
        performed, = self.sim.performed()
        self.assertEqual(performed["comm"], "pvr-keeper")
        self.assertGreater(int(performed["t"]), died)
        self.assert_all_cleared(performed=1)

    def test_grant_crosses_the_new_request(self):
        """The slot is for what the worker does now, and is free when that is over."""
        daemon = self.daemon()
        puppet = Puppet(self)
        puppet.register()
        with self.stopped(daemon.pid):
            puppet.request(1)
            puppet.request(2, kind=2)
        self.jobs_are("puppet", "shutdown running")
        puppet.process.kill()  # the VMM
        puppet.process.wait()
        puppet.end()
        self.jobs_are("puppet", "shutdown done")
        self.status_is(vms=0, running=0)


class Superseded(Death):
    """Somebody else takes what a queued job is about; and rings that mean the same."""

    def no_more_than(self, vmm, *expected):
        """Its keeper has had these jobs, and its next one is the last: no ring led to another."""
        vmm.kill()
        jobs = self.jobs_are(vmm.name, *expected, "shutdown done")
        self.assertEqual([job["seq"] for job in jobs], list(range(1, len(jobs) + 1)))
        self.assertEqual(len(self.sim.commands("PERFORM", "begin")), len(expected))

    def test_disable_while_queued(self):
        self.daemon()
        puppet = self.take_slot()
        vmm = self.protected()
        self.reboot(vmm)
        self.queued()
        vmm.do("disable")
        puppet.done()
        result = vmm.wait_outcomes(1)[0]
        self.assertEqual((result["result"], result["error"]), ("superseded", "-EINVAL"))
        self.jobs_are("anna", "reboot superseded")
        self.assert_all_cleared(disabled=1)

    def test_reboot_after_disable_while_queued(self):
        """The job is about whatever is set aside when it runs."""
        self.daemon()
        puppet = self.take_slot()
        vmm = self.protected()
        self.reboot(vmm)
        self.queued()
        vmm.do("disable")
        vmm.do("protect")
        self.reboot(vmm)
        puppet.done()
        vmm.wait_outcomes(1)
        self.jobs_are("anna", "reboot done")
        self.assertEqual([e["seq"] for e in self.began()], ["3"])
        self.assert_all_cleared(disabled=1, performed=1)

    def test_rings_while_queued(self):
        self.daemon()
        puppet = self.take_slot()
        vmm = self.protected()
        self.reboot(vmm)
        self.queued()
        with self.stopped(vmm.keeper):  # it finds the rings and the GRANT at once
            for _ in range(3):
                vmm.do("handoff")
            puppet.done()
            self.wait("anna has the slot", lambda: self.state_of("anna") == "running")
        vmm.wait_outcomes(1)
        self.assert_all_cleared(performed=1)
        self.no_more_than(vmm, "reboot done")

    def test_rings_while_performing(self):
        """The next VM is set aside while the last one is torn down: one more job, and only one."""
        self.daemon()
        vmm = self.protected(**HELD)
        self.registered(1)
        self.hold(vmm)
        self.reboot(vmm)
        vmm.do("handoff")
        os.kill(vmm.keeper, signal.SIGCONT)
        vmm.wait_outcomes(2)
        self.assertEqual(vmm.results(), ["done"] * 2)
        self.assertEqual(self.sim.max_overlap(), 1)
        self.assert_all_cleared(performed=2)
        self.no_more_than(vmm, "reboot done", "reboot done")


if __name__ == "__main__":
    tap.main()
