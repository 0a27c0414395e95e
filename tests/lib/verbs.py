# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every verb of pv-reaperctl against a daemon with so many jobs, as text and as JSON."""

import json
import os
import subprocess

import harness
import openmetrics
from terminal import Terminal

OK, FAILED, USAGE, NOBODY, WARNED = range(5)
CHECK_WORDS = {"PASS", "WARN", "FAIL", "SKIP"}


def run(case, *arguments, env=None):
    """Once, whatever comes of it."""
    return subprocess.run([harness.CTL, "--socket", case.control, *arguments], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          timeout=harness.TIMEOUT, env={**os.environ, **(env or {})})


def both(case, *arguments):
    """(lines of text, the JSON)"""
    text = case.ctl("--no-legend", *arguments).splitlines()
    return text, json.loads(case.ctl("--json=short", *arguments))


def try_lists(case, n_vms, n_jobs):
    lines, status = both(case, "status")
    case.assertEqual(status["vms"], n_vms)
    case.assertIn(f"{n_vms} VM{'' if n_vms == 1 else 's'}", " ".join(lines))
    for verb, n in ("list", n_vms), ("jobs", n_jobs):
        lines, found = both(case, verb)
        case.assertEqual((len(lines), len(found)), (n, n), verb)


def try_show(case, vm):
    """Of a VM that has at least a job; None: there is none."""
    if not vm:
        done = run(case, "show", "nobody")
        case.assertEqual((done.returncode, done.stdout), (FAILED, ""))
        case.assertIn("nobody", done.stderr)
        return
    lines, found = both(case, "show", vm)
    case.assertEqual(found["name"], vm)
    number = found["jobs"][-1]["id"]
    case.assertTrue(any(line.split()[:2] == [str(number), vm] for line in lines), lines)
    case.assertEqual(json.loads(case.ctl("--json=short", "show", str(number)))["vm"], vm)


def try_watch(case, vm):
    terminal = Terminal(case, "watch")
    terminal.shows(rb"pv-reaperd.*" + (vm.encode() + b".*" if vm else b"") + rb"q quit")
    terminal.keys(b"q")
    case.assertEqual(terminal.ends(), OK)


def try_state(case, verb, state):
    """drain and resume, too; a drain gives more jobs their slots."""
    case.ctl(verb)
    case.assertEqual(case.ctl_json("status")["state"], state, verb)


def try_steering(case):
    case.assertEqual(case.ctl("set", "start-burst=7", "-q"), "")
    limits = {limit["key"]: limit["value"] for limit in case.ctl_json("status")["limits"]}
    case.assertEqual(limits["start-burst"], "7")
    done = run(case, "adopt", str(os.getpid()))
    case.assertEqual((done.returncode, done.stdout), (FAILED, ""))
    case.assertIn("not cleanup/PID", done.stderr)
    try_state(case, "reload", "running")
    _, answer = both(case, "wait-memory", "1M")
    case.assertGreaterEqual(answer["available_bytes"], 1 << 20)


def try_host(case):
    families = openmetrics.families(case.ctl("metrics"))
    case.assertGreater(len(families), 10)
    done = run(case, "check", "--json=short")
    results = {line["result"] for line in json.loads(done.stdout)}
    case.assertLessEqual(results, CHECK_WORDS)
    case.assertEqual(done.returncode, FAILED if "FAIL" in results else
                     WARNED if "WARN" in results else OK)


def try_all_but_drain(case, *, n_vms, n_jobs, vm):
    """vm: the name of one that has a job, or None."""
    try_lists(case, n_vms, n_jobs)
    try_show(case, vm)
    try_watch(case, vm)
    try_host(case)
    try_steering(case)
