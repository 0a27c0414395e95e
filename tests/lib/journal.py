# SPDX-License-Identifier: LGPL-2.1-or-later
"""Journals for a daemon to talk to, and daemons that take their stderr for the journal's.

Stand-in: a socket that reads the native protocol, or stops reading when it is told to.
RealJournal: systemd-journald itself, in a mount namespace of its own where it may be the journal.
"""

import collections
import contextlib
import json
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import threading
import time

import harness

JOURNALD = "/lib/systemd/systemd-journald"
MESSAGES = f"{harness.HERE}/../../src/daemon/runtime/messages.h"
CATALOG = f"{harness.HERE}/../../conf/pv-reaper.catalog"

Contract = collections.namedtuple("Contract", "name always sometimes")


def contracts():
    """{id: (name, fields always sent, fields sometimes sent)} as messages.h has it."""
    text, found = harness.read(MESSAGES), {}
    job_fields = re.search(r"^ \* JOB_FIELDS: (.*?)\*/$", text, re.MULTILINE | re.DOTALL)[1]
    for name, number, fields in re.findall(
            r'^#define MESSAGE_(\w+)\s+"(\w+)" /\* ?(.*?) ?\*/$', text, re.MULTILINE):
        words = re.findall(r"\w+\??", fields.replace("JOB_FIELDS", job_fields))
        found[number] = Contract(name, {word for word in words if not word.endswith("?")},
                                 {word[:-1] for word in words if word.endswith("?")})
    return found


def parse(entry):
    """{field: text} of a datagram. Raises if it is malformed, or says a field twice."""
    fields = {}
    while entry:
        line, newline, rest = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size, = struct.unpack_from("<Q", rest)
            value, newline, rest = rest[8:8 + size], rest[8 + size:9 + size], rest[9 + size:]
        name = name.decode("ascii")
        if newline != b"\n" or not re.fullmatch(r"[A-Z][A-Z0-9_]*", name) or name in fields:
            raise ValueError(f"{name} in {entry}")
        fields[name], entry = value.decode(), rest
    return fields


class Standin(threading.Thread):
    """Reads all the time, but not between pause() and resume()."""

    def __init__(self, case):
        super().__init__(daemon=True)
        self.path, self.lock, self.leave = f"{case.directory}/journal", threading.Lock(), False
        self.entries, self.error = [], None
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.start()
        case.addCleanup(self.end)

    def run(self):
        try:
            while not self.leave:
                with self.lock:
                    while select.select([self.socket], [], [], 0)[0]:
                        self.entries.append(parse(self.socket.recv(1 << 16)))
                time.sleep(0.005)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def end(self):
        self.leave = True
        self.join()
        self.socket.close()
        if self.error:
            raise self.error

    def pause(self):
        self.lock.acquire()  # pylint: disable=consider-using-with

    def resume(self):
        self.lock.release()

    def read(self):
        return list(self.entries)

    def text(self):
        return "".join(f"{entry['MESSAGE']}\n" for entry in self.read())


class RealJournal:
    """journald, in a namespace where all that it writes to is its own, and gone with it."""

    SCRIPT = """
        set -e
        mount -t tmpfs tmpfs /run
        mount -t tmpfs tmpfs /var/lib/systemd
        mount -t tmpfs tmpfs /usr/lib/systemd/catalog
        mkdir -p /run/systemd/journald.conf.d /run/log/journal /var/lib/systemd/catalog
        printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=no\\nForwardToWall=no\\n' \\
                >/run/systemd/journald.conf.d/test.conf
        cp "$1" /usr/lib/systemd/catalog/pv-reaper.catalog
        journalctl --update-catalog
        exec "$2"
    """

    def __init__(self, case):
        if not os.path.exists(JOURNALD) or not shutil.which("journalctl"):
            case.skipTest("no systemd-journald")
        if os.path.exists("/run/systemd/system"):
            case.skipTest("a journald runs here already; the system suite asks that one")
        if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
            case.skipTest("no mount namespace of our own")
        with open(f"{case.directory}/journald.log", "wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "-m", "--propagation", "private", "bash", "-c", self.SCRIPT, "bash",
                 CATALOG, JOURNALD], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        case.addCleanup(self.end)
        self.path = f"/proc/{self.process.pid}/root/run/systemd/journal/socket"
        with contextlib.suppress(harness.Failure):
            case.wait("journald listens", lambda: os.path.exists(self.path) or
                      self.process.poll() is not None, 10)
        if self.process.poll() is not None or not os.path.exists(self.path):
            case.skipTest(f"no journald: {harness.read(f'{case.directory}/journald.log')}")

    def end(self):
        self.process.terminate()
        self.process.wait(harness.TIMEOUT)

    def journalctl(self, *options):
        done = subprocess.run(["nsenter", "-m", "-t", str(self.process.pid), "journalctl",
                               "--no-pager", "-q", *options], capture_output=True, text=True,
                              timeout=harness.TIMEOUT, check=False)
        return done.stdout

    def read(self, *matches):
        return [json.loads(line) for line in self.journalctl(
            "-o", "json", "SYSLOG_IDENTIFIER=pv-reaperd", *matches).splitlines()]

    def text(self):
        return "".join(f"{entry['MESSAGE']}\n" for entry in self.read())


class JournalDaemon(harness.Daemon):
    """Its stderr, the file that it is or stuck's, is the journal's as far as it can tell."""

    def __init__(self, case, journal, *options, stuck=None, **arguments):
        self.journal = journal
        path = f"{case.directory}/daemon.log"
        with open(path, "ab") as log:
            status = os.fstat(stuck if stuck is not None else log.fileno())
        if stuck is not None:
            arguments["preexec_fn"] = lambda: os.dup2(stuck, 2)
        super().__init__(case, *options, env={
            "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}",
            "PVREAPER_JOURNAL_SOCKET": journal.path}, **arguments)

    def stderr(self):
        return super().log()

    def log(self):
        return self.journal.text() + self.stderr()
