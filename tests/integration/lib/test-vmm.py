#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A VMM with a keeper, and what may happen to any process: debuggers, signals, fork, execve, a core
dump, death with every lock held. And what the keeper is, as /proc shows it.
"""

import glob
import os
import platform
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import BUILD, Case, has_tool, is_keeper, own_fds, process_state, read, tap, values

IDLE_VMMS = 20
IDLE_LOOKS, IDLE_SECONDS = 20, 1
MALLOC_THREADS, MALLOC_ROUNDS = 50, 10
GDB_SECONDS = 120
LINGER_SECONDS = 10  # a keeper's, if /proc does not say whether its VMM dies
KEEPER_NAME = "pvr-keeper"
ALL_SIGNALS = (1 << 64) - 1
UNBLOCKABLE = 1 << signal.SIGKILL - 1 | 1 << signal.SIGSTOP - 1
GLIBC_SIGNALS = 3 << 31  # 32 and 33
CLD_DUMPED = 3


class VmmCase(Case):
    def reboot(self, vmm, result="done"):
        """The guest, not protected so far or just rebooted, is torn down in the background."""
        n = len(vmm.outcomes)
        if n == 0:
            vmm.do("protect")
        self.assertEqual(vmm.do("reboot")["path"], "handed-off")
        self.assertEqual(vmm.wait_outcomes(n + 1)[n]["result"], result)

    def shut_down(self, keeper):
        """Waits until its shutdown job was done, and it is gone with the memory."""
        def done():
            return any(job["pid"] == keeper and job["kind"] == "shutdown" and
                       job["state"] == "done" for job in self.ctl_json("jobs"))

        self.wait("the shutdown job is done", done)
        self.gone(keeper)

    def gone(self, pid, timeout=harness.TIMEOUT):
        self.wait(f"process {pid} has left", lambda: process_state(pid) in (None, "Z"), timeout)

    def stop(self, pid):
        os.kill(pid, signal.SIGSTOP)
        self.wait(f"process {pid} is stopped", lambda: process_state(pid) == "T")


class Looks(VmmCase):
    """The keeper from outside."""

    def test_status(self):
        self.daemon()
        vmm = self.vmm()
        self.registered(1)
        self.reboot(vmm)
        keeper = status(vmm.keeper)
        self.assertEqual(keeper["Name"], KEEPER_NAME)
        self.assertEqual(int(keeper["PPid"]), vmm.pid)
        self.assertEqual(int(keeper["SigBlk"], 16), ALL_SIGNALS & ~UNBLOCKABLE)
        self.assertEqual((keeper["NoNewPrivs"], keeper["Seccomp"]), ("1", "2"))
        self.assertEqual(keeper["Threads"], "1")
        # The heir is the VMM's only other thread, and no signal of the VMM's goes to it.
        threads = [t for t in os.listdir(f"/proc/{vmm.pid}/task") if int(t) != vmm.pid]
        self.assertEqual(len(threads), 1)
        heir = status(f"{vmm.pid}/task/{threads[0]}")
        self.assertEqual(int(heir["SigBlk"], 16), ALL_SIGNALS & ~UNBLOCKABLE & ~GLIBC_SIGNALS)
        # What is the keeper's own is not the VMM's.
        self.assertEqual((status(vmm.pid)["NoNewPrivs"], status(vmm.pid)["Seccomp"]), ("0", "0"))

    def test_fds(self):
        """Its few, however many the VMM had and however often it worked."""
        inherited = os.pipe()
        self.addCleanup(os.close, inherited[0])
        self.addCleanup(os.close, inherited[1])
        vmm = self.vmm(pass_fds=inherited)
        self.assertGreater(len(own_fds(vmm.pid)), 7)
        # bell, outcomes, pidfds of VMM and guard, VM fd; then the daemon. Looking for it takes one
        # more for a moment.
        # /proc: maps, mountinfo, statm; stat of the VMM, for keeper and guard.
        few = ["anon_inode:[pidfd]"] * 2 + ["anon_inode:kvm-vm", "socket", "socket"]
        proc = [f"/proc/{vmm.keeper}/{name}" for name in ("maps", "mountinfo", "statm")]
        proc += [f"/proc/{vmm.pid}/stat"] * 2
        before, governed = sorted(few + proc), sorted([*few, *proc, "socket"])
        self.wait("the keeper has its fds", lambda: kinds_of_fds(vmm.keeper) == before)
        self.daemon()
        self.registered(1)
        self.assertEqual(kinds_of_fds(vmm.keeper), governed)
        for _ in range(5):
            vmm.do("set-fd")
            self.reboot(vmm)
        self.assertEqual(kinds_of_fds(vmm.keeper), governed)
        # All that the VMM has because of the keeper is closed by an execve.
        vmm.do("exec 60")
        self.wait("the new program runs", lambda: read(f"/proc/{vmm.pid}/comm") == "sleep\n")
        self.assertEqual(set(own_fds(vmm.pid)), {0, 1, 2, *inherited})

    def test_oom_score(self):
        """It belongs to the memory that both share: what the administrator sets is what stays, and
        what one of them has, the other has.
        """
        def before():
            with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
                file.write("111")

        self.daemon()
        vmm = self.vmm(preexec=before)
        self.registered(1)
        keeper = vmm.keeper
        for pid in (vmm.pid, keeper):
            self.assertEqual(read(f"/proc/{pid}/oom_score_adj"), "111\n")
        for pid, score in ((vmm.pid, "222"), (keeper, "333")):
            with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
                file.write(score)
            for other in (vmm.pid, keeper):
                self.assertEqual(read(f"/proc/{other}/oom_score_adj"), f"{score}\n")
        self.reboot(vmm)
        self.assertEqual(read(f"/proc/{vmm.pid}/oom_score_adj"), "333\n")

    def test_registration(self):
        """What the VMM said is what the daemon is told: 64 bytes of the name, UUID, memory."""
        uuid = "00112233-4455-6677-8899-aabbccddeeff"
        long_name = "".join(chr(ord("a") + i % 26) for i in range(100))
        for options, name, expected_uuid in (
                (("--uuid", uuid), long_name, bytes.fromhex(uuid.replace("-", ""))),
                ((), "short", bytes(16)), ((), "", bytes(16))):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                listener.bind(self.socket)
                listener.listen()
                listener.settimeout(harness.TIMEOUT)
                vmm = self.vmm(name, *options, mem="5G", env={"PVREAPER_GRACE_MSEC": "0"})
                link = listener.accept()[0]
                with link:
                    link.settimeout(harness.TIMEOUT)
                    self.assertEqual(link.recv(4096), harness.hello(2))
                    fields = harness.unpack(link.recv(4096))
                os.unlink(self.socket)
            self.assertEqual(fields[:5], (harness.REGISTER, 0, name.encode()[:64].ljust(64, b"\0"),
                                          expected_uuid, 5 << 30))
            vmm.quit()
            self.gone(vmm.keeper)  # or it would be the next to register


class Idle(VmmCase):
    def test_load(self):
        """20 keepers that have nothing to do: nothing runs, and nothing counts as if it did."""
        self.daemon()
        vmms = [self.vmm(f"vm-{i}") for i in range(IDLE_VMMS)]
        self.registered(IDLE_VMMS)
        keepers = [vmm.keeper for vmm in vmms]
        pids = [vmm.pid for vmm in vmms] + keepers
        used = sum(map(harness.run_time_ns, keepers))
        seen = []
        for _ in range(IDLE_LOOKS):
            seen += [thread_states(pid) for pid in pids]
            time.sleep(IDLE_SECONDS / IDLE_LOOKS)
        used = sum(map(harness.run_time_ns, keepers)) - used
        states = [state for some in seen for state in some]
        # a VMM, its heir, and its keeper
        self.assertEqual(len(states), 3 * IDLE_VMMS * IDLE_LOOKS)
        self.assertEqual({state: states.count(state) for state in states}, {"S": len(states)})
        self.assertLess(used, IDLE_SECONDS * 10_000_000)


class Debugger(VmmCase):
    def gdb(self, pid):
        if not has_tool("gdb"):
            self.skipTest("no gdb")
        environment = {k: v for k, v in os.environ.items() if k != "DEBUGINFOD_URLS"}
        start = time.monotonic()
        result = subprocess.run(["gdb", "-nx", "-batch", "-p", str(pid), "-ex", "info threads",
                                 "-ex", "detach"], stdin=subprocess.DEVNULL, env=environment,
                                capture_output=True, text=True, timeout=GDB_SECONDS, check=False)
        print(f"gdb took {time.monotonic() - start:.1f} s")
        output = result.stdout + result.stderr
        if "Operation not permitted" in output:
            self.skipTest("ptrace is not permitted")
        self.assertEqual(result.returncode, 0, output)
        self.assertRegex(result.stdout, r"Inferior 1 \(process \d+\) detached")
        self.assertNotIn(process_state(pid), "tT")
        return len(re.findall(r"^[* ] +\d+ +(?:Thread|LWP|process) ", result.stdout, re.M))

    def test_vmm(self):
        self.daemon()
        vmm = self.vmm()
        self.registered(1)
        self.assertEqual(self.gdb(vmm.pid), 2)
        self.assertTrue(is_keeper(vmm.keeper))
        self.reboot(vmm)

    def test_vmm_while_the_keeper_works(self):
        self.daemon()
        vmm = self.vmm(env={"PVSIM_MIN_MS": "3000"})
        self.registered(1)
        vmm.do("protect")
        vmm.do("reboot")
        self.performing()
        self.gdb(vmm.pid)
        self.assertEqual([o["result"] for o in vmm.wait_outcomes(1)], ["done"])
        self.assertEqual([e["comm"] for e in self.sim.commands("PERFORM")], [KEEPER_NAME])

    def test_keeper(self):
        self.daemon()
        vmm = self.vmm()
        self.registered(1)
        self.assertEqual(self.gdb(vmm.keeper), 1)
        self.reboot(vmm)


class Events(VmmCase):
    def test_fork(self):
        self.daemon()
        vmm = self.vmm()
        self.registered(1)
        for _ in range(3):
            self.assertEqual(vmm.do("fork")["handoff"], "-ECHILD")
        self.reboot(vmm)

    def test_child_that_lives_on(self):
        """It has copies of all that was the VMM's, doorbell and all; the VMM is dead, still."""
        self.daemon()
        process = subprocess.Popen(
            [f"{BUILD}/tests/standins/fork-child"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**os.environ, **self.vmm_env, "LD_PRELOAD":
                                         harness.SIMULATOR, "PVREAPER_SOCKET": self.socket})
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        self.assertTrue(select.select([process.stdout], [], [], harness.TIMEOUT)[0])
        pids = values(process.stdout.readline().decode())
        self.assertEqual(set(pids), {"child", "keeper"}, "see stderr")
        child, keeper = int(pids["child"]), int(pids["keeper"])
        process.kill()
        self.shut_down(keeper)
        self.wait("the child waits as before", lambda: process_state(child) == "S")

    def test_exec(self):
        """The keeper leaves by itself, at once; the new program is left alone."""
        self.daemon()
        vmm = self.vmm()
        self.registered(1)
        self.reboot(vmm)
        events = self.sim.events()
        begin = time.monotonic()
        vmm.do("exec 600")
        self.wait("the new program runs", lambda: read(f"/proc/{vmm.pid}/comm") == "sleep\n")
        self.gone(vmm.keeper)
        self.assertLess(time.monotonic() - begin, LINGER_SECONDS / 2)
        self.assertEqual(process_state(vmm.pid), "S")
        self.assertEqual(self.sim.events(), events)
        self.assertNotIn("shutdown", [job["kind"] for job in self.ctl_json("jobs")])

    def test_stopped_while_a_job_runs(self):
        self.daemon()
        vmm = self.vmm(env={"PVSIM_MIN_MS": "500"})
        self.registered(1)
        vmm.do("protect")
        vmm.do("reboot")
        self.performing()
        self.stop(vmm.pid)
        self.assertEqual(self.sim.n_performing(), 1, "stopped too late to tell anything")
        self.wait("the job has ended", self.sim.performed)
        self.assertEqual(process_state(vmm.pid), "T")
        os.kill(vmm.pid, signal.SIGCONT)
        self.assertEqual([o["result"] for o in vmm.wait_outcomes(1)], ["done"])
        self.reboot(vmm)

    def test_terminal_signals(self):
        """What a terminal sends to the whole process group is not for the keeper."""
        self.daemon()
        vmm = self.vmm(start_new_session=True)
        self.registered(1)
        self.assertEqual(os.getpgid(vmm.keeper), vmm.pid)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            os.kill(vmm.keeper, number)
        self.reboot(vmm)
        os.killpg(vmm.pid, signal.SIGTERM)
        vmm.process.wait(harness.TIMEOUT)
        self.shut_down(vmm.keeper)

    def test_core_dump(self):
        pattern = read("/proc/sys/kernel/core_pattern").strip()
        if pattern.startswith("/"):
            self.skipTest(f"core dumps would go to {pattern}")
        if tuple(map(int, re.findall(r"\d+", platform.release())[:2])) < (5, 16):
            self.skipTest("before Linux 5.16 a core dump killed all that shared the memory")
        if resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY:
            self.skipTest("core dumps are limited")
        infinity = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        daemon = self.daemon()
        vmm = self.vmm(preexec=lambda: resource.setrlimit(resource.RLIMIT_CORE, infinity),
                       cwd=self.directory)
        self.registered(1)
        self.reboot(vmm)
        vmm.do("touch 32M")
        self.stop(daemon.pid)
        vmm.do("abort")
        end = os.waitid(os.P_PID, vmm.pid, os.WEXITED | os.WNOWAIT)
        if end.si_code != CLD_DUMPED:
            self.skipTest("no core was dumped")
        if not pattern.startswith("|"):
            core, = glob.glob(f"{self.directory}/core*")
            self.assertGreater(os.path.getsize(core), 32 << 20)
        # The keeper has all of the memory still; what it may do with it the daemon decides.
        self.assertTrue(is_keeper(vmm.keeper))
        self.assertIn(process_state(vmm.keeper), "SR")
        os.kill(daemon.pid, signal.SIGCONT)
        self.shut_down(vmm.keeper)

    def test_killed_inside_malloc(self):
        """Threads that die with locks held leave them held, in memory that is the keeper's too."""
        self.daemon()
        for i in range(MALLOC_ROUNDS):
            vmm = self.vmm(f"vm-{i}", "--threads", str(MALLOC_THREADS))
            self.registered(1)
            if i % 2:  # with a VM that was protected, too
                vmm.do("protect")
            vmm.kill()
            self.shut_down(vmm.keeper)


def status(pid):
    return dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/status").splitlines()
                if ":\t" in line)


def kinds_of_fds(pid):
    return sorted(re.sub(r":\[\d+\]$", "", what) for what in own_fds(pid).values())


def thread_states(pid):
    return [process_state(f"{pid}/task/{task}") for task in os.listdir(f"/proc/{pid}/task")]


if __name__ == "__main__":
    tap.main()
