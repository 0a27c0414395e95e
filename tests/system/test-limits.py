#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a worker may have where it is moved to: no more devices than its VMM had in its own cgroup.
"""

import subprocess

import guest
from guest import cgroup_of, systemctl, tap
from installed import Installed

class Devices(Installed):
    def tries(self, leaf, path):
        """What a shell in a worker's cgroup is told when it opens this."""
        script = f"echo $$ >{leaf}/cgroup.procs; exec 3<{path} && echo opened"
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False,
                              timeout=guest.TIMEOUT)

    def assert_closed(self, leaf):
        for path in "/dev/kvm", "/dev/kmsg":
            self.assertIn("Operation not permitted", self.tries(leaf, path).stderr)
        self.assertEqual(self.tries(leaf, "/dev/null").stdout, "opened\n")

    def test_a_worker_opens_no_device(self):
        """What it has open, its VM, it can use all the same; systemd starting anew changes none."""
        vmm = self.machine("anna")
        self.registered(1)
        self.assert_closed(cgroup_of(vmm.keeper))
        for command in "daemon-reload", "daemon-reexec":
            systemctl(command)
            self.assert_closed(cgroup_of(vmm.keeper))
        vmm.do("protect")
        vmm.do("reboot")
        self.assertEqual(vmm.wait_outcomes(1)[0]["result"], "done")


if __name__ == "__main__":
    tap.main()
