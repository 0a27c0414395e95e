# SPDX-License-Identifier: LGPL-2.1-or-later
"""unittest, speaking TAP. In a test program: import tap, write TestCases, end with tap.main().

Arguments of the program name the cases to run (Class or Class.test_x); without any, all run.
A case that leaves a process behind fails, and the process is killed: orphans count too, since this
process adopts them (PR_SET_CHILD_SUBREAPER). What setUpClass() starts may live until the end.
What a test or its children print to stdout goes to stderr, which keeps the TAP stream clean.
"""
import contextlib, ctypes, os, signal, sys, time, unittest

GRACE_SEC = 2  # how long an orphan may take to leave after its case
PR_SET_CHILD_SUBREAPER, WALL = 36, 0x40000000


def children():
    """{pid: (name, state)} of our children, dead ones that nobody waited for included."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", errors="replace") as f:
            name, _, rest = f.read().partition("(")[2].rpartition(")")
            if int(rest.split()[1]) == os.getpid():
                found[int(pid)] = (name, rest.split()[0])
    return found


def end_leftovers(allowed=()):
    """Reaps children not in allowed; those that outlive the grace time are killed and named."""
    deadline, killed = time.monotonic() + GRACE_SEC, []
    while left := {pid: child for pid, child in children().items() if pid not in allowed}:
        late = time.monotonic() > deadline
        for pid, (name, state) in left.items():
            if late and state != "Z":
                killed.append(f"left behind: process {pid} ({name})")
                os.kill(pid, signal.SIGKILL)
            if late or state == "Z":
                os.waitpid(pid, WALL)
        time.sleep(0.01)
    return killed


class Result(unittest.TestResult):
    def report(self, name, bad, skips=()):
        self.number, self.bad = self.number + 1, self.bad or bool(bad)
        skip = f" # SKIP {skips[0]}".replace("\n", " ") if skips and not bad else ""
        name = name.removeprefix("__main__.").replace("#", "")
        self.out.write(f"{'not ok' if bad else 'ok'} {self.number} - {name}{skip}\n")
        self.diagnose(bad)

    def diagnose(self, texts):
        self.out.writelines(f"# {line}\n" for text in texts for line in text.splitlines())

    def startTest(self, test):
        self.failures, self.errors, self.skipped, self.unexpectedSuccesses = [], [], [], []
        self.allowed = children()

    def stopTest(self, test):
        bad = [text for _, text in self.failures + self.errors] + end_leftovers(self.allowed)
        bad += ["unexpected success"] if self.unexpectedSuccesses else []
        self.waiting.remove(test.id())
        self.report(test.id(), bad, [reason for _, reason in self.skipped])

    def addError(self, test, err):
        super().addError(test, err)
        if not isinstance(test, unittest.TestCase):  # setUpClass(), tearDownClass()
            self.bad = True
            self.diagnose([str(test), self.errors[-1][1]])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.class_skips[str(test).partition("(")[2].rstrip(")")] = reason

    def run_all(self, tests, out):
        self.out, self.number, self.bad, self.class_skips = out, 0, not tests, {}
        self.waiting = [test.id() for test in tests]
        out.write(f"1..{len(tests)}\n")
        unittest.TestSuite(tests).run(self)
        for name in list(self.waiting):  # setUpClass() kept it from running
            reason = self.class_skips.get(name.rpartition(".")[0])
            self.report(name, [] if reason else ["never ran"], [reason])
        left = end_leftovers()
        self.diagnose(left)
        return self.bad or bool(left)


def flatten(suite):
    return [t for s in suite for t in (flatten(s) if isinstance(s, unittest.TestSuite) else [s])]


def main():
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    load, module, names = unittest.TestLoader(), sys.modules["__main__"], sys.argv[1:]
    suite = load.loadTestsFromNames(names, module) if names else load.loadTestsFromModule(module)
    sys.exit(Result().run_all(flatten(suite), out))
