/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * PERFORM and what its answer means.
 *
 * The kernel has one unnamed slot per VM for what is set aside: whoever issues PERFORM first takes
 * it, everybody after him gets -EINVAL. That is how keeper, heir, fall-back thread and a DISABLE of
 * the VMM can race without harm, and why -EINVAL is an outcome ("superseded") and no failure.
 *
 * ioctl() is called through libc, where a simulator or a tracer can stand in for the kernel.
 */

#include "lib/teardown.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <time.h>

#include "base/kvm-pv.h"
#include "base/packet.h"
#include "base/util.h"

uint64_t now_usec(void) {
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}

static uint32_t classify(int error, const struct pv_cmd *cmd, bool governed) {
        switch (error) {
        case 0:
                if (cmd->rc == PV_RC_INTERRUPTED && cmd->rrc == PV_RRC_INTERRUPTED)
                        return PVR_RESULT_INTERRUPTED;
                return governed ? PVR_RESULT_DONE : PVR_RESULT_UNGOVERNED;
        case -EINVAL:
                return PVR_RESULT_SUPERSEDED;
        case -EIO:
                return PVR_RESULT_FOREIGN;
        default:
                return PVR_RESULT_FAILED;
        }
}

/* Model: take_slot() and finish_slot() of handoff.pml. */
void teardown_perform(int vm_fd, bool governed, struct pvr_outcome *ret) {
        /* A machine with fast destroy leaves rc and rrc alone: they must be 0 before. */
        struct pv_cmd cmd = {.cmd = PV_ASYNC_CLEANUP_PERFORM};
        uint64_t begin = now_usec();

        ret->error = ioctl(vm_fd, PV_COMMAND, &cmd) < 0 ? negative_errno() : 0;
        ret->ran_us = now_usec() - begin;
        ret->kind = PVR_KIND_REBOOT;
        ret->result = classify(ret->error, &cmd, governed);
        ret->rc = cmd.rc;
        ret->rrc = cmd.rrc;
}

void teardown_report(int fd, _Atomic uint64_t *dropped, struct pvr_outcome *outcome) {
        outcome->dropped = atomic_exchange(dropped, 0);
        if (packet_send(fd, outcome, sizeof(*outcome)) < 0)
                *dropped += outcome->dropped + 1;
}
