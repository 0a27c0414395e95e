# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rooms of src: which may use which, and what breaks that rule.

The rule stands in one place, the table of HACKING.md's section Layers: a room is a folder below
src, or a module (x.c and x.h) that has a row of its own. A room may use itself, the rooms that its
row names, and what those may use.
"""
import json
import os
import re
from typing import NamedTuple

import objects
from sources import includes


class Rooms:
    def __init__(self, page):
        """page: HACKING.md's text."""
        table = re.search(r"^## Layers\n.*?^\|[-|]+\|\n(.*?)\n\n", page, re.M | re.S)[1]
        self.uses = {}
        for row in table.splitlines():
            _, first, _, last, _ = row.split("|")
            for room in re.findall(r"`([^`]+)`", first):
                self.uses[room] = set(re.findall(r"`([^`]+)`", last))
        unknown = {below for some in self.uses.values() for below in some} - set(self.uses)
        if unknown:
            raise ValueError(f"HACKING.md's table of layers has no row for {sorted(unknown)}")
        self.below = {room: self.reach(room) for room in self.uses}

    def reach(self, room):
        found, waiting = set(), [room]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self.uses[one]
        return found

    def of(self, path):
        """The room of a path from the project's root, or None."""
        name = os.path.splitext(path)[0].removeprefix("src/")
        while name not in self.uses and name:
            name = os.path.dirname(name)
        return name or None

    def may_use(self, path, other):
        room, target = self.of(path), self.of(other)
        return not room or not target or target in self.below[room]


# What libpvreaper-preload puts before libc's (preload.sym): whoever calls it means libc's.
INTERPOSED = {"io_setup", "ioctl"}


class Call(NamedTuple):
    path: str
    caller: str
    target: str
    callee: str


def quoted_includes(texts):
    """(path, line, included path) of the includes between these files. texts: {path: text}"""
    for path, text in texts.items():
        for line, kind, name in includes(text):
            folders = ["include"] if kind == "<" else [os.path.dirname(path), "src", "include"]
            places = [os.path.normpath(os.path.join(folder, name)) for folder in folders]
            target = next((place for place in places if place in texts), None)
            if target:
                yield path, line, target


def sources_of(build, root):
    """[(source, object)] of what this build compiles of root's src."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        for entry in json.load(file):
            source = os.path.join(entry["directory"], entry["file"])
            source = os.path.relpath(os.path.realpath(source), os.path.realpath(root))
            if source.startswith("src/"):
                yield source, os.path.join(entry["directory"], entry["output"])


def calls_between(contents):
    """The calls from file to file. contents: [(source, object file's bytes)]."""
    read, homes = [(source, objects.read(data)) for source, data in contents], {}
    for source, content in read:
        for name in content.functions - INTERPOSED:
            homes.setdefault(name, set()).add(source)
    return {Call(source, caller, home(source, callee, homes), callee)
            for source, content in read for caller, callee in content.calls if callee in homes}


def home(source, callee, homes):
    """Two programs may each have a function of this name: each means its own."""
    program = source.split("/")[1]
    found = {path for path in homes[callee] if path.split("/")[1] == program} or homes[callee]
    if len(found) > 1:
        raise ValueError(f"{source}: {callee}() is in {' and in '.join(sorted(found))}")
    return next(iter(found))


def circles(arrows):
    """Sets of two nodes and more that all reach each other. arrows: pairs (from, to)."""
    forward, backward = {}, {}
    for one, other in arrows:
        forward.setdefault(one, set()).add(other)
        backward.setdefault(other, set()).add(one)
    found, seen = [], set()
    for node in sorted(forward):
        if node not in seen:
            circle = reach(node, forward) & reach(node, backward)
            seen |= circle
            found += [circle] if len(circle) > 1 else []
    return found


def reach(node, arrows):
    found, waiting = set(), [node]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += arrows.get(one, ())
    return found


def wrong_includes(rooms, texts):
    for path, line, target in quoted_includes(texts):
        if not rooms.may_use(path, target):
            yield f"{path}:{line}: {rooms.of(path)} must not include {target}"


def wrong_calls(rooms, calls):
    for call in sorted(calls):
        if not rooms.may_use(call.path, call.target):
            yield f"{call.path}: {call.caller}() must not call {call.target}'s {call.callee}()"


def large_circles(calls):
    """A circle of two files is a pair that could be one file; more are a knot."""
    for circle in circles((call.path, call.target) for call in calls):
        if len(circle) > 2:
            inside = sorted(call for call in calls if {call.path, call.target} <= circle
                            and call.path != call.target)
            yield "\n".join([f"{len(circle)} files call each other in a circle:",
                             *(f"  {call.path}: {call.caller}() calls {call.target}'s "
                               f"{call.callee}()" for call in inside)])
