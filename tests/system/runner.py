# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs test programs in the guest, one after the other, and makes one stream of TAP of theirs.

runner.py TAP-FILE PROGRAM[:CASE[,CASE...]]...

Programs speak the TAP of tap.py: plan first, one line per case. A program that ends without
having said all that it planned is one failure more. The stream's plan comes last, since only then
the number of cases is known; a guest that dies leaves a stream without plan, which is a failure.
"""

import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RESULT = re.compile(r"(not )?ok \d+ - (.*)")
PLAN = re.compile(r"1\.\.(\d+)")


class Stream:
    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8", buffering=1)
        self.number = 0
        self.bad = False

    def result(self, bad, text):
        self.number += 1
        self.bad = self.bad or bad
        self.file.write(f"{'not ok' if bad else 'ok'} {self.number} - {text}\n")

    def run(self, program, cases):
        name, planned, seen, bad_before = program.removesuffix(".py"), None, 0, self.bad
        self.bad, last = False, time.monotonic()
        process = subprocess.Popen([sys.executable, os.path.join(HERE, program), *cases],
                                   stdout=subprocess.PIPE, encoding="utf-8", errors="replace")
        for line in process.stdout:
            if result := RESULT.fullmatch(line.rstrip("\n")):
                seen, now = seen + 1, time.monotonic()
                self.result(bool(result[1]), f"{name}: {result[2]}")
                self.file.write(f"# {now - last:.1f} s\n")
                last = now
            elif plan := PLAN.match(line):
                planned = int(plan[1])
                if planned == 0:
                    self.result(False, f"{name} # SKIP {line.partition('SKIP')[2].strip()}")
            else:
                self.file.write(line if line.startswith("#") else f"# {line}")
        status = process.wait()
        if planned != seen or status and not self.bad:
            self.result(True, f"{name}: {seen} of {planned} cases, exit status {status}")
        self.bad = self.bad or bad_before

    def end(self):
        self.file.write(f"1..{self.number}\n")
        self.file.close()
        return self.bad


def main():
    stream = Stream(sys.argv[1])
    for argument in sys.argv[2:]:
        program, _, cases = argument.partition(":")
        stream.run(program, cases.split(",") if cases else [])
    sys.exit(stream.end())


if __name__ == "__main__":
    main()
