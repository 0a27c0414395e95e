# SPDX-License-Identifier: LGPL-2.1-or-later
"""A throw-away machine: what it is made of, its process, its files.

Everything is emulated (TCG): the same on every host, and 6 to 9 s until tests run. The guest's root
is read-only, by 9p, under a tmpfs (see init); "out" is the only share that it may write to.
Machine owns its QEMU, which dies with this process however that ends.
"""

import ctypes
import fcntl
import glob
import os
import shutil
import signal
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
PR_SET_PDEATHSIG = 1
NODE_MEMORY = 384  # MiB of each memory node but the first
TCG_TIMEOUT = 120  # for what takes 30 s at most on a real machine

# What is started at boot: of systemd's own units only these, then ours.
WANTS = {
    "sysinit.target": ["systemd-journald.service", "systemd-tmpfiles-setup.service"],
    "sockets.target": ["systemd-journald.socket", "systemd-journald-dev-log.socket", "dbus.socket"],
}
OWN_WANTS = {
    "sysinit.target": ["pvr-setup.service", "pvr-journal.service"],
    "multi-user.target": ["pvr-test.service", "pvr-shell.service"],
}

# Without its vector instructions an emulated s390x takes a quarter less of the host's CPU time. So
# does x86-64 as qemu64, but one of thirty of those stood still, with both CPUs busy.
QEMU = {
    "x86_64": ["qemu-system-x86_64", "-M", "q35", "-cpu", "max,la57=off"],
    "s390x": ["qemu-system-s390x", "-M", "s390-ccw-virtio", "-cpu", "qemu,vx=off"],
}
CONSOLE = {"x86_64": ["-serial", "chardev:con"], "s390x": ["-device", "sclpconsole,chardev=con"]}
BUS = {"x86_64": "pci", "s390x": "ccw"}
CMDLINE = ("quiet panic=-1 systemd.unit=multi-user.target systemd.show_status=no "
           "systemd.unified_cgroup_hierarchy=1 mitigations=off nokaslr lsm= "
           "cryptomgr.notests random.trust_cpu=1 rcupdate.rcu_expedited=1 "
           "sysctl.kernel.printk_ratelimit=0").split()
# one clock source, without the checks that an emulated clock fails
X86_CMDLINE = ["console=ttyS0", "tsc=reliable", "no_timer_check"]
KBUILD = {"x86_64": [], "s390x": ["ARCH=s390", "CROSS_COMPILE=s390x-linux-gnu-"]}


class Unavailable(Exception):
    """The machine cannot be had here; the text says why."""


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def run(command, **arguments):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, check=False, errors="replace", **arguments)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


class Cache:
    """What prepare made for one architecture. The lock keeps prepare from changing it meanwhile."""

    def __init__(self, arch):
        top = run([f"{HERE}/prepare", "--where"]).strip()
        self.arch, self.directory = arch, f"{top}/{arch}"
        for program in QEMU[arch][0], "cpio", "make":
            if not shutil.which(program):
                raise Unavailable(f"no {program}: . tests/packages.sh; ensure_packages system")
        if not os.path.exists(f"{self.directory}/made-for"):
            raise Unavailable(f"nothing in {self.directory}: run tests/system/prepare as root")
        self.lock = open(f"{top}/lock", "r", encoding="ascii")
        fcntl.flock(self.lock, fcntl.LOCK_SH)
        self.release = read(f"{self.directory}/release").strip()

    @property
    def root(self):
        return f"{self.directory}/root" if self.arch == "s390x" else "/"

    @property
    def headers(self):
        return f"{self.root.rstrip('/')}/usr/src/linux-headers-{self.release}"


def build_module(cache, directory):
    """pvsim.ko for the cache's kernel, in a directory below this one. Returns its path."""
    directory = f"{directory}/pvsim-{cache.release}"
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several machines begin at the same time
        make_module(cache, directory)
    return f"{directory}/pvsim.ko"


def make_module(cache, directory):
    for path in glob.glob(f"{HERE}/pvsim/*"):
        copy = f"{directory}/{os.path.basename(path)}"
        if not os.path.exists(copy) or read(copy) != read(path):
            shutil.copyfile(path, copy)
    if not os.path.isdir(cache.headers):
        raise Unavailable(f"no {cache.headers}")
    run(["make", "-C", cache.headers, f"M={directory}", *KBUILD[cache.arch], "KBUILD_MODPOST_WARN=",
         "modules"])


