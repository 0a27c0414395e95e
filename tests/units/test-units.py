#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is installed for systemd, read by systemd's own tools: put into an empty root, together
with the host's targets, which ours refer to. Nothing is started; tests/system does that."""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import tap  # noqa: E402

BUILD = os.path.abspath(os.environ.get("PVR_BUILD", os.path.join(HERE, "..", "..", "build")))
PAGE = os.path.join(HERE, "..", "..", "man", "pv-reaper.8.scd")

# Most exposure, times 10, that systemd-analyze(1) may see in each service (0 safe, 100 bad).
EXPOSURE = {"pv-reaper.service": 15, "pv-reaper-workers.service": 15,
            "pv-reaper-closer@.service": 10, "pv-reaper-metrics.service": 5}
SOCKETS = {"pv-reaper.socket": "handoff.sock", "pv-reaper-control.socket": "control.sock",
           "pv-reaper-closer.socket": "release.sock"}

# What the design stands on, and where. systemd's answer to a key that it does not know, or that
# stands in the wrong section, is a warning and life without it.
RELIED_ON = {
    "pv-reaper.socket": """
        Socket.ListenSequentialPacket=/run/pv-reaper/handoff.sock Socket.SocketGroup=kvm
        Socket.SocketMode=0660 Socket.RemoveOnStop=yes Socket.TriggerLimitBurst=200
        Unit.ConditionControlGroupController=v2 Unit.IgnoreOnIsolate=yes
        Install.WantedBy=sockets.target""",
    "pv-reaper-control.socket": """
        Socket.ListenStream=/run/pv-reaper/control.sock Socket.Service=pv-reaper.service
        Socket.SocketMode=0660 Unit.BindsTo=pv-reaper.socket Unit.IgnoreOnIsolate=yes
        Unit.ConditionControlGroupController=v2""",
    "pv-reaper-closer.socket": """
        Socket.ListenSequentialPacket=/run/pv-reaper/release.sock Socket.Accept=yes
        Socket.SocketGroup=kvm Socket.SocketMode=0660 Socket.MaxConnections=1024
        Socket.TriggerLimitBurst=1024 Unit.BindsTo=pv-reaper.socket Unit.IgnoreOnIsolate=yes
        Unit.ConditionControlGroupController=v2""",
    "pv-reaper.service": """
        Unit.Requires=pv-reaper.socket Unit.Wants=pv-reaper-workers.service
        Unit.StartLimitIntervalSec=0 Unit.IgnoreOnIsolate=yes
        Service.NotifyAccess=main Service.NonBlocking=yes Service.Restart=always
        Service.WatchdogSec=10s Service.KillMode=process Service.TimeoutStopSec=30s
        Service.OOMScoreAdjust=-900 Service.User=pv-reaper Service.NoNewPrivileges=yes
        Service.ProtectSystem=strict Service.RestrictAddressFamilies=AF_UNIX
        Service.Slice=system.slice Service.FileDescriptorStoreMax=1 Service.MemoryMax=512M
        Install.Also=pv-reaper.socket""",
    "pv-reaper-workers.service": """
        Service.DevicePolicy=closed
        Unit.RefuseManualStop=yes Unit.IgnoreOnIsolate=yes Service.Type=oneshot
        Service.RemainAfterExit=yes Service.User=pv-reaper Service.Slice=pvreaper.slice
        Service.KillMode=control-group Service.TimeoutStopSec=3min
        Service.CapabilityBoundingSet=""",
    "pv-reaper-closer@.service": """
        Unit.CollectMode=inactive-or-failed Unit.After=pv-reaper.service
        Service.Slice=pvreaper.slice Service.DynamicUser=yes Service.SupplementaryGroups=kvm
        Service.TasksMax=1 Service.MemoryMax=32M Service.CapabilityBoundingSet=
        Service.Restart=no Service.TimeoutStopSec=5min Service.PrivateNetwork=yes""",
    "pv-reaper-metrics.service": """
        Unit.ConditionPathExists=/run/pv-reaper/control.sock Service.Type=oneshot
        Service.User=pv-reaper Service.CapabilityBoundingSet= Service.ProtectSystem=strict
        Service.Environment=PVREAPER_TEXTFILE=/var/lib/prometheus/node-exporter/pv-reaper.prom
        Service.ReadWritePaths=-/var/lib/prometheus/node-exporter Service.PrivateNetwork=yes
        Service.LogLevelMax=notice Service.SyslogLevel=err""",
    "pv-reaper-metrics.timer": "Timer.OnCalendar=*:*:0/15 Install.WantedBy=timers.target",
    "pvreaper.slice": "Slice.CPUWeight=20",
}

