# SPDX-License-Identifier: LGPL-2.1-or-later
"""Closers as systemd runs them.

Closers live in CLOSERS, each in a cgroup named like its unit. hand_over() gives one a VM that
nobody else holds; a VM with work left is what left_over() makes.
"""

import contextlib
import os

import guest
import kvm
from closers import Client, release_packet  # beside harness.py
from guest import harness, read
from installed import Installed, closer_cgroups
from puppet import Puppet


class Closer:
    def __init__(self, cgroup):
        self.cgroup, self.unit = cgroup, os.path.basename(cgroup)
        self.pid, = (int(pid) for pid in read(f"{cgroup}/cgroup.procs").split())

    def holds_vm(self):
        return holds_vm(self.pid)


def holds_vm(pid):
    return "anon_inode:kvm-vm" in harness.own_fds(pid).values()


class ClosingCase(Installed):
    ns_per_page = 100
    max_concurrent = None

    def hold_slot(self, name="holder"):
        """A worker with a slot, until its done()."""
        puppet = Puppet(self, name)
        puppet.take_slot()
        return puppet

    # ---- VMs and closers ----

    def left_over(self):
        """A VM fd with 8 GiB to clear: 4 are set aside, 4 are a protected guest's."""
        vm = kvm.make_vm()
        for command in kvm.ENABLE, kvm.PREPARE, kvm.ENABLE:
            self.assertEqual(kvm.pv(vm, command), 0)
        return vm

    @contextlib.contextmanager
    def new_closer(self):
        """Gives a list that has the one closer that was started inside, once it is over."""
        before, found = closer_cgroups(), []
        yield found
        cgroup, = self.wait("there is one more closer", lambda: closer_cgroups() - before)
        found.append(Closer(cgroup))

    def client(self):
        client = Client(self)
        self.assertEqual(client.receive()[0], harness.READY)
        return client

    def hand_over(self, name, vm=None):
        """Its closer. vm: which is closed here."""
        vm = vm if vm is not None else self.left_over()
        try:
            with self.new_closer() as found:
                client = self.client()
                client.send(release_packet(name.encode()), vm)
                self.assertEqual(client.receive(), (harness.HELD, 0))
                client.close()
        finally:
            os.close(vm)
        return found[0]

    def queued(self, name):
        return self.wait(f"{name} is in the queue",
                         lambda: [j["state"] for j in self.jobs_of(name)] == ["queued"])

    def ended(self, name):
        """Its one job, once it has ended."""
        def end():
            jobs = self.jobs_of(name)
            return len(jobs) == 1 and jobs[0]["state"] not in ("queued", "running") and jobs[0]
        return self.wait(f"the job of {name} has ended", end)

    def closing(self, n=1):
        return self.wait("the end of a VM has begun",
                         lambda: len(self.sim.commands("CLOSE", ev="begin")) >= n)

    def closed(self, n=1):
        """The log's last words on n VMs, in their order."""
        return self.wait(f"{n} VMs have ended",
                         lambda: len(ends := self.sim.commands("CLOSE")) >= n and ends)

    def assert_closed_by(self, end, closer, pages=2 * kvm.PAGES_4G):
        self.assertEqual((end["comm"], int(end["pid"]), int(end["pages"])),
                         ("pv-reaper-close", closer.pid, pages))
        self.assertEqual(f"{guest.CGROUPS}{end['cgroup']}", closer.cgroup)
