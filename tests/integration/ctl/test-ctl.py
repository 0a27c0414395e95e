#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""pv-reaperctl as people and scripts see it: what it prints, as text and as JSON, on a terminal and
not; how it ends. The daemon is real, its workers are puppets.
"""

import datetime
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
import verbs
from harness import GRANT, sanitized, tap
from puppet import Puppet
from terminal import Terminal, Tmux
from verbs import FAILED, NOBODY, OK, USAGE, try_all_but_drain, try_state


class CtlCase(harness.Case):
    def setUp(self):
        super().setUp()
        with open(self.config, "w", encoding="ascii") as file:
            file.write("[limits]\nmax-concurrent=1\n")

    def run_ctl(self, *arguments, env=None):
        return verbs.run(self, *arguments, env=env)

    def puppet(self, name, mem=1 << 30):
        worker = Puppet(self, name, mem)
        worker.register()
        return worker

    def job(self, worker, seq=1, error=0):
        worker.do_job(seq, error)

    def one_of_each(self):
        """A job that failed, one that was done, one that runs, one that waits."""
        first, second = self.puppet("first"), self.puppet("second", 4 << 30)
        self.job(first, 1, error=-14)
        self.job(first, 2)
        first.request(3)
        first.receive(GRANT)
        second.request(1)
        self.wait("it waits", lambda: self.ctl_json("status")["queued"] == 1)
        return first, second


class Text(CtlCase):
    def golden(self, text):
        """Without what differs from run to run."""
        text = text.replace(self.directory, "DIR")
        text = re.sub(r"/sys/fs/cgroup/[^\s,]+", "CGROUP", text)
        text = re.sub(r"\b\d+(\.\d+)? (us|ms|s|min \d+ s)\b", "TIME", text)
        return re.sub(r"(pid) \d+", r"\1 PID", text)

    def test_status_text(self):
        self.daemon()
        self.one_of_each()
        text = self.golden(self.ctl("status"))
        self.assertRegex(text, "\n".join((
            r"^pv-reaperd: running, normal limits; version [\d.]+, pid PID, up TIME",
            r"     Work: 1 running, 1 queued, 5\.0 GiB to clear, ETA .*; 2 VMs",
            r"   Action: a teardown failed: pv-reaperctl show 1, journalctl -u .*",
            r"   Memory: \S+ \wiB available(; pressure [\d.]+% of the last TIME)?",
            r"  Started: 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d",
            r"  CPU cap: no quota; none: there is no quota",
            r"   Limits: at most 1 at once",
            r"           max-concurrent=1  \(DIR/pv-reaper\.conf:2\)",
            r"           start-rate=infinity  \(default\)",
            r"           cpu-quota=infinity  \(command line\)",
            r"   CGroup: \S+, CPU time by \w+",
            r"    Ended: 1 done, 1 failed",
            r"  Failure: job 1, reboot of first \(unit .*\): failed, EFAULT, rc 0x0, rrc 0x0\n$")))
        self.ctl("drain")
        self.assertIn(": draining (administrator), no new VMs, draining limits; ",
                      self.ctl("status"))

    def test_jobs_text(self):
        self.daemon()
        self.one_of_each()
        lines = self.ctl("jobs").splitlines()
        self.assertEqual(lines[0].split(), ["ID", "VM", "UNIT", "WORKER-PID", "KIND", "STATE",
                                            "PLACE", "WHY", "SIZE", "LEFT", "RATE/S", "PROGRESS",
                                            "ETA", "STARTED", "ENDED", "WAITED", "RAN", "CPU",
                                            "ERROR"])
        self.assertEqual([line.split()[1] for line in lines[1:]],
                         ["first", "first", "first", "second"])
        for line, state in zip(lines[1:], ("failed", "done", "running", "queued")):
            self.assertIn(f" {state} ", line)
        self.assertEqual(self.ctl("--no-legend", "jobs").splitlines()[0].split()[1], "first")

    def test_show(self):
        self.daemon()
        first, _ = self.one_of_each()
        shown = dict(re.findall(r"^ *([^:]+): (.*)$", self.ctl("show", "1"), re.M))
        job = self.ctl_json("jobs")[0]
        known = {key for key, value in job.items() if value is not None}
        self.assertEqual(len(shown), len(known))
        self.assertEqual((shown["VM"], shown["Error"], shown["Size, as it claims"]),
                         ("first", "EFAULT", "1.0 GiB"))
        for key, words in (("started_at", "Started at"), ("ended_at", "Ended at")):
            date = datetime.datetime.strptime(job[key], "%Y-%m-%dT%H:%M:%S%z")
            self.assertLess(abs(date.timestamp() - time.time()), 60)
            self.assertEqual(shown[words], date.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
        for what in ("first", f"pid={first.pid}"):
            text = self.ctl("show", what)
            self.assertRegex(text, r"(?m)^ +Name: first$")
            self.assertEqual(len(re.findall(r"(?m)^ *\d+  first ", text)), 3)
            self.assertNotIn("second", text)
        self.puppet("second")
        self.assertIn('2 VMs match "second"', self.run_ctl("show", "second").stderr)
        for what in ("third", "pid=1", "pid=x", "99999"):
            self.assertEqual(self.run_ctl("show", what).returncode, FAILED, what)

    def test_show_of_an_ended_vm(self):
        self.daemon()
        first, _ = self.one_of_each()
        first.end()
        self.wait("it is gone", lambda: len(self.ctl_json("list")) == 1)
        text = self.ctl("show", "first")
        self.assertRegex(text, r"(?m)^ *State: ended$")
        self.assertEqual(len(re.findall(r"(?m)^ *\d+  first ", text)), 3)
        shown = json.loads(self.ctl("show", f"pid={first.pid}", "--json"))
        self.assertEqual((shown["name"], shown["state"], len(shown["jobs"])), ("first", "ended", 3))

    def test_hurry(self):
        """It starts at once, over the limit, and the limit holds for the others."""
        self.daemon()
        _, second = self.one_of_each()
        third = self.puppet("third")
        third.request(1)
        self.wait("it waits", lambda: self.ctl_json("status")["queued"] == 2)
        waiting = {job["vm"]: job for job in self.ctl_json("jobs") if job["state"] == "queued"}
        self.assertEqual([(waiting[vm]["place"], waiting[vm]["why"]) for vm in ("second", "third")],
                         [(1, "limit"), (2, "limit")])
        self.assertEqual(self.ctl("hurry", "third"), "running: at most 1 at once; 2 running, "
                                                     "1 queued\n")
        third.receive(GRANT)
        status = self.ctl_json("status")
        self.assertEqual((status["hurried"], status["starved"], status["why"]), (1, 0, "limit"))
        self.assertEqual(self.run_ctl("hurry", "fourth").returncode, FAILED)
        for arguments in ((), ("--all", "third")):
            self.assertEqual(self.run_ctl("hurry", *arguments).returncode, USAGE)
        self.ctl("hurry", str(waiting["second"]["id"]))
        second.receive(GRANT)

    def test_quiet(self):
        self.daemon()
        for verb in ("status", "list", "jobs", "drain", "resume"):
            done = self.run_ctl("-q", verb)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (OK, "", ""))
        self.assertIn("Usage:", self.run_ctl("--quiet", "--help").stdout)

    def test_text_and_json_agree(self):
        self.daemon()
        self.one_of_each()
        for verb in ("jobs", "list"):
            objects = self.ctl_json(verb)
            rows = self.ctl(verb, "--no-legend").splitlines()
            self.assertEqual(len(rows), len(objects))
            for row, entry in zip(rows, objects):
                for key in ("id", "vm", "name", "pid", "kind", "state"):
                    if key in entry:
                        self.assertIn(str(entry[key]), row.split())
        status, text = self.ctl_json("status"), self.ctl("status")
        self.assertIn(f"{status['running']} running, {status['queued']} queued", text)
        for limit in status["limits"]:
            if limit["key"] == "max-concurrent":
                self.assertIn(f"{limit['key']}={limit['value']}  ({limit['origin']})", text)
        self.assertEqual([job["state"] for job in status["failures"]], ["failed"])


class Json(CtlCase):
    def test_json_everywhere(self):
        self.daemon()
        self.one_of_each()
        for arguments, kind in ((["status"], dict), (["list"], list), (["jobs"], list),
                                (["show", "1"], dict), (["show", "second"], dict),
                                (["set", "max-concurrent=2"], dict), (["drain"], dict),
                                (["resume"], dict), (["reload"], dict),
                                (["wait-memory", "1M"], dict)):
            short = self.ctl("--json=short", *arguments)
            self.assertIsInstance(json.loads(short), kind, arguments)
            self.assertEqual(short.count("\n"), 1)
            pretty = self.ctl("--json=pretty", *arguments)
            self.assertIsInstance(json.loads(pretty), kind, arguments)
            self.assertGreater(pretty.count("\n"), 2)
        self.assertEqual(json.loads(self.ctl("--json", "drain"))["state"], "draining")
        self.assertEqual([job["state"] for job in self.ctl_json("show", "second")["jobs"]],
                         ["running"])

    def ctl_json(self, verb, *arguments):
        return json.loads(self.ctl(verb, *arguments, "--json=short"))


class ExitCodes(CtlCase):
    def test_usage_errors(self):
        for arguments in ([], ["no-such-verb"], ["status", "extra"], ["show"], ["set"],
                          ["set", "max-concurrent"], ["adopt", "x"], ["wait-memory", "much"],
                          ["metrics", "--json"], ["--json=x"], ["--no-such-option", "status"],
                          ["--timeout=soon", "wait-quiet"], ["--pid=x", "wait-quiet"],
                          ["set", "=1"], ["show", ""], ["adopt", ""], ["wait-memory", ""],
                          ["hurry"], ["hurry", ""], ["cancel-hurry"], ["wait-quiet"],
                          ["hurry", "--all", "x"], ["check", "no-such-check"],
                          *([verb, "extra"] for verb in ("list", "jobs", "watch", "metrics",
                                                         "drain", "resume", "reload")),
                          *([verb, "a", "b"] for verb in ("show", "adopt", "wait-memory",
                                                          "wait-quiet", "hurry"))):
            done = self.run_ctl(*arguments)
            self.assertEqual((done.returncode, done.stdout), (USAGE, ""), arguments)
            self.assertIn("pv-reaperctl: ", done.stderr)

    def test_options_of_other_verbs(self):
        """They are refused, not ignored."""
        for option, of in (("--pid=5", "wait-quiet"), ("--root=/mnt", "check"),
                           ("--timeout=5", "wait-memory and wait-quiet")):
            done = self.run_ctl(option, "list")
            self.assertEqual((done.returncode, done.stdout), (USAGE, ""), option)
            self.assertEqual(done.stderr,
                             f"pv-reaperctl: list: {option.partition('=')[0]} is for {of}\n")

    def test_nobody_to_ask(self):
        for verb in ("status", "jobs", "watch", "drain"):
            done = self.run_ctl(verb)
            self.assertEqual((done.returncode, done.stdout), (NOBODY, ""), verb)
            self.assertIn("no daemon", done.stderr)
        self.assertEqual(self.run_ctl("-q", "status").returncode, NOBODY)
        daemon = self.daemon()
        with self.stopped(daemon.pid):
            done = self.run_ctl("status")
        self.assertEqual(done.returncode, NOBODY)
        self.assertIn("no answer within 5 s", done.stderr)

    def test_no_permission(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to become somebody else")
        self.daemon()
        os.chmod(self.directory, 0o755)
        program = shutil.copy(harness.CTL, self.directory)
        done = subprocess.run([program, "--socket", self.control, "status"], capture_output=True,
                              text=True, user=65534, group=65534, extra_groups=[], check=False,
                              timeout=harness.TIMEOUT)
        self.assertEqual((done.returncode, done.stdout), (NOBODY, ""))
        self.assertIn("you may not connect", done.stderr)

    def test_refused(self):
        self.daemon()
        for arguments in (["show", "12345"], ["set", "max-concurrent=0"],
                          ["--timeout=0.1", "wait-memory", str(harness.ALL_MEMORY)]):
            done = self.run_ctl(*arguments)
            self.assertEqual((done.returncode, done.stdout), (FAILED, ""), arguments)
            self.assertRegex(done.stderr, r"^pv-reaperctl: [^\n]+\n$")
            self.assertNotIn("failed:", done.stderr)  # the reason, not the method of D-Bus

    def test_output_that_cannot_be_written(self):
        self.daemon()
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([harness.CTL, "--socket", self.control, "status"], stdout=full,
                                  stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.returncode, FAILED)
        self.assertIn("cannot write the output", done.stderr)
        done = subprocess.run(f"{harness.CTL} --socket {self.control} status | true; "
                              "echo ${PIPESTATUS[0]}", shell=True, executable="/bin/bash",
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.stderr, "")


class OnATerminal(CtlCase):
    def test_colour(self):
        self.daemon()
        for env, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False),
                              ({"NO_COLOR": ""}, True)):
            terminal = Terminal(self, "--no-pager", "status", env=env)
            self.assertEqual(terminal.ends(), OK)
            self.assertEqual(b"\033[" in terminal.output, coloured, env)
            self.assertIn(b"running", terminal.output)
            terminal.close()
        self.assertNotIn("\033", self.ctl("status"))

    def test_pager(self):
        """Only on a terminal, and the one that is asked for."""
        self.daemon()
        script = f"{self.directory}/pager"
        with open(script, "w", encoding="ascii") as file:
            file.write('#!/bin/sh\necho "paged, $LESSSECURE"\ncat\n')
        os.chmod(script, 0o755)
        for env, paged in (({"PAGER": script}, True), ({"PAGER": script, "SUDO_UID": "1"}, False),
                           ({"PAGER": "false", "SYSTEMD_PAGER": script}, True),
                           ({"PAGER": script, "SYSTEMD_PAGER": ""}, False),
                           ({"PAGER": "cat"}, False), ({"PAGER": "/no/such/pager"}, False)):
            terminal = Terminal(self, "jobs", env=env)
            self.assertEqual(terminal.ends(), OK)
            self.assertEqual(b"paged, 1" in terminal.output, paged, env)
            self.assertIn(b"PROGRESS", terminal.output)
            terminal.close()
        terminal = Terminal(self, "--no-pager", "jobs", env={"PAGER": script})
        self.assertEqual(terminal.ends(), OK)
        self.assertNotIn(b"paged", terminal.output)
        self.assertNotIn("paged", self.run_ctl("jobs", env={"PAGER": script}).stdout)


class Watch(CtlCase):
    def watch(self, **arguments):
        terminal = Terminal(self, "watch", **arguments)
        terminal.shows(rb"pv-reaperd.*running, normal limits.*q quit")
        return terminal

    def test_redraws_on_signals(self):
        self.daemon()
        terminal = self.watch()
        worker = self.puppet("guest")
        worker.request()
        worker.receive(GRANT)
        terminal.shows(rb"1 running, 0 queued.*guest +reboot +running")
        worker.done()
        terminal.shows(rb"0 running, 0 queued.*guest +reboot +done")
        terminal.keys(b"q")
        self.assertEqual(terminal.ends(), OK)
        self.assertTrue(terminal.is_as_before())

    def test_leaves_the_terminal_as_it_was(self):
        self.daemon()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT,
                       signal.SIGSEGV, signal.SIGABRT):
            terminal = self.watch()
            self.assertNotEqual(termios.tcgetattr(terminal.slave), terminal.before)
            os.kill(terminal.process.pid, number)
            fatal = number in (signal.SIGSEGV, signal.SIGABRT)
            self.assertEqual(terminal.ends(), -number if fatal else OK)
            self.assertTrue(terminal.is_as_before(), number)
            terminal.close()
        terminal = self.watch()
        terminal.keys(b"\x03")
        self.assertEqual(terminal.ends(), OK)
        self.assertTrue(terminal.is_as_before())

    def test_stopped_and_continued(self):
        self.daemon()
        terminal = self.watch()
        os.kill(terminal.process.pid, signal.SIGTSTP)
        self.wait("it has stopped",
                  lambda: harness.process_state(terminal.process.pid) == "T")
        terminal.read_for(0.2)
        self.assertTrue(terminal.is_as_before())
        os.kill(terminal.process.pid, signal.SIGCONT)
        terminal.shows(rb"q quit")
        self.assertNotEqual(termios.tcgetattr(terminal.slave), terminal.before)
        terminal.keys(b"q")
        self.assertEqual(terminal.ends(), OK)

    def test_keys(self):
        self.daemon()
        workers = [self.puppet(f"guest-{i}", mem=(9 - i) << 30) for i in range(3)]
        for worker in workers:
            self.job(worker)
        terminal = self.watch()
        terminal.shows(rb"guest-2.*guest-1.*guest-0.*by state")  # the last one first
        terminal.keys(b">")
        terminal.shows(rb"guest-0.*guest-1.*guest-2.*by ID")
        terminal.keys(b"r")
        terminal.shows(rb"guest-2.*guest-1.*guest-0.*by ID, reversed")
        terminal.keys(b"\033[C\033[C\033[C\033[C")
        terminal.shows(rb"guest-0.*guest-1.*guest-2.*by SIZE, reversed")
        terminal.keys(b"p")
        terminal.shows(rb"PAUSED")
        self.job(workers[0], 2)
        terminal.read_for(1.5)
        self.assertNotIn(b"PAUSED", terminal.output)  # nothing was drawn
        terminal.keys(b"p")
        terminal.shows(rb"guest-0.*guest-0.*guest-1")
        terminal.keys(b"q")
        self.assertEqual(terminal.ends(), OK)

    def test_sizes(self):
        """Narrow, low, and of another size in between; no line is longer than the terminal."""
        self.daemon()
        for i in range(12):
            self.job(self.puppet(f"guest-{i:02}"))
        terminal = self.watch(rows=10, columns=40)
        screen = terminal.shows(rb"guest-11.*guest-06.*q quit")
        self.assertNotIn("guest-05", screen)
        for line in re.split(r"\r+\n|\033\[\d+;1H", screen):
            self.assertLessEqual(len(re.sub(r"\033\[[\d;]*[mKJ]", "", line)), 40)
        terminal.keys(b"\033[B\033[6~")
        terminal.shows(rb"guest-05.*guest-00.*q quit")
        terminal.keys(b"\033[H")
        terminal.shows(rb"guest-11")
        terminal.resize(20, 120)
        os.kill(terminal.process.pid, signal.SIGWINCH)
        terminal.shows(rb"guest-11.*guest-00.*q quit")
        for rows in (1, 2, 3, 4):
            terminal.resize(rows, 7)
            os.kill(terminal.process.pid, signal.SIGWINCH)
            terminal.shows(rb"q quit")
        terminal.keys(b"q")
        self.assertEqual(terminal.ends(), OK)

    def test_survives_a_restart(self):
        daemon = self.daemon()
        terminal = self.watch()
        daemon.kill()
        terminal.shows(rb"The daemon does not answer")
        self.daemon()
        terminal.shows(rb"running, normal limits.*q quit  p pause")
        self.job(self.puppet("later"))
        terminal.shows(rb"later")
        terminal.keys(b"q")
        self.assertEqual(terminal.ends(), OK)

    def test_keys_while_the_daemon_hangs(self):
        daemon = self.daemon()
        terminal = self.watch()
        self.stop(daemon.pid)
        terminal.read_for(1.5)
        terminal.keys(b"q")
        start = time.monotonic()
        self.assertEqual(terminal.ends(), OK)
        self.assertLess(time.monotonic() - start, 3)
        os.kill(daemon.pid, signal.SIGCONT)


class WatchLines(CtlCase):
    def start(self, *arguments):
        process = subprocess.Popen([harness.CTL, "--socket", self.control, "watch", *arguments],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, bufsize=0)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        return process

    def line(self, process):
        self.assertTrue(select.select([process.stdout], [], [], harness.TIMEOUT)[0])
        return process.stdout.readline().decode()

    def first_line(self, process):
        """When it listens there is no word of, so jobs are offered until it hears of one."""
        worker, seq = self.puppet("first"), 1
        while not select.select([process.stdout], [], [], 0.2)[0]:
            self.job(worker, seq)
            seq += 1
        time.sleep(0.5)
        os.read(process.stdout.fileno(), 1 << 20)
        worker.end()  # else the next daemon finds it, and counts it as running

    def test_lines(self):
        self.daemon()
        process = self.start()
        self.first_line(process)
        worker = self.puppet("guest")
        self.job(worker, error=-14)
        stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
        self.assertRegex(self.line(process),
                         rf"^{stamp} JobQueued   job \d+, reboot of guest, 1\.0 GiB, queued\n$")
        self.assertRegex(self.line(process), rf"^{stamp} JobStarted  job \d+, .*, running\n$")
        self.assertRegex(self.line(process), rf"^{stamp} JobFinished job \d+, .*, failed in .*\n$")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(harness.TIMEOUT), OK)

    def test_lines_in_json(self):
        self.daemon()
        process = self.start("--json")
        self.first_line(process)
        self.job(self.puppet("guest"))
        events = [json.loads(self.line(process)) for _ in range(3)]
        self.assertEqual([e["event"] for e in events], ["JobQueued", "JobStarted", "JobFinished"])
        self.assertEqual({e["jobs"][0]["vm"] for e in events}, {"guest"})

    def test_lines_over_a_restart(self):
        daemon = self.daemon()
        process = self.start()
        self.first_line(process)
        daemon.kill()
        self.assertIn(b"the daemon does not answer", process.stderr.readline())
        self.daemon()
        self.first_line(process)

    def test_a_reader_that_goes(self):
        """Without any event it would never notice by writing."""
        self.daemon()
        process = self.start()
        self.first_line(process)
        process.stdout.close()
        self.assertEqual(process.wait(harness.TIMEOUT), FAILED)
        self.assertEqual(process.stderr.read(), b"")


class EveryVerb(CtlCase):
    """With none and one job; 5,000 of them are test-many.py's."""

    def check(self, **jobs):
        try_all_but_drain(self, **jobs)
        try_state(self, "drain", "draining")
        try_state(self, "resume", "running")

    def test_without_jobs(self):
        self.daemon()
        self.check(n_vms=0, n_jobs=0, vm=None)

    def test_with_one_job(self):
        self.daemon()
        self.puppet("guest").request()
        self.wait("it runs", lambda: self.ctl_json("status")["running"] == 1)
        self.check(n_vms=1, n_jobs=1, vm="guest")


