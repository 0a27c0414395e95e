#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""50 VMs for a long time: whatever may happen to them happens, at random, and all is accounted for.

Reboots, shutdowns, releases and adoptions, kills of daemons, VMMs and keepers, reloads and restarts
of the daemon. VMs that end are replaced. Now and then nothing more is begun until there is nothing
left to do; then the daemon must have no more fds and no more memory than before. At the end each VM
that was set aside has had exactly one end, by the simulator's log, and nothing is left, by the
kernel's word. Two thirds of the time daemons die; the last one is left to get old.

PVR_SOAK_SECONDS=1800 is the long one (meson test needs a --timeout-multiplier then). PVR_SOAK_SEED
gives the same events in the same order again, but not at the same moments.
"""

import collections
import contextlib
import os
import random
import signal
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from closers import CLOSER, Closers, slow_perform
from harness import Case, Failure, sanitized, tap
from helpers import STAND_IN, StandIn
from ledger import SLACK, Ledger, most_at_once
from memory_bill import MemoryBill
from pauses import Pauses
from raw import fds_at_rest, resident_kib

SECONDS = float(os.environ.get("PVR_SOAK_SECONDS", "60"))
SEED = int(os.environ.get("PVR_SOAK_SEED", str(random.randrange(1 << 32))))
VMS = 50
STANDINS = 5
MAX_CONCURRENT = 4
PACE = 0.05  # seconds from one event to the next, on average
REST_EVERY = max(5, SECONDS / 12)
TOUCHED = 4 << 20  # of each VM's memory
GRACE_MSEC = 3000  # and up to a quarter more
GRACE = GRACE_MSEC * 10**6
BACK = 1500 * 10**6  # how long a worker that waits may take to find a new daemon, ns
WALL = 0x40000000
EVENTS = {"reboot": 40, "storm": 3, "crash": 4, "kill_vmm": 5, "quit": 5, "kill_keeper": 4,
          "release": 5, "adopt": 4, "end_adopted": 4, "reload": 3, "end_daemon": 2}
# What a job says of itself, and what the simulator saw. Whoever is lost may just have been done.
SAME = {"done": ("performed",), "ungoverned": ("performed",), "superseded": ("superseded",),
        "lost": ("killed", "performed", "superseded")}
# RSS: what an ended job may cost the daemon, which remembers a thousand and lists them when asked
# (test-many.py), and keeps each for the next daemon (a record of archive.c has 1 KiB); by what one
# daemon may grow besides, and one differ from another.
REMEMBERED, JOB_BYTES, GROWTH_KIB, DIFFERENCE_KIB = 1000, 512 + 1024, 128, 512
LEFT_MAX = 1 << 20  # bytes; the kernel counts in batches


def is_our_keeper(pid):
    stat = harness.read(f"/proc/{pid}/stat") if harness.is_keeper(pid) else ""
    return stat.rpartition(")")[2].split()[1:2] == [str(os.getpid())]


class Soak(Case):
    # 4 GiB: PREPARE 10 ms, PERFORM 20 ms of CPU time in 100 ms
    vmm_env = {"PVSIM_NS_PER_PAGE": "20", "PVSIM_MIN_MS": "100",
               "PVREAPER_GRACE_MSEC": str(GRACE_MSEC)}
    daemon_options = ("--max-concurrent", str(MAX_CONCURRENT))

    def setUp(self):
        super().setUp()
        self.need_cgroup()
        if sanitized():
            self.skipTest("under a sanitizer nothing is said about memory")
        with open(self.config, "w", encoding="ascii") as file:
            file.write(f"[limits]\nunit-arrivals=infinity\nboost-max-concurrent={MAX_CONCURRENT}\n"
                       f"[adopt]\nemulators={STAND_IN}\n")
        self.random, self.deck, self.done = random.Random(SEED), [], collections.Counter()
        self.ledger, self.bill, self.since = Ledger(self.sim_log), MemoryBill(self), time.time()
        self.vms, self.standins, self.pauses = [], [], Pauses()
        self.pauses.start()
        self.addCleanup(self.pauses.end)
        self.names = self.n_releases = self.n_closed = 0
        self.orphans = {}  # workers whose VMM is dead: {pid: how they must end}
        self.told = {}  # {(VMM, keeper): outcomes}
        self.absences, self.away_since, self.back_at = [], None, None
        self.rests = []  # (which daemon, jobs it remembers, fds, KiB)
        self.release_socket = f"{self.directory}/release.sock"
        self.closers = Closers(
            self, self.release_socket, **slow_perform(20), PVREAPER_GRACE_MSEC=str(GRACE_MSEC))
        self.addCleanup(self.closers.end)
        self.addCleanup(self.end_all)

    def end_all(self):
        """What a test that failed leaves."""
        for vmm in self.vms:
            self.end_vmm(vmm)
        for pid in self.orphans:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, WALL)

    # ---- VMs ----

    def make_vmm(self, *options, **env):
        """One whose pid no other of them had, see ledger.py."""
        enter = self.cgroups.enter("guests")

        def prepare():
            enter()
            self.bill.enter()

        while True:
            self.names += 1
            vmm = harness.Vmm(self, f"vm-{self.names}", *options, env=env, preexec=prepare)
            if vmm.pid not in self.ledger.deaths:
                break
            vmm.quit()
            self.end_vmm(vmm)
        vmm.do(f"touch {TOUCHED}")
        vmm.do("protect")
        vmm.lame = False  # its keeper was killed
        self.vms.append(vmm)
        return vmm

    def any_vmm(self):
        return self.random.choice(self.vms)

    def forget(self, vmm, end):
        """Ends it by end(); its keeper is our child from then on."""
        self.ledger.died(vmm.pid, time.monotonic_ns())
        end()
        vmm.process.wait(harness.TIMEOUT)
        with contextlib.suppress(EOFError):
            vmm.expect(lambda line: False)  # what it still had to say
        vmm.process.stdin.close()
        vmm.process.stdout.close()
        self.vms.remove(vmm)
        if vmm.keeper:
            self.told[vmm.pid, vmm.keeper] = vmm.outcomes
        if vmm.keeper and is_our_keeper(vmm.keeper):
            self.orphans[vmm.keeper] = -signal.SIGKILL if vmm.lame else 0

    def kill(self, pid):
        self.ledger.died(pid, time.monotonic_ns())
        os.kill(pid, signal.SIGKILL)

    def on_reboot(self):
        self.any_vmm().do("reboot")

    def on_storm(self):
        """The last of them has to wait, and may not live to see its turn."""
        vmms = self.random.sample(self.vms, self.random.randint(5, 20))
        for vmm in vmms:
            vmm.do("reboot")
        what = self.random.choice(("keeper", "VMM", "nobody"))
        if what == "keeper":
            self.lame(vmms[-1])
        elif what == "VMM":
            self.forget(vmms[-1], vmms[-1].kill)

    def on_crash(self):
        """Somebody dies while the guest reboots."""
        vmm = self.any_vmm()
        vmm.send("reboot")
        time.sleep(self.random.uniform(0, 0.03))
        if self.random.random() < 0.5:
            self.forget(vmm, vmm.kill)
            return
        self.lame(vmm)
        vmm.expect(lambda line: line.startswith("ok reboot"))

    def on_kill_vmm(self):
        vmm = self.any_vmm()
        self.forget(vmm, vmm.kill)

    def on_quit(self):
        vmm = self.any_vmm()
        self.forget(vmm, vmm.quit)

    def lame(self, vmm):
        if not vmm.lame:
            self.kill(vmm.keeper)
            vmm.lame = True

    def on_kill_keeper(self):
        """Also of one whose VMM is dead, if there is one just now."""
        orphan = next((pid for pid, status in self.orphans.items() if status == 0), None)
        if orphan and is_our_keeper(orphan):
            self.kill(orphan)
            self.orphans[orphan] = None  # it may just have left by itself
        else:
            self.lame(self.any_vmm())

    def retire_lame(self, n=0):
        """All but n of those without a keeper; what that one left undone somebody has done."""
        def cleared():
            self.ledger.update()
            return not self.ledger.aside_of(vmm.pid)
        lame = [vmm for vmm in self.vms if vmm.lame]
        for vmm in lame[:len(lame) - n]:
            self.wait(f"{vmm.name} ({vmm.pid}) is cleared without its keeper", cleared)
            self.forget(vmm, vmm.quit)

    def replace(self):
        if sum(vmm.lame for vmm in self.vms) > 3:
            self.retire_lame(3)
        if len(self.vms) < VMS:
            self.make_vmm()

    # ---- releases and adoptions ----

    def on_release(self):
        vmm = self.make_vmm("--no-keeper", PVREAPER_RELEASE_SOCKET=self.release_socket)
        if self.random.random() < 0.5:
            vmm.do("prepare")
        vmm.do("release")
        self.n_releases += 1
        self.forget(vmm, self.random.choice((vmm.kill, vmm.quit)))

    def look_after_closers(self):
        """Those that ended: as PID 1 would. One at a time, in order."""
        while self.n_closed < len(self.closers.started):
            closer = self.closers.started[self.n_closed]
            if closer.process.poll() is None:
                return
            self.assertEqual(closer.process.returncode, 0, closer.log())
            if said := closer.log():
                self.assertRegex(said, r"\A\S* ?closed the VM without a grant from pv-reaperd\n\Z")
                at = os.stat(closer.log_path).st_mtime_ns - time.time_ns() + time.monotonic_ns()
                self.assert_was_away(at, closer.unit, grace=0)
            closer.collect()
            self.n_closed += 1

    def on_adopt(self):
        if self.away_since is None and len(self.standins) < STANDINS:
            self.standins.append(StandIn(self, TOUCHED))
            self.ctl("adopt", str(self.standins[-1].helper))

    def on_end_adopted(self):
        if self.standins:
            standin = self.standins.pop(0)
            standin.end()
            self.orphans[standin.helper] = 0

    # ---- the daemon ----

    def on_reload(self):
        if self.away_since is None:
            self.served.process.send_signal(signal.SIGHUP)

    def on_end_daemon(self):
        if self.away_since is not None or time.monotonic() > self.leave_it_from:
            return
        number = self.random.choice((signal.SIGKILL, signal.SIGTERM))
        away = self.random.choice((0, 0, self.random.uniform(0, 1), self.random.uniform(0, 1),
                                   self.random.uniform(0, 1), self.random.uniform(4, 7)))
        self.away_since = time.monotonic_ns()
        if self.absences and self.away_since - self.absences[-1][1] < BACK:
            self.away_since = self.absences.pop()[0]  # not everybody may have met the last one
        status = self.served.kill(number)
        self.assertEqual(status, -number if number == signal.SIGKILL else 0)
        self.back_at = time.monotonic() + away

    def serve(self):
        self.served = self.daemon()
        if self.away_since is not None:
            self.absences.append((self.away_since, time.monotonic_ns()))
            self.away_since = None

    def was_away(self, at, grace=GRACE):
        """Whether who began then had waited for a daemon in vain, so long."""
        now = [(self.away_since, at)] if self.away_since is not None else []
        return any(since + grace <= at <= until + BACK + self.pauses.between(until, at)
                   for since, until in self.absences + now)

    def was_hurried(self, take):
        """Whether its VMM wanted to set the next VM aside right before, and had no place for it."""
        return any(0 <= take.begin - at - self.pauses.between(at, take.begin) < SLACK
                   for at in self.ledger.refused.get(take.vm, []) if at <= take.begin)

    def assert_was_away(self, at, what, grace=GRACE):
        """If not: when daemons were away, in seconds from then; how long all stood still."""
        around = [tuple((end - at) / 10**9 for end in absence) for absence in self.absences]
        around = [absence for absence in around if -60 < absence[1] and absence[0] < 10]
        refused = [(vm, (then - at) / 10**9) for vm, times in self.ledger.refused.items()
                   for then in times if -5 < (then - at) / 10**9 <= 0]
        paused = self.pauses.between(at - 10**10, at) / 10**9
        self.assertTrue(self.was_away(at, grace), f"{what} without a grant, daemons were away "
                        f"{around}, no place for {refused}, paused {paused} of 10 s before")

    # ---- the loop ----

    def look_after(self):
        if self.away_since is not None and time.monotonic() >= self.back_at:
            self.serve()
        self.assertIsNone(self.served.process.poll() if self.away_since is None else None)
        self.look_after_closers()
        for pid, expected in list(self.orphans.items()):
            reaped, status = os.waitpid(pid, os.WNOHANG | WALL)
            if reaped:
                del self.orphans[pid]
                ended = os.waitstatus_to_exitcode(status)
                self.assertIn(ended, (0, -signal.SIGKILL) if expected is None else (expected,),
                              f"process {pid}")

    def next_event(self):
        if not self.deck:
            self.deck = [name for name, times in EVENTS.items() for _ in range(times)]
            self.random.shuffle(self.deck)
        name = self.deck.pop()
        getattr(self, f"on_{name}")()
        self.done[name] += 1

    def idle(self):
        """Nobody has anything to do any more."""
        self.look_after()
        if self.away_since is not None or self.orphans or self.n_closed < self.n_releases:
            return False
        status = self.ctl_json("status")
        self.ledger.update()
        return (status["running"], status["queued"], status["found"]) == (0, 0, 0) and \
            status["vms"] == len(self.vms) and not self.ledger.busy()

    def settle(self):
        try:
            self.wait("all is done", self.idle)
        except Failure:
            self.fail(f"not all is done: {self.ledger.busy()}, {self.orphans}, {len(self.vms)} VMs,"
                      f" {self.n_releases - self.n_closed} closers, {self.ctl('status')}")

    def rest(self):
        """As many VMs as ever, each with its keeper, and nothing else."""
        self.retire_lame()
        while self.standins:
            self.on_end_adopted()
        while len(self.vms) < VMS:
            self.make_vmm()
        self.settle()
        self.registered(VMS)
        jobs = len(self.ctl_json("jobs"))
        fds = fds_at_rest(self, self.served)
        self.rests.append((self.served.pid, jobs, fds, resident_kib(self.served.pid)))

    def soak(self):
        start = time.monotonic()
        self.leave_it_from = start + SECONDS * 2 / 3
        rest_at = start + REST_EVERY
        while time.monotonic() < start + SECONDS:
            self.look_after()
            self.replace()
            if time.monotonic() > rest_at:
                self.rest()
                rest_at = time.monotonic() + REST_EVERY
            self.next_event()
            time.sleep(min(1, self.random.expovariate(1 / PACE)))
        self.rest()

    # ---- the account ----

    def keeper_performs(self):
        """Of PERFORMs in keepers: (take, result that its VMM was told, or None)."""
        for (vm, pid), takes in self.ledger.performs.items():
            outcomes = self.told.get((int(vm.partition(".")[0]), pid))
            if outcomes is None:
                continue
            results = {int(o["job"]): o["result"] for o in outcomes if o["job"] != "0"}
            self.assertLessEqual({r for n, r in results.items() if n > len(takes)}, {"lost"})
            for number, take in enumerate(takes, 1):
                self.assertEqual(take.comm, "pvr-keeper")
                yield take, results.get(number)

    def check_ends(self):
        """G2: exactly one each."""
        words = {key: self.ledger.word_for(*key) for key in self.ledger.ends}
        allowed = {"performed", "disabled", "killed", "left"}
        self.assertEqual({key: word for key, word in words.items() if word not in allowed}, {})
        self.assertEqual(list(map(str, self.ledger.unknown)), [])
        return collections.Counter(words.values())

    def check_starts(self):
        """G3, G5, G8: not too many; without a grant only for want of a daemon, or of a place for
        the next VM; all as told.
        """
        governed, results, welcomed = [], collections.Counter(), set()
        for take, result in self.keeper_performs():
            results[result] += 1
            if result == "done":
                welcomed.add(take.pid)
            if result:
                self.assertIn(take.word, SAME[result], take)
            if result == "ungoverned":
                # One that never heard of a daemon does not wait for it.
                grace = GRACE if take.pid in welcomed else 0
                if not self.was_hurried(take):
                    self.assert_was_away(take.begin, take, grace)
            elif result or not (self.was_away(take.begin) or self.was_hurried(take)):
                governed.append(take)  # or its VMM died before it was told
        self.assertEqual(most_at_once(governed), MAX_CONCURRENT)
        return results

    def check_daemon(self):
        """Its fds are those it always had; what it remembers may cost something."""
        self.assertEqual({fds for _, _, fds, _ in self.rests}, {self.rests[0][2]}, self.rests)
        sizes = [rss - jobs * JOB_BYTES // 1024 for _, jobs, _, rss in self.rests]
        quarter = -(-len(sizes) // 4)
        self.assertLess(max(sizes[-quarter:]) - max(sizes[:quarter]), DIFFERENCE_KIB, self.rests)
        for daemon in {pid for pid, _, _, _ in self.rests}:
            own = [(jobs, rss) for pid, jobs, _, rss in self.rests if pid == daemon]
            few = [rss - jobs * JOB_BYTES // 1024 for jobs, rss in own if jobs < REMEMBERED]
            full = [rss for jobs, rss in own if jobs == REMEMBERED][1:]
            for sizes in filter(None, (few, full)):
                self.assertLess(sizes[-1] - sizes[0], GROWTH_KIB, self.rests)

    def check_nothing_left(self):
        """The kernel's word."""
        top = self.cgroups.top
        self.wait("the cgroups of workers are gone", lambda: not [
            path for path, _, _ in os.walk(top) if os.path.basename(path).startswith(
                ("vm-", "pv-reaper-closer@"))])
        self.assertIn("populated 0", harness.read(f"{top}/cgroup.events"))
        self.assertEqual([path for path, _, files in os.walk(top) if "cgroup.procs" in files and
                          harness.read(f"{path}/cgroup.procs")], [])
        self.assertLess(self.bill.bytes() or 0, LEFT_MAX)
        for program in (harness.VMM, CLOSER):
            self.assertEqual(harness.denials(program, self.since), [])

    def test_soak(self):
        print(f"seed {SEED}")
        self.serve()
        for _ in range(VMS):
            self.make_vmm()
        used = self.bill.bytes()
        self.assertGreater(used or VMS * TOUCHED, VMS * TOUCHED // 2)
        self.soak()
        for vmm in list(self.vms):
            self.forget(vmm, self.random.choice((vmm.kill, vmm.quit)))
        self.settle()
        self.check_nothing_left()
        self.assertEqual(self.served.kill(signal.SIGTERM), 0)
        self.ledger.close()
        ends, results = self.check_ends(), self.check_starts()
        self.check_daemon()
        print(f"{dict(self.done)}; {self.ledger.n_lines} lines, {dict(ends)}, told {dict(results)};"
              f" {self.names} VMs, {self.n_releases} released, {len(self.absences)} restarts;"
              f" memory {used}, then {self.bill.bytes()}; at rest {self.rests}")


if __name__ == "__main__":
    tap.main()
