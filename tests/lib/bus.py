# SPDX-License-Identifier: LGPL-2.1-or-later
"""The control interface as other people's tools see it: busctl, dbus-send, and a reader that does
not read. An address is control.sock or a bus.
"""

import json
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import time

import harness
from ping import Bus, field, padded, string

OBJECT = ("org.pvreaper", "/org/pvreaper/Manager")
INTERFACE = "org.pvreaper.Manager1"


def busctl(address, *arguments, **popen):
    """(exit status, what it printed: JSON if there is any, what it said)"""
    done = subprocess.run(["busctl", f"--address={address}", "--json=short", *arguments],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=harness.TIMEOUT, check=False, **popen)
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


def call(address, method, *arguments, **popen):
    return busctl(address, "call", *OBJECT, INTERFACE, method, *arguments, **popen)


def plain(variants):
    """A dictionary as busctl shows it, without the types."""
    return {key: value["data"] for key, value in variants.items()}


def error_name(address, method, *arguments, peer=True, **popen):
    """What dbus-send calls the error of a call; None if there was none."""
    how = "--peer" if peer else "--bus"
    done = subprocess.run(["dbus-send", f"{how}={address}", "--print-reply", f"--dest={OBJECT[0]}",
                           OBJECT[1], f"{INTERFACE}.{method}", *arguments], capture_output=True,
                          stdin=subprocess.DEVNULL, text=True, timeout=harness.TIMEOUT, check=False,
                          **popen)
    found = re.match(r"Error (\S+?):? ", done.stderr)
    return found.group(1) if found else None


class Monitor:
    """busctl monitor: seen() waits for a signal and takes it, and all before it, off."""

    def __init__(self, address):
        self.process = subprocess.Popen(
            ["busctl", f"--address={address}", "--json=short", "monitor"], bufsize=0,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.buffer = b""

    def __enter__(self):
        select.select([self.process.stderr], [], [], harness.TIMEOUT)  # "Monitoring bus ..."
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def lines(self, seconds):
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            while b"\n" in self.buffer:
                line, _, self.buffer = self.buffer.partition(b"\n")
                yield json.loads(line)
            if select.select([self.process.stdout], [], [], left)[0]:
                data = os.read(self.process.stdout.fileno(), 1 << 16)
                if not data:
                    return
                self.buffer += data

    def seen(self, member, check=lambda data: True):
        for message in self.lines(harness.TIMEOUT):
            if message.get("member") == member and check(message["payload"]["data"]):
                return message["payload"]["data"]
        raise AssertionError(f"no {member} was seen")


class Ping(Bus):
    """A client that asks, and did not ask for signals."""

    def __enter__(self):
        self.ask()
        return self

    def __exit__(self, *_):
        self.link.close()


class Deaf:
    """Subscribes by hand, then reads nothing."""

    def __init__(self, path):
        self.link = socket.socket(socket.AF_UNIX)
        self.link.settimeout(harness.TIMEOUT)
        self.link.connect(path)
        self.link.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        if not self.link.recv(1024).startswith(b"OK "):
            raise ConnectionError("not let in")
        body = string("type='signal'")
        fields = b""
        for code, signature, text in ((1, "o", "/org/freedesktop/DBus"), (3, "s", "AddMatch"),
                                      (2, "s", "org.freedesktop.DBus"), (8, "g", "s")):
            fields = padded(fields) + field(code, signature, text)
        head = struct.pack("<cBBBIII", b"l", 1, 0, 1, len(body), 1, len(fields))
        self.link.sendall(b"BEGIN\r\n" + padded(head + fields) + body)

    def is_cut_off(self):
        """Reads to the end, if there is one now; how much there was."""
        size = 0
        self.link.settimeout(1)
        try:
            while data := self.link.recv(1 << 16):
                size += len(data)
        except TimeoutError:
            return None
        except ConnectionResetError:
            pass
        return size


def has_busctl():
    return shutil.which("busctl") and shutil.which("dbus-send")
