#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""pv-reaperctl check, shown hosts of our making (--root): one on which all is well, and then each
with one thing wrong. What the daemon is asked for is asked of a real one.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, f"{sys.path[0]}/../../lib")

import harness
from harness import tap
from terminal import Terminal

FAKE_KVM = f"{harness.BUILD}/tests/standins/fake-kvm.so"
PAGE = os.path.join(harness.HERE, "..", "..", "man", "pv-reaperctl.1.scd")
SYSTEMD, ETC = "usr/lib/systemd/system", "etc/systemd/system"
WORKERS = "sys/fs/cgroup/pvreaper.slice/pv-reaper-workers.service/cgroup.controllers"
APPARMOR, LOCAL = "etc/apparmor.d/abstractions/libvirt-qemu", "etc/apparmor.d/local/abstractions"
UNITS = ("pv-reaper.socket", "pv-reaper-control.socket", "pv-reaper-closer.socket",
         "pv-reaper.service", "pv-reaper-closer@.service", "pv-reaper-workers.service",
         "pvreaper.slice")
KVM_GID, QEMU_GID = 4242, 4243
OPTIONS = {option["name"]: option["value"] for option in harness.introspect("buildoptions")}
QEMU_CONF = os.path.join(OPTIONS["prefix"], OPTIONS["sysconfdir"], "pv-reaper/qemu.conf")[1:]
DRAIN, HOOK = "PVREAPER_NATIVE_AIO=drain\n", "etc/libvirt/hooks/qemu.d/50-pv-reaper"
OWN_HOOK = harness.read(os.path.join(harness.HERE, "..", "..", "conf", "libvirt-hook"))
RING = "7f2-7f3 rw-s 0 00:0f 17                 /[aio] (deleted)\n"
STATUS = "Name:\tpv-reaperd\nCapEff:\t{:016x}\n"
CAPABILITIES = 1 << 1 | 1 << 19 | 1 << 23  # CAP_DAC_OVERRIDE, CAP_SYS_PTRACE, CAP_SYS_NICE

GOOD = {
    "proc/sys/kernel/arch": "s390x\n",
    "proc/sys/kernel/osrelease": "6.1.0-40-s390x\n",
    "proc/sys/net/core/somaxconn": "4096\n",
    "sys/firmware/uv/prot_virt_host": "1\n",
    "sys/module/kvm/parameters/async_destroy": "Y\n",
    "dev/kvm": "",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
    "run/systemd/system/x": "",
    **{f"{SYSTEMD}/{unit}": "[Unit]\n" for unit in UNITS},
    f"{ETC}/sockets.target.wants/pv-reaper.socket": "[Unit]\n",
    f"{SYSTEMD}/machine-.scope.d/50-pv-reaper.conf":
        "[Unit]\nAfter=pv-reaper.service pv-reaper-workers.service\n",
    "etc/passwd": "root:x:0:0::/:/bin/sh\n"
                  f"libvirt-qemu:x:64055:{KVM_GID}::/:/bin/false\n"
                  f"qemu:x:107:{QEMU_GID}::/:/bin/false\n",
    "etc/group": f"root:x:0:\nkvm:x:{KVM_GID}:\nqemu:x:{QEMU_GID}:\n",
    "sys/module/apparmor/parameters/enabled": "Y\n",
    APPARMOR: "  /dev/net/tun rw,\n  #include <local/abstractions/libvirt-qemu>\n",
    f"{LOCAL}/libvirt-qemu": "/run/pv-reaper/handoff.sock rw,\n",
    "sys/fs/selinux/enforce": "1",
    "var/lib/selinux/targeted/active/modules/400/pv-reaper/cil": "",
    "usr/bin/qemu-system-s390x": "#!/bin/sh\necho 'QEMU emulator version 8.2.1 (x)'\n",
}
SOCKETS = {"handoff": 0o660, "release": 0o660, "control": 0o660}

