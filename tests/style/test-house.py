#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Does the checker of the house find what it looks for? Each case builds a small house."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import objects
import rooms
import sources
sys.path.insert(0, os.path.join(sources.ROOT, "tests", "lib"))
import tap  # noqa: E402

PAGE = """# Page
## Layers
Text.

| room | what lives there | may use |
|---|---|---|
| `d/main` | a module | `d/face`, `d/side` |
| `d/face`, `d/side` | two rooms in one row | `d/core` |
| `d/core` | | `base` |
| `other` | another program | `base` |
| `base` | | |

Text.
"""
ROOMS = rooms.Rooms(PAGE)


def compile_c(text, compiler="cc", options=("-O2", "-fPIC")):
    """The bytes of the object."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x.c")
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        subprocess.run([compiler, *options, "-c", "-o", path + ".o", path], check=True)
        with open(path + ".o", "rb") as file:
            return file.read()


def house(**files):
    """The calls between these files; d_core_x stands for src/d/core/x.c."""
    return rooms.calls_between([(f"src/{name.replace('_', '/')}.c", compile_c(text))
                                for name, text in files.items()])


class Table(unittest.TestCase):
    def test_a_module_may_be_a_room(self):
        for path, room in [("src/d/main.c", "d/main"), ("src/d/main.h", "d/main"),
                           ("src/d/core/x.c", "d/core"), ("src/base/deep/x.h", "base"),
                           ("src/d/new.c", None), ("src/nowhere/x.c", None)]:
            self.assertEqual(ROOMS.of(path), room, path)

    def test_a_room_may_use_all_below_it(self):
        for path, target, allowed in [
                ("src/d/main.c", "src/base/x.h", True),
                ("src/d/core/x.c", "src/d/core/y.h", True),
                ("src/d/face/x.c", "src/d/side/x.h", False),
                ("src/base/x.c", "src/d/core/x.h", False),
                ("src/d/core/x.c", "src/d/main.h", False),
                ("src/other/x.c", "src/d/core/x.h", False)]:
            self.assertEqual(ROOMS.may_use(path, target), allowed, (path, target))

    def test_a_row_that_is_missing(self):
        with self.assertRaisesRegex(ValueError, "no row for .'base'"):
            rooms.Rooms(PAGE.replace("| `base` | | |\n", ""))


class Tree(unittest.TestCase):
    """The table of HACKING.md itself: a row that is too wide would go unnoticed."""
    def setUp(self):
        self.rooms = rooms.Rooms(sources.read("HACKING.md"))

    def expect(self, allowed, *arrows):
        for path, target in arrows:
            self.assertEqual(self.rooms.may_use(f"src/{path}", target if "pvreaper.h" in target
                                                else f"src/{target}"), allowed, (path, target))

    def test_programs_and_libraries(self):
        self.expect(False, ("base/wire.c", "lib/vm.h"), ("lib/vm.c", "daemon/main.h"),
                    ("daemon/worker/peer.c", "lib/vm.h"), ("daemon/worker/peer.c", "ctl/verbs.h"),
                    ("daemon/worker/peer.c", "link/link.h"), ("ctl/main.c", "daemon/job/job.h"),
                    ("ctl/main.c", "include/pvreaper.h"), ("closer/main.c", "lib/vm.h"),
                    ("base/wire.c", "link/link.h"), ("hold/main.c", "daemon/runtime/log.h"),
                    ("base/wire.h", "include/pvreaper.h"), ("lib/vm.c", "preload/slots.h"),
                    ("daemon/main.c", "include/pvreaper.h"))
        self.expect(True, ("lib/vm.c", "base/wire.h"), ("lib/vm.c", "include/pvreaper.h"),
                    ("preload/preload.c", "lib/vm.h"), ("closer/work.c", "link/link.h"),
                    ("hold/main.c", "sandbox/sandbox.h"))

    def test_the_core_knows_no_face(self):
        for face in ("bus/bus.h", "service/service.h", "metrics/metrics.h", "forecast.h"):
            for core in ("manager.c", "policy.c", "memory/memory.c", "worker/peer.c"):
                self.expect(False, (f"daemon/{core}", f"daemon/{face}"))
        self.expect(True, ("daemon/main.c", "daemon/bus/bus.h"),
                    ("daemon/bus/bus.c", "daemon/manager.h"))

    def test_a_worker_knows_no_manager(self):
        for core in ("adopt/adopt.c", "cpu/cap.c", "memory/memory.c", "policy.c", "worker/peer.c"):
            self.expect(False, (f"daemon/{core}", "daemon/manager.h"))
        self.expect(False, ("daemon/worker/peer.c", "daemon/memory/memory.h"),
                    ("daemon/cpu/cap.c", "daemon/worker/worker.h"))

    def test_what_is_pure_stays_pure(self):
        self.expect(False, ("daemon/governor/queue.c", "daemon/cpu/share.h"),
                    ("daemon/governor/queue.c", "daemon/config/config.h"),
                    ("daemon/job/job.c", "daemon/worker/worker.h"),
                    ("daemon/job/job.c", "daemon/governor/unit.h"))


class Includes(unittest.TestCase):
    TEXTS = {"src/d/face/x.h": "", "src/d/core/y.h": "", "src/base/z.h": "", "include/p.h": ""}

    def expect(self, path, line, findings):
        texts = {**self.TEXTS, path: f"\n{line}\n"}
        self.assertEqual(list(rooms.wrong_includes(ROOMS, texts)), findings)

    def test_up_and_across(self):
        self.expect("src/d/core/x.c", '#include "d/face/x.h"',
                    ["src/d/core/x.c:2: d/core must not include src/d/face/x.h"])
        self.expect("src/d/core/x.c", '#include "../face/x.h"',
                    ["src/d/core/x.c:2: d/core must not include src/d/face/x.h"])
        self.expect("src/d/side/x.c", '#include "d/face/x.h"',
                    ["src/d/side/x.c:2: d/side must not include src/d/face/x.h"])

    def test_down_and_beside(self):
        self.expect("src/d/face/x.c", '#include "base/z.h"', [])
        self.expect("src/d/core/x.c", '#include "y.h"', [])
        self.expect("src/d/core/x.c", "#include <stdio.h>", [])
        self.expect("src/d/core/x.c", '// #include "d/face/x.h"', [])

    def test_public_header(self):
        page = PAGE.replace("| `base` | | |\n", "| `base` | | |\n| `include` | | |\n")
        found = rooms.wrong_includes(rooms.Rooms(page), {"include/p.h": "",
                                                         "src/base/x.c": "#include <p.h>\n"})
        self.assertEqual(list(found), ["src/base/x.c:1: base must not include include/p.h"])


class Calls(unittest.TestCase):
    def expect(self, calls, *findings):
        self.assertEqual(list(rooms.wrong_calls(ROOMS, calls)), list(findings))

    def test_a_call_down(self):
        self.expect(house(d_face_x="int low(int); int up(void) { return low(1) + 1; }",
                          d_core_x="int low(int a) { return a; }"))

    def test_a_call_up(self):
        self.expect(house(d_face_x="int up(void) { return 1; }",
                          d_core_x="int up(void); int low(void) { return up() + 1; }"),
                    "src/d/core/x.c: low() must not call src/d/face/x.c's up()")

    def test_a_jump_up(self):
        self.expect(house(d_face_x="int up(void) { return 1; }",
                          d_core_x="int up(void); int low(void) { return up(); }"),
                    "src/d/core/x.c: low() must not call src/d/face/x.c's up()")

    def test_a_call_across(self):
        self.expect(house(d_face_x="int side(void); int face(void) { return side() + 1; }",
                          d_side_x="int side(void) { return 1; }"),
                    "src/d/face/x.c: face() must not call src/d/side/x.c's side()")

    def test_a_callback_in_code(self):
        self.expect(house(d_face_x="int up(void) { return 1; }",
                          d_core_x="int up(void); int (*low(void))(void) { return up; }"))

    def test_a_callback_in_data(self):
        self.expect(house(d_face_x="int up(void) { return 1; }",
                          d_core_x="int up(void); int (*const low[])(void) = { up };"))

    def test_a_callback_is_called(self):
        self.expect(house(d_face_x="int low(int (*)(void)); int on(void) { return 1; }\n"
                                   "int up(void) { return low(on) + 1; }",
                          d_core_x="int low(int (*on)(void)) { return on() + 1; }"))

    def test_the_caller_is_named(self):
        text = """
        int up(void);
        int one(int a) { return a * 3; }
        static __attribute__((noinline)) int two(int a) { return up() * a; }
        int three(int a) { return a < 0 ? 0 : two(a) + 1; }
        """
        self.expect(house(d_face_x="int up(void) { return 1; }", d_core_x=text),
                    "src/d/core/x.c: two() must not call src/d/face/x.c's up()")

    def test_cold_part_of_a_function(self):
        text = "void up(void) __attribute__((cold)); int low(int a) { if (a) up(); return a; }"
        self.expect(house(d_face_x="void up(void) { }", d_core_x=text),
                    "src/d/core/x.c: low() must not call src/d/face/x.c's up()")

    def test_two_programs_with_one_name(self):
        say = "int say(void) { return 1; }"
        calls = house(d_core_say=say, other_say=say,
                      other_x="int say(void); int low(void) { return say() + 1; }")
        self.assertEqual(calls, {rooms.Call("src/other/x.c", "low", "src/other/say.c", "say")})
        with self.assertRaisesRegex(ValueError, "say.. is in src/d/core/say.c and in src/other"):
            house(d_core_say=say, other_say=say,
                  base_x="int say(void); int low(void) { return say() + 1; }")

    def test_what_is_put_before_libc(self):
        self.assertEqual(house(base_x="int ioctl(int, int); int f(void) { return ioctl(1, 2); }",
                               other_x="int ioctl(int a, int b) { return a + b; }"), set())


class Circles(unittest.TestCase):
    @staticmethod
    def chain(*names):
        """Files that call each other in this order, the last one the first."""
        return house(**{f"d_core_{name}": f"int f_{next_}(void);\n"
                        f"int f_{name}(void) {{ return f_{next_}() + 1; }}"
                        for name, next_ in zip(names, names[1:] + names[:1])})

    def test_two_may(self):
        calls = self.chain("a", "b")
        self.assertEqual(list(rooms.large_circles(calls)), [])
        self.assertEqual(rooms.circles((call.path, call.target) for call in calls),
                         [{"src/d/core/a.c", "src/d/core/b.c"}])

    def test_three_may_not(self):
        found, = rooms.large_circles(self.chain("a", "b", "c"))
        self.assertTrue(found.startswith("3 files call each other in a circle:\n"), found)
        self.assertIn("  src/d/core/c.c: f_c() calls src/d/core/a.c's f_a()", found)

    def test_a_chain_is_none(self):
        self.assertEqual(rooms.circles([("a", "b"), ("b", "c"), ("a", "c"), ("c", "c")]), [])

    def test_two_circles(self):
        arrows = ["ab", "ba", "bc", "cd", "de", "ec"]
        self.assertEqual(rooms.circles(arrows), [{"a", "b"}, {"c", "d", "e"}])


class Objects(unittest.TestCase):
    TEXT = """
    int called(void); int jumped(void); int taken(void); int kept(void);
    int (*const table[])(void) = { kept };
    int one(void) { return called() + 1; }
    int two(void) { return jumped(); }
    int (*three(void))(void) { return taken; }
    static int four(int a) { return a; }
    int (*five(void))(int) { return four; }
    """
    OPTIONS = (["-O0"], ["-O2"], ["-O3", "-fPIC"], ["-O2", "-fPIC", "-fno-plt"],
               ["-O2", "-fno-pie"], ["-O2", "-ffunction-sections", "-g"])

    def expect(self, compiler, options):
        found = objects.read(compile_c(self.TEXT, compiler, options))
        self.assertEqual(found.functions, {"one", "two", "three", "five"}, options)
        self.assertEqual(found.calls, {("one", "called"), ("two", "jumped")}, options)

    def test_x86_64(self):
        for compiler in [name for name in ("cc", "clang") if shutil.which(name)]:
            for options in self.OPTIONS:
                self.expect(compiler, options)

    def test_s390x(self):
        if not shutil.which("s390x-linux-gnu-gcc"):
            self.skipTest("no s390x-linux-gnu-gcc")
        for options in self.OPTIONS:
            if "-fno-plt" not in options:  # loads the address first
                self.expect("s390x-linux-gnu-gcc", options)

    def test_what_cannot_be_read(self):
        with self.assertRaisesRegex(objects.NotReadable, "-flto"):
            objects.read(compile_c(self.TEXT, options=["-flto"]))
        with self.assertRaisesRegex(objects.NotReadable, "no ELF"):
            objects.read(b"BC\xc0\xde" + bytes(100))


if __name__ == "__main__":
    tap.main()
