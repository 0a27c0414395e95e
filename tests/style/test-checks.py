#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Do the style checks find what they look for? Each is fed bad snippets, and good ones."""
import os
import subprocess
import sys
import tempfile
import unittest

import checks
import sources
import tidy
import usage
sys.path.insert(0, os.path.join(sources.ROOT, "tests", "lib"))
import tap  # noqa: E402

OPENING = """/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One.
 * Two.
 * Three.
 */
"""


class Libraries(unittest.TestCase):
    def expect(self, path, line, finding):
        found = list(checks.check_libraries(path, f"\n{line}\n"))
        self.assertEqual(len(found), 1 if finding else 0, (path, line, found))
        if finding:
            self.assertTrue(found[0].startswith(f"{path}:2: "), found)
            self.assertIn(finding, found[0])

    def test_one_library_one_file(self):
        for owner, name in [("daemon/cgroup/library.c", "libcgroup.h"),
                            ("sandbox/sandbox.c", "seccomp.h"),
                            ("daemon/config/parse.c", "ini.h"),
                            ("daemon/bus/bus.c", "systemd/sd-bus.h"),
                            ("daemon/runtime/journal.c", "systemd/sd-journal.h"),
                            ("daemon/bus/x.c", "systemd/sd-bus-vtable.h")]:
            self.expect(f"src/{owner}", f"#include <{name}>", None)
            self.expect("src/daemon/worker/peer.c", f"#  include <{name}>", "belongs to")
            self.expect("src/base/wire.c", f"#include <{name}>", "belongs to")
        self.expect("src/daemon/worker/peer.c", "#include <systemd/sd-event.h>", None)
        self.expect("src/lib/vm.c", "#include <systemd/sd-event.h>", "belongs to")

    def test_unknown_library(self):
        self.expect("src/daemon/worker/peer.c", "#include <glib.h>", "neither")
        self.expect("src/daemon/worker/peer.c", "#include <linux/kvm.h>", None)

    def test_base_and_lib_are_silent(self):
        self.expect("src/base/wire.c", "#include <stdio.h>", "never logs")
        self.expect("src/lib/vm.c", "#include <syslog.h>", "never logs")
        self.expect("src/daemon/runtime/log.c", "#include <syslog.h>", None)

    def test_neither_tests_nor_quoted_includes(self):
        self.expect("tests/unit/test-peer.c", "#include <glib.h>", None)
        self.expect("src/lib/vm.c", '#include "daemon/main.h"', None)
        self.expect("src/lib/vm.c", "#include <pvreaper.h>", None)

    def test_comments_are_no_includes(self):
        self.expect("src/base/wire.c", "/*\n#include <stdio.h>\n*/", None)


class Sizes(unittest.TestCase):
    def expect(self, text, finding, path="src/daemon/x.c"):
        found = list(checks.check_sizes(path, text))
        self.assertEqual(len(found), 1 if finding else 0, found)
        self.assertIn(finding or "", "".join(found))

    def test_function_length(self):
        for lines, finding in [(60, None), (61, "f() has 61 lines")]:
            body = "        a();\n" * (lines - 2)
            self.expect("int x;\n\nint f(void) {\n" + body + "}\n", finding)
            self.expect("static int\nf(int a, /* { */\n  int b) {\n" + body[:-26] + "}\n", finding)

    def test_what_is_no_function(self):
        body = "        1,\n" * 70
        for head in ["int a[] = ", "struct x ", "enum ", "struct __attribute__((packed)) x ",
                     "const struct r rows[SIZE(3)] = ", "union __attribute__((a, b)) "]:
            self.expect(head + "{\n" + body + "};\n", None)
        self.expect("#define F(x) \\\n        do { \\\n" + "        a(); \\\n" * 70 + "}\n", None)

    def test_braces_in_strings_and_comments(self):
        text = "int f(void) {\n        a(\"{\", '{'); // {\n/* { */\n}\n\nint g(void) {\n}\n"
        self.assertEqual([(f.name, f.line, f.length) for f in sources.functions(text)],
                         [("f", 1, 4), ("g", 6, 2)])

    def test_functions_in_extern_c(self):
        text = 'extern "C" {\nint f(int a) {\n}\n}\nint g(int a) {\n}\n'
        self.assertEqual([f.name for f in sources.functions(text)], ["f", "g"])

    def test_parameters(self):
        self.expect("int f(int a, int b, int c, int d, int e) {\n}\n", None)
        self.expect("int f(int a, int b, int c, int d, int e, int g) {\n}\n", "6 parameters")
        self.expect("int f(int (*g)(int, int, int, int), void *a, int b[3]) {\n}\n", None)
        self.expect("_printf_(1, 2) int f(char *a, int b, int c, int d, int e, int g) {\n}\n",
                    "f() has 6 parameters")
        self.expect("int property_get_x(int a, int b, int c, int d, int e, int f, int g) {\n}\n",
                    None)

    def test_columns(self):
        self.expect("/*" + "x" * 98 + "\n", None)
        self.expect("/*" + "x" * 99 + "\n", "101 columns")
        self.expect("\t/*" + "x" * 91 + "\n", "101 columns")
        self.expect("#" + "x" * 100 + "\n", "101 columns", path="tests/run")

    def test_file_length(self):
        self.expect("\n" * 600, None)
        self.expect("\n" * 601, "601 lines")
        self.expect("\n" * 601, "601 lines", path="tests/run")

    def test_report(self):
        report = list(checks.budget_report({"a.c": "int f(void) {\n}\n" + "\n" * 400}))
        self.assertIn("median 2 ", report[0])
        self.assertIn("a.c: 402 lines", report[1])


