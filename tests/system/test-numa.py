#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A worker is moved to a cgroup of its own; the memory that it shares with its VMM must not notice.
In a machine with three memory nodes. What moves a page is counted by the kernel (/proc/vmstat).
"""

import glob
import os
import re
import signal
import subprocess

import guest
import installed
from guest import CGROUPS, cgroup_of, read, systemctl, tap
from installed import Installed

from helpers import STAND_IN, StandIn  # found where guest says
from puppet import Puppet

MIB = 1 << 20
BYTES = 96 * MIB
PAGES = BYTES // os.sysconf("SC_PAGESIZE")
SLICE = "pvreaper.slice"
STAYS = "8bd9cf9f52264b5dbef1e529e4e10af3"
OURS = f"{CGROUPS}/{SLICE}/"
SHUTDOWN = 2


def migrated():
    return int(re.search(r"^pgmigrate_success (\d+)$", read("/proc/vmstat"), re.MULTILINE)[1])


class Nodes:
    """What the tests of installed units and of a daemon by hand share."""

    def need_nodes(self):
        if not os.path.exists("/sys/devices/system/node/node2"):
            self.skipTest("needs a machine with three memory nodes")
        guest.sh("echo 0 >/proc/sys/kernel/numa_balancing")

    def bound(self, nodes="1-2"):
        """A VMM that may use these nodes, and has bound memory to node 2."""
        prefix = guest.in_scope(f"machine-{self.id().rpartition('.')[2]}.scope".replace("_", "-"),
                                *(["-p", f"AllowedMemoryNodes={nodes}"] if nodes else []))
        vmm = StandIn(self, BYTES, prefix=prefix)
        address = vmm.do("bind 2")
        vmm.memory = lambda pid=vmm.pid: next(
            line for line in read(f"/proc/{pid}/numa_maps").splitlines()
            if line.startswith(address))
        self.assertGreaterEqual(self.pages_on_2(vmm.memory()), PAGES // 2)
        return vmm

    def pages_on_2(self, line):
        """Of numa_maps: bound to that node, and on no other."""
        self.assertRegex(line, " bind:2 .* N2=")
        self.assertNotRegex(line, " N[013-9]+=")
        return int(re.search(r" N2=(\d+)", line)[1])

    def assert_untouched(self, vmm, before):
        """Nothing has changed for the VMM, and nothing will."""
        self.assertEqual(migrated(), before)
        self.assertGreaterEqual(self.pages_on_2(vmm.memory()), PAGES // 2)
        self.assertEqual(vmm.do("fill"), "filled")
        self.assertEqual(self.pages_on_2(vmm.memory()), PAGES)
        self.assertEqual(migrated(), before)

    def row_of(self, pid):
        return next((row for row in self.ctl_json("list") if row["pid"] == pid), None)

    def keeper_of(self, vmm):
        pid = vmm.make_keeper()
        self.wait("it is registered", lambda: self.row_of(pid))
        return pid

    def end(self, vmm):
        """The VMM dies; the bill of what its worker then does."""
        os.kill(vmm.pid, signal.SIGKILL)
        name = vmm.pid

        def ended():
            jobs = self.ctl_json("jobs")
            return next((job for job in jobs if job["kind"] in ("shutdown", "adopted") and
                         job["state"] not in ("queued", "running")), None)

        job = self.wait(f"the worker of {name} is done", ended)
        self.assertEqual(job["state"], "done")
        self.assertNotEqual(job.get("cpu_us"), 0)  # of a helper that is reaped it is not known
        return job


class Moved(Nodes, Installed):
    def setUp(self):
        super().setUp()
        self.need_nodes()
        with open(installed.CONFIG, "a", encoding="ascii") as file:
            file.write(f"[adopt]\nemulators={os.path.realpath(STAND_IN)}\n")
        systemctl("reload", installed.SERVICE)

    def traced(self):
        """strace -T of what the daemon writes, from now on."""
        path, pid = f"{self.directory}/trace", self.main_pid()
        tracer = subprocess.Popen(["strace", "-f", "-T", "-e", "trace=write", "-o", path, "-p",
                                   str(pid)], stderr=subprocess.DEVNULL)
        self.addCleanup(tracer.wait)
        self.addCleanup(tracer.terminate)
        self.wait("it is traced", lambda: re.search(r"^TracerPid:\s*[1-9]",
                                                    read(f"/proc/{pid}/status"), re.MULTILINE))
        return path

    def show_longest_write(self, trace):
        """What one waits for, if it does, are pages that are moved: those are counted."""
        times = [float(time) for time in re.findall(r"<([\d.]+)>$", read(trace), re.MULTILINE)]
        print(f"# the longest of {len(times)} writes took {max(times):.3f} s")

    def adopted_of(self, vmm):
        self.ctl("adopt", str(vmm.helper))
        self.wait("it is adopted", lambda: self.row_of(vmm.helper))
        return vmm.helper

    def moves(self, worker_of):
        vmm, before, trace = self.bound(), migrated(), self.traced()
        worker = worker_of(vmm)
        self.show_longest_write(trace)
        self.assert_untouched(vmm, before)
        place = cgroup_of(worker)
        self.assertTrue(place.startswith(OURS), place)
        self.assertEqual(read(f"{place}/cpuset.mems.effective"), "1-2\n")
        self.assertEqual(self.row_of(worker)["cgroup"], place)
        self.assertEqual(self.end(vmm)["cgroup"], place)
        self.assertEqual(migrated(), before)

    def test_keeper_takes_its_nodes_along(self):
        self.moves(self.keeper_of)

    def test_adopted_helper_takes_its_nodes_along(self):
        self.moves(self.adopted_of)

    def stays(self, worker_of):
        systemctl("set-property", "--runtime", SLICE, "AllowedMemoryNodes=0")
        # systemd 252 would not undo it: it writes nothing for an empty list.
        self.addCleanup(systemctl, "set-property", "--runtime", SLICE, "AllowedMemoryNodes=0-2")
        vmm, before, trace = self.bound(), migrated(), self.traced()
        worker = worker_of(vmm)
        self.show_longest_write(trace)
        self.assert_untouched(vmm, before)
        self.assertEqual(cgroup_of(worker), cgroup_of(vmm.pid))
        self.assertIsNone(self.row_of(worker).get("cgroup"))
        self.assertEqual(self.ctl_json("status")["unmoved"], 1)
        self.assertIn("\npvreaper_unmoved_workers 1\n", self.ctl("metrics"))
        record, = self.wait_journal(MESSAGE_ID=STAYS, PV_PID=str(worker))
        self.assertIn("the nodes 1-2", record["MESSAGE"])
        self.assertEqual(glob.glob(f"{installed.KEEPERS}{worker}-*"), [])
        self.assertIsNone(self.end(vmm).get("cgroup"))
        self.assertEqual(migrated(), before)
        self.assertEqual(self.ctl_json("status")["unmoved"], 0)

    def test_keeper_stays_where_its_nodes_are(self):
        self.stays(self.keeper_of)

    def test_adopted_helper_stays_where_its_nodes_are(self):
        self.stays(self.adopted_of)


class ByHand(Nodes, guest.Case):
    """A daemon in a cgroup that the controller cpuset does not reach."""

    unit = "pvr-numa.service"

    def setUp(self):
        super().setUp()
        self.need_nodes()
        self.cgroup_option = f"{OURS}{self.unit}/ours"
        hold = ('mkdir "$$1" "$$1/../hold" && echo $$$$ >"$$1/../hold/cgroup.procs" && '
                'echo +cpu +memory +pids >"$$1/../cgroup.subtree_control" && exec sleep infinity')
        guest.sh(f"systemd-run --quiet --slice={SLICE} --property=Delegate=yes "
                 f"--unit={self.unit} bash -c '{hold}' bash {self.cgroup_option}")
        self.addCleanup(systemctl, "stop", self.unit)
        controllers = f"{self.cgroup_option}/cgroup.controllers"
        self.wait("it is held", lambda: os.path.exists(controllers) and read(controllers) ==
                  "cpu memory pids\n")
        self.daemon("--max-concurrent=1")

    def test_cpuset_is_left_alone_without_need(self):
        vmm = self.bound(nodes="")
        before = migrated()
        keeper = self.keeper_of(vmm)
        self.assertTrue(cgroup_of(keeper).startswith(self.cgroup_option))
        self.assert_untouched(vmm, before)

    def test_keeper_is_moved_when_its_vmm_is_dead(self):
        """More nodes than the dead VMM had: then nobody's policy matters, and no page moves."""
        vmm, before = self.bound(), migrated()
        keeper = self.keeper_of(vmm)
        self.assert_untouched(vmm, before)
        self.assertEqual(cgroup_of(keeper), cgroup_of(vmm.pid))
        holder = Puppet(self, "holder")
        holder.take_slot()
        os.kill(vmm.pid, signal.SIGKILL)
        self.wait("it waits", lambda: self.ctl_json("status")["queued"] == 1)
        place = cgroup_of(keeper)
        self.assertTrue(place.startswith(f"{self.cgroup_option}/jobs/vm-{keeper}-"), place)
        self.assertEqual(self.row_of(keeper)["cgroup"], place)
        self.assertRegex(vmm.memory(keeper), f" N2={PAGES} ")
        self.assertEqual(migrated(), before)
        self.assertNotEqual(read(f"{place}/memory.max"), "max\n")
        holder.done()
        job = self.wait("it is done", lambda: next(
            (job for job in self.ctl_json("jobs") if job["kind"] == "shutdown" and
             job["state"] == "done"), None))
        self.assertEqual(job["cgroup"], place)
        self.assertGreater(job["cpu_us"], 0)


if __name__ == "__main__":
    tap.main()
