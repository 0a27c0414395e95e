#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Do the daemon's table of keys, conf/pv-reaper.conf and the manual page say the same?

configuration.py BUILD-DIR. The table is read from pv-reaperd --print-defaults.
"""
import collections
import os
import re
import subprocess
import sys
import unittest

import sources
sys.path.insert(0, os.path.join(sources.ROOT, "tests", "lib"))
import tap  # noqa: E402

BUILD_DIR = sys.argv.pop(1) if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]) else "build"
EXAMPLE = "conf/pv-reaper.conf"
PAGE = "man/pv-reaper.conf.5.scd"

Key = collections.namedtuple("Key", "section key help rule default")


def one_line(text):
    return re.sub(r"\s+", " ", text).strip()


def keys_of_file(text):
    """[Key] of a file such as --print-defaults prints: remarks, then the key as a remark."""
    found = []
    for section, body in re.findall(r"^\[(\w+)\]$(.*?)(?=^\[|\Z)", text, re.M | re.S):
        for remarks, key, default in re.findall(r"((?:^# .*\n)+)^#([a-z-]+)=(.*)$", body, re.M):
            words = one_line(re.sub(r"^# ", "", remarks, flags=re.M))
            help_text, _, rule = words.partition(" Value: ")
            found.append(Key(section, key, help_text, rule, default))
    return found


def keys_of_man(text):
    """The same of the page's section KEYS, whose entries end with "Value: ... Default: ..."."""
    part = re.search(r"^# KEYS$(.*?)^# ", text, re.M | re.S)[1]
    found = []
    for section, body in re.findall(r"^## \[(\w+)\]$(.*?)(?=^## |\Z)", part, re.M | re.S):
        for key, entry in re.findall(r"^\*([a-z-]+)=\*$(.*?)(?=^\*|\Z)", body, re.M | re.S):
            words = one_line(entry.replace("\\", ""))
            match = re.fullmatch(r"(.*?) Value: (.*) Default: (?:\*(.*)\*|nothing)\.", words)
            found.append(Key(section, key, *(match.groups("") if match else ("", words, ""))))
    return found


class Configuration(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        program = sources.program_in(BUILD_DIR, "pv-reaperd")
        if not program:
            raise unittest.SkipTest("no program pv-reaperd yet")
        done = subprocess.run([program, "--print-defaults"], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=20, check=True)
        cls.printed, cls.program = done.stdout, program
        cls.keys = keys_of_file(cls.printed)

    def test_they_are_understood(self):
        """Each key of the table was found, with its text; and each is there once."""
        self.assertEqual(len(self.keys), len(re.findall(r"^#[a-z-]+=", self.printed, re.M)))
        self.assertGreater(len(self.keys), 20)
        names = [key.key for key in self.keys]
        self.assertEqual(sorted(names), sorted(set(names)))  # pv-reaperctl names no section
        for key in self.keys:
            self.assertRegex(key.help, r"^\w.*\.$", key.key)
            self.assertRegex(key.rule, r"^\S.*\.$", key.key)

    def test_configuration_file(self):
        """pv-reaperd --print-defaults > conf/pv-reaper.conf"""
        self.assertEqual(self.printed.splitlines(), sources.read(EXAMPLE).splitlines())

    def test_no_line_is_too_long(self):
        """Remarks fit a terminal; a key whose sign # is taken away fits inih's buffer."""
        self.assertLessEqual(max(map(len, self.printed.splitlines())), 88)

    def test_manual_page(self):
        self.assertEqual(keys_of_man(sources.read(PAGE)), self.keys)

    def test_defaults_are_right_values(self):
        """With all the signs # taken away it is a configuration without a warning."""
        text = re.sub(r"^#(?=[a-z-]+=)", "", self.printed, flags=re.M)
        done = subprocess.run([self.program, "--print-config", "--config=/dev/stdin"], text=True,
                              capture_output=True, timeout=20, check=False,
                              stdin=self.file_of(text))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        shown = re.findall(r"^# /dev/stdin:\d+\n([a-z-]+)=(.*)$", done.stdout, re.M)
        self.assertEqual(shown, [(key.key, key.default) for key in self.keys])

    def file_of(self, text):
        fd = os.memfd_create("configuration")
        file = os.fdopen(fd, "w+", encoding="utf-8")
        self.addCleanup(file.close)
        file.write(text)
        file.flush()
        file.seek(0)
        return file


if __name__ == "__main__":
    tap.main()
