#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Metrics: what is asked for by pv-reaperctl, what is in the file for node_exporter, the dashboard
that draws them, and the alerts. Their numbers are held against jobs whose end the tests decide.
"""

import json
import os
import re
import stat
import subprocess
import sys

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
import openmetrics
from harness import GRANT, tap
from openmetrics import Error
from raw import PeerCase

ROOT = os.path.join(harness.HERE, "..", "..")
WRITER = os.path.join(ROOT, "units", "pv-reaper-metrics")
DASHBOARD = os.path.join(ROOT, "conf", "pv-reaper-dashboard.json")
ALERTS = os.path.join(ROOT, "conf", "pv-reaper-alerts.yml")
FOREIGN = {"node_textfile_mtime_seconds"}  # metrics of others, in alerts


def promtool():
    """Where it is, or None: it comes with the server (Debian: prometheus), which is too much to
    install for each run."""
    return os.environ.get("PVR_PROMTOOL") or (harness.has_tool("promtool") and "promtool") or None


class MetricsCase(PeerCase):
    def metrics(self):
        return openmetrics.samples(self.ctl("metrics"))


class Asked(MetricsCase):
    def test_what_jobs_amount_to(self):
        """Each number after jobs that were granted, refused, lost, and done without us."""
        self.serve("--max-concurrent=1")
        before = self.metrics()
        self.assertEqual(before['pvreaper_jobs_total{kind="reboot",outcome="done"}'], 1)
        self.assertGreater(before['pvreaper_job_cpu_seconds_total{kind="reboot"}'], 0)
        failing, waiting, early = (self.worker(name) for name in ("failing", "waiting", "early"))
        failing.take_slot()
        waiting.register()
        waiting.request(kind=2)  # its VMM lives, so this holds no memory of a dead one
        self.wait("it waits", lambda: self.metrics()['pvreaper_queued_jobs{kind="shutdown"}'] == 1)
        now = self.metrics()
        self.assertEqual(now["pvreaper_running_jobs"], 1)
        self.assertEqual(now["pvreaper_workers"], 3)
        self.assertEqual(now["pvreaper_held_bytes"], 0)
        self.assertEqual(now["pvreaper_to_clear_bytes"], 2 << 30)
        failing.done(error=-12)
        waiting.receive(GRANT)
        early.register(last=(1, 1, 0, 0, 0, 1))  # seq, kind, error, rc, rrc, ungoverned
        now = self.metrics()
        self.assertEqual({key: now[key] - before[key] for key in now
                          if key.startswith("pvreaper_jobs_total") and now[key] != before[key]},
                         {'pvreaper_jobs_total{kind="reboot",outcome="failed"}': 1,
                          'pvreaper_jobs_total{kind="reboot",outcome="ungoverned"}': 1})
        self.assertEqual(now["pvreaper_ungoverned_starts_total"], 1)
        self.assertEqual(now['pvreaper_cleared_bytes_total{kind="reboot"}'] -
                         before['pvreaper_cleared_bytes_total{kind="reboot"}'], 1 << 30)
        # What nobody knows of the ungoverned one is in no histogram.
        count = 'pvreaper_job_run_seconds_count{kind="reboot"}'
        self.assertEqual(now[count] - before[count], 1)

    def test_memory_of_the_dead_and_boosts(self):
        daemon = self.serve("--max-concurrent=1")
        holder = self.worker("holder")
        holder.take_slot()
        vm = self.vmm("dead", mem="4G")
        vm.do("protect")
        self.registered(3)
        vm.kill()
        # What it really has, not the size of a guest that touched none of it.
        self.wait("its memory waits", lambda: self.metrics()["pvreaper_held_bytes"] > 0)
        job, = self.jobs_of("dead")
        self.assertEqual(self.metrics()["pvreaper_held_bytes"], job["bytes"])
        self.assertEqual(self.metrics()["pvreaper_boosts_total"], 0)
        self.ctl("wait-memory", str(harness.ALL_MEMORY), "--timeout=300ms", status=1)
        now = self.metrics()
        self.assertEqual((now["pvreaper_boosts_total"], now['pvreaper_mode{mode="normal"}']),
                         (1, 1))
        holder.done()
        self.wait("it is given back", lambda: self.metrics()["pvreaper_held_bytes"] == 0)
        self.assertIsNone(daemon.process.poll())

    def test_a_restart_begins_at_zero(self):
        """Soft state: counters begin again, and what was found is said."""
        self.need_cgroup()
        first = self.daemon()
        worker = self.worker("runs")
        worker.take_slot()
        started = self.metrics()["pvreaper_start_time_seconds"]
        self.assertEqual(self.metrics()["pvreaper_found_workers"], 0)
        first.kill()
        self.daemon()
        now = self.metrics()
        self.assertEqual((now["pvreaper_found_workers"], now["pvreaper_running_jobs"]), (1, 1))
        self.assertGreater(now["pvreaper_start_time_seconds"], started)
        self.assertEqual(sum(v for k, v in now.items() if k.startswith("pvreaper_jobs_total")), 0)

    def test_manual_page_has_them_all(self):
        with open(os.path.join(ROOT, "man", "pv-reaper.8.scd"), encoding="utf-8") as file:
            part = re.search(r"^# METRICS$(.*?)^# FOR", file.read(), re.M | re.S)[1]
        rows = re.findall(r"^\|[ \[] ([a-z].*)$", part.replace("\\_", "_"), re.M)
        self.daemon()
        self.assertEqual({f"pvreaper_{name}" for row in rows for name in row.split(", ")},
                         {re.sub(r"(?<=_seconds)_(bucket|count|sum)$", "", key.partition("{")[0])
                          for key in self.metrics()})

    def test_no_json(self):
        self.daemon()
        self.assertEqual(self.ctl("metrics", "--json", status=2), "")

    def test_reference_parser(self):
        """What the Prometheus project's own reader makes of it, where that is installed."""
        try:
            from prometheus_client.openmetrics import parser  # pylint: disable=C0415
        except ImportError:
            self.skipTest("no prometheus_client (Debian: python3-prometheus-client)")
        self.serve()
        text = self.ctl("metrics")
        theirs = {(s.name, tuple(sorted(s.labels.items()))): s.value
                  for family in parser.text_string_to_metric_families(text)
                  for s in family.samples}
        ours = {(name, tuple(sorted(labels))): number
                for family in openmetrics.families(text).values()
                for (name, labels), number in family.samples.items()}
        self.assertEqual(theirs, ours)


