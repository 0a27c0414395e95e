# SPDX-License-Identifier: LGPL-2.1-or-later
"""A strict reader of OpenMetrics 1.0 and of Prometheus' text format 0.0.4, as far as our daemon
uses them. Whatever is not as the standard, or Prometheus' rules for names, would have it is an
error.
"""

import re

SUFFIXES = {"counter": ("_total",), "gauge": ("",), "info": ("_info",),
            "histogram": ("_bucket", "_count", "_sum")}
NAME = r"[a-z][a-z0-9_]*"
SAMPLE = re.compile(rf'({NAME})(?:\{{((?:{NAME}="[^"\\\n]*",?)+)\}})? (\d+(?:\.\d+)?)')
UNITS = ("seconds", "bytes")


class Error(Exception):
    pass


class Family:
    def __init__(self, name, help_text):
        self.name, self.help, self.kind, self.unit, self.samples = name, help_text, None, None, {}

    def add(self, line):
        match = SAMPLE.fullmatch(line)
        if not match:
            raise Error(f"no sample: {line!r}")
        name, labels, number = match.groups()
        labels = tuple(re.findall(rf'({NAME})="([^"]*)"', labels or ""))
        if name not in [self.name + suffix for suffix in SUFFIXES[self.kind]]:
            raise Error(f"{name} is no sample of the {self.kind} {self.name}")
        if len({key for key, _ in labels}) != len(labels):
            raise Error(f"a label twice: {line!r}")
        if (name, labels) in self.samples:
            raise Error(f"a series twice: {line!r}")
        self.samples[name, labels] = float(number)

    def check(self):
        if not self.samples or not self.kind:
            raise Error(f"{self.name} has no type or no samples")
        if not re.fullmatch(r"[A-Z][^\n]*\.", self.help):
            raise Error(f"{self.name}: a sentence would help: {self.help!r}")
        if not self.name.startswith("pvreaper_"):
            raise Error(f"{self.name} is not ours")
        ends = next((unit for unit in UNITS if self.name.endswith(f"_{unit}")), None)
        if self.unit != ends:
            raise Error(f"{self.name}: its name and its unit {self.unit} do not go together")
        if self.kind == "histogram":
            self.check_histogram()

    def check_histogram(self):
        series = {}
        for (name, labels), number in self.samples.items():
            key = tuple(label for label in labels if label[0] != "le")
            part = series.setdefault(key, {"le": []})
            if name.endswith("_bucket"):
                bound = dict(labels)["le"]
                if bound != "+Inf" and str(float(bound)) != bound:
                    raise Error(f"{self.name}: le={bound} is not as OpenMetrics writes it")
                part["le"].append((float(bound), number))
            else:
                part[name[len(self.name):]] = number
        for key, part in series.items():
            bounds, counts = zip(*part["le"])
            if list(bounds) != sorted(set(bounds)) or list(counts) != sorted(counts):
                raise Error(f"{self.name}{key}: buckets out of order")
            if bounds[-1] != float("inf") or counts[-1] != part["_count"] or "_sum" not in part:
                raise Error(f"{self.name}{key}: the last bucket is not all there is")


def families(text, openmetrics=True):
    """{name: Family} of a text, which must be right in every respect.

    Not OpenMetrics: the text format, whose counters are called as their samples are, and which
    knows neither units nor EOF.
    """
    lines = text.split("\n")
    if lines.pop() != "":
        raise Error("the last line has no end")
    if openmetrics and lines.pop() != "# EOF":
        raise Error("no # EOF at the end")
    found, family = {}, None
    for line in lines:
        word = re.fullmatch(rf"# (HELP|TYPE|UNIT) ({NAME}) (.+)", line)
        if not word:
            if not family:
                raise Error(f"a sample of nothing: {line!r}")
            family.add(line)
            continue
        what, name, rest = word.groups()
        if what == "HELP":
            if not openmetrics:
                name = re.sub("_(total|info)$", "", name)
            if name in found:
                raise Error(f"{name} twice")
            family = found[name] = Family(name, rest)
        elif family.samples or not name.startswith(family.name):
            raise Error(f"out of place: {line!r}")
        elif what == "TYPE":
            family.kind = rest
            if not openmetrics:
                family.kind = {"_total": "counter", "_info": "info"}.get(name[len(family.name):],
                                                                        rest)
        elif not openmetrics:
            raise Error(f"not of this format: {line!r}")
        else:
            family.unit = rest
    for family in found.values():
        if not openmetrics:
            family.unit = next((u for u in UNITS if family.name.endswith(f"_{u}")), None)
        family.check()
    return found


def samples(text, openmetrics=True):
    """{'name{key="value"}': number}"""
    return {name + ("{" + ",".join(f'{k}="{v}"' for k, v in labels) + "}" if labels else ""): number
            for family in families(text, openmetrics).values()
            for (name, labels), number in family.samples.items()}
