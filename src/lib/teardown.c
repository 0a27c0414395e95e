/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * PERFORM and what its answer means.
 *
 * The kernel has one unnamed slot per VM for a VM that is set aside. The first PERFORM takes it;
 * every later one gets -EINVAL. So keeper, heir, fall-back thread and a DISABLE of the VMM can race
 * without harm, and -EINVAL is an outcome ("superseded") and no failure.
 *
 * ioctl() is called through libc, where a simulator or a tracer can stand in for the kernel.
 */

#include "lib/teardown.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#include "base/kvm-pv.h"
#include "base/packet.h"
#include "base/result.h"
#include "base/util.h"

_Static_assert((int)RESULT_DONE == (int)PVR_RESULT_DONE && (int)RESULT_LOST == (int)PVR_RESULT_LOST,
               "base/result.h has the numbers of pvreaper.h");

/* Model: take_slot() and finish_slot() of handoff.pml. */
void teardown_perform(int vm_fd, bool governed, struct pvr_outcome *ret) {
        /* A machine with fast destroy leaves rc and rrc alone: they must be 0 before. */
        struct pv_cmd cmd = {.cmd = PV_ASYNC_CLEANUP_PERFORM};
        uint64_t begin = now_usec();

        ret->error = ioctl(vm_fd, PV_COMMAND, &cmd) < 0 ? negative_errno() : 0;
        ret->ran_us = now_usec() - begin;
        ret->kind = PVR_KIND_REBOOT;
        ret->result = result_of_perform(ret->error, cmd.rc, cmd.rrc, governed);
        ret->rc = cmd.rc;
        ret->rrc = cmd.rrc;
}

void teardown_report(int fd, _Atomic uint64_t *dropped, struct pvr_outcome *outcome) {
        outcome->dropped = atomic_exchange(dropped, 0);
        if (packet_send(fd, outcome, sizeof(*outcome)) < 0)
                *dropped += outcome->dropped + 1;
}
