#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where "meson install" would put each file. Nothing is built: meson tells the places of a
directory that is only configured.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

import sources
sys.path.insert(0, os.path.join(sources.ROOT, "tests", "lib"))
import tap  # noqa: E402

# The bus looks nowhere else.
MUST_BE = {"/usr/share/dbus-1/system.d/org.pvreaper.conf"}
SYSTEMD = ("lib/systemd/system/pv-reaper.service", "lib/systemd/catalog/pv-reaper.catalog",
           "lib/sysusers.d/pv-reaper.conf", "lib/tmpfiles.d/pv-reaper.conf")


def installed(*options):
    """The paths of a build with these options; None: it cannot be configured here."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {key: value for key, value in os.environ.items() if key != "DESTDIR"}
        done = subprocess.run(["meson", "setup", directory, sources.ROOT, "-Dtests=false",
                               *options], capture_output=True, text=True, check=False,
                              env=environment)
        if done.returncode != 0:
            return None
        plan = subprocess.run(["meson", "introspect", "--installed", directory], check=True,
                              capture_output=True, text=True).stdout
    return set(json.loads(plan).values())


class Prefix(unittest.TestCase):
    def installed(self, *options):
        paths = installed(*options)
        if paths is None:
            self.skipTest("meson setup fails: it needs what a build needs")
        self.assertGreater(len(paths), 20)
        return paths

    def test_usr_local(self):
        """Nothing is outside, but what must be; and systemd finds it there."""
        paths = self.installed("--prefix=/usr/local")
        self.assertEqual({path for path in paths if not path.startswith("/usr/local/")} - MUST_BE,
                         set())
        for path in SYSTEMD:
            self.assertIn(f"/usr/local/{path}", paths)

    def test_usr(self):
        """Units are where systemd.pc says: /lib, or /usr/lib."""
        paths = self.installed("--prefix=/usr")
        self.assertEqual({path for path in paths if "/local/" in path}, set())
        for path in SYSTEMD[1:]:
            self.assertIn(f"/usr/{path}", paths)
        self.assertTrue(paths & {f"/{SYSTEMD[0]}", f"/usr/{SYSTEMD[0]}"})

    def test_a_prefix_that_systemd_does_not_search(self):
        """What systemd reads is where systemd looks, the rest below the prefix."""
        paths = self.installed("--prefix=/opt/pv-reaper")
        outside = {path for path in paths if not path.startswith("/opt/pv-reaper/")} - MUST_BE
        for path in outside:
            self.assertRegex(path, r"/systemd/|/sysusers\.d/|/tmpfiles\.d/|/bash-completion/")
        self.assertIn("/usr/lib/sysusers.d/pv-reaper.conf", outside)

    def test_options_win(self):
        paths = self.installed("--prefix=/usr/local", "-Dsysusersdir=/a", "-Dtmpfilesdir=/b",
                               "-Dcatalogdir=/c", "-Dsystemdsystemunitdir=/d")
        self.assertLessEqual({"/a/pv-reaper.conf", "/b/pv-reaper.conf", "/c/pv-reaper.catalog",
                              "/d/pv-reaper.service"}, paths)


if __name__ == "__main__":
    tap.main()