# check, {file: text, or None for none}, result, what the detail or the advice says
CASES = (
    ("architecture", {"proc/sys/kernel/arch": "x86_64\n"}, "SKIP", "x86_64 has no Secure"),
    ("kernel", {"proc/sys/kernel/osrelease": "5.8.0\n"}, "FAIL", "boot Linux 5.9"),
    ("kernel", {"proc/sys/kernel/osrelease": "5.10.0\n"}, "PASS", "Linux 5.10"),
    ("kernel", {"proc/sys/kernel/osrelease": None}, "SKIP", "cannot tell"),
    ("secure-execution", {"sys/firmware/uv/prot_virt_host": "0\n"}, "FAIL", "with prot_virt=1"),
    ("secure-execution", {"sys/firmware/uv/prot_virt_host": None}, "FAIL", "no /sys/firmware"),
    ("secure-execution", {"proc/sys/kernel/arch": "aarch64\n"}, "SKIP", "only on s390x"),
    ("async-destroy", {"sys/module/kvm/parameters/async_destroy": "N\n"}, "WARN",
     "kvm.async_destroy=1"),
    ("async-destroy", {"sys/module/kvm/parameters/async_destroy": None}, "WARN", "Linux 6.2"),
    ("async-destroy", {"sys/module/kvm": None}, "WARN", "modprobe kvm"),
    ("async-destroy", {"proc/sys/kernel/arch": "x86_64\n"}, "SKIP", "only on s390x"),
    ("kvm", {"dev/kvm": None}, "FAIL", "No such file"),
    ("capability-224", {"dev/kvm": None}, "FAIL", "No such file"),
    ("capability-224", {"proc/sys/kernel/arch": "x86_64\n"}, "SKIP", "only on s390x"),
    ("cgroup-v2", {"sys/fs/cgroup/cgroup.controllers": None}, "FAIL", "unified_cgroup_hierarchy=1"),
    ("cgroup-v2", {"sys/fs/cgroup/cgroup.controllers": None,
                   "sys/fs/cgroup/unified/cgroup.controllers": "cpu\n"}, "FAIL", "hybrid"),
    ("controllers", {"sys/fs/cgroup/cgroup.controllers": None}, "SKIP", "no cgroup v2"),
    ("controllers", {"sys/fs/cgroup/cgroup.controllers": "cpuset io pids\n"}, "WARN", "no cpu in"),
    ("controllers", {WORKERS: "memory\n"}, "WARN", "no cpu pids in .*workers"),
    ("backlog", {"proc/sys/net/core/somaxconn": "128\n"}, "WARN", "sysctl net.core.somaxconn"),
    ("backlog", {"proc/sys/net/core/somaxconn": None}, "SKIP", "to read"),
    ("units", {"run/systemd/system": None}, "SKIP", "systemd does not run"),
    ("units", {f"{SYSTEMD}/pv-reaper-workers.service": None}, "FAIL", "install pv-reaper-workers"),
    ("units", {f"{ETC}/pv-reaper.service": ""}, "FAIL", "systemctl unmask pv-reaper.service"),
    ("units", {f"{ETC}/sockets.target.wants": None}, "WARN", "systemctl enable --now"),
    ("shutdown-order", {"run/systemd/system": None}, "SKIP", "systemd does not run"),
    ("shutdown-order", {f"{SYSTEMD}/machine-.scope.d": None}, "FAIL", "install it"),
    ("shutdown-order", {f"{ETC}/machine-.scope.d/50-pv-reaper.conf": ""}, "WARN", "masks"),
    ("shutdown-order", {f"{SYSTEMD}/machine-.scope.d/50-pv-reaper.conf":
                        "[Unit]\n#After=pv-reaper.service pv-reaper-workers.service\n"}, "WARN",
     "does not order VMs after pv-reaper.service"),
    ("apparmor", {"sys/module/apparmor": None}, "SKIP", "not enabled"),
    ("apparmor", {"etc/libvirt/qemu.conf": '#security_driver = "apparmor"\n'
                                           ' security_driver = "none"\n'}, "SKIP", "none"),
    ("apparmor", {APPARMOR: None}, "SKIP", "confines nothing"),
    ("apparmor", {f"{LOCAL}/libvirt-qemu": None}, "FAIL", "append /.*/apparmor-libvirt-qemu to"),
    ("apparmor", {f"{LOCAL}/libvirt-qemu": "# /run/pv-reaper/x.sock rw,\n"}, "FAIL", "append"),
    ("apparmor", {APPARMOR: "  /dev/net/tun rw,\n"}, "FAIL", "append"),
    ("apparmor", {APPARMOR: " /run/pv-reaper/* rw,\n", LOCAL: None}, "PASS", "lets QEMU connect"),
    ("apparmor", {LOCAL: None, APPARMOR: " include if exists <abstractions/libvirt-qemu.d>\n",
                  f"{APPARMOR}.d/x": " /run/pv-reaper/* rw,\n"}, "PASS", "lets QEMU connect"),
    ("selinux", {"sys/fs/selinux": None}, "SKIP", "not enabled"),
    ("selinux", {"var/lib/selinux/targeted/active/modules/400": None}, "FAIL", "pv-reaper.te"),
    ("selinux", {"var/lib/selinux": None}, "FAIL", "QEMU cannot connect"),
    ("selinux", {"var/lib/selinux": None, "sys/fs/selinux/enforce": "0"}, "WARN", "permissive"),
    ("selinux", {"etc/selinux/config": "SELINUX=permissive\nSELINUXTYPE=mls\n"}, "FAIL",
     "no module"),
    ("selinux", {"etc/libvirt/qemu.conf": 'security_driver = "none"\n'}, "SKIP", "none"),
    ("qemu", {"usr/bin/qemu-system-s390x": None}, "SKIP", "no QEMU"),
    ("qemu", {"usr/bin/qemu-system-s390x": "#!/bin/sh\necho QEMU emulator version 7.2.2\n"}, "WARN",
     "QEMU 7.2, with -async-teardown"),
    ("qemu", {"usr/bin/qemu-system-s390x": "#!/bin/sh\necho QEMU emulator version 7.1.0\n"}, "WARN",
     "without asynchronous"),
    ("qemu", {"usr/libexec/qemu-kvm": "#!/bin/sh\necho 'QEMU emulator version 8.0.0'\n"}, "PASS",
     "QEMU 8.0, with -async-teardown"),
    ("qemu", {"usr/bin/qemu-system-s390x": "#!/bin/sh\nexit 1\n"}, "SKIP", "says no version"),
    ("fencing", {}, "PASS", "keepers leave"),
    ("fencing", {QEMU_CONF: "# PVREAPER_NATIVE_AIO=drain\nPVREAPER_NATIVE_AIO=leave\n"}, "PASS",
     "keepers leave"),
    ("fencing", {QEMU_CONF: DRAIN}, "PASS", "no libvirt"),
    ("fencing", {QEMU_CONF: DRAIN, "etc/libvirt/qemu.conf": ""}, "WARN",
     f"no hook.*install /.*/libvirt-hook as /{HOOK}, .*from /{QEMU_CONF}"),
    ("fencing", {QEMU_CONF: DRAIN, HOOK: "#!/bin/sh\npv-reaperctl wait-memory 1\n"}, "WARN",
     "too old"),
    ("fencing", {QEMU_CONF: DRAIN, HOOK: "#!/bin/sh\n# wait-quiet\n"}, "WARN", "no hook"),
    ("fencing", {QEMU_CONF: DRAIN, HOOK: "pv-reaperctl wait-quiet x\n"}, "WARN", "no hook"),
    ("fencing", {QEMU_CONF: DRAIN, HOOK: "#!/bin/sh\npv-reaperctl wait-quiet x\n"}, "PASS",
     "libvirt waits"),
    ("fencing", {QEMU_CONF: DRAIN, "etc/libvirt/hooks/qemu": OWN_HOOK}, "PASS", "libvirt waits"),
    ("fencing", {"proc/77/comm": "cleanup/76\n", "proc/77/maps": f"7f0-7f1 rw-p 0 0 0 \n{RING}"},
     "WARN", "1 of QEMU's own helpers .one is pid 77.*io_uring"),
    ("fencing", {"proc/77/comm": "cleanup/76\n", "proc/77/maps": "7f0-7f1 rw-p 0 0 0 \n"},
     "PASS", "keepers leave"),
    ("fencing", {"proc/77/comm": "cleanup/76\n", "proc/77/maps": RING, "proc/78/maps": RING,
                 "proc/78/comm": "pvr-keeper\n", "proc/78/stat": f"78 (k) S 76{' 1' * 30}\n"},
     "PASS", "keepers leave"),
    ("fencing", {"proc/77/comm": "cleanup/76\n", "proc/77/maps": RING, "proc/78/maps": RING,
                 "proc/78/comm": "pvr-keeper\n", "proc/78/stat": f"78 (k) S 75{' 1' * 30}\n"},
     "WARN", "one is pid 77"),
)


