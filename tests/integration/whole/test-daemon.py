#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon's outside: options, configuration, sockets of its own and of systemd, another user;
and what it promises as long as it runs: order, limits, a log line per job, no leaks.
"""

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import Case, tap
from puppet import Puppet
from raw import RawWorker, fds_at_rest, resident_kib


class CommandLine(Case):
    def run_daemon(self, *options, status=2):
        """For what does not serve: (stdout, stderr)."""
        result = subprocess.run([harness.DAEMON, *options], timeout=harness.TIMEOUT,
                                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                check=False)
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertTrue(status == 0 or "pv-reaperd: " in result.stderr, result.stderr)
        return result.stdout, result.stderr

    def write_config(self, text):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)
        return f"--config={self.config}"

    def test_help_and_version(self):
        out, err = self.run_daemon("--help", status=0)
        self.assertEqual((out.splitlines()[0], err), ("Usage: pv-reaperd [OPTION...]", ""))
        for option in ("config", "handoff-socket", "control-socket", "cgroup", "max-concurrent",
                       "check-config", "print-config", "print-defaults", "version", "help"):
            self.assertRegex(out, rf"(?m)^  --{option}\b")
        out, err = self.run_daemon("--version", status=0)
        self.assertRegex(out, r"^pv-reaper \d+\.\d+\.\d+\n$")
        self.assertEqual(err, "")

    def test_wrong_usage(self):
        for arguments, said in (
                (["--no-such-option"], "no-such-option"), (["extra"], '"extra"'), (["-x"], "x"),
                (["--config"], "config"), (["--max-concurrent"], "max-concurrent"),
                (["--check-config", "--", "extra"], '"extra"'), (["--help=1"], "help")):
            out, err = self.run_daemon(*arguments)
            self.assertIn(said, err)
            self.assertEqual(out, "")

    def test_bad_values(self):
        """The message names the option, the value and the rule."""
        number, path = "a number from 1 to 100000", "an absolute path of at most 103 bytes"
        rules = {"max-concurrent": (number, ["0", "100001", "-1", "+1", "", " 4", "4 ", "0x4",
                                             "1.5", "many", "99999999999999999999"]),
                 "cgroup": ('an absolute path, "auto" or "none"', ["", "relative", "None", "./x"]),
                 "handoff-socket": (path, ["", "relative", "/" + "x" * 103]),
                 "control-socket": (path, ["", "relative", "/" + "x" * 103])}
        config = self.write_config("")
        for option, (rule, values) in rules.items():
            for value in values:
                _, err = self.run_daemon(config, "--check-config", f"--{option}={value}")
                self.assertIn(f"--{option}={value}: must be {rule}", err)
                self.assertEqual(err.count("\n"), 1)
        for option in ("--max-concurrent=1", "--max-concurrent=100000", "--cgroup=none",
                       "--handoff-socket=/" + "x" * 102):
            self.run_daemon(config, "--check-config", option, status=0)

    def test_check_config(self):
        good = self.write_config("# a comment\n; another\n\n[limits]\nmax-concurrent = 7\n"
                                 "[cgroup]\npath=none\n[sockets]\nhandoff=/x\ncontrol=/y\n")
        self.assertEqual(self.run_daemon(good, "--check-config", status=0), ("", ""))
        for line, text, said in (
                (2, "[limits]\nmax-concurrent=0\n",
                 "max-concurrent=0: must be a number from 1 to 100000"),
                (3, "\n[sockets]\nhandoff=here\n", "handoff=here: must be an absolute path"),
                (2, "[limits]\nrubbish\n", "neither [section] nor key=value"),
                (3, "[limits]\n\n  max-concurrent=3\n", "indented line"),
                (1, "[limits" + "x" * 200 + "]\n", "line too long"),
                (2, "[limits]\nmax-concurrent=\0\n", "NUL byte")):
            _, err = self.run_daemon(self.write_config(text), "--check-config")
            self.assertIn(f"{self.config}:{line}: ", err)
            self.assertIn(said, err)
            self.assertEqual(err.count("\n"), 1, err)
        config = self.write_config("[limits]\nunknown=1\n[future]\nkey=value\n")
        _, err = self.run_daemon(config, "--print-config", status=0)
        self.assertIn(f'{self.config}:2: unknown key "unknown" in section [limits], ignored', err)
        self.assertIn(f'{self.config}:4: unknown key "key" in section [future], ignored', err)
        _, err = self.run_daemon(config, "--check-config", status=2)
        self.assertIn(f"{self.config}:3: unknown section [future], ignored", err)

    def test_no_configuration(self):
        _, err = self.run_daemon("--config=/nowhere/at.all", "--check-config")
        self.assertIn("/nowhere/at.all: No such file or directory", err)
        _, err = self.run_daemon(f"--config={self.directory}", "--check-config")
        self.assertIn(self.directory, err)

    def test_file_and_command_line(self):
        """What the file says holds, unless the command line says otherwise."""
        daemon = self.daemon()
        self.assertEqual(self.ctl_json("status")["max_concurrent"], harness.AUTO_JOBS)
        daemon.kill()
        self.write_config("[limits]\nmax-concurrent=7\n[sockets]\nhandoff=/nowhere/at.all\n")
        daemon = self.daemon()
        self.assertEqual(self.ctl_json("status")["max_concurrent"], 7)
        self.assertIn("ready: at most 7 at once", daemon.log())
        daemon.kill()
        self.daemon("--max-concurrent=9")
        self.assertEqual(self.ctl_json("status")["max_concurrent"], 9)


class Sockets(Case):
    def refused(self, *options, **arguments):
        """The daemon cannot start; what it said."""
        with self.assertRaises(AssertionError) as raised:
            self.daemon(*options, **arguments)
        self.assertRegex(str(raised.exception), r"error: ")
        self.assertNotIn("ready:", str(raised.exception))
        return str(raised.exception)

    def end_to_end(self, name="vm"):
        vmm = self.vmm(name)
        self.registered(1)
        vmm.do("protect")
        self.assertEqual(vmm.do("reboot")["path"], "handed-off")
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "done")
        self.assertEqual(self.jobs_of(name)[-1]["state"], "done")
        return vmm

    def test_something_is_in_the_way(self):
        for path in (self.socket, self.control):
            with open(path, "w", encoding="ascii") as file:
                file.write("precious")
            self.assertIn(f"{path} is no socket; remove it", self.refused())
            self.assertEqual(harness.read(path), "precious")
            os.unlink(path)
            os.mkdir(path)
            self.assertIn(f"{path} is no socket; remove it", self.refused())
            os.rmdir(path)
            os.symlink("/dev/null", path)
            self.assertIn(f"{path} is no socket; remove it", self.refused())
            os.unlink(path)
            self.assertEqual([name for name in os.listdir(self.directory) if "sock" in name], [])

    def test_no_directory(self):
        self.assertIn("/nowhere/x.sock: No such file or directory",
                      self.refused("--handoff-socket=/nowhere/x.sock"))
        self.assertIn("/nowhere/x.sock: No such file or directory",
                      self.refused("--control-socket=/nowhere/x.sock"))
        self.assertFalse(os.path.exists(self.socket))  # the first was made by then

    def test_the_longest_path(self):
        """The socket is made beside its path, under a longer name."""
        self.socket = f"{self.directory}/".ljust(103, "x")
        self.daemon()
        self.end_to_end()

    def test_sockets_of_a_killed_daemon(self):
        self.daemon().kill()
        self.assertTrue(os.path.exists(self.socket) and os.path.exists(self.control))
        daemon = self.daemon()
        self.end_to_end()
        self.assertEqual(stat.S_IMODE(os.stat(self.socket).st_mode), 0o660)
        self.assertEqual(stat.S_IMODE(os.stat(self.control).st_mode), 0o660)
        self.assertEqual(daemon.kill(signal.SIGTERM), 0)
        self.assertFalse(os.path.exists(self.socket) or os.path.exists(self.control))
        self.assertEqual(self.daemon().kill(signal.SIGINT), 0)
        self.assertFalse(os.path.exists(self.socket) or os.path.exists(self.control))

    def listener(self, path, kind):
        listener = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen(128)
        return listener

    def pass_on(self, *listeners, names=None):
        """Options for Daemon(): systemd would start it like this."""
        def preexec():
            copies = [os.dup(listener.fileno()) for listener in listeners]
            copies = [fd if fd > 10 else os.dup2(fd, fd + 20) for fd in copies]
            for number, fd in enumerate(copies, 3):
                os.dup2(fd, number)

        env = {"LISTEN_FDS": str(len(listeners))} | ({"LISTEN_FDNAMES": names} if names else {})
        return {"prefix": ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"], "preexec_fn": preexec,
                "env": env, "pass_fds": range(3, 3 + len(listeners))}

    def test_a_second_one_is_refused(self):
        """And leaves the first one its sockets and its cgroup."""
        daemon = self.daemon("--cpu-quota=20%")
        with self.assertRaisesRegex(AssertionError, f"already running, pid {daemon.pid} listens"):
            self.daemon()
        self.assertTrue(os.path.exists(self.socket) and os.path.exists(self.control))
        self.end_to_end()

    def test_activation_by_hand(self):
        """Blocking sockets, in either order, come back non-blocking and stay when it ends."""
        for swap in (False, True):
            listeners = [self.listener(self.socket, socket.SOCK_SEQPACKET),
                         self.listener(self.control, socket.SOCK_STREAM)]
            self.assertTrue(all(os.get_blocking(l.fileno()) for l in listeners))
            names = "control:handoff" if swap else "handoff:control"
            daemon = self.daemon(**self.pass_on(*listeners[::-1 if swap else 1], names=names))
            self.assertFalse(any(os.get_blocking(l.fileno()) for l in listeners))
            vmm = self.end_to_end(f"vm-{swap}")
            self.assertEqual(daemon.kill(signal.SIGTERM), 0)
            self.assertTrue(os.path.exists(self.socket) and os.path.exists(self.control))
            self.end_vmm(vmm)
            for listener, path in zip(listeners, (self.socket, self.control)):
                listener.close()
                os.unlink(path)

    def test_history_outlives_a_kill(self):
        """As systemd would keep it, in its fd store."""
        def job(name):
            worker = Puppet(self, name)
            worker.take_slot()
            worker.done()
            worker.receive(harness.DONE_ACK)
            worker.end()
            return [(job["id"], job["vm"], job["state"]) for job in self.ctl_json("jobs")]

        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(f"{self.directory}/notify")
            systemd.settimeout(harness.TIMEOUT)
            env = {"NOTIFY_SOCKET": f"{self.directory}/notify",
                   "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"}
            daemon, fds = self.daemon(env=env), []
            while not fds:
                said, fds, _, _ = socket.recv_fds(systemd, 4096, 1)
            self.assertEqual(said, b"FDSTORE=1\nFDNAME=history\nFDPOLL=0\n")
            with os.fdopen(fds[0], "r+b") as kept:
                before = job("anna")
                daemon.kill()
                passed = self.pass_on(kept, names="history")
                daemon = self.daemon(**passed | {"env": passed["env"] | env})
                self.assertEqual(job("berta"), [*before, (2, "berta", "done")])
                daemon.kill()

    def test_activation_with_one_socket(self):
        """Workers are served without pv-reaperctl: the other socket's unit failed, or is off."""
        daemon = self.daemon(**self.pass_on(self.listener(self.socket, socket.SOCK_SEQPACKET)))
        vmm = self.vmm()
        vmm.do("protect")
        self.assertEqual(vmm.do("reboot")["path"], "handed-off")
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "done")
        self.wait("the job's line", lambda: "done: waited" in harness.read(daemon.log_path))
        self.assertEqual(daemon.kill(signal.SIGTERM), 0)
        self.assertTrue(os.path.exists(self.socket))
        self.assertFalse(os.path.exists(self.control))

    def test_activation_with_wrong_sockets(self):
        one = self.listener(self.socket, socket.SOCK_SEQPACKET)
        two = self.listener(f"{self.directory}/second", socket.SOCK_SEQPACKET)
        three = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(three.close)
        self.assertIn("a second socket of its kind", self.refused(**self.pass_on(one, two)))
        self.assertIn("neither a listening", self.refused(**self.pass_on(one, three)))
        self.assertTrue(os.path.exists(self.socket))

    def test_activation_by_systemd(self):
        tool = shutil.which("systemd-socket-activate")
        if not tool:
            self.skipTest("no systemd-socket-activate")
        # It passes on what it was passed, so one can be stacked on the other for two types.
        prefix = [tool, "--seqpacket", "-l", self.socket, tool, "-l", self.control]
        waker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def connect():
            with contextlib.suppress(OSError):
                waker.connect(self.socket)
                return True

        with waker:
            log_path = f"{self.directory}/daemon.log"
            command = [*prefix, harness.DAEMON, "--config", self.config,
                       "--cgroup", self.cgroup_option, "--handoff-socket", self.socket,
                       "--control-socket", self.control]
            with open(log_path, "wb") as log:
                process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            self.wait("systemd-socket-activate listens", connect)
            self.wait("the daemon is ready", lambda: "ready:" in harness.read(log_path))
        vmm = self.end_to_end()
        process.terminate()
        self.assertEqual(process.wait(harness.TIMEOUT), 0)
        self.assertTrue(os.path.exists(self.socket) and os.path.exists(self.control))
        self.end_vmm(vmm)


