# SPDX-License-Identifier: LGPL-2.1-or-later
"""The CPU cap without the daemon, for tests and measurements: capper and busy (see their sources).

Both are child processes, and end with their "with" block. CPU times are read from outside, from
/proc/PID/schedstat: the file stays readable until a worker is reaped.
"""

import os
import subprocess
import time

BUILD = os.path.abspath(os.environ.get("PVR_BUILD", f"{os.path.dirname(__file__)}/../../build"))
BENCH = os.environ.get("PVR_BENCH", f"{BUILD}/tests/bench")
SCHED_DEADLINE = 6


class Program:
    def __init__(self, name, *arguments, **popen):
        self.process = subprocess.Popen([f"{BENCH}/{name}", *map(str, arguments)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
                                        **popen)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Busy(Program):
    """A worker inside the kernel; go() starts it."""

    def __init__(self, *arguments, **popen):
        super().__init__("busy", *arguments, **popen)
        if self.process.stdout.readline() != b"ready\n":
            self.end()
            raise RuntimeError(f"busy {arguments} did not start")

    def go(self):
        self.process.stdin.close()

    def cpu(self):
        """Seconds."""
        with open(f"/proc/{self.pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0]) / 1e9


class Capper(Program):
    """enforce.c and what is below it. Quotas in parts of a CPU: 0.1 is 10 %."""

    def __init__(self, *arguments, **popen):
        super().__init__("capper", *arguments, **popen)

    def ask(self, *words):
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        status, *answer = self.process.stdout.readline().decode().rstrip("\n").split(" ")
        if status != "ok":
            raise RuntimeError(f"{' '.join(map(str, words))}: {status} {' '.join(answer)}")
        return answer

    def policy(self, mode, quota=None, period_usec=10000):
        self.ask("policy", mode, "max" if quota is None else round(quota * 1e6), period_usec)

    def add(self, worker, policy="batch"):
        self.ask("add", worker.pid, policy)

    def end(self):
        """Politely; caps stay on their tasks."""
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        super().end()


def may_deadline():
    """Whether we may set SCHED_DEADLINE here: asked with a worker that does nothing yet."""
    with Busy("user") as worker, Capper(stderr=subprocess.DEVNULL) as capper:
        capper.policy("deadline", 0.01)
        capper.add(worker)
        return capper.ask("task", worker.pid)[0] == "capped"


def shares(workers, seconds):
    """What part of a CPU each has used over the next seconds."""
    before, begin = [worker.cpu() for worker in workers], time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - begin
    return [(worker.cpu() - cpu) / took for worker, cpu in zip(workers, before)]