# What it makes of a line, and of several; test-wrapper.py shows the same of the wrapper.
LINES = (
    (DRAIN, True), (DRAIN.strip(), True), (f" \t{DRAIN.strip()} \t\n", True),
    (f"{DRAIN}# x\n\nPVREAPER_NATIVE_AIO=x\n", True),
    (f"{DRAIN}PVREAPER_NATIVE_AIO=let-go\n", False),
    ("PVREAPER_NATIVE_AIO='drain'\n", False), ('PVREAPER_NATIVE_AIO="drain"\n', False),
    ("PVREAPER_NATIVE_AIO = drain\n", False), ("PVREAPER_NATIVE_AIO=drain # x\n", False),
    ("PVREAPER_NATIVE_AIO=drain\r\n", False), ("export PVREAPER_NATIVE_AIO=drain\n", False),
    (f"#{DRAIN}", False), (f"{'x' * 1023}{DRAIN}", False),
)


class CheckCase(harness.Case):
    """self.root: the host, of GOOD."""

    def setUp(self):
        super().setUp()
        self.root = f"{self.directory}/root"
        for path, text in GOOD.items():
            self.put(path, text)
        self.libvirt("libvirt.so.0.10000.0")

    def put(self, path, text):
        path = f"{self.root}/{path}"
        if text is None:
            if os.path.isdir(path):
                harness.shutil.rmtree(path)
            else:
                os.unlink(path)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        if text.startswith("#!"):
            os.chmod(path, 0o755)

    def libvirt(self, target):
        path = f"{self.root}/usr/lib64/libvirt.so.0"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(target, path)

    def run_check(self, *arguments, status=None, env=None):
        """All checks, also of those that do not apply."""
        done = subprocess.run([harness.CTL, "--socket", self.control, "--root", self.root, "check",
                               *(arguments or ("--all",))], capture_output=True, text=True,
                              check=False, timeout=harness.TIMEOUT * 5,
                              env={**os.environ, "LD_PRELOAD": FAKE_KVM, "FAKE_KVM": "new",
                                   **(env or {})})
        self.assertEqual(done.stderr, "")
        if status is not None:
            self.assertEqual(done.returncode, status, done.stdout)
        return done

    def expect(self, name, result, words, **arguments):
        done = self.run_check(name, "--json", **arguments)
        (report,) = json.loads(done.stdout)
        self.assertEqual((report["name"], report["result"]), (name, result), report)
        self.assertRegex(f"{report['detail']} {report['advice'] or ''}", words)
        self.assertEqual(report["advice"] is not None, result in ("WARN", "FAIL"), report)
        self.assertEqual(done.returncode, {"PASS": 0, "SKIP": 0, "WARN": 4, "FAIL": 1}[result])


