#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libpvreaper as a VMM's author meets it: what it exports, how it is installed, what it answers.

The small VMMs that this runs are C programs beside it; each explains itself in its opening comment.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import BUILD, Case, has_tool, introspect, sanitized, tap

SOURCE = os.path.join(harness.HERE, "..", "..")
LIBRARY = f"{BUILD}/src/lib/libpvreaper.so.0"
HEADER = f"{SOURCE}/include/pvreaper.h"
SYMBOLS = f"{SOURCE}/src/lib/libpvreaper.sym"
NODE = "PVREAPER_0"
SKIP = 77
HELPER_SECONDS = 120

USER = """
#include <pvreaper.h>
#include <stdio.h>
#include <string.h>

int main(void) {
        struct pvr_vm *vm = NULL;
        struct pvr_vm_options options;
        int r;

        memset(&options, 0, sizeof(options));
        options.size = sizeof(options);
        options.name = "user";
        r = pvr_vm_new(&vm, &options);
        if (r < 0)
                return 1;
        pvr_vm_free(vm);
        printf("%#x\\n", (unsigned)pvr_version());
        puts(pvr_result_to_string(PVR_RESULT_SUPERSEDED));
        return 0;
}
"""


def run(*command, **popen):
    return subprocess.run(command, capture_output=True, text=True, check=False,
                          timeout=HELPER_SECONDS, **popen)


def listed_symbols():
    """Those of the version script, all in the one node there is."""
    body = re.search(NODE + r" \{\s*global:(.*?)(local:|\})", harness.read(SYMBOLS), re.S).group(1)
    return set(re.findall(r"\w+", body))


class SmallVmms(Case):
    def small_vmm(self, name, *arguments, **env):
        """Runs one without a daemon; a keeper goes ahead at once."""
        settings = {**self.vmm_env, "PVREAPER_SOCKET": self.socket, "PVREAPER_GRACE_MSEC": "0",
                    "LD_PRELOAD": harness.SIMULATOR, **env}
        result = run(f"{BUILD}/tests/standins/{name}", *arguments,
                     env={**os.environ, **settings}, stdin=subprocess.DEVNULL)
        if result.returncode == SKIP:
            self.skipTest("no /dev/kvm")
        print(result.stdout + result.stderr, end="")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_errors(self):
        self.small_vmm("api-errors")

    def test_closed_fds(self):
        report = f"{self.directory}/report"
        try:
            self.small_vmm("closed-fds", report)
        except AssertionError as error:
            raise AssertionError(harness.read(report)) from error

    def test_cycles(self):
        self.small_vmm("cycles", PVSIM_NS_PER_PAGE="0")

    def test_setxid(self):
        self.small_vmm("setxid", PVSIM_MIN_MS="300")

    def test_sigchld_handled(self):
        self.small_vmm("sigchld", "handle")

    def test_sigchld_ignored(self):
        self.small_vmm("sigchld", "ignore")


class Exports(unittest.TestCase):
    def test_symbols(self):
        """Exactly the public ones, all in one version node."""
        result = run("nm", "-D", "--defined-only", "--with-symbol-versions", LIBRARY)
        self.assertEqual(result.returncode, 0, result.stderr)
        found = [line.split()[1:] for line in result.stdout.splitlines()]
        self.assertEqual({name for kind, name in found if kind == "T"},
                         {f"{symbol}@@{NODE}" for symbol in listed_symbols()})
        self.assertEqual({(kind, name.split("@")[0]) for kind, name in found if kind != "T"},
                         {("A", NODE)})

    def test_header(self):
        """What the header declares is what the library exports."""
        text = re.sub(r"/\*.*?\*/", "", harness.read(HEADER), flags=re.S)
        self.assertEqual(set(re.findall(r"\b(pvr_\w+)\(", text)), listed_symbols())

    def test_soname(self):
        dynamic = run("readelf", "-d", LIBRARY).stdout
        self.assertEqual(re.findall(r"\(SONAME\).*\[(.*)\]", dynamic), ["libpvreaper.so.0"])

    def test_needs_libc_only(self):
        if sanitized():
            self.skipTest("a sanitizer's run-time library comes with it")
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-d", LIBRARY).stdout)
        self.assertLessEqual(set(needed), {"libc.so.6", "ld64.so.1", "ld-linux-x86-64.so.2"})

    def test_bound_at_load(self):
        """The keeper may not run the dynamic linker, which takes locks and marks its thread."""
        self.assertRegex(run("readelf", "-dW", LIBRARY).stdout, r"FLAGS.*\bNOW\b|BIND_NOW")
        relocations = run("readelf", "-rW", LIBRARY).stdout
        own = re.compile(r" (pvr_|__asan|__ubsan|__stack_chk_fail)")  # ours, or the compiler's
        calls = [l for l in relocations.splitlines() if "JUMP_SLO" in l and not own.search(l)]
        self.assertEqual(calls, [], "calls through a table that is filled in at the first call")

    def test_no_writable_code(self):
        dynamic = run("readelf", "-dlW", LIBRARY).stdout
        self.assertNotIn("TEXTREL", dynamic)
        self.assertRegex(dynamic, r"GNU_STACK .* RW ")


