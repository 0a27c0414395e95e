#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long the daemon takes to answer, all the time: ping.py SOCKET MSEC asks it for all that
pv-reaperctl status shows, MSEC after each answer, on one connection; when stdin ends it prints a
JSON list of [when it asked, how long it took], in seconds, an unanswered one last.

A process of its own, since what a thread measures is mostly the other threads. Ping runs it. The
little D-Bus that this needs is written by hand: pv-reaperctl takes longer to start than to ask.
"""

import json
import os
import select
import socket
import struct
import subprocess
import sys
import time

LIMIT_SECONDS = 30


def string(text, length="<I"):
    return struct.pack(length, len(text)) + text.encode() + b"\0"


def padded(data):
    return data + bytes(-len(data) % 8)


def field(code, signature, text):
    """A string of the header; D-Bus counts a signature's length by one byte."""
    value = string(text, "<B" if signature == "g" else "<I")
    return bytes([code, 1]) + signature.encode() + b"\0" + value


def get_all():
    """A call of Properties.GetAll."""
    body = string("org.pvreaper.Manager1")
    fields = b""
    for code, signature, text in ((1, "o", "/org/pvreaper/Manager"), (3, "s", "GetAll"),
                                  (2, "s", "org.freedesktop.DBus.Properties"), (8, "g", "s")):
        fields = padded(fields) + field(code, signature, text)
    head = struct.pack("<cBBBIII", b"l", 1, 0, 1, len(body), 1, len(fields))
    return padded(head + fields) + body


class Bus:
    def __init__(self, path):
        self.link = socket.socket(socket.AF_UNIX)
        self.link.settimeout(LIMIT_SECONDS)
        self.link.connect(path)
        self.link.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        if not (line := self.link.recv(1024)).startswith(b"OK "):
            raise ConnectionError(line)
        self.link.sendall(b"BEGIN\r\n")

    def take(self, size):
        data = b""
        while len(data) < size:
            if not (more := self.link.recv(size - len(data))):
                raise ConnectionError("the daemon hung up")
            data += more
        return data

    def ask(self):
        self.link.sendall(get_all())
        start = self.take(16)
        order = "<" if start[:1] == b"l" else ">"
        body, = struct.unpack_from(f"{order}I", start, 4)
        fields, = struct.unpack_from(f"{order}I", start, 12)
        self.take(fields + -fields % 8 + body)
        if start[1] != 2:
            raise ConnectionError(f"answered by a message of type {start[1]}")


def main():
    bus, answers = Bus(sys.argv[1]), []
    bus.ask()
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], int(sys.argv[2]) / 1000)[0]:
        start = time.monotonic()
        try:
            bus.ask()
        except TimeoutError:
            answers.append((start, LIMIT_SECONDS))
            break
        answers.append((start, time.monotonic() - start))
    print(json.dumps(answers))


class Ping:
    """with Ping(case) as ping: ...; then ping.seconds(begin, end) of what was asked in between."""

    def __init__(self, case, msec=5):
        self.command = [sys.executable, __file__, case.control, str(msec)]
        self.process, self.answers = None, []

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE)
        if self.process.stdout.readline() != "ready\n":
            raise AssertionError("nobody answers")
        return self

    def __exit__(self, *_):
        text, _ = self.process.communicate(timeout=2 * LIMIT_SECONDS)
        self.answers = json.loads(text or "[]")

    def seconds(self, begin=0, end=float("inf")):
        """How long each took, the shortest first."""
        return sorted(took for at, took in self.answers if begin <= at < end)


def percentile(values, percent):
    return values[len(values) * percent // 100]


if __name__ == "__main__":
    main()