class Texts(unittest.TestCase):
    def expect(self, check, path, text, n):
        found = list(check(path, text))
        self.assertEqual(len(found), n, found)

    def test_opening(self):
        opening = checks.check_opening
        self.expect(opening, "src/x.c", OPENING + "int a;\n", 0)
        self.expect(opening, "src/x.c", OPENING.replace("LGPL-2.1", "GPL-2.0"), 1)
        module, gpl = "tests/system/pvsim/x.c", OPENING.replace("LGPL-2.1-or-later", "GPL-2.0-only")
        self.expect(opening, module, gpl, 0)
        self.expect(opening, module, OPENING, 1)
        self.expect(opening, "src/x.c", OPENING.replace(" * Two.\n", " *\n"), 1)
        self.expect(opening, "src/x.c", OPENING.replace("/*\n * One", "int a;\n/*\n * One"), 1)
        self.expect(opening, "src/x.c", "", 2)

    def test_pragma_once(self):
        licence = OPENING.partition("\n")[0]
        self.expect(checks.check_opening, "src/x.h", licence + "\n#pragma once\n", 0)
        self.expect(checks.check_opening, "src/x.h", licence + "\n#ifndef X\n", 1)

    def test_words(self):
        place = "/ho" + "me/"
        words = checks.check_words
        self.expect(words, "README.md", f"see {place}me/x and\n'{place}you'\n", 2)
        self.expect(words, "README.md", "see /wo" + "rk/x\n", 1)
        self.expect(words, "README.md", f"$DIR{place}x ProtectHome=yes a{place}b\n", 0)
        self.expect(words, "src/x.c", "/* TO" + "DO: this */\n", 1)
        self.expect(words, "src/x.c", '"/tmp/xXXXXXX"\n', 0)
        self.expect(words, "tests/x.c", "/* TO" + "DO: this */\n", 0)

    def test_phrases(self):
        phrases = checks.forbidden_phrases('6. Never write: "none of it", "whilom". The rest.\n')
        self.assertEqual(phrases, ["none of it", "whilom"])

        def check(path, text):
            return checks.check_phrases(phrases, path, text)
        self.expect(check, "x.c", "/* It has none\n * of it. Whilom it had. */\n", 2)
        self.expect(check, "x.md", "none\nof it\n", 1)
        self.expect(check, "x.conf", "# none\n# of it\n", 1)
        self.expect(check, "x.c", "/* none of its own, whilome */\n", 0)
        self.expect(check, "HACKING.md", '6. Never write: "none of it", "whilom".\n', 0)

    def test_subjects(self):
        self.expect(checks.check_subjects, "src/x.c", "/* Whoever asks.\n * Or whoever */\n", 2)
        self.expect(checks.check_subjects, "README.md", "for whoever asks\n", 1)
        self.expect(checks.check_subjects, "HACKING.md", 'not "whoever asks"\n', 0)
        self.expect(checks.check_subjects, "tests/x.py", "# whoever asks\n", 0)


class Programs(unittest.TestCase):
    MAN = """# SYNOPSIS
*prog* [--other]

# OPTIONS

*-j*, *--json=*_short_
	As *systemctl --no-pager* does.

*--dry-run*
	Text.

# FILES
*--elsewhere*
"""

    def test_options(self):
        self.assertEqual(usage.options_of_man(self.MAN), {"--json", "--dry-run"})
        self.assertEqual(usage.options_of_help("Usage: p [--json=short]\n  -n --dry-run  x\n"),
                         {"--json", "--dry-run"})

    def test_difference(self):
        self.assertEqual(usage.compare({"--a", "--b"}, {"--a", "--b"}), [])
        self.assertIn("--b", "".join(usage.compare({"--a", "--b"}, {"--a"})))
        self.assertIn("--c", "".join(usage.compare({"--a"}, {"--a", "--c"})))

    @unittest.skipUnless(tidy.available(), "no clang-tidy of the right version")
    def test_clang_tidy(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "bad.c")
            with open(path, "w", encoding="utf-8") as f:
                f.write("int f(int *p);\nint f(int *p) {\n        p = 0;\n        return *p;\n}\n")
            with open(os.path.join(folder, "compile_commands.json"), "w", encoding="utf-8") as f:
                f.write('[{"directory": "%s", "file": "%s", "command": "cc -c %s"}]'
                        % (folder, path, path))
            status, output = tidy.run(folder, path)
        self.assertNotEqual(status, 0)
        self.assertIn("clang-analyzer-core.NullDereference", output)

    def test_clang_format(self):
        if not subprocess.run(["which", "clang-format"], capture_output=True, check=False).stdout:
            self.skipTest("no clang-format")
        done = subprocess.run(["clang-format", "--dry-run", "-Werror", "-style=file",
                               "--assume-filename=src/x.c"], cwd=sources.ROOT, text=True,
                              input="int f( void ) { return 0; }\n", capture_output=True,
                              check=False)
        self.assertNotEqual(done.returncode, 0)


if __name__ == "__main__":
    tap.main()