class Log(Case):
    def test_nobody_reads_it(self):
        """All guests wait on the loop, and the loop on nobody."""
        ours, theirs = os.pipe()
        self.addCleanup(os.close, ours)
        fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, 4096)
        shell = f'echo ready: >&2; exec 2>&{theirs} "$@"'
        daemon = self.daemon(prefix=("sh", "-c", shell, "sh"), pass_fds=[theirs])
        os.close(theirs)
        self.wait("it listens", lambda: os.path.exists(self.control))
        vmm = self.vmm()
        self.registered(1)
        vmm.do("protect")
        for n in range(1, 61):
            vmm.do("reboot")
            vmm.wait_outcomes(n)
        self.assertEqual(self.ctl_json("status")["done"], 60)
        os.set_blocking(ours, False)
        text = os.read(ours, 1 << 16)
        self.assertLessEqual(len(text), 4096)
        self.assertIsNone(daemon.process.poll())
        vmm.do("reboot")
        vmm.wait_outcomes(61)
        self.wait("a job is logged", lambda: self.ctl_json("status")["done"] == 61)
        self.assertRegex(os.read(ours, 1 << 16).decode(), r"[1-9]\d* lines could not be written")


class OtherUser(Case):
    def test_an_unprivileged_daemon(self):
        """Without a cgroup and without privileges it serves the VMMs of its own user."""
        if os.geteuid() != 0:
            self.skipTest("needs root to become somebody else")
        nobody = pwd.getpwnam("nobody")
        identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chmod(self.directory, 0o755)
        os.chown(self.directory, nobody.pw_uid, nobody.pw_gid)
        for name in ("DAEMON", "VMM", "SIMULATOR"):  # where they were built it may not get at them
            copy = shutil.copy(getattr(harness, name), self.directory)
            self.addCleanup(setattr, harness, name, getattr(harness, name))
            setattr(harness, name, copy)
        daemon = self.daemon("--cgroup=none", **identity)
        vmm = self.vmm("mine", env={"PVSIM_STANDIN": "1"}, **identity)
        self.registered(1)
        vmm.do("protect")
        self.assertEqual(vmm.do("reboot")["path"], "handed-off")
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "done")
        self.assertEqual([j["state"] for j in self.jobs_of("mine")], ["done"])

        os.chmod(self.socket, 0o666)  # a keeper has no capability that would let it in
        other = self.vmm("root's")  # its address space is none of nobody's business
        refusal = "is not governed: Operation not permitted"
        self.wait("it is refused", lambda: refusal in daemon.log())
        other.do("protect")
        other.do("reboot")
        self.assertEqual(other.wait_outcomes(1)[0]["result"], "ungoverned")
        self.assertEqual(daemon.kill(signal.SIGTERM), 0)


