# SPDX-License-Identifier: LGPL-2.1-or-later
"""pv-reaperctl on a terminal: Terminal, a pseudo-terminal whose bytes are looked at, and Tmux, with
the screen that a terminal makes of them.
"""

import contextlib
import fcntl
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import termios
import time

import harness

SCREEN_ENTER, SCREEN_LEAVE = b"\033[?1049h", b"\033[?1049l"


class Terminal:
    """pv-reaperctl on a terminal of its own. What it shows is read, not interpreted."""

    def __init__(self, case, *arguments, rows=24, columns=100, env=None):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave  # ours, so that the terminal outlives the program
        self.output = b""
        environment = {key: value for key, value in os.environ.items()
                       if key not in ("NO_COLOR", "PAGER", "SYSTEMD_PAGER", "LESS")}
        self.process = subprocess.Popen(
            [harness.CTL, "--socket", case.control, *arguments], stdin=slave, stdout=slave,
            stderr=slave, env={**environment, "TERM": "xterm", **(env or {})},
            preexec_fn=self.take_terminal)
        case.addCleanup(self.close)

    @staticmethod
    def take_terminal():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def close(self):
        self.process.kill()
        self.process.wait()
        for fd in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def keys(self, text):
        os.write(self.master, text)

    def read_for(self, seconds):
        """Takes what comes in that time, or until nothing can come any more."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.master], [], [], left)[0]:
                return
            try:
                self.output += os.read(self.master, 1 << 16)
            except OSError:
                return
            if self.process.poll() is not None:
                deadline = min(deadline, time.monotonic() + 0.2)

    def shows(self, pattern):
        """Waits for a screen (all after the last clear) with it, and forgets what was before."""
        deadline = time.monotonic() + harness.TIMEOUT
        while time.monotonic() < deadline:
            plain = re.sub(rb"\033\[\d*m", b"", self.output)
            for screen in reversed(plain.split(b"\033[H")):
                if re.search(pattern, screen, re.S):
                    self.output = b""
                    return screen.decode()
            self.read_for(0.2)
        raise AssertionError(f"the screen never shows {pattern}: {self.output[-3000:]}")

    def ends(self):
        """The exit status. What it still says is read: else it could not end."""
        deadline = time.monotonic() + harness.TIMEOUT
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError("it does not end")
            self.read_for(0.1)
        self.read_for(0.3)
        return self.process.returncode

    def is_as_before(self):
        """Echo, lines, cursor, and the screen that was there."""
        entered, left = (self.output.rfind(code) for code in (SCREEN_ENTER, SCREEN_LEAVE))
        return termios.tcgetattr(self.slave) == self.before and left > entered


class Tmux:
    """A tmux server of our own with one window, in which it runs."""

    def __init__(self, case, *arguments, rows=24, columns=100):
        self.socket = f"{case.directory}/tmux"
        command = shlex.join([harness.CTL, "--socket", case.control, *arguments])
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows),
                  f"exec {command}")
        case.addCleanup(self.tmux, "kill-server", status=None)

    def tmux(self, *arguments, status=0):
        done = subprocess.run(["tmux", "-u", "-S", self.socket, *arguments], check=False, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=harness.TIMEOUT)
        if status is not None and done.returncode != status:
            raise AssertionError(f"tmux {arguments}: {done.stderr}")
        return done.stdout

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def keys(self, *names):
        self.tmux("send-keys", *names)

    def is_gone(self):
        return self.tmux("list-sessions", status=None) == ""
