#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""qemu-with-reaper: which QEMU it starts, with what in its environment."""

import os
import re
import subprocess
import sys

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import SIMULATOR, TIMEOUT, tap
from qemu import PRELOAD, WRAPPER
from qemu_pv import PreloadCase, QEMU_NAME, STAND_IN


class Wrapper(PreloadCase):
    """qemu-with-reaper, as its text has it but for two places, where nothing is installed."""

    def setUp(self):
        super().setUp()
        self.bin = f"{self.directory}/bin"
        os.mkdir(self.bin)
        self.path = f"{self.directory}/qemu-with-reaper"
        self.qemu_conf = f"{self.directory}/qemu.conf"
        text = harness.read(WRAPPER)
        for name, value in (("preload", PRELOAD), ("config", self.qemu_conf)):
            text, n = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.M)
            self.assertEqual(n, 1)
        self.write(self.path, text)

    def write(self, path, text):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)

    def emulator(self, path):
        """One that says its name, arguments and libraries."""
        self.write(path, '#!/bin/sh\necho "$0 $*"\necho "$LD_PRELOAD"\n')
        return path

    def run_wrapper(self, path, *arguments, **env):
        clean = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
        return subprocess.run([path, *arguments], capture_output=True, text=True, check=False,
                              timeout=TIMEOUT, env={**clean, "PATH": f"{self.bin}:/usr/bin:/bin",
                                                    **env})

    def check(self, result, emulator, arguments="", libraries=PRELOAD):
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(result.stdout, f"{emulator} {arguments}\n{libraries}\n")

    def test_named_emulator(self):
        emulator = self.emulator(f"{self.directory}/some qemu")
        self.check(self.run_wrapper(self.path, "-m", "1 G", PVREAPER_QEMU=emulator), emulator,
                   "-m 1 G")

    def test_own_architecture(self):
        emulator = self.emulator(f"{self.bin}/qemu-system-{os.uname().machine}")
        self.check(self.run_wrapper(self.path), emulator)

    def test_link(self):
        """Called by an emulator's name it starts the other one of that name; links in PATH too."""
        os.mkdir(f"{self.directory}/own")
        link = f"{self.directory}/own/qemu-system-z80"
        os.symlink(self.path, link)
        emulator = self.emulator(f"{self.bin}/qemu-system-z80")
        self.check(self.run_wrapper(link, "-S", PATH=f"{self.directory}/own:{self.bin}:/bin"),
                   emulator, "-S")

    def test_libraries_that_are_there(self):
        emulator = self.emulator(f"{self.bin}/emulator")
        both = f"{PRELOAD}:{SIMULATOR}"
        for before in (SIMULATOR, both):
            self.check(self.run_wrapper(self.path, PVREAPER_QEMU=emulator, LD_PRELOAD=before),
                       emulator, libraries=both)

    def native_aio(self, config, said="", **env):
        """What QEMU has of it in its environment; said: on standard error, of each line or none."""
        with open(self.qemu_conf, "w", encoding="utf-8") as file:
            file.write(config)
        emulator = f"{self.directory}/emulator"
        self.write(emulator, '#!/bin/sh\necho "${PVREAPER_NATIVE_AIO-unset}"\n')
        result = self.run_wrapper(self.path, PVREAPER_QEMU=emulator, **env)
        self.assertEqual((result.returncode, result.stderr), (0, said))
        return result.stdout.strip()

    def not_understood(self, number, line):
        return (f"qemu-with-reaper: {self.qemu_conf}:{number}: ignored, "
                f"not PVREAPER_NATIVE_AIO=drain|let-go: {line}\n")

    def test_configuration(self):
        self.assertEqual(self.native_aio(""), "unset")
        self.assertEqual(self.native_aio("PVREAPER_NATIVE_AIO=drain"), "drain")
        self.assertEqual(self.native_aio("# x\n\n  PVREAPER_NATIVE_AIO=drain  \n"), "drain")
        self.assertEqual(self.native_aio("PVREAPER_NATIVE_AIO=drain\nPVREAPER_NATIVE_AIO=let-go\n"),
                         "let-go")
        self.assertEqual(self.native_aio("#PVREAPER_NATIVE_AIO=drain\n"), "unset")
        installed = os.path.join(harness.HERE, "..", "..", "conf", "qemu.conf")
        self.assertEqual(self.native_aio(harness.read(installed)), "unset")
        self.assertEqual(self.native_aio(re.sub("^#(?=PV)", "", harness.read(installed),
                                                flags=re.M)), "let-go")

    def test_configuration_and_environment(self):
        for word in ("let-go", "", "whatever"):
            self.assertEqual(self.native_aio("PVREAPER_NATIVE_AIO=drain",
                                             PVREAPER_NATIVE_AIO=word), word)

    def test_wrong_configuration(self):
        """Each wrong line is told, nothing is executed, the others hold, and QEMU starts."""
        lines = ["PVREAPER_NATIVE_AIO=drained", "PVREAPER_NATIVE_AIO = drain", "LD_PRELOAD=/x.so",
                 f"PVREAPER_NATIVE_AIO=$(touch {self.directory}/executed)", "drain",
                 f"`touch {self.directory}/executed`", "PVREAPER_NATIVE_AIO=drain # x",
                 "* \\", "-n"]
        said = "".join(self.not_understood(n, line) for n, line in enumerate(lines, 2))
        config = "PVREAPER_NATIVE_AIO=drain\n" + "\n".join(lines)
        self.assertEqual(self.native_aio(config, said), "drain")
        self.assertFalse(os.path.exists(f"{self.directory}/executed"))

    def test_configuration_that_cannot_be_read(self):
        os.mkdir(self.qemu_conf)
        emulator = self.emulator(f"{self.directory}/emulator")
        result = self.run_wrapper(self.path, PVREAPER_QEMU=emulator)
        self.assertEqual((result.returncode, result.stderr),
                         (0, f"qemu-with-reaper: cannot read {self.qemu_conf}; "
                          "its settings are not used\n"))

    def test_never_itself(self):
        link = f"{self.directory}/qemu-system-z80"
        os.symlink(self.path, link)
        self.refused(self.run_wrapper(link), "no QEMU found")
        self.refused(self.run_wrapper(self.path, PVREAPER_QEMU=link), "this wrapper again")
        copy = f"{self.bin}/qemu-system-z80"
        self.write(copy, harness.read(self.path))
        self.refused(self.run_wrapper(link, PATH=f"{self.directory}:{self.bin}:/bin"),
                     "this wrapper again")

    def refused(self, result, why):
        self.assertEqual((result.returncode, result.stdout), (127, ""))
        self.assertRegex(result.stderr, rf"^qemu-with-reaper: .*{why}")

    def test_stand_in(self):
        """All the way."""
        emulator = f"{self.bin}/{QEMU_NAME}"
        os.symlink(STAND_IN, emulator)
        os.symlink(self.path, f"{self.directory}/{QEMU_NAME}")
        vm = self.stand_in("-m", "3072", path=f"{self.directory}/{QEMU_NAME}", preload=False,
                           env={"PATH": f"{self.bin}:/bin", "PVREAPER_GRACE_MSEC": "0"})
        vm.reboot()
        vm.expect("cleaned")
        self.wait("the keeper has gone ahead", lambda: self.performs(vm))
        self.assertEqual(self.performs(vm), [("pvr-keeper", "0")])
        self.ended_well(vm)


if __name__ == "__main__":
    tap.main()