class Hosts(CheckCase):
    def test_each_outcome(self):
        """One thing is different, and the check that looks at it says so."""
        for name, changes, result, words in CASES:
            with self.subTest(name=name, changes=changes):
                saved, self.root = self.root, f"{self.directory}/other"
                subprocess.run(["cp", "-a", saved, self.root], check=True)
                try:
                    for path, text in changes.items():
                        self.put(path, text)
                    self.expect(name, result, words)
                finally:
                    harness.shutil.rmtree(self.root)
                    self.root = saved

    def test_lines_of_qemu_conf(self):
        """As the wrapper of QEMU takes them."""
        for text, drain in LINES:
            with self.subTest(text=text):
                self.put(QEMU_CONF, text)
                self.expect("fencing", "PASS", "keepers end" if drain else "keepers leave")

    def test_unreadable_processes(self):
        """That is not the same as none."""
        self.put("proc", None)
        self.expect("fencing", "SKIP", "cannot read /proc: No such file")

    def test_kvm(self):
        self.expect("kvm", "PASS", "/dev/kvm")
        self.expect("capability-224", "PASS", "can set")
        self.expect("capability-224", "WARN", "Linux 6.2", env={"FAKE_KVM": "old"})
        self.expect("kvm", "FAIL", "not KVM", env={"LD_PRELOAD": ""})

    def test_libvirt(self):
        self.expect("libvirt", "PASS", "libvirt 10.0")
        self.libvirt("libvirt.so.0.9006.0")
        self.expect("libvirt", "PASS", "libvirt 9.6")
        self.libvirt("libvirt.so.0.9000.0")
        self.expect("libvirt", "WARN", "libvirt 9.0 .*qemu:commandline")
        self.put("usr/lib64", None)
        self.expect("libvirt", "SKIP", "no libvirt.so.0")

    def test_what_hangs_is_ended(self):
        """A program that does not answer costs five seconds, and is not left behind."""
        self.put("usr/bin/qemu-system-s390x",
                 f"#!/bin/sh\necho $$ >{self.directory}/pid\nexec sleep 1000\n")
        start = time.monotonic()
        self.expect("qemu", "WARN", "no answer within 5 s")
        self.assertGreater(time.monotonic() - start, 4)
        pid = harness.read(f"{self.directory}/pid").strip()
        self.wait("it is gone", lambda: not harness.is_alive(pid))

    def test_without_a_daemon(self):
        self.expect("daemon", "FAIL", "no daemon listens.*systemctl enable")
        self.expect("capabilities", "SKIP", "no daemon to look at")
        self.expect("fds", "SKIP", "no daemon to ask")
        self.expect("cpu-cap", "SKIP", "Linux 6.1 cpu.max should act")
        self.put("proc/sys/kernel/osrelease", "6.18.0\n")
        self.expect("cpu-cap", "SKIP", "Linux 6.18 cpu.max does not act")

    def test_wrong_name(self):
        done = subprocess.run([harness.CTL, "check", "kernel", "nonsense"], capture_output=True,
                              text=True, check=False, timeout=harness.TIMEOUT)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn('no check "nonsense"', done.stderr)

    def test_manual_page_has_them_all(self):
        with open(PAGE, encoding="utf-8") as file:
            part = re.search(r"^# CHECKS$(.*?)^# ", file.read(), re.M | re.S)[1]
        names = [report["name"] for report in json.loads(self.run_check("--all", "--json").stdout)]
        self.assertEqual(re.findall(r"^\*([a-z0-9-]+)\*$", part, re.M), names)


