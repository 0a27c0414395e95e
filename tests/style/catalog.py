#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Do the journal's ids, what is sent with them, the catalog and the man page say the same?"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import sources
sys.path.insert(0, os.path.join(sources.ROOT, "tests", "lib"))
import tap  # noqa: E402

CATALOG = "conf/pv-reaper.catalog"
HEADERS = ("Subject", "Defined-By", "Support", "Documentation")


def messages(text):
    """{name: (id, {field: always sent})} of messages.h, whose comments say what is sent."""
    job_fields = re.search(r"^ \* JOB_FIELDS: (.*?)\*/$", text, re.MULTILINE | re.DOTALL)[1]
    found = {}
    for name, number, fields in re.findall(
            r'^#define MESSAGE_(\w+)\s+"([^"]*)" /\* ?(.*?) ?\*/$', text, re.M):
        words = re.findall(r"\w+\??", fields.replace("JOB_FIELDS", job_fields))
        found[name] = number, {word.rstrip("?"): not word.endswith("?") for word in words}
    return found


def catalog(text):
    """[(id, {header: value}, body)]"""
    found = []
    for entry in re.split(r"^-- ", text, flags=re.MULTILINE)[1:]:
        number, _, rest = entry.partition("\n")
        head, _, body = rest.partition("\n\n")
        found.append((number, dict(line.split(": ", 1) for line in head.splitlines()), body))
    return found


def arguments(text, start):
    """The text between the parenthesis that opens before start and the one that closes it."""
    depth = 1
    for at in range(start, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return text[start:at]
    raise ValueError("no closing parenthesis")


def events(text):
    """[(an id's name, None if that is variable, {fields})] of a C file, and all ids in it."""
    found = []
    for match in re.finditer(r"\bLOG_EVENT\(", text):
        inside = arguments(text, match.end())
        name = re.search(r"\bMESSAGE_(\w+)", inside)
        found.append((name and name[1], set(re.findall(r'\bLOG_(?:TEXT|NUMBER)\("(\w+)"', inside))))
    return found, set(re.findall(r'(?<!")\bMESSAGE_(\w+)', text))


def disagreements(contracts, path, text):
    """What a C file sends against what messages.h says of it."""
    found, named = events(text)
    variable = [fields for name, fields in found if not name]
    for name, fields in found:
        if name and fields != set(contracts[name][1]):
            yield f"{path}: {name} is sent with {sorted(fields)}"
    for name in named - {name for name, _ in found}:
        if set(contracts[name][1]) not in variable:
            yield f"{path}: {name} is not sent with what messages.h says"


class Catalog(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.messages = messages(sources.read("src/daemon/runtime/messages.h"))
        cls.catalog = catalog(sources.read(CATALOG))
        cls.by_id = {number: name for name, (number, _) in cls.messages.items()}

    def test_ids(self):
        """All of them were understood, are random UUIDs, and differ."""
        text = sources.read("src/daemon/runtime/messages.h")
        self.assertEqual(len(self.messages), text.count("#define MESSAGE_"))
        self.assertEqual(len(self.by_id), len(self.messages))
        for number in self.by_id:
            self.assertRegex(number, r"^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$")

    def test_each_has_its_text(self):
        self.assertEqual(sorted(number for number, _, _ in self.catalog), sorted(self.by_id))

    def test_texts(self):
        for number, head, body in self.catalog:
            with self.subTest(self.by_id[number]):
                self.assertEqual(tuple(head), HEADERS)
                self.assertEqual(head["Defined-By"], "pv-reaper")
                self.assertLess(len(head["Subject"]), 80)
                self.assertGreater(len(body), 80)

    def test_texts_use_what_is_always_sent(self):
        for number, head, body in self.catalog:
            used = set(re.findall(r"@(\w+)@", head["Subject"] + body))
            always = {field for field, sure in self.messages[self.by_id[number]][1].items() if sure}
            self.assertLessEqual(used, always, self.by_id[number])

    def test_what_is_sent(self):
        paths = [path for path in sources.all_files() if re.match(r"src/daemon/.*\.c$", path)]
        texts = {path: sources.read(path) for path in paths}
        self.assertEqual([finding for path, text in texts.items()
                          for finding in disagreements(self.messages, path, text)], [])
        unsent = set(self.messages) - {name for text in texts.values() for name in events(text)[1]}
        print("not sent yet:", *sorted(unsent))

    def test_man_page(self):
        """Its tables have all the ids, by their names, and all the fields."""
        page = sources.read("man/pv-reaper.8.scd")
        section = re.search(r"^# JOURNAL$(.*?)^# ", page, re.MULTILINE | re.DOTALL)[1]
        rows = re.findall(r"^\|  ([0-9a-f]{32})$", section, re.MULTILINE)
        self.assertEqual(sorted(rows), sorted(self.by_id))
        rows = re.findall(r"^\|  (PV_\w+)$", section.replace("\\_", "_"), re.MULTILINE)
        fields = {field for _, contract in self.messages.values() for field in contract}
        self.assertEqual(sorted(rows), sorted(fields))

    def test_systemd_takes_it(self):
        if not shutil.which("journalctl"):
            self.skipTest("no journalctl")
        with tempfile.TemporaryDirectory() as root:
            folder = f"{root}/usr/lib/systemd/catalog"
            os.makedirs(folder)
            shutil.copy(os.path.join(sources.ROOT, CATALOG), folder)

            def journalctl(*options):
                done = subprocess.run(["journalctl", f"--root={root}", *options],
                                      capture_output=True, text=True, timeout=20, check=False)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                return done.stdout

            journalctl("--update-catalog")
            listed = dict(line.split(" ", 1) for line in
                          journalctl("--list-catalog").splitlines())
            self.assertEqual(listed, {number: f"pv-reaper: {head['Subject']}"
                                      for number, head, _ in self.catalog})


if __name__ == "__main__":
    tap.main()
