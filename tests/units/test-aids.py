#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What conf/ has for others to use: libvirt's hook, by running it as libvirt would with a
pv-reaperctl that notes what it was asked; AppArmor's and SELinux's snippets by their own compilers.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import tap  # noqa: E402

CONF = os.path.join(HERE, "..", "..", "conf")
GIB = 1 << 30
UUID = "00112233-4455-6677-8899-aabbccddeeff"


def domain(memory, extra=""):
    return f"<domain type='kvm'><name>g</name>{memory}{extra}<vcpu>2</vcpu></domain>"


class Hook(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="pvr-aids-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.asked = f"{self.directory}/asked"
        self.ctl('echo "$@" >>"$ASKED"')

    def ctl(self, script):
        path = f"{self.directory}/pv-reaperctl"
        with open(path, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\n{script}\n")
        os.chmod(path, 0o755)

    def hook_text(self):
        with open(f"{CONF}/libvirt-hook", encoding="utf-8") as file:
            return file.read()

    def run_hook(self, xml, *arguments, name="guest", **more):
        """What pv-reaperctl was asked, a line each. A hook never stops a guest."""
        path = f"{self.directory}:/usr/bin:/bin"
        if os.path.exists(self.asked):
            os.unlink(self.asked)
        done = subprocess.run(
            [sys.executable, f"{CONF}/libvirt-hook", name,
             *(arguments or ("prepare", "begin", "-"))], capture_output=True,
            input=xml if isinstance(xml, bytes) else xml.encode(), timeout=120, check=False,
            env={**os.environ, "ASKED": self.asked, "PATH": path, **more})
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))
        if not os.path.exists(self.asked):
            return []
        with open(self.asked, encoding="ascii", errors="backslashreplace") as file:
            return file.read().splitlines()

    def test_memory(self):
        """Each unit that libvirt may write or accept."""
        for memory, size in (
                ("<memory unit='KiB'>4194304</memory>", 4 * GIB),
                ("<memory>4194304</memory>", 4 * GIB),
                ("<memory unit='GiB'>16</memory>", 16 * GIB),
                ("<memory unit='G'>16</memory>", 16 * GIB),
                ("<memory unit='MB'>100</memory>", 100 * 1000 ** 2),
                ("<memory unit='m'>100</memory>", 100 << 20),
                ("<memory unit='bytes'>1234567</memory>", 1234567),
                ("<memory unit='b'>7</memory>", 7),
                ("<memory unit='TiB'>2</memory>", 2 << 40)):
            self.assertEqual(self.run_hook(domain(memory)),
                             [f"--timeout 60 wait-memory {size}"], memory)

    def test_which_memory(self):
        """What QEMU may use at once: neither what the balloon leaves nor what hotplug may add."""
        memory = ("<maxMemory slots='16' unit='GiB'>64</maxMemory><memory unit='GiB'>8</memory>"
                  "<currentMemory unit='GiB'>2</currentMemory>")
        self.assertEqual(self.run_hook(domain(memory)), [f"--timeout 60 wait-memory {8 * GIB}"])
        pages = "<memoryBacking><hugepages/></memoryBacking>"
        self.assertEqual(self.run_hook(domain(memory, pages)), [])

    def test_other_operations(self):
        xml = domain("<memory unit='GiB'>8</memory>")
        for arguments in (("start", "begin", "-"), ("started", "begin", "-"), ("prepare", "end"),
                          ("stopped", "begin", "-"), ("release",), ("prepare",)):
            self.assertEqual(self.run_hook(xml, *arguments), [], arguments)

    def test_it_has_ended(self):
        """libvirt calls twice; both together take a minute at most, whatever pv-reaperctl does."""
        limits = 0
        for operation in ("stopped", "release"):
            for xml, what in ((domain(f"<uuid>{UUID}</uuid>"), UUID),
                              (domain(f"<uuid>\n {UUID}\n</uuid>"), UUID),
                              (domain(""), "guest"), (domain("<uuid/>"), "guest"),
                              ("", "guest"), ("<domain>", "guest"), (b"\xff\xfe\x00", "guest")):
                asked, = self.run_hook(xml, operation, "end", "-")
                limit = re.fullmatch(rf"--timeout (\d+) wait-quiet -- {what}", asked)
                self.assertTrue(limit, asked)
            limits += int(limit[1])
        margin, = re.findall(r"^MARGIN_SEC = (\d+)", self.hook_text(), flags=re.M)
        self.assertGreater(limits, 50)
        self.assertLessEqual(limits + 2 * int(margin), 60)

    def test_a_name_that_is_no_text(self):
        """Whatever goes wrong, syslog() among it, the hook succeeds."""
        for operation in (("prepare", "begin"), ("stopped", "end")):
            for script in ("exit 5", r"printf '\377' >&2; exit 1", 'echo "$5" >>"$ASKED"'):
                self.ctl(script)
                self.run_hook("no XML", *operation, "-", name=b"g\xff")
        with open(self.asked, "rb") as file:
            self.assertEqual(file.read(), b"g\xff\n")

    def test_nothing_to_read(self):
        """Nor arguments: it is not libvirt that calls."""
        for arguments in ([], ["g"], ["g", "prepare", "begin"], ["g", "stopped", "end"]):
            done = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", sys.executable,
                                   f"{CONF}/libvirt-hook", *arguments], capture_output=True,
                                  timeout=120, check=False,
                                  env={**os.environ, "ASKED": self.asked,
                                       "PATH": f"{self.directory}:/usr/bin:/bin"})
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))

    def test_xml_that_says_nothing(self):
        for xml in ("", "<domain>", "no XML at all", domain(""), b"\xff\xfe\x00",
                    domain("<memory unit='furlong'>8</memory>"), domain("<memory>x</memory>"),
                    domain("<memory/>"), domain("<memory>-5</memory>")):
            self.assertEqual(self.run_hook(xml), [], xml)

    def test_all_of_stdin_is_read(self):
        """libvirt writes the XML to whatever hook there is, and would see EPIPE."""
        xml = domain("<memory unit='GiB'>8</memory>", "<!--" + "x" * (1 << 20) + "-->")
        for operation in ("prepare", "start"):
            with subprocess.Popen([sys.executable, f"{CONF}/libvirt-hook", "g", operation, "begin"],
                                  stdin=subprocess.PIPE, env={**os.environ, "ASKED": self.asked,
                                  "PATH": f"{self.directory}:/usr/bin:/bin"}) as hook:
                hook.stdin.write(xml.encode())
                hook.stdin.close()
                self.assertEqual(hook.wait(120), 0)

    def test_no_memory_no_daemon_no_program(self):
        xml = domain("<memory unit='GiB'>8</memory>")
        for script in ("echo no daemon listens >&2; exit 1", "exit 3", "kill -9 $$"):
            self.ctl(script)
            self.run_hook(xml)
        os.unlink(f"{self.directory}/pv-reaperctl")
        self.run_hook(xml)

    def test_a_program_that_hangs(self):
        """Given up a little after its own limit."""
        hook = f"{self.directory}/hook"
        text, n = re.subn(r'^(TIMEOUT_SEC = |QUIET_SEC = .*"stopped": )(60|45)', r"\1-1",
                          self.hook_text(), flags=re.M)
        self.assertEqual(n, 2)
        with open(hook, "w", encoding="utf-8") as file:
            file.write(text)
        self.ctl("exec sleep 1000")
        for operation in (("prepare", "begin"), ("stopped", "end")):
            start = time.monotonic()
            done = subprocess.run([sys.executable, hook, "g", *operation], check=False,
                                  input=domain("<memory>8</memory>").encode(), timeout=120,
                                  env={**os.environ, "PATH": f"{self.directory}:/usr/bin:/bin"})
            self.assertEqual(done.returncode, 0)
            self.assertGreater(time.monotonic() - start, 0.9)


