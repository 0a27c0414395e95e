/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * PERFORM. The kernel has one unnamed slot per VM for a VM that is set aside. The first PERFORM
 * takes it; every later one gets -EINVAL. So keeper, heir, fall-back thread and a DISABLE of the
 * VMM can race without harm, and -EINVAL is an outcome ("superseded") and no failure.
 *
 * ioctl() is called through libc, where a simulator or a tracer can stand in for the kernel, and
 * the preload library for itself (--wrap=ioctl).
 */

#include "link/perform.h"

#include <sys/ioctl.h>

#include "base/kvm-pv.h"
#include "base/util.h"

/* Model: take_slot() and finish_slot() of handoff.pml. */
enum result perform_vm(int vm_fd, struct wire_outcome *outcome) {
        /* A machine with fast destroy leaves rc and rrc alone: they must be 0 before. */
        struct pv_cmd cmd = {.cmd = PV_ASYNC_CLEANUP_PERFORM};

        outcome->error = ioctl(vm_fd, PV_COMMAND, &cmd) < 0 ? negative_errno() : 0;
        outcome->rc = cmd.rc;
        outcome->rrc = cmd.rrc;
        return result_of_perform(outcome->error, cmd.rc, cmd.rrc, !outcome->ungoverned);
}