@unittest.skipUnless(os.geteuid() == 0, "needs root, to give sockets away")
class Sockets(CheckCase):
    def setUp(self):
        super().setUp()
        os.makedirs(f"{self.root}/run/pv-reaper")
        os.makedirs(f"{self.root}{self.directory}")
        for name, mode in SOCKETS.items():
            self.bind(name, mode)

    def path(self, name):
        """Where the daemon's own control socket is, pv-reaperctl was told."""
        if name == "control":
            return f"{self.root}{self.control}"
        return f"{self.root}/run/pv-reaper/{name}.sock"

    def bind(self, name, mode=0o660, uid=0, gid=KVM_GID):
        if os.path.exists(self.path(name)):
            os.unlink(self.path(name))
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(self.path(name))
        os.chmod(self.path(name), mode)
        os.chown(self.path(name), uid, gid)

    def test_each_socket(self):
        for name in SOCKETS:
            check = f"{name}-socket"
            self.expect(check, "PASS", rf"/{name}.sock, mode 0660, group kvm")
            self.bind(name, 0o666)
            self.expect(check, "WARN", "everybody")
            self.bind(name, uid=64055)
            self.expect(check, "WARN", "SocketUser=root")
            self.bind(name, gid=0)
            if name == "control":
                self.expect(check, "PASS", "group root")
            else:
                self.expect(check, "WARN", "SocketGroup=kvm")
            os.unlink(self.path(name))
            self.expect(check, "FAIL", "No such file.*systemctl enable")
            self.put(self.path(name)[len(self.root) + 1:], "")
            self.expect(check, "FAIL", "no socket")

    def test_right_of_qemus_user(self):
        self.expect("qemu-user", "PASS", "libvirt-qemu may")
        self.put("etc/libvirt/qemu.conf", '#user = "root"\nuser = "qemu"\n')
        self.expect("qemu-user", "FAIL", "usermod -aG kvm qemu")
        self.put("etc/group", f"kvm:x:{KVM_GID}:somebody,qemu\n")
        self.expect("qemu-user", "PASS", "qemu may")
        self.bind("release", 0o600)
        self.expect("qemu-user", "FAIL", "qemu may not connect to /run/pv-reaper/release.sock")
        self.put("etc/libvirt/qemu.conf", 'user = "root"\n')
        self.expect("qemu-user", "PASS", "root may")
        self.put("etc/libvirt/qemu.conf", 'user = "nobody-here"\n')
        self.expect("qemu-user", "FAIL", "does not exist")
        self.put("etc/libvirt/qemu.conf", None)
        self.put("etc/passwd", "root:x:0:0::/:/bin/sh\n")
        self.expect("qemu-user", "SKIP", "no user libvirt-qemu")

    def test_no_socket_no_right(self):
        os.unlink(self.path("handoff"))
        self.expect("qemu-user", "SKIP", "handoff.sock: No such file")

    def test_all_is_well(self):
        """Every check passes on such a host, with a daemon; as text and as JSON."""
        self.need_cgroup()
        daemon = self.daemon()
        self.put(f"proc/{daemon.pid}/status", STATUS.format(CAPABILITIES))
        self.put(f"{self.cgroup_option[1:]}/cgroup.controllers", "cpu pids\n")
        os.link(self.path("handoff"), f"{self.root}{self.socket}")
        os.unlink(self.path("handoff"))
        done = self.run_check(status=0)
        lines = done.stdout.splitlines()
        self.assertEqual([line for line in lines if not re.fullmatch(
            r"PASS  [a-z0-9-]{3,16} +\S.*", line)], [])
        self.assertGreater(len(lines), 20)
        reports = json.loads(self.run_check("--all", "--json=pretty", status=0).stdout)
        self.assertEqual({report["result"] for report in reports}, {"PASS"})
        self.put("proc/sys/net/core/somaxconn", "1\n")
        self.run_check(status=4)
        self.put("proc/sys/kernel/osrelease", "4.0\n")
        self.run_check(status=1)