class Confinement(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="pvr-aids-")
        self.addCleanup(shutil.rmtree, self.directory)

    def need(self, tool, package):
        path = shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if not path:
            self.skipTest(f"no {tool} (Debian: {package})")
        return path

    def run_tool(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False,
                              cwd=self.directory)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_selinux_module(self):
        checkmodule = self.need("checkmodule", "checkpolicy")
        self.run_tool(checkmodule, "-M", "-m", "-o", "pv-reaper.mod",
                      os.path.abspath(f"{CONF}/selinux/pv-reaper.te"))
        package = self.need("semodule_package", "semodule-utils")
        self.run_tool(package, "-o", "pv-reaper.pp", "-m", "pv-reaper.mod", "-f",
                      os.path.abspath(f"{CONF}/selinux/pv-reaper.fc"))

    def test_selinux_files_agree(self):
        """The type that files get, and that the interface uses, is the module's."""
        texts = {}
        for end in ("te", "fc", "if"):
            with open(f"{CONF}/selinux/pv-reaper.{end}", encoding="ascii") as file:
                texts[end] = re.sub(r"^#.*$", "", file.read(), flags=re.M)
        (own,) = re.findall(r"^type (\w+);$", texts["te"], re.M)
        self.assertIn(f":{own}:s0\n", texts["fc"])
        for line in texts["fc"].splitlines():
            pattern, label = line.split("\t")
            self.assertTrue(re.fullmatch(pattern, "/run/pv-reaper/handoff.sock"), pattern)
            self.assertRegex(label, r"^\w+:object_r:\w+:s0$")
        self.assertIn(f"type {own},", texts["if"])
        self.assertEqual(texts["if"].count("`"), texts["if"].count("'"))

    def test_apparmor_snippet(self):
        parser = self.need("apparmor_parser", "apparmor")
        profile = f"{self.directory}/profile"
        with open(profile, "w", encoding="ascii") as file:
            file.write("abi <abi/3.0>,\ninclude <tunables/global>\n"
                       "profile pv-reaper-test /nonexistent {\n"
                       f'  include "{os.path.abspath(CONF)}/apparmor-libvirt-qemu"\n}}\n')
        self.run_tool(parser, "--skip-kernel-load", "--skip-cache", profile)

    def test_apparmor_names_our_sockets(self):
        with open(f"{CONF}/apparmor-libvirt-qemu", encoding="ascii") as file:
            rules = [line.strip() for line in file if line.strip() and not line.startswith("#")]
        rules = [rule for rule in rules if not rule.startswith("#")]
        with open(f"{CONF}/../src/base/environment.h", encoding="utf-8") as file:
            sockets = re.findall(r'_SOCKET +"(.*)"', file.read())
        self.assertEqual(len(sockets), 2)
        for path in sockets:
            self.assertIn(f"{path} rw,", rules)
        self.assertTrue(all(rule.endswith(",") for rule in rules), rules)


if __name__ == "__main__":
    tap.main()
