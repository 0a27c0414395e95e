#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Do includes and calls between the rooms of src go down, and is there no circle?

house.py BUILD-DIR [CASE...]                the checks (TAP)
house.py --figures BUILD-DIR [COMMIT]       what is counted; beside it the same of COMMIT, which is
                                            built in a temporary directory
"""
import collections
import os
import subprocess
import sys
import tempfile
import unittest

import objects
import rooms
import sources
sys.path.insert(0, os.path.join(sources.ROOT, "tests", "lib"))
import tap  # noqa: E402

BUILD = ""
# The build chooses one of two.
PAIRS = [("src/daemon/cgroup/library.c", "src/daemon/cgroup/library-none.c"),
         ("src/sandbox/sandbox.c", "src/sandbox/sandbox-none.c")]
ALTERNATIVES = dict(PAIRS + [(other, one) for one, other in PAIRS])


def texts_of(root):
    """{path: text} of the C files of root's src and include."""
    found = {}
    for top in ("src", "include"):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in names:
                if name.endswith((".c", ".h")):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as file:
                        found[os.path.relpath(path, root)] = file.read()
    return found


def calls_of(build, root):
    contents = []
    for source, path in rooms.sources_of(build, root):
        if os.path.exists(path):
            with open(path, "rb") as file:
                contents.append((source, file.read()))
    if not contents:
        raise objects.NotReadable("nothing is built")
    return rooms.calls_between(contents)


class House(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.texts = texts_of(sources.ROOT)
        cls.rooms = rooms.Rooms(sources.read("HACKING.md"))

    def calls(self):
        try:
            return calls_of(BUILD, sources.ROOT)
        except objects.NotReadable as error:
            self.skipTest(f"no calls to be read from {BUILD}: {error}")

    def expect_none(self, findings):
        found = list(findings)
        if found:
            self.fail(f"{len(found)} findings\n" + "\n".join(found))

    def test_each_file_has_a_room(self):
        self.expect_none(path for path in self.texts if not self.rooms.of(path))

    def test_each_room_has_files(self):
        self.assertEqual(set(self.rooms.uses), {self.rooms.of(path) for path in self.texts})

    def test_rooms_are_in_no_circle(self):
        self.expect_none(map(str, rooms.circles((room, below) for room, some in
                                                self.rooms.uses.items() for below in some)))

    def test_each_file_is_compiled(self):
        """So that each call is seen."""
        compiled = {source for source, _ in rooms.sources_of(BUILD, sources.ROOT)}
        missing = {path for path in self.texts if path.endswith(".c")} - compiled
        for path in missing & set(ALTERNATIVES):
            self.assertIn(ALTERNATIVES[path], compiled)
        self.assertEqual(missing - set(ALTERNATIVES), set())

    def test_includes_go_down(self):
        self.expect_none(rooms.wrong_includes(self.rooms, self.texts))

    def test_calls_go_down(self):
        self.expect_none(rooms.wrong_calls(self.rooms, self.calls()))

    def test_no_circle_of_files(self):
        self.expect_none(rooms.large_circles(self.calls()))


# --figures

def moved(commit):
    """{path at that commit: path now or where it was last}."""
    now = {}
    log = subprocess.run(["git", "log", "--reverse", "--no-merges", "-M", "--diff-filter=R",
                          "--name-status", "--format=", f"{commit}..HEAD", "--", "src"],
                         cwd=sources.ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in log.splitlines():
        _, old, new = line.split("\t")
        first = next((path for path, place in now.items() if place == old), old)
        now[first] = new
    return now


def chain(path, below, depths):
    """How many headers of src lie one below the other, at most, under this file."""
    if path not in depths:
        depths[path] = 0  # for a circle
        depths[path] = max((1 + chain(header, below, depths) for header in below[path]), default=0)
    return depths[path]


def knots(arrows):
    return [circle for circle in rooms.circles(arrows) if len(circle) > 2]


def figures(build, root, place):
    """{what: number}. place: a path's home in the house as it is now."""
    house, texts = rooms.Rooms(sources.read("HACKING.md")), texts_of(root)
    calls, below = calls_of(build, root), collections.defaultdict(set)
    for path, _, target in rooms.quoted_includes(texts):
        below[path].add(target)
    depths, found = {}, collections.Counter()
    placed = {rooms.Call(place(c.path), c.caller, place(c.target), c.callee) for c in calls}
    found["calls up or across"] = len(list(rooms.wrong_calls(house, placed)))
    found["includes up or across"] = sum(not house.may_use(place(path), place(target))
                                         for path, some in below.items() for target in some)
    found["files in a circle of calls"] = sum(map(len, knots((c.path, c.target) for c in calls)))
    module = {path: os.path.splitext(path)[0] for path in texts}
    found["modules in a circle of includes"] = sum(map(len, knots(
        (module[path], module[target]) for path, some in below.items() for target in some)))
    found["headers, one below the other"] = max(chain(path, below, depths) for path in texts)
    for path, text in texts.items():
        for what, number in (("files", 1), ("lines", text.count("\n"))):
            found[f"{what} in {os.path.dirname(path)}"] += number
            if path.startswith("src/daemon/"):
                found[f"{what} in src/daemon and below"] += number
    return found


def figures_of_commit(commit):
    renamed = moved(commit)
    with tempfile.TemporaryDirectory() as root:
        build = os.path.join(root, "build")
        archive = subprocess.run(["git", "archive", commit], cwd=sources.ROOT, check=True,
                                 stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "-x", "-C", root], input=archive, check=True)
        subprocess.run(["meson", "setup", build, root], stdout=subprocess.DEVNULL, check=True)
        targets = [os.path.relpath(path, build) for _, path in rooms.sources_of(build, root)]
        subprocess.run(["ninja", "-C", build, *targets], stdout=subprocess.DEVNULL, check=True)
        return figures(build, root, lambda path: renamed.get(path, path))


def print_figures(build, commit=None):
    columns = [figures_of_commit(commit)] if commit else []
    columns.append(figures(build, sources.ROOT, lambda path: path))
    names = list(dict.fromkeys(name for column in reversed(columns) for name in column))
    folders = [name for name in names if " in src" in name or name.endswith("include")]
    print(" " * 40, *(f"{head:>10}" for head in ([commit[:10]] if commit else []) + ["now"]))
    for name in [name for name in names if name not in folders] + sorted(folders):
        print(f"{name:40}", *(f"{column[name]:10}" for column in columns))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--figures"]:
        print_figures(*sys.argv[2:])
        sys.exit(0)
    BUILD = sys.argv.pop(1)
    tap.main()