class WhatApplies(CheckCase):
    """On an x86 host without systemd and libvirt: no SKIP, and no advice for others."""

    def setUp(self):
        super().setUp()
        for path, text in (("proc/sys/kernel/arch", "x86_64\n"), ("run/systemd/system", None),
                           ("sys/module/apparmor", None), ("sys/fs/selinux", None),
                           ("usr/lib64", None), ("etc/passwd", "root:x:0:0::/:/bin/sh\n")):
            self.put(path, text)

    def names(self, *arguments):
        return [report["name"] for report in
                json.loads(self.run_check("--json", *arguments).stdout)]

    def test_only_what_applies(self):
        self.daemon()
        shown = self.run_check("--no-pager").stdout.splitlines()
        self.assertRegex(shown.pop(), r"^\d+ checks do not apply here: --all shows them\.$")
        names = [line.split()[1] for line in shown if not line.startswith(" ")]
        self.assertEqual(names, ["kernel", "kvm", "cgroup-v2", "controllers", "backlog", "daemon",
                                 "capabilities", "cpu-cap", "fds", "handoff-socket",
                                 "control-socket", "fencing"])
        self.assertEqual(self.names(), names)
        self.assertNotIn("systemctl", "".join(shown))
        self.assertEqual(len(self.names("--all")), 24)
        self.assertNotIn("apply", self.run_check("--all").stdout)
        self.assertEqual(self.names("selinux"), ["selinux"])  # whoever asks is answered
        self.assertNotIn("apply", self.run_check("--no-legend", "kernel").stdout)

    def test_the_daemon_is_asked(self):
        """It listens elsewhere, in a cgroup of another name."""
        self.need_cgroup()
        self.daemon()
        self.expect("handoff-socket", "FAIL", f"{self.socket}: No such file.* start pv-reaperd")
        self.expect("cgroup-v2", "PASS", f"the daemon uses {self.cgroup_option}")

    def test_every_line_fits(self):
        self.daemon()
        for columns in (80, 60):
            terminal = Terminal(self, "--no-pager", "--root", self.root, "check", "--all",
                                columns=columns)
            terminal.ends()
            text = re.sub(r"\033\[\d*m", "", terminal.output.decode().replace("\r", ""))
            self.assertLessEqual(max(map(len, text.splitlines())), columns)
            one_line = " ".join(text.split())
            for report in json.loads(self.run_check("--all", "--json").stdout):
                self.assertIn(" ".join(report["name"].split()), one_line)
                for word in f"{report['detail']} {report['advice'] or ''}".split():
                    self.assertIn(word, one_line if len(word) < columns - 24 else
                                  one_line.replace(" ", ""))
            terminal.close()


