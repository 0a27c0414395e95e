# SPDX-License-Identifier: LGPL-2.1-or-later
"""A worker that says what it is told to say, and that the daemon takes for a real one (puppet.c).

For what a keeper does once in a million times: it holds a slot as long as a test needs it, dies
between two packets, repeats itself.
"""

import array
import os
import select
import socket
import struct
import subprocess

import harness

PUPPET = f"{harness.BUILD}/tests/standins/puppet"


class Puppet:
    beat_msec = 500  # how often it uses 1 ms of CPU time, so that it is never overdue
    version, flags = 1, 0  # of the protocol; the flags of its REGISTER are version 2's

    def __init__(self, case, name="puppet", mem=1 << 30, prefix=()):
        self.name, self.mem, self.link, self.pid = name, mem, None, None
        self.strings, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with end:
            self.process = subprocess.Popen([*prefix, PUPPET, case.socket, str(self.beat_msec)],
                                            stdin=end)
        self.strings.settimeout(harness.TIMEOUT)
        case.addCleanup(self.end)

    def end(self):
        """Both of its processes go."""
        self.unplug()
        self.strings.close()
        self.process.wait(harness.TIMEOUT)

    def unplug(self):
        """Closes the connection."""
        if self.link:
            self.link.close()
            self.link = None

    def connect(self):
        self.unplug()
        self.strings.send(b"connect")
        size = struct.calcsize("ii")
        data, control, _, _ = self.strings.recvmsg(size, socket.CMSG_SPACE(4))
        self.pid, error = struct.unpack("ii", data)
        if error:
            raise OSError(error, os.strerror(error))
        self.link = socket.socket(fileno=array.array("i", control[0][2])[0])

    def send(self, packet):
        self.link.send(packet)

    def receive(self, message=None):
        """The next packet, (type, fields...), which must be a message if it is given; () at EOF."""
        if not select.select([self.link], [], [], harness.TIMEOUT)[0]:
            raise AssertionError(f"{self.name}: nothing from the daemon in time")
        packet = self.link.recv(4096)
        fields = harness.unpack(packet) if packet else ()
        if message and fields[:1] != (message,):
            raise AssertionError(f"{self.name}: expected message {message}, got {fields}")
        return fields

    def register(self, state=0, last=(0, 0, 0, 0, 0, 0)):
        """A new connection, up to WELCOME. last: an outcome that nobody acknowledged."""
        self.connect()
        self.send(harness.hello(self.version))
        self.send(self.register_packet(state, last))
        expected = {harness.WELCOME} | ({harness.DONE_ACK} if last[0] else set())
        while expected:
            expected.remove(self.receive()[0])

    def register_packet(self, state, last):
        fields = (self.name.encode(), state, self.mem, last)
        if self.version == 1:
            return harness.register(*fields)
        return harness.register_2(*fields, flags=self.flags)

    def say(self, message, *fields):
        self.send(harness.pack(message, *fields, version=self.version))

    def request(self, seq=1, kind=1):
        self.say(harness.REQUEST, kind, seq, self.mem)

    def take_slot(self, seq=1):
        """Registers, asks, and gets the slot; PERFORM could begin now."""
        self.register()
        self.request(seq)
        self.receive(harness.GRANT)

    def do_job(self, seq=1, error=0):
        """From the request to the acknowledgement, with nothing to clear."""
        self.request(seq)
        self.receive(harness.GRANT)
        self.done(seq, error)
        self.receive(harness.DONE_ACK)

    def done(self, seq=1, error=0):
        """Gives the slot back; does not look for the acknowledgement."""
        self.say(harness.DONE, 0, *outcome(seq, error))


def outcome(seq=1, error=0, ungoverned=0):
    """The fields of a reboot's outcome."""
    return (seq, 1, error, 0, 0, ungoverned)
