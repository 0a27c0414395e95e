#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the shells complete for pv-reaperctl: all that it accepts where the cursor is, and nothing
else. Bash says what it offers; zsh's file is only looked at.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
import verbs
from harness import tap
from puppet import Puppet

VERBS = ["status", "list", "jobs", "show", "watch", "metrics", "check", "set", "adopt",
         "wait-memory", "wait-quiet", "hurry", "cancel-hurry", "drain", "resume", "reload"]
WITH_ARGUMENT = ("show", "set", "adopt", "wait-memory")


class Completion(harness.Case):
    def run_ctl(self, *arguments):
        return verbs.run(self, *arguments)

    def puppet(self, name):
        Puppet(self, name).register()

    def complete(self, *words):
        """What bash offers for the last word."""
        script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
                  'compopt() { :; }; '
                  'complete -p pv-reaperctl >/dev/null && _pv_reaperctl; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        path = os.pathsep.join([os.path.dirname(harness.CTL), os.path.dirname(harness.DAEMON),
                                os.environ["PATH"]])
        file = f"{os.path.dirname(harness.CTL)}/completion/pv-reaperctl"
        done = subprocess.run(["bash", "--norc", "-c", script, "bash", file, "pv-reaperctl",
                               *words], capture_output=True, text=True, check=False,
                              timeout=harness.TIMEOUT,
                              env={**os.environ, "PATH": path, "PVREAPER_CONTROL": self.control})
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_verbs_are_completed(self):
        offered = self.complete("")
        self.assertLessEqual(set(VERBS), set(offered))
        in_help = re.findall(r"^  ([a-z-]+) ", self.run_ctl("--help").stdout.split("Options:")[0],
                             re.M)
        self.assertEqual(offered, in_help)
        self.assertEqual(self.complete("wa"), ["watch", "wait-memory", "wait-quiet"])
        self.assertEqual(self.complete("-q", "dr"), ["drain"])

    def test_options_are_completed(self):
        self.assertEqual(self.complete("--no"), ["--no-legend", "--no-pager"])
        self.assertEqual(self.complete("--json", "=", "p"), ["pretty"])
        self.assertIn("--socket", self.complete("jobs", "--"))

    def test_arguments_are_completed(self):
        self.daemon()
        self.puppet("guest-a")
        self.puppet("guest-b")
        self.puppet("gu$(touch${IFS}x)")  # the shell must not see what it would expand
        self.assertEqual(sorted(self.complete("show", "gu")), ["guest-a", "guest-b"])
        self.assertEqual(self.complete("set", "max-"), ["max-concurrent="])

    def test_set_is_completed(self):
        """Keys that the daemon takes, all of them, and values that it takes."""
        self.assertEqual(self.complete("set", ""), [])  # nobody can tell
        self.daemon()
        limits = {limit["key"]: limit["value"] for limit in self.ctl_json("status")["limits"]}
        offered = [word.rstrip("=") for word in self.complete("set", "")]
        self.assertEqual(sorted(offered), sorted(limits))
        self.assertIn("deadline", self.complete("set", "cpu-enforce", "=", ""))
        self.assertEqual(self.complete("set", "cpu-enforce", "=", "de"), ["deadline"])
        self.assertEqual(self.complete("set", "cpu_enforce", "="),
                         self.complete("set", "cpu-enforce", "="))
        self.assertEqual(self.complete("set", "start-rate", "=", "inf"), ["infinity"])
        self.assertIn("start-rate=", self.complete("set", "max-concurrent", "=", "2", "start-"))
        for key in sorted(set(limits) - {"emulators"}):  # which is a list of patterns
            for value in self.complete("set", key, "="):
                self.ctl("set", f"{key}={value}")
            self.ctl("reload")

    def test_options_of_a_verb_are_completed(self):
        """Each is accepted; those of other verbs are not offered."""
        self.assertEqual(self.complete("hurry", "--a"), ["--all"])
        self.assertEqual(self.complete("check", "--r"), ["--root"])
        self.assertEqual(self.complete("jobs", "--a"), [])
        self.assertEqual(self.complete("wait-memory", "--p"), [])
        self.assertEqual(self.complete("wait-quiet", "--p"), ["--pid"])
        self.assertIn("--pid", self.complete("--"))
        for verb in VERBS:
            offered = self.complete(verb, "--")
            self.assertIn("--json", offered)
            for option in ("--all", "--root=/nowhere", "--pid=4194304", "--timeout=1"):
                done = self.run_ctl(option, verb, *["1=1"] * (verb in WITH_ARGUMENT))
                refused = f" {option.split('=')[0]} is for " in done.stderr
                self.assertEqual(option.split("=")[0] in offered, not refused, (verb, option))

    def test_zsh_script(self):
        text = harness.read(f"{os.path.dirname(harness.CTL)}/completion/_pv-reaperctl")
        self.assertTrue(text.startswith("#compdef pv-reaperctl\n"))
        array = re.search(r"verbs=\((.*?)^ +\)$", text, re.M | re.S)[1]
        in_help = self.run_ctl("--help").stdout.split("Options:")[0]
        self.assertEqual(shlex.split(array), [":".join(row) for row in re.findall(
            r"^  ([a-z-]+) +(.*)$", in_help, re.M)])
        self.assertIn("'--json=-:value:(short pretty)'", text)
        if shutil.which("zsh"):
            done = subprocess.run(["zsh", "-n"], input=text, text=True, capture_output=True,
                                  check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    tap.main()
