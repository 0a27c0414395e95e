# SPDX-License-Identifier: LGPL-2.1-or-later
"""A daemon whose limits change while it runs: for test-governor.py and test-pace.py."""

import signal

from harness import DONE, DONE_ACK, pack
from raw import PeerCase


class GovernorCase(PeerCase):
    def setUp(self):
        super().setUp()
        self.vmms = []

    def tearDown(self):
        for vmm in self.vmms[1:]:  # the first one is the bystander
            self.end_vmm(vmm)
        super().tearDown()

    def vmm(self, *arguments, **keywords):
        self.vmms.append(super().vmm(*arguments, **keywords))
        return self.vmms[-1]

    def configure(self, **sections):
        with open(self.config, "w", encoding="ascii") as file:
            for section, text in {"limits": "", **sections}.items():
                extra = "unit-arrivals=infinity\n" if section == "limits" else ""
                file.write(f"[{section}]\n{text}\n{extra}")

    def reload(self, **sections):
        n = self.served.log().count("configuration read again")
        self.configure(**sections)
        self.served.process.send_signal(signal.SIGHUP)
        self.wait("it is read again",
                  lambda: self.served.log().count("configuration read again") > n)

    def finish(self, worker, seq=1):
        worker.send(pack(DONE, 0, seq, 1, 0, 0, 0, 0))
        worker.receive(DONE_ACK)

    def asks(self, name, seq=1):
        worker = self.worker(name)
        worker.register()
        worker.request(seq)
        return worker
