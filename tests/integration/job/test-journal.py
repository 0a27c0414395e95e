#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the journal is told: each field against the control interface and the simulator's log, each
word of G8 with its id, what a journal that does not read costs, and what a hostile name can do.
"""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
import journal
from harness import DONE, GRANT, Case, pack, sanitized, tap
from puppet import Puppet, outcome
from raw import RawWorker

OVERDUE_SECONDS = 10
STATUS_MS = 50 if sanitized() else 10
# The field of an entry, and what pv-reaperctl jobs --json calls the same.
SAME = {"PV_VM": "vm", "PV_UUID": "uuid", "PV_UNIT": "unit", "PV_JOB": "id", "PV_KIND": "kind",
        "PV_RESULT": "state", "PV_CPU_USEC": "cpu_us", "PV_WAIT_USEC": "waited_us",
        "PV_RUN_USEC": "ran_us", "PV_BYTES": "bytes", "PV_RC": "rc", "PV_RRC": "rrc",
        "PV_PID": "pid", "PV_CGROUP": "cgroup"}
UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"


class JournalCase(Case):
    """A daemon and its journal. Each entry ever sent keeps the contract of its id."""

    contracts = journal.contracts()
    journal = None  # of the daemon, once there is one

    def serve(self, *options, **arguments):
        self.journal = arguments.pop("to", None) or journal.Standin(self)
        daemon = journal.JournalDaemon(self, self.journal, *options, **arguments)
        self.addCleanup(daemon.kill)
        self.served = daemon
        return daemon

    def worker(self, name="puppet", kind=Puppet):
        return kind(self, name)

    def entries(self, name=None, n=None, **match):
        """Those with the id of that name; with n, waits until there are so many."""
        def found():
            return [entry for entry in self.journal.read()
                    if (not name or self.name_of(entry) == name) and
                    all(entry.get(key) == value for key, value in match.items())]
        if n is not None:
            self.wait(f"{n} x {name} in the journal", lambda: len(found()) >= n)
            self.assertEqual(len(found()), n)
        return found()

    def name_of(self, entry):
        number = entry.get("MESSAGE_ID")
        return self.contracts[number].name if number else None

    def check_entry(self, entry):
        self.assertEqual(entry["SYSLOG_IDENTIFIER"], "pv-reaperd")
        self.assertIn(entry["PRIORITY"], "3456")
        self.assertTrue(entry["MESSAGE"].isprintable(), entry["MESSAGE"])
        contract = self.contracts.get(entry.get("MESSAGE_ID"))
        fields = {field for field in entry if field.startswith("PV_")}
        always, sometimes = contract[1:] if contract else (set(), set())
        self.assertLessEqual(always, fields, entry)
        self.assertLessEqual(fields, always | sometimes, entry)
        ours = {field for field in entry if not field.startswith("_")}  # not journald's own
        self.assertLessEqual(ours - fields, {"MESSAGE", "MESSAGE_ID", "PRIORITY",
                                             "SYSLOG_IDENTIFIER", "ERRNO"})

    def check_job(self, entry):
        """An entry says what the control interface says, and nothing that this does not know."""
        job, = [job for job in self.ctl_json("jobs") if str(job["id"]) == entry["PV_JOB"]]
        for field, key in SAME.items():
            value = job.get(key)
            self.assertEqual(entry.get(field), None if value is None else str(value), field)
        self.assertEqual(self.name_of(entry), f"JOB_{job['state'].upper()}")
        self.assertEqual(entry.get("ERRNO"), str(-job["error"]) if job.get("error") else None)
        return job

    def tearDown(self):
        for entry in self.journal.read() if self.journal else []:
            self.check_entry(entry)


class Jobs(JournalCase):
    def test_every_field(self):
        """A reboot and a shutdown of a real VM."""
        self.serve()
        vmm = self.vmm("guest", "--uuid", UUID)
        self.registered(1)
        vmm.do("protect")
        vmm.do("reboot")
        vmm.wait_outcomes(1)
        reboot, = self.entries("JOB_DONE", 1)
        job = self.check_job(reboot)
        done, = self.sim.performed()
        self.assertEqual(reboot["PV_PID"], done["tid"])
        self.assertEqual(int(reboot["PV_PID"]), vmm.keeper)
        self.assertEqual((reboot["PV_UUID"], reboot["PV_VM"]), (UUID, "guest"))
        self.assertEqual(int(reboot["PV_BYTES"]), 4 << 30)
        self.assertEqual(reboot["PRIORITY"], "6")
        self.assertGreater(int(reboot["PV_CPU_USEC"]), 10000)  # 50 ms, in the simulator
        self.assertGreaterEqual(int(reboot["PV_RUN_USEC"]), int(reboot["PV_CPU_USEC"]) * 0.9)
        if self.cgroups.top:
            self.assertEqual(reboot["PV_CGROUP"], self.cgroups.of(vmm.keeper))
        self.assertIn(f"job {job['id']}: reboot of guest ", reboot["MESSAGE"])

        vmm.kill()
        shutdown, = self.entries("JOB_DONE", 1, PV_KIND="shutdown")
        self.check_job(shutdown)
        self.assertEqual(self.served.stderr(), "")

    def test_each_word(self):
        """What only an unlucky worker would say; a word, its id, its priority, its numbers."""
        self.serve()
        codes = {"done": (0, 0, 0), "interrupted": (0, 1, 42), "superseded": (-errno.EINVAL, 0, 0),
                 "failed": (-errno.ENOMEM, 0x102, 7), "foreign": (-errno.EIO, 0, 0)}
        worker = self.worker()
        worker.register()
        for seq, (word, (error, rc, rrc)) in enumerate(codes.items(), 1):
            worker.request(seq)
            worker.receive(GRANT)
            worker.send(pack(DONE, 0, seq, 1, error, rc, rrc, 0))
            worker.receive(harness.DONE_ACK)
            entry, = self.entries(f"JOB_{word.upper()}", 1)
            self.assertEqual((entry["PV_RESULT"], entry["PV_KIND"]), (word, "reboot"))
            self.assertEqual((entry["PV_RC"], entry["PV_RRC"]), (str(rc), str(rrc)))
            self.assertEqual(entry.get("ERRNO"), str(-error) if error else None)
            good = word in ("done", "superseded")
            self.assertEqual(entry["PRIORITY"], "6" if good else "4")
            self.check_job(entry)

    def test_ungoverned(self):
        """Somebody who went ahead while another had the only slot: no grant, so no times."""
        self.serve("--max-concurrent=1")
        holder, worker = self.worker("holder"), self.worker("hasty")
        holder.take_slot()
        worker.register()
        worker.request()
        worker.send(pack(DONE, 0, *outcome(ungoverned=1)))
        entry, = self.entries("JOB_UNGOVERNED", 1)
        self.assertEqual(entry["PV_VM"], "hasty")
        self.assertNotIn("PV_RUN_USEC", entry)
        self.assertNotIn("PV_UUID", entry)
        self.check_job(entry)

    def test_lost(self):
        """It died in there: nobody can know the return codes."""
        self.serve()
        worker = self.worker()
        worker.take_slot()
        os.kill(worker.pid, signal.SIGKILL)
        entry, = self.entries("JOB_LOST", 1)
        self.assertNotIn("PV_RC", entry)
        self.assertNotIn("PV_RRC", entry)
        self.check_job(entry)

    def test_without_a_cgroup(self):
        self.cgroup_option = "none"
        self.serve()
        worker = self.worker()
        worker.take_slot()
        worker.done()
        entry, = self.entries("JOB_DONE", 1)
        self.assertNotIn("PV_CGROUP", entry)
        self.assertNotIn("PV_CGROUP", self.entries("READY", 1)[0])


class Events(JournalCase):
    def test_from_start_to_stop(self):
        self.need_cgroup()
        self.serve("--max-concurrent=2")
        worker = self.worker()
        worker.take_slot()
        self.served.kill()
        worker.unplug()
        self.serve("--max-concurrent=3", to=self.journal)
        self.assertEqual([e["PV_MAX_CONCURRENT"] for e in self.entries("READY", 2)], ["2", "3"])
        self.assertEqual(self.entries("READY")[0]["PV_CGROUP"], self.cgroup_option)
        self.assertEqual(self.entries("WORKERS_FOUND", 1)[0]["PV_WORKERS"], "1")
        self.served.kill(signal.SIGTERM)
        stopping, = self.entries("STOPPING", 1)
        self.assertEqual((stopping["PV_RUNNING"], stopping["PV_QUEUED"]), ("1", "0"))

    def test_overdue(self):
        self.serve()
        worker = self.worker("sleeper", RawWorker)
        worker.take_slot()
        self.wait("it is overdue", lambda: self.entries("WORKER_OVERDUE"), OVERDUE_SECONDS + 5)
        worker.burn()
        moves, = self.entries("WORKER_MOVES", 1)
        overdue, = self.entries("WORKER_OVERDUE", 1)
        for entry in (overdue, moves):
            self.assertEqual((entry["PV_VM"], entry["PV_PID"]), ("sleeper", str(worker.pid)))
        self.assertEqual((overdue["PRIORITY"], moves["PRIORITY"]), ("4", "6"))

    def test_refused(self):
        """Somebody who is no worker; somebody who sends rubbish."""
        self.serve()
        guests = [([harness.hello(), harness.register()], str(errno.EPERM)), ([b"rubbish"], None)]
        for n, (packets, number) in enumerate(guests, 1):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
                link.settimeout(harness.TIMEOUT)
                link.connect(self.socket)
                for packet in packets:
                    link.send(packet)
                while link.recv(4096):
                    pass
            entry = self.entries("PEER_REFUSED", n)[-1]
            self.assertEqual(entry["PV_PID"], str(os.getpid()))
            self.assertEqual(entry.get("ERRNO"), number)


class Hostile(JournalCase):
    def test_a_name_that_would_be_a_field(self):
        self.serve()
        for name in ("a\nMESSAGE_ID=" + "0" * 32, "PV_PID=1\nPV_PID=1\n", "\n", "MESSAGE=x"):
            worker = self.worker(name)
            worker.take_slot()
            worker.done()
            escaped = name.replace("\n", "?")
            entry, = self.entries("JOB_DONE", 1, PV_VM=escaped)
            self.assertEqual(entry["PV_PID"], str(worker.pid))
            self.check_job(entry)


class Stuck(JournalCase):
    """A journal that does not read. Every line is whole, bare, or counted as lost."""

    N_JOBS = 60

    def jobs(self):
        worker = self.worker()
        worker.register()
        for seq in range(1, self.N_JOBS + 1):
            worker.do_job(seq)

    def fastest_msec(self, *arguments):
        """Of ten tries: a daemon that is held up has no fast answer."""
        times = []
        for _ in range(10):
            start = time.monotonic()
            self.ctl(*arguments)
            times.append((time.monotonic() - start) * 1000)
        return min(times)

    def while_stuck(self):
        """Returns (entries with fields, lost, bare), for N_JOBS jobs."""
        self.journal.pause()
        try:
            self.jobs()
            fastest = self.fastest_msec("status")
        finally:
            self.journal.resume()
        # Without what a program takes to start, which is much under a sanitizer.
        self.assertLess(fastest - self.fastest_msec("--version"), STATUS_MS)
        self.wait("what was taken is read", lambda: self.entries("JOB_DONE"))
        last = self.worker("last")
        last.take_slot()
        last.done()
        self.entries("JOB_DONE", 1, PV_VM="last")
        lost, = self.entries("LOG_LOST", 1)
        whole = len(self.entries("JOB_DONE", PV_VM="puppet"))
        names = [(self.name_of(entry), entry.get("PV_VM")) for entry in self.journal.read()]
        self.assertLess(names.index(("LOG_LOST", None)), names.index(("JOB_DONE", "last")))
        self.assertEqual(len(self.ctl_json("jobs")), self.N_JOBS + 1)
        return whole, int(lost["PV_LOST"]), int(lost["PV_BARE"])

    def test_with_a_stream_that_takes_lines(self):
        self.serve()
        whole, lost, bare = self.while_stuck()
        self.assertEqual((lost, whole + bare), (0, self.N_JOBS))
        self.assertGreater(bare, 0)
        self.assertEqual(self.served.stderr().count("<6>job "), bare)

    def test_with_a_stream_that_is_stuck_too(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.setblocking(False)
            try:
                while theirs.send(bytes(4096)):
                    pass
            except BlockingIOError:
                theirs.setblocking(True)
            self.serve(stuck=theirs.fileno())
            whole, lost, bare = self.while_stuck()
        self.assertEqual((bare, whole + lost), (0, self.N_JOBS))
        self.assertGreater(lost, 0)

    def test_no_journal_at_all(self):
        """Bare lines, and no word of the fields that they lack, again and again."""
        standin = journal.Standin(self)
        standin.path += "-is-not-here"
        self.serve(to=standin)
        self.jobs()
        lines = [line for line in self.served.stderr().splitlines()
                 if "accounting only" not in line]  # where there are no controllers
        self.assertEqual(len(lines), self.N_JOBS + 1)
        self.assertEqual([line for line in lines if not line.startswith("<6>")], [])


class Journald(JournalCase):
    """systemd's own."""

    def setUp(self):
        super().setUp()
        self.serve(to=journal.RealJournal(self))

    def job(self, name, error=0):
        worker = self.worker(name)
        worker.take_slot()
        worker.done(error=error)
        return self.wait("it is in the journal", lambda: self.journal.read(f"PV_VM={name}"))

    def test_fields_and_explanation(self):
        entry, = self.job("guest")
        self.check_job(entry)
        self.assertEqual((entry["_TRANSPORT"], entry["_PID"]), ("journal", str(self.served.pid)))
        number, = [n for n, contract in self.contracts.items() if contract.name == "JOB_DONE"]
        text = self.journal.journalctl("-x", f"MESSAGE_ID={number}")
        self.assertIn("Subject: The memory of guest was cleared (reboot)", text)
        self.assertIn(f"Process {entry['PV_PID']} has cleared memory of the guest guest", text)

    def test_example_of_the_man_page(self):
        if not shutil.which("jq"):
            self.skipTest("no jq")
        page = harness.read(f"{harness.HERE}/../../man/pv-reaper.8.scd")
        example = page[page.index("        jq -rs '"):].partition("```")[0]
        entries = [self.job("a")[0], self.job("b", error=-errno.ENOMEM)[0]]
        done = subprocess.run(["bash", "-c", example], capture_output=True, text=True, check=True,
                              input=self.journal.journalctl("-o", "json"))
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        self.assertEqual([(name, round(float(usage) * 1e6)) for name, usage in rows],
                         [(entry["PV_VM"], int(entry["PV_CPU_USEC"])) for entry in entries])


class Premise(Case):
    SCRIPT = """
import ctypes, os, socket, subprocess
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
os.makedirs("/run/systemd/journal")
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
    journal.bind("/run/systemd/journal/socket")
    for n in range(5000):
        ctypes.CDLL("libsystemd.so.0").sd_journal_send(b"MESSAGE=x", None)
        print(n, flush=True)
"""

    def test_libsystemd_waits_for_the_journal(self):
        """Why journal.c speaks the protocol itself. 5000 is more than any max_dgram_qlen."""
        try:
            done = subprocess.run(["unshare", "-m", "--propagation", "private", sys.executable,
                                   "-c", self.SCRIPT], capture_output=True, timeout=2, check=False)
        except subprocess.TimeoutExpired as blocked:
            self.assertGreater(len(blocked.output.splitlines()), 1)
            return
        if done.returncode:
            self.skipTest(f"no mount namespace, or no libsystemd: {done.stderr[-100:]}")
        self.skipTest("this libsystemd does not block")


if __name__ == "__main__":
    tap.main()