class Governing(Case):
    vmm_env = {"PVSIM_NS_PER_PAGE": "20", "PVSIM_MIN_MS": "150"}

    def guests(self, n):
        vmms = [self.vmm(f"vm-{i}") for i in range(n)]
        self.registered(n)
        for vmm in vmms:
            vmm.do("protect")
        return vmms

    def test_max_concurrent(self):
        for n in (1, 3):
            daemon = self.daemon("--max-concurrent", str(n))
            vmms = self.guests(8)
            for vmm in vmms:
                vmm.send("reboot")
            for vmm in vmms:
                vmm.wait_outcomes(1)
            self.assertEqual({r for vmm in vmms for r in vmm.results()}, {"done"})
            self.assertEqual(self.sim.max_overlap(), n)
            for vmm in vmms:
                self.end_vmm(vmm)
            daemon.kill()
            os.unlink(self.sim_log)

    def test_first_come_first_served(self):
        self.daemon("--max-concurrent=1")
        vmms = self.guests(6)
        holder = RawWorker(self)
        holder.take_slot()
        order = [3, 0, 5, 1, 4, 2]
        for n, i in enumerate(order, 1):
            vmms[i].do("reboot")
            self.wait(f"{n} are queued", lambda: self.ctl_json("status")["queued"] == n)
        holder.done()
        for vmm in vmms:
            vmm.wait_outcomes(1)
        begun = [e["vm"].partition(".")[0] for e in sorted(self.sim.commands("PERFORM", ev="begin"),
                                                         key=lambda e: int(e["t"]))]
        self.assertEqual(begun, [str(vmms[i].pid) for i in order])

    def test_a_line_for_each_job(self):
        daemon = self.daemon()
        vmms = self.guests(3)
        for vmm in vmms:
            for n in (1, 2):
                vmm.do("reboot")
                vmm.wait_outcomes(n)
        for vmm in vmms:
            vmm.kill()
        self.wait("all are gone", lambda: self.ctl_json("list") == [])
        lines = re.findall(r"^pv-reaperd: job (\d+): (\w+) of vm-(\d) \(pid \d+, unit [^)]+\) "
                           r"done: waited [\d.]+ s, ran [\d.]+ s, CPU [\d.]+ s, (\d+) MiB, ",
                           daemon.log(), re.M)
        self.assertEqual(sorted((kind, i) for _, kind, i, _ in lines),
                         sorted((kind, str(i)) for i in range(3)
                                for kind in ("reboot", "reboot", "shutdown")))
        self.assertEqual(len({number for number, *_ in lines}), 9)
        # A reboot clears what was set aside; a shutdown what is there, and nothing was touched.
        for _, kind, _, mib in lines:
            if kind == "reboot":
                self.assertEqual(int(mib), 4096)
            else:
                self.assertLess(int(mib), 64)

    def test_nothing_grows(self):
        daemon = self.daemon()
        vmm, = self.guests(1)
        def measure():
            return fds_at_rest(self, daemon), resident_kib(daemon.pid)

        def reboots(n):
            for _ in range(n):
                done = len(vmm.outcomes)
                vmm.do("reboot")
                vmm.wait_outcomes(done + 1)
                if self.cgroups.top:
                    names = os.listdir(f"{self.cgroups.top}/jobs")
                    self.assertEqual(len([name for name in names if name.startswith("vm-")]), 1)

        reboots(5)
        before = measure()
        reboots(50)
        for _ in range(10):
            guest = self.vmm("guest")
            self.registered(2)
            self.end_vmm(guest)
        self.wait("all are gone", lambda: len(self.ctl_json("list")) == 1)
        after = measure()
        self.assertEqual(after[0], before[0])
        self.assertLess(after[1] - before[1], 512)


if __name__ == "__main__":
    tap.main()