class WithDaemon(CheckCase):
    def proc(self, name, text):
        self.put(f"proc/{self.served.pid}/{name}", text)

    def test_daemon(self):
        self.served = self.daemon()
        self.expect("daemon", "PASS", rf"answers, pid {self.served.pid}")
        self.expect("cpu-cap", "PASS", "no cpu-quota")

    def test_capabilities(self):
        self.served = self.daemon()
        self.expect("capabilities", "SKIP", "cannot read")
        self.proc("status", "Name:\tx\n")
        self.expect("capabilities", "SKIP", "cannot be read")
        self.proc("status", STATUS.format(CAPABILITIES))
        self.expect("capabilities", "PASS", "CAP_SYS_NICE")
        for number, result in ((1, "FAIL"), (19, "FAIL"), (23, "WARN")):
            self.proc("status", STATUS.format(CAPABILITIES & ~(1 << number)))
            self.expect("capabilities", result, "AmbientCapabilities=CAP_")

    def test_fds(self):
        for hard, result, n in ((16512, "PASS", 4096), (4128, "PASS", 1000), (4124, "WARN", 999)):
            self.served = self.daemon(prefix=["prlimit", f"--nofile=1024:{hard}"])
            self.expect("fds", result, f"room for {n} workers, 0 are connected")
            self.served.kill()

    def test_a_quota_that_nothing_holds(self):
        self.cpu_quota = None  # it is in the configuration
        with open(self.config, "w", encoding="ascii") as file:
            file.write("[cpu]\ncpu-quota=50%\ncpu-enforce=off\n")
        self.served = self.daemon()
        self.expect("cpu-cap", "WARN", "not enforced: off: .*cpu-enforce")

    def test_a_quota_that_holds(self):
        self.need_cgroup()
        if os.geteuid() != 0:
            self.skipTest("needs root, for SCHED_DEADLINE")
        self.cpu_quota = None
        with open(self.config, "w", encoding="ascii") as file:
            file.write("[cpu]\ncpu-quota=50%\ncpu-enforce=deadline\n")
        self.served = self.daemon()
        self.expect("cpu-cap", "PASS", "deadline: ")


if __name__ == "__main__":
    tap.main()
