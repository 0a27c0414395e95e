/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A teardown in the words of pvreaper.h: what the VMM is told of it. Nobody has to read that, so
 * whatever does not fit into the socket is counted. PERFORM itself is in link/perform.c; what the
 * daemon is told is in link/link.c.
 */

#include "lib/teardown.h"

#include <stdatomic.h>

#include "base/packet.h"
#include "base/result.h"
#include "base/util.h"
#include "link/perform.h"

_Static_assert((int)RESULT_DONE == (int)PVR_RESULT_DONE && (int)RESULT_LOST == (int)PVR_RESULT_LOST,
               "base/result.h has the numbers of pvreaper.h");

void teardown_perform(int vm_fd, struct wire_outcome *wire, struct pvr_outcome *ret) {
        uint64_t begin = now_usec();

        ret->result = perform_vm(vm_fd, wire);
        ret->ran_us = now_usec() - begin;
        ret->kind = PVR_KIND_REBOOT;
        ret->error = wire->error;
        ret->rc = wire->rc;
        ret->rrc = wire->rrc;
}

void teardown_report(int fd, _Atomic uint64_t *dropped, struct pvr_outcome *outcome) {
        outcome->dropped = atomic_exchange(dropped, 0);
        if (packet_send(fd, outcome, sizeof(*outcome)) < 0)
                *dropped += outcome->dropped + 1;
}
