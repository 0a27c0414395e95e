#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Does --help name the options that the man page names? usage.py BUILD-DIR"""
import os
import re
import subprocess
import sys
import tempfile
import unittest

import sources
sys.path.insert(0, os.path.join(sources.ROOT, "tests", "lib"))
import tap  # noqa: E402

BUILD_DIR = sys.argv.pop(1) if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]) else "build"
OPTION = r"--[a-z][a-z0-9-]*"


def options_of_help(text):
    return set(re.findall(rf"(?<![\w-]){OPTION}", text))


def options_of_man(text):
    """The options that begin a bold word in the sections whose title has OPTIONS in it."""
    sections = re.split(r"^# ", text, flags=re.MULTILINE)
    return {option for section in sections if "OPTIONS" in section.partition("\n")[0]
            for option in re.findall(rf"\*({OPTION})", section)}


def verbs_of_help(text):
    return set(re.findall(r"^  ([a-z][a-z-]*) ", text.partition("Options:")[0], flags=re.MULTILINE))


def verbs_of_man(text):
    """The bold words that begin a paragraph of the section VERBS."""
    section = re.search(r"^# VERBS$(.*?)^# ", text, flags=re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^\*([a-z][a-z-]*)\*", section[1], flags=re.MULTILINE))


def compare(in_help, in_man):
    return ([f"{option}: in --help, not in the man page" for option in sorted(in_help - in_man)] +
            [f"{option}: in the man page, not in --help" for option in sorted(in_man - in_help)])


def example_of_man(text):
    """The first indented text in the section EXAMPLES."""
    section = re.search(r"^# EXAMPLES$(.*?)^# ", text, flags=re.MULTILINE | re.DOTALL)
    return re.search(r"^```$(.*?)^```$", section[1], flags=re.MULTILINE | re.DOTALL)[1].lstrip()


class Usage(unittest.TestCase):
    def run_program(self, name, *arguments):
        program = sources.program_in(BUILD_DIR, name)
        if not program:
            self.skipTest(f"no program {name} yet")
        done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=20, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def check(self, name, page):
        found = compare(options_of_help(self.run_program(name, "--help")),
                        options_of_man(sources.read(os.path.join(sources.ROOT, "man", page))))
        if found:
            self.fail("\n".join(found))

    def test_daemon(self):
        self.check("pv-reaperd", "pv-reaper.8.scd")

    def test_ctl(self):
        self.check("pv-reaperctl", "pv-reaperctl.1.scd")

    def test_verbs_of_ctl(self):
        page = sources.read(os.path.join(sources.ROOT, "man", "pv-reaperctl.1.scd"))
        verbs = verbs_of_help(self.run_program("pv-reaperctl", "--help"))
        self.assertGreater(len(verbs), 5)
        self.assertEqual(compare(verbs, verbs_of_man(page)), [])

    def test_example_of_the_configuration(self):
        """The man page's configuration is one, without a warning."""
        page = sources.read(os.path.join(sources.ROOT, "man", "pv-reaper.conf.5.scd"))
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write(example_of_man(page))
            file.flush()
            self.assertEqual(self.run_program("pv-reaperd", "--check-config", "--config",
                                              file.name), "")


if __name__ == "__main__":
    tap.main()
