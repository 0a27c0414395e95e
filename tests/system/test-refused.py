#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Over the whole life of this machine, with all the tests that it has run: none of our filters has
refused a system call to one of our programs. First the test tries that the kernel tells of it.
"""

import re

import guest
import journal
from guest import OUT, Case, harness, tap

ACTION = re.compile(r'type=1326 .* comm="([^"]+)" .* syscall=(\d+) .* code=(0x\w+)')
OURS = "pv-reaperd", "pv-reaper-close", "pv-reaper-hold", "pvr-keeper"


def actions():
    """(name of the thread, system call, action), all of this boot."""
    found = [ACTION.search(record["MESSAGE"]) for record in journal.load(f"{OUT}/journal.json")
             if record.get("_TRANSPORT") == "kernel"]
    return [match.groups() for match in found if match]


class Refused(Case):
    def test_nothing_of_ours(self):
        guest.run([f"{harness.BUILD}/tests/unit/test-sandbox"])  # it is refused a lot
        self.wait("the kernel says so", lambda: "test-sandbox" in {name for name, *_ in actions()})
        self.assertEqual([action for action in actions() if action[0] in OURS], [])


if __name__ == "__main__":
    tap.main()