def merge_usr(top):
    """What is installed in /lib and the like goes where the links of a merged /usr point."""
    for name in "bin", "sbin", "lib", "lib64":
        if os.path.isdir(f"{top}/{name}"):
            shutil.copytree(f"{top}/{name}", f"{top}/usr/{name}", symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(f"{top}/{name}")


class Machine:
    """build: a configured and built directory, of prefix /usr. out: emptied, then filled."""

    def __init__(self, arch, build, out, memory=1536, shell=False, nodes=1):
        self.arch, self.build, self.out, self.memory, self.shell = arch, build, out, memory, shell
        self.nodes = nodes
        self.cache = Cache(arch)
        self.process = None
        shutil.rmtree(out, ignore_errors=True)
        os.makedirs(out)
        self.skel = f"{out}.skel"

    def make_skel(self, command):
        """What is laid over the root: the project as it is installed, and our own units."""
        shutil.rmtree(self.skel, ignore_errors=True)
        top, units = f"{self.skel}/skel", f"{self.skel}/skel/etc/systemd/system"
        os.makedirs(top)
        run(["meson", "install", "-C", self.build, "--no-rebuild", "--quiet"],
            env={**os.environ, "DESTDIR": top})
        merge_usr(top)
        shutil.copytree(f"{HERE}/skel", top, dirs_exist_ok=True)
        shutil.copy(build_module(self.cache, os.path.dirname(self.out)), f"{top}/run/pvr/pvsim.ko")
        shutil.copy(f"{HERE}/init", f"{self.skel}/init")
        write(f"{top}/etc/machine-id", f"{os.urandom(16).hex()}\n")
        write(f"{top}/run/pvr/command", command)
        write(f"{top}/run/pvr/environment",
              f"PVR_BUILD=/run/pvr/build\nPVR_OUT=/run/pvr/out\nPVR_TIMEOUT={TCG_TIMEOUT}\n"
              "HOME=/root\nLC_ALL=C.UTF-8\nSYSTEMD_PAGER=cat\nSYSTEMD_COLORS=0\n"
              "PYTHONDONTWRITEBYTECODE=1\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n")
        for wants, where in (WANTS, "/lib/systemd/system"), (OWN_WANTS, "/etc/systemd/system"):
            for target, names in wants.items():
                os.makedirs(f"{units}/{target}.wants", exist_ok=True)
                for name in names:
                    os.symlink(f"{where}/{name}", f"{units}/{target}.wants/{name}")

    def make_initrd(self):
        """The kernel takes archives one after the other."""
        path = f"{self.skel}.initrd"
        with open(path, "wb") as file:
            for directory in f"{self.cache.directory}/boot", self.skel:
                file.write(subprocess.run("find . | cpio -o -H newc --quiet -R 0:0", check=True,
                                          shell=True, cwd=directory,
                                          stdout=subprocess.PIPE).stdout)
        return path

    def share(self, name, path, mode):
        return ["-fsdev", f"local,id={name},path={path},security_model=none,multidevs=remap{mode}",
                "-device", f"virtio-9p-{BUS[self.arch]},fsdev={name},mount_tag={name}"]

    def numa(self):
        """Memory nodes: the first has the CPUs and what the others leave."""
        found = []
        for node in range(self.nodes if self.nodes > 1 else 0):
            size = NODE_MEMORY if node else self.memory - (self.nodes - 1) * NODE_MEMORY
            found += ["-object", f"memory-backend-ram,id=node{node},size={size}M", "-numa",
                      f"node,nodeid={node},memdev=node{node}{'' if node else ',cpus=0-1'}"]
        return found

    def arguments(self, initrd):
        line = list(CMDLINE)
        if self.arch == "x86_64":
            line += [*X86_CMDLINE, f"pvr.modules={self.cache.directory}/modules/lib/modules"]
        line += ["pvr.shell"] if self.shell else []
        found = [*QEMU[self.arch], "-accel", "tcg,thread=multi", "-smp", "2",
                 "-m", str(self.memory), *self.numa(), "-nodefaults", "-no-user-config",
                 "-display", "none", "-no-reboot",
                 "-chardev", f"file,id=con,path={self.out}/console.log", *CONSOLE[self.arch],
                 *self.share("root", self.cache.root, ",readonly=on"),
                 *self.share("src", SOURCE, ",readonly=on"),
                 *self.share("build", self.build, ",readonly=on"), *self.share("out", self.out, ""),
                 "-kernel", f"{self.cache.directory}/vmlinux", "-initrd", initrd,
                 "-append", " ".join(line)]
        if self.shell:
            found += ["-chardev", "stdio,id=shell,signal=off", "-device",
                      f"virtio-serial-{BUS[self.arch]}", "-device", "virtconsole,chardev=shell"]
        return found

    def start(self, command):
        """Boots; in the guest bash then runs the command, a script, as root."""
        self.make_skel(command)
        initrd = self.make_initrd()
        libc = ctypes.CDLL(None)
        with open(f"{self.out}/qemu.log", "wb") as log:
            self.process = subprocess.Popen(
                self.arguments(initrd), stdin=None if self.shell else subprocess.DEVNULL,
                stdout=None if self.shell else log, stderr=log,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))

    def running(self):
        return self.process.poll() is None

    def wait_for(self, name, text="", seconds=5):
        """Until there is such a file in out, with this text; or the time is over."""
        deadline = time.monotonic() + seconds
        while self.running() and time.monotonic() < deadline:
            if os.path.exists(f"{self.out}/{name}") and text in read(f"{self.out}/{name}"):
                return True
            time.sleep(0.05)
        return False

    def wait_off(self, seconds):
        """Until the machine has switched itself off."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self):
        if self.process and self.running():
            self.process.kill()
        if self.process:
            self.process.wait()
        shutil.rmtree(self.skel, ignore_errors=True)
        if os.path.exists(f"{self.skel}.initrd"):
            os.remove(f"{self.skel}.initrd")

    def done(self):
        """The exit status of the command, as a shell has it; None if it did not end."""
        try:
            code, status = read(f"{self.out}/done").split()
        except (OSError, ValueError):
            return None
        return int(status) if code == "exited" else 128 + signal.Signals[f"SIG{status}"].value
