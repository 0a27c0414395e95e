#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Three o'clock in the morning: guests do not get on, and somebody who knows pv-reaperctl by its
name only has a terminal of 80 columns. Each test types what "status" says, and nothing else, until
it says that nothing is to be done. It prints the transcript.
"""

import os
import re
import sys

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import GRANT, tap
from puppet import Puppet
from terminal import Terminal


class Night(harness.Case):
    """self.guests: their keepers."""

    def begin(self, configuration, n_guests):
        with open(self.config, "w", encoding="ascii") as file:
            file.write(configuration)
        self.daemon()
        self.guests = [Puppet(self, f"guest-{i}", 64 << 30) for i in range(n_guests)]
        for guest in self.guests:
            guest.register()

    def type(self, command):
        """What the terminal shows, without colours."""
        terminal = Terminal(self, "--no-pager", *command.split()[1:], columns=80, rows=24)
        self.assertEqual(terminal.ends(), 0, terminal.output)
        text = re.sub(r"\033\[[\d;]*m", "", terminal.output.decode().replace("\r", ""))
        terminal.close()
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        print(f"# {command}\n{text}".replace("\n", "\n# "))
        return text

    @staticmethod
    def action(screen):
        """The lines of Action, as one; None: nothing is to be done."""
        match = re.search(r"^ +Action: (.*\n(?: {11}.*\n)*)", screen, re.M)
        return match and " ".join(match[1].split())

    def granted(self, *guests):
        for guest in guests:
            guest.receive(GRANT)


class Slow(Night):
    def test_start_rate_was_the_cause(self):
        """Somebody had set start-rate, months ago. One guest in ten minutes is torn down."""
        self.begin("[limits]\nmax-concurrent=8\nstart-rate=6/h\nstart-burst=1\n", 4)
        for guest in self.guests:
            guest.request()
        self.granted(self.guests[0])
        self.guests[0].done()
        self.wait("the others wait", lambda: self.ctl_json("status")["queued"] == 3)

        screen = self.type("pv-reaperctl status")
        self.assertRegex(screen, r"Work: 0 running, 3 queued, 192\.0 GiB to clear, ETA ")
        action = self.action(screen)
        cause, remedy = action.split(": ", 1)
        match = re.fullmatch(r"3 wait for (\S+)=(\S+) \((\S+):(\d+)\), the next starts in "
                             r"(\d+) min \d+ s", cause)
        self.assertTrue(match, action)
        key, value, file, line, minutes = match.groups()
        self.assertEqual((key, value, file, line), ("start-rate", "6/h", self.config, "3"))
        self.assertIn(int(minutes), (9, 10))
        self.assertRegex(self.type("pv-reaperctl jobs"), r"guest-1 .*queued .* start-rate ")

        command = re.match(r"pv-reaperctl set \S+=\w+", remedy)[0]
        self.assertEqual(self.type(command),
                         "start-rate: infinity instead of 6/h (pv-reaperctl set)\n")
        self.granted(*self.guests[1:])
        screen = self.type("pv-reaperctl status")
        self.assertIsNone(self.action(screen))
        self.assertIn("3 running, 0 queued", screen)
        self.assertIn("start-rate=infinity  (pv-reaperctl set)", screen)

        # By day: status had named the file, and the line.
        lines = harness.read(file).splitlines(True)
        self.assertEqual(lines[int(line) - 1], "start-rate=6/h\n")
        del lines[int(line) - 1]
        with open(file, "w", encoding="ascii") as configuration:
            configuration.writelines(lines)
        self.type("pv-reaperctl reload")
        self.assertIn("start-rate=infinity  (default)", self.type("pv-reaperctl status"))

    def test_one_of_them_is_urgent(self):
        """The limit is meant, but this guest must not wait: status says how."""
        self.begin("[limits]\nstart-rate=6/h\nstart-burst=1\n", 3)
        self.guests[0].take_slot()
        for guest in self.guests[1:]:
            guest.request()
        self.wait("they wait", lambda: self.ctl_json("status")["queued"] == 2)
        action = self.action(self.type("pv-reaperctl status"))
        self.assertTrue(action.endswith("or pv-reaperctl hurry VM"), action)
        self.type("pv-reaperctl hurry guest-2")
        self.granted(self.guests[2])
        self.assertRegex(self.action(self.type("pv-reaperctl status")), "^1 waits for start-rate=")


class Forgotten(Night):
    def test_a_drain_was_the_cause(self):
        """A drain that nobody ended: new guests are not governed."""
        self.begin("", 1)
        self.ctl("drain")
        screen = self.type("pv-reaperctl status")
        self.assertIn("draining (administrator), no new VMs", screen)
        cause, _, command = self.action(screen).rpartition(": ")
        self.assertIn("new VMs are sent away", cause)
        self.type(command)
        self.assertIsNone(self.action(self.type("pv-reaperctl status")))


class Manual(Night):
    def test_the_manual_has_the_same_words(self):
        """The transcript in pv-reaperctl(1) is such a one: its words are those of status."""
        page = harness.read(os.path.join(harness.HERE, "..", "..", "man", "pv-reaperctl.1.scd"))
        part = re.search(r"^At 3 a\.m\..*?^```\n(.*?)^```", page, re.S | re.M)[1]
        self.begin("[limits]\nmax-concurrent=8\nstart-rate=6/h\nstart-burst=1\n", 2)
        self.guests[0].take_slot()
        self.guests[1].request()
        self.wait("it waits", lambda: self.ctl_json("status")["queued"] == 1)
        for line in self.type("pv-reaperctl status").splitlines():
            label = re.match(r" +(\w[\w ]*): ", line)
            if label and label[1] in ("Work", "Action", "Memory"):
                self.assertIn(f"{label[1]}: ", part)
        self.assertIn(self.type("pv-reaperctl set start-rate=infinity"), part)


if __name__ == "__main__":
    tap.main()