class Header(unittest.TestCase):
    """It is all that a VMM sees, so it may ask for nothing."""

    def compile(self, compiler, *flags):
        if not has_tool(compiler):
            self.skipTest(f"no {compiler}")
        result = run(compiler, *flags, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only",
                     "-I", os.path.dirname(HEADER), "-", input=USER)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_c99(self):
        self.compile("gcc", "-x", "c", "-std=c99")

    def test_c17_clang(self):
        self.compile("clang", "-x", "c", "-std=c17")

    def test_cplusplus(self):
        self.compile("g++", "-x", "c++", "-std=c++11")

    def test_cplusplus_clang(self):
        if not has_tool("g++"):
            self.skipTest("no C++ library")
        self.compile("clang++", "-x", "c++", "-std=c++17")


class Install(Case):
    """What `meson install` leaves is enough to build a program and to run it."""

    def setUp(self):
        super().setUp()
        if not has_tool("meson"):
            self.skipTest("no meson")
        self.stage = f"{self.directory}/stage"
        result = run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", self.stage)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.library = os.path.dirname(self.find("libpvreaper.so.0"))

    def find(self, name):
        found = [os.path.join(folder, name) for folder, folders, names in os.walk(self.stage)
                 if name in names + folders]
        self.assertEqual(len(found), 1, f"{name}: {found}")
        return found[0]

    def pkg_config(self, *arguments):
        if not has_tool("pkg-config"):
            self.skipTest("no pkg-config")
        result = run("pkg-config", *arguments, "pvreaper", env={
            **os.environ, "PKG_CONFIG_LIBDIR": os.path.dirname(self.find("pvreaper.pc")),
            "PKG_CONFIG_SYSROOT_DIR": self.stage})
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout.strip()

    def test_files(self):
        self.find("pvreaper.h")
        real = os.path.realpath(f"{self.library}/libpvreaper.so.0")
        self.assertEqual(os.path.realpath(f"{self.library}/libpvreaper.so"), real)
        self.assertEqual(os.stat(real).st_mode & 0o7777, 0o755)

    def test_pkg_config(self):
        self.assertEqual(self.pkg_config("--modversion"), project("version"))
        self.assertEqual(self.pkg_config("--print-requires", "--print-requires-private"), "")
        self.assertIn("-lpvreaper", self.pkg_config("--libs").split())

    def test_user(self):
        """A program, from nothing but what pkg-config says."""
        if sanitized():
            self.skipTest("the library needs a sanitizer's run-time library")
        flags = shlex.split(self.pkg_config("--cflags", "--libs"))
        program = f"{self.directory}/user"
        for compiler, language in (("cc", "c"), ("c++", "c++")):
            if not has_tool(compiler):
                continue
            result = run(compiler, "-x", language, "-", "-x", "none", "-o", program, *flags,
                         input=USER)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            result = run(program, env={**os.environ, "LD_LIBRARY_PATH": self.library})
            major, minor, patch = map(int, harness.introspect("projectinfo")["version"].split("."))
            version = major << 16 | minor << 8 | patch
            self.assertEqual((result.returncode, result.stdout), (0, f"{version:#x}\nsuperseded\n"))
        self.assertTrue(has_tool("cc") or shutil.which("c++"))


def project(key):
    return introspect("projectinfo")[key]


if __name__ == "__main__":
    tap.main()