class File(MetricsCase):
    """What pv-reaper-metrics.timer runs."""

    def setUp(self):
        super().setUp()
        self.file = f"{self.directory}/textfile/pv-reaper.prom"
        os.mkdir(os.path.dirname(self.file))

    def write(self, file=None, socket=None):
        """The exit status, and what was said."""
        done = subprocess.run(
            [WRITER, file or self.file], capture_output=True, text=True, timeout=harness.TIMEOUT,
            umask=0o077, check=False,
            env={**os.environ, "PATH": f"{os.path.dirname(harness.CTL)}:{os.environ['PATH']}",
                 "PVREAPER_CONTROL": socket or self.control})
        return done.returncode, done.stdout + done.stderr

    def in_file(self):
        return openmetrics.samples(harness.read(self.file), openmetrics=False)

    def beside(self):
        return os.listdir(os.path.dirname(self.file))

    def test_written_whole(self):
        """Whoever reads sees whole texts only; node_exporter may read it; nothing else is left."""
        self.daemon()
        self.assertEqual(self.write(), (0, ""))
        self.assertEqual(stat.S_IMODE(os.stat(self.file).st_mode), 0o644)
        with open(self.file, encoding="ascii") as reader:  # as node_exporter has it open
            worker = self.worker("vm")
            worker.take_slot()
            worker.done()
            self.assertEqual(self.write(), (0, ""))
            key = 'pvreaper_jobs_total{kind="reboot",outcome="done"}'
            self.assertEqual(openmetrics.samples(reader.read(), openmetrics=False)[key], 0)
        self.assertEqual(self.in_file()[key], 1)
        self.assertEqual(self.in_file().keys(), self.metrics().keys())
        self.assertEqual(self.beside(), ["pv-reaper.prom"])

    def test_promtool(self):
        tool = promtool()
        if not tool:
            self.skipTest("no promtool (Debian: prometheus), nor PVR_PROMTOOL")
        self.daemon()
        self.assertEqual(self.write(), (0, ""))
        done = subprocess.run([tool, "check", "metrics"], input=harness.read(self.file), text=True,
                              capture_output=True, timeout=harness.TIMEOUT, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_what_cannot_be_written_leaves_the_old_file(self):
        self.daemon()
        self.assertEqual(self.write(), (0, ""))
        before = os.stat(self.file)
        status, said = self.write(socket=f"{self.directory}/nobody")
        self.assertNotEqual(status, 0)
        self.assertIn("nobody", said)
        status, said = self.write(file=f"{self.directory}/nowhere/x.prom")
        self.assertNotEqual(status, 0)
        self.assertIn("nowhere", said)
        os.mkdir(f"{self.directory}/textfile/x.prom")
        self.assertNotEqual(self.write(file=f"{self.directory}/textfile/x.prom")[0], 0)
        self.assertEqual(os.stat(self.file), before)
        self.assertEqual(sorted(self.beside()), ["pv-reaper.prom", "x.prom"])

    def test_somebodys_traps(self):
        """A link or FIFO under the temporary name is taken away, not followed or waited for."""
        victim = f"{self.directory}/victim"
        open(victim, "w", encoding="ascii").close()
        self.daemon()
        for trap in (lambda path: os.symlink(victim, path), os.mkfifo):
            trap(f"{self.file}.tmp")
            self.assertEqual(self.write(), (0, ""))
            self.assertTrue(self.in_file())
            self.assertEqual(harness.read(victim), "")
            os.unlink(self.file)


class Dashboard(MetricsCase):
    def test_each_expression_is_of_metrics_that_exist(self):
        """Names and label values in the dashboard are those of the daemon's text."""
        with open(DASHBOARD, encoding="utf-8") as file:
            dashboard = json.load(file)
        self.daemon()
        known = self.metrics()
        names = {key.partition("{")[0] for key in known}
        labels = {pair for key in known for pair in re.findall(r'(\w+)="([^"]*)"', key)}
        panels = [p for p in dashboard["panels"] if p["type"] != "row"]
        self.assertEqual(len({p["id"] for p in dashboard["panels"]}), len(dashboard["panels"]))
        used = set()
        for panel in panels:
            self.assertTrue(panel["title"] and panel["targets"])
            for target in panel["targets"]:
                expression = target["expr"]
                found = set(re.findall(r"\bpvreaper_\w+", expression))
                self.assertTrue(found, expression)
                self.assertLessEqual(found, names, expression)
                used |= found
                for key, value in re.findall(r'(\w+)="([^"$]*)"', expression):
                    self.assertIn((key, value), labels, expression)
                self.assertIn('instance=~"$instance"', expression)
        self.assertGreater(len(used), 12)

    def test_promtool_parses_the_expressions(self):
        tool = promtool()
        if not tool:
            self.skipTest("no promtool (Debian: prometheus), nor PVR_PROMTOOL")
        with open(DASHBOARD, encoding="utf-8") as file:
            panels = json.load(file)["panels"]
        rules = [{"record": f"r:{i}", "expr": t["expr"].replace("$__rate_interval", "5m")}
                 for i, t in enumerate(t for p in panels for t in p.get("targets", []))]
        path = f"{self.directory}/rules.yml"
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)  # it is YAML, too
        done = subprocess.run([tool, "check", "rules", path], capture_output=True, text=True,
                              timeout=harness.TIMEOUT, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Alerts(MetricsCase):
    """Not by a YAML library: a rule has one line each for its name and its expression."""

    def rules(self):
        text = harness.read(ALERTS)
        rules = re.findall(r"^      - alert: (\w+)\n        expr: (.+)\n((?:  +.*\n)+)", text, re.M)
        self.assertEqual(len(rules), text.count("alert: "))
        self.assertEqual(len({name for name, _, _ in rules}), len(rules))
        return rules

    def known(self):
        """{metric: {label: values}}"""
        found = {}
        for key in self.metrics():
            name, _, labels = key.partition("{")
            for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
                found.setdefault(name, {}).setdefault(label, set()).add(value)
            found.setdefault(name, {})
        return found

    def check_selector(self, known, name, selector):
        for label, operator, value in re.findall(r'(\w+)(=~?)"([^"]*)"', selector):
            for word in value.split("|") if operator == "=~" else [value]:
                self.assertIn(word, known[name].get(label, ()), f"{name}{selector}")

    def test_each_alert_is_about_metrics_that_exist(self):
        """Metrics, labels and their values, in expressions and in texts, are those of the
        daemon."""
        self.daemon()
        known = self.known()
        for alert, expression, rest in self.rules():
            with self.subTest(alert=alert):
                names = set(re.findall(r"\b(?:pvreaper|node)_\w+", expression))
                self.assertTrue(names)
                self.assertLessEqual(names - FOREIGN, set(known))
                for name, selector in re.findall(r"\b(pvreaper_\w+)(\{[^}]*\})", expression):
                    self.check_selector(known, name, selector)
                labels = {"instance", "job", "file"}.union(*(known.get(n, ()) for n in names))
                used = set(re.findall(r"\$labels\.(\w+)", rest))
                for names in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
                    used |= set(names.split(", "))
                self.assertLessEqual(used, labels)
                for part in ("severity: (?:warning|critical)", "summary: \".+\"",
                             "description: \".+\""):
                    self.assertRegex(rest, part)

    def test_each_command_of_an_alert_exists(self):
        """Of pv-reaperctl; and what an administrator must know is there."""
        verbs = re.findall(r"^  ([a-z-]+) ", self.run_ctl_help(), re.M)
        text = harness.read(ALERTS)
        used = re.findall(r"pv-reaperctl ([a-z-]+)", text)
        self.assertGreater(len(used), 5)
        self.assertLessEqual(set(used), set(verbs))
        self.assertLessEqual({"pvreaper_oldest_wait_seconds", "pvreaper_overdue_workers",
                              "pvreaper_jobs_total", "pvreaper_mode",
                              "pvreaper_start_time_seconds"},
                             set(re.findall(r"pvreaper_\w+", text)))

    @staticmethod
    def run_ctl_help():
        return subprocess.run([harness.CTL, "--help"], capture_output=True, text=True,
                              check=True).stdout.split("Options:")[0]

    def test_a_wait_has_its_reason(self):
        """What PvReaperJobsWait looks at."""
        def waits():
            return {key: value for key, value in self.metrics().items()
                    if key.startswith("pvreaper_oldest_wait_seconds") and value > 0}

        self.serve("--max-concurrent=1")
        self.assertEqual(waits(), {})
        running, waiting = self.worker("running"), self.worker("waiting")
        running.take_slot()
        waiting.register()
        waiting.request()
        self.wait("it waits", waits)
        self.assertEqual(list(waits()), ['pvreaper_oldest_wait_seconds{why="limit"}'])
        running.done()
        waiting.receive(GRANT)
        self.assertEqual(waits(), {})

    def test_promtool_takes_the_alerts(self):
        tool = promtool()
        if not tool:
            self.skipTest("no promtool (Debian: prometheus), nor PVR_PROMTOOL")
        done = subprocess.run([tool, "check", "rules", ALERTS], capture_output=True, text=True,
                              timeout=harness.TIMEOUT, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Reader(MetricsCase):
    def test_the_reader_is_strict(self):
        """Each of these is wrong in one respect only."""
        good = ("# HELP pvreaper_x_seconds Some.\n# TYPE pvreaper_x_seconds gauge\n"
                "# UNIT pvreaper_x_seconds seconds\npvreaper_x_seconds{a=\"b\"} 1.5\n# EOF\n")
        openmetrics.families(good)
        for old, new in (("# EOF\n", ""), ("_seconds seconds", "_seconds bytes"), (" 1.5", " x"),
                         ("gauge", "counter"), ("Some.", "some"), ("{a=\"b\"}", "{a=b}"),
                         ("pvreaper_x", "y_x"), ("# UNIT pvreaper_x_seconds seconds\n", ""),
                         ("# EOF", "pvreaper_x_seconds{a=\"b\"} 2\n# EOF"),
                         ("\n# EOF\n", "\n# EOF"),
                         ("{a=\"b\"}", "{a=\"b\",a=\"c\"}"),
                         ("# TYPE pvreaper_x_seconds gauge\n", "")):
            with self.assertRaises((Error, KeyError), msg=(old, new)):
                openmetrics.families(good.replace(old, new))


if __name__ == "__main__":
    tap.main()