class InTmux(CtlCase):
    """The screen as it is seen."""

    cpu_quota = "2%"  # the release of 2 GiB takes some seconds

    def test_a_bar_moves(self):
        if sanitized():
            self.skipTest("the sanitizer's terabytes of addresses are in slices, too")
        if not harness.has_tool("tmux"):
            self.skipTest("no tmux")
        self.daemon()
        vmm = self.vmm("anna", env={"PVSIM_PROTECTABLE": "0"})
        self.registered(1)
        vmm.do("map anonymous 2G")
        tmux = Tmux(self, "watch")
        self.wait("it is there", lambda: "q quit" in tmux.screen())
        vmm.kill()
        seen = set()

        def row():
            return next((r for r in tmux.screen().splitlines() if " anna " in r), "")

        def is_done():
            bar = re.search(r"\[(#*)-*\] +~?(\d+)%", row())
            if bar:
                seen.add((len(bar[1]), int(bar[2])))
            return " done " in row()

        self.wait("the release is done", is_done)
        print("bars:", sorted(seen))
        self.assertGreaterEqual(len(seen), 3)
        self.assertEqual(sorted(seen), sorted(seen, key=lambda bar: bar[1]))
        self.assertGreater(max(seen)[0], min(seen)[0])
        tmux.keys("q")
        self.wait("it ends", tmux.is_gone)


if __name__ == "__main__":
    tap.main()
