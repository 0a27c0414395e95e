/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The protected-VM commands, apart from the rest of KVM: newer <linux/kvm.h> and the project's
 * fall-back definitions use the same tag for the enumeration of the commands, so no file includes
 * both (guest.c has the former). Owns nothing; thread-safe.
 */

#include "pv.h"

#include <errno.h>
#include <stddef.h>
#include <sys/ioctl.h>

int pv_command(int vm_fd, uint32_t id, struct pv_cmd *ret) {
        struct pv_cmd cmd = {.cmd = id};
        int r;

        r = ioctl(vm_fd, PV_COMMAND, &cmd) < 0 ? -errno : 0;
        if (ret)
                *ret = cmd;
        return r;
}