# What must not be there: it would break what the unit is for.
HARMFUL = {
    "pv-reaper.service": """ProtectControlGroups PrivateUsers RuntimeDirectory PropagatesStopTo
        BindsTo DynamicUser""",
    "pv-reaper-workers.service": """ProtectControlGroups MemoryMax MemoryHigh PrivateDevices
        DeviceAllow ProtectClock IPAddressDeny Restart ExecStop""",
    "pv-reaper-closer@.service": "PrivateUsers RuntimeMaxSec SendSIGKILL",
    "pv-reaper-metrics.service": "WantedBy Also Requires Wants",
}


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def parse(text):
    """{"Section.Key": [values]}, in order."""
    found, section = {}, None
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


class Units(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for tool in ("meson", "systemd-analyze"):
            if not shutil.which(tool):
                raise unittest.SkipTest(f"no {tool}")
        cls.root = tempfile.mkdtemp(prefix="pvr-units-")
        cls.addClassCleanup(shutil.rmtree, cls.root)
        subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet"], check=True,
                       stdout=subprocess.DEVNULL, env={**os.environ, "DESTDIR": cls.root})
        at = glob.glob(f"{cls.root}/**/pv-reaper.socket", recursive=True)[0]
        cls.directory = os.path.dirname(at)
        cls.names = sorted(name for name in os.listdir(cls.directory)
                           if not os.path.isdir(f"{cls.directory}/{name}"))
        cls.units = {name: parse(read(f"{cls.directory}/{name}")) for name in cls.names}

    def run_tool(self, *command):
        return subprocess.run(command, text=True, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=120, check=False)

    def programs(self):
        """What the units execute, as paths below the root."""
        for unit in self.units.values():
            for line in unit.get("Service.ExecStart", []):
                yield self.root + line.split()[0]

    def test_all_are_installed(self):
        self.assertEqual(self.names, sorted([
            "pv-reaper.service", "pv-reaper.socket", "pv-reaper-closer@.service",
            "pv-reaper-closer.socket", "pv-reaper-control.socket", "pv-reaper-release.socket",
            "pv-reaper-metrics.service", "pv-reaper-metrics.timer", "pv-reaper-workers.service",
            "pvreaper.slice"]))
        self.assertEqual(os.readlink(f"{self.directory}/pv-reaper-release.socket"),
                         "pv-reaper-closer.socket")
        for name in self.names:
            self.assertNotRegex(read(f"{self.directory}/{name}"), r"@[A-Z_]+@", name)

    def test_relied_on(self):
        for name, text in RELIED_ON.items():
            for line in text.split():
                key, _, value = line.partition("=")
                values = [v for line in self.units[name].get(key, []) for v in line.split() or [""]]
                self.assertIn(value, values, f"{name}: {key}")

    def test_nothing_harmful(self):
        for name, keys in HARMFUL.items():
            present = {key.partition(".")[2] for key in self.units[name]}
            self.assertEqual(present & set(keys.split()), set(), name)

    def test_verify(self):
        """Not a word from systemd: an unknown key, a wrong value, a program that is missing."""
        done = self.verify()
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def verify(self, more_of_the_service=""):
        root = tempfile.mkdtemp(prefix="pvr-verify-")
        self.addCleanup(shutil.rmtree, root)
        below = self.directory.removeprefix(self.root)
        os.makedirs(root + below)
        for unit in glob.glob("/usr/lib/systemd/system/*.target"):
            shutil.copy(unit, root + below, follow_symlinks=False)
        shutil.copytree(self.directory, root + below, symlinks=True, dirs_exist_ok=True)
        with open(f"{root}{below}/pv-reaper.service", "a", encoding="ascii") as unit:
            unit.write(more_of_the_service)
        programs = [*self.programs(), f"{self.root}/usr/bin/kill"]
        for program in programs:  # only whether there is one is looked at
            copy = root + program.removeprefix(self.root)
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            with open(copy, "w", encoding="ascii"):
                os.chmod(copy, 0o755)
        names = [name.replace("@.", "@1-2-3.") for name in self.names]
        return self.run_tool("systemd-analyze", "verify", "--man=no", f"--root={root}", *names)

    def test_verify_would_see(self):
        """What test_verify() stands on: a misspelt key does not pass."""
        self.assertIn("WatchDogSec", self.verify("[Service]\nWatchDogSec=10s\n").stderr)

    def test_programs_are_installed(self):
        missing = [program for program in self.programs() if not os.access(program, os.X_OK)]
        if not os.path.isdir(os.path.join(HERE, "..", "..", "src", "closer")):
            missing = [program for program in missing if not program.endswith("/pv-reaper-closer")]
        self.assertEqual(missing, [])

    def test_exposure(self):
        for name, most in EXPOSURE.items():
            done = self.run_tool("systemd-analyze", "security", "--offline=true", "--no-pager",
                                 f"--root={self.root}", f"--threshold={most}", name)
            self.assertEqual(done.returncode, 0, done.stdout[-200:] + done.stderr)

    def test_capabilities_have_reasons(self):
        """Each stands in the unit with its reason, and in the man page, and nowhere else."""
        unit, page = self.units["pv-reaper.service"], read(PAGE)
        bounding, = unit["Service.CapabilityBoundingSet"]
        self.assertEqual(unit["Service.AmbientCapabilities"], [bounding])
        text = read(f"{self.directory}/pv-reaper.service")
        self.assertEqual(sorted(re.findall(r"^# (CAP_\w+): ", text, re.MULTILINE)),
                         sorted(bounding.split()))
        self.assertEqual(set(re.findall(r"CAP_\w+", page)), set(bounding.split()))

    def test_fds_for_4500_keepers(self):
        limit, = self.units["pv-reaper.service"]["Service.LimitNOFILE"]
        self.assertGreaterEqual(int(limit), 4500 * 4 + 128)

    def test_reload(self):
        """Type=notify-reload is an error before systemd 253; ExecReload= would come on top."""
        unit = self.units["pv-reaper.service"]
        version = self.run_tool("pkg-config", "--modversion", "libsystemd").stdout
        if not version:
            self.skipTest("no pkg-config for libsystemd")
        if int(re.match(r"\d+", version)[0]) >= 253:
            self.assertEqual(unit["Service.Type"], ["notify-reload"])
            self.assertNotIn("Service.ExecReload", unit)
        else:
            self.assertEqual(unit["Service.Type"], ["notify"])
            self.assertEqual(unit["Service.ExecReload"], ["kill -HUP $MAINPID"])

    def test_enable(self):
        """Enabling the service enables its socket, which is what starts it."""
        root = tempfile.mkdtemp(prefix="pvr-enable-")
        self.addCleanup(shutil.rmtree, root)
        os.makedirs(root + os.path.dirname(self.directory.removeprefix(self.root)))
        shutil.copytree(self.directory, root + self.directory.removeprefix(self.root),
                        symlinks=True)
        done = self.run_tool("systemctl", f"--root={root}", "enable", "pv-reaper.service")
        self.assertEqual(done.returncode, 0, done.stderr)
        links = [os.path.relpath(link, f"{root}/etc/systemd/system")
                 for link in glob.glob(f"{root}/etc/systemd/system/**", recursive=True)
                 if os.path.islink(link)]
        self.assertEqual(links, ["sockets.target.wants/pv-reaper.socket"])

    def test_vms_stop_first(self):
        scopes = parse(read(f"{self.directory}/machine-.scope.d/50-pv-reaper.conf"))
        self.assertEqual(set(scopes["Unit.After"][0].split()),
                         {"pv-reaper.service", "pv-reaper-workers.service"})

    def test_sysusers(self):
        with tempfile.TemporaryDirectory() as root:
            os.mkdir(f"{root}/etc")
            path, = glob.glob(f"{self.root}/**/sysusers.d/pv-reaper.conf", recursive=True)
            done = self.run_tool("systemd-sysusers", f"--root={root}", path)
            if done.returncode != 0 and os.getuid() != 0:
                self.skipTest("needs root")
            self.assertEqual(done.returncode, 0, done.stderr)
            users = [line.split(":") for line in read(f"{root}/etc/passwd").splitlines()]
            self.assertEqual([(user[0], user[6]) for user in users],
                             [("pv-reaper", "/usr/sbin/nologin")])
            groups = {line.split(":")[0] for line in read(f"{root}/etc/group").splitlines()}
            control = parse(read(f"{self.directory}/pv-reaper-control.socket"))
            self.assertEqual(groups, {"pv-reaper", "kvm", *control["Socket.SocketGroup"]} -
                             {"root"})

    def test_tmpfiles(self):
        if os.getuid() != 0:
            self.skipTest("needs root")
        with tempfile.TemporaryDirectory() as root:
            path, = glob.glob(f"{self.root}/**/tmpfiles.d/pv-reaper.conf", recursive=True)
            for _ in range(2):
                done = self.run_tool("systemd-tmpfiles", f"--root={root}", "--create", path)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
            stat = os.stat(f"{root}/run/pv-reaper")
            self.assertEqual((stat.st_mode & 0o7777, stat.st_uid, stat.st_gid), (0o755, 0, 0))

    def test_sockets_are_where_the_man_page_says(self):
        page = read(PAGE)
        for unit, name in SOCKETS.items():
            self.assertIn(f"/run/pv-reaper/{name}", read(f"{self.directory}/{unit}"))
            self.assertIn(f"_/run/pv-reaper/{name}_", page)


if __name__ == "__main__":
    tap.main()
