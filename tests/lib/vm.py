# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client of pvr-vmm's protocol, which is described in vmm.h beside this file."""

import os
import subprocess

from stage import Failure


class Vm:
    """A pvr-vmm: one command at a time, one answer each; outcomes come whenever they come."""

    def __init__(self, name, command, environment, enter):
        self.name = name
        self.reboots = []     # answers to `reboot`
        self.outcomes = []
        self.answers = []
        self.buffer = b""
        self.keeper = None
        self.process = subprocess.Popen(
            [*command, "--name", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            env=environment, preexec_fn=enter, start_new_session=True)

    def send(self, command):
        self.process.stdin.write(f"{command}\n".encode())

    def take_lines(self):
        data = os.read(self.process.stdout.fileno(), 65536)
        if not data:
            raise Failure(f"VM {self.name} has died")
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            self.take_line(line.decode())

    def take_line(self, line):
        words = line.split()
        values = dict(word.split("=", 1) for word in words if "=" in word)
        if words[0] == "error":
            raise Failure(f"VM {self.name}: {line}")
        if words[0] == "outcome":
            self.outcomes.append(values)
        elif words[:2] == ["ok", "reboot"]:
            self.reboots.append(values)
        else:
            self.answers.append(values)
