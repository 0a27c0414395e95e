# SPDX-License-Identifier: LGPL-2.1-or-later
"""The simulator's log as a ledger: each line is read once, however long it gets. Who was set aside,
who took it and how that ended; and what may be said of it once everybody is dead.

Times are the log's, CLOCK_MONOTONIC in ns. A VM is named as in the log, so no two VMMs of a test
may have had the same pid.
"""

import os

from harness import values

EINVAL = "-22"
SLACK = 10**9  # how long a task may go on after the signal that killed it


class Take:
    """One PERFORM or DISABLE. seq: what it took, "0": nothing, which is an instant's work."""

    def __init__(self, begin):
        self.cmd, self.vm, self.comm = begin["cmd"], begin["vm"], begin["comm"]
        self.seq = begin["seq" if self.cmd == "PERFORM" else "aside"]
        self.pid, self.begin = int(begin["pid"]), int(begin["t"])
        self.end = self.word = None

    def __str__(self):
        return f"{self.cmd} of {self.vm}, incarnation {self.seq}, by {self.comm} {self.pid}"

    def finish(self, end):
        self.end = int(end["t"])
        if end["ret"] == "0":
            self.word = "performed" if self.cmd == "PERFORM" else "disabled"
        else:
            self.word = "superseded" if self.seq == "0" and end["ret"] == EINVAL else "failed"


class Ledger:
    """ends: for each VM set aside, (vm, seq), all who took it. aside: those nobody took so far.
    inside: who is in a command now, by tid. performs: (vm, pid): its PERFORMs in order.
    """

    def __init__(self, path):
        self.path, self.offset, self.n_lines = path, 0, 0
        self.ends, self.aside, self.inside, self.performs = {}, {}, {}, {}
        self.refused = {}  # {vm: when a PREPARE found the kernel's place taken}
        self.unknown = []  # somebody took what nobody had set aside
        self.deaths = {}  # {pid: when they were killed or told to leave}

    def died(self, pid, at):
        self.deaths.setdefault(pid, []).append(at)

    def update(self):
        if not os.path.exists(self.path):
            return
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            data = file.read()
        data = data[:data.rfind(b"\n") + 1]
        self.offset += len(data)
        for line in data.decode().splitlines():
            self.n_lines += 1
            event = values(line)
            (self._begin if event["ev"] == "begin" else self._end)(event)

    def _begin(self, event):
        take = None
        if event["cmd"] == "PREPARE" and event["seq"] != "0":
            self.ends[event["vm"], event["seq"]] = []
            self.aside[event["vm"], event["seq"]] = int(event["t"])
        elif event["cmd"] in ("PERFORM", "DISABLE"):
            take = Take(event)
            self._take(take)
        self.inside[event["tid"]] = take

    def _take(self, take):
        if take.cmd == "PERFORM":
            self.performs.setdefault((take.vm, take.pid), []).append(take)
        if take.seq == "0":
            return
        key = take.vm, take.seq
        self.aside.pop(key, None)
        if key in self.ends:
            self.ends[key].append(take)
        else:
            self.unknown.append(take)

    def _end(self, event):
        take = self.inside.pop(event["tid"], None)
        if take:
            take.finish(event)
        if event["cmd"] == "PREPARE" and event["ret"] == EINVAL:
            self.refused.setdefault(event["vm"], []).append(int(event["t"]))

    def death_of(self, take):
        """When whoever was in there was killed, or None."""
        return next((at for at in self.deaths.get(take.pid, ()) if at + SLACK >= take.begin), None)

    def aside_of(self, pid):
        """What of this VMM is set aside."""
        return [key for key in self.aside if key[0].startswith(f"{pid}.")]

    def busy(self):
        """What the living still have to do: VMs set aside, and commands that go on."""
        aside = [f"VM {vm}, incarnation {seq}, is set aside" for vm, seq in self.aside
                 if int(vm.partition(".")[0]) not in self.deaths]
        return aside + [str(t) for t in self.inside.values() if t and not self.death_of(t)]

    def all_performs(self):
        return [take for takes in self.performs.values() for take in takes]

    def close(self):
        """When all are dead: whoever came to no end was killed in there."""
        takes = self.all_performs() + [t for found in self.ends.values() for t in found]
        for take in takes:
            if take.end is None and (at := self.death_of(take)):
                take.end, take.word = max(at, take.begin), "killed"

    def word_for(self, vm, seq):
        """How a VM that was set aside ended: performed, disabled, failed, killed (its task, in
        there), left (to the end of its VMM), or, if it is not exactly one of these, what else.
        """
        takes = self.ends[vm, seq]
        # The log says it first (vm.c): who was killed before it was done had taken nothing.
        takes = [take for take in takes[:-1] if take.word != "killed"] + takes[-1:]
        if len(takes) == 1 and takes[0].word:
            return takes[0].word
        if not takes and int(vm.partition(".")[0]) in self.deaths:
            return "left"
        return ", ".join(f"{take}: {take.word}" for take in takes) or "not taken by anybody"


def most_at_once(takes):
    """How many of these, which have all ended, ran at the same time."""
    events = sorted([(take.begin, 1) for take in takes] + [(take.end, -1) for take in takes])
    now = most = 0
    for _, step in events:
        now += step
        most = max(most, now)
    return most
