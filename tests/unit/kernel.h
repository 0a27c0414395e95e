/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What KVM answers to the library, as a test wants it. For a program that is linked with
 * --wrap=ioctl: all other requests go to the kernel. A keeper comes here, too: it shares our
 * memory.
 */

#include <stdatomic.h>
#include <stdbool.h>

#include "lib/vm.h"

struct kernel {
        _Atomic int prepare_error, perform_error; /* errno, or 0 */
        _Atomic bool slow;                        /* PERFORM takes until this is cleared */
        _Atomic bool is_full;                     /* PREPARE finds something set aside */

        /* what it was asked */
        _Atomic unsigned n_prepares, n_performs;
        _Atomic int perform_fd;
        _Atomic bool by_keeper; /* the last PERFORM, if vm is set */
        struct pvr_vm *vm;
};

extern struct kernel kernel;

void kernel_reset(void);

/*
 * For the address sanitizer, once the keeper is gone: what it knew of the keeper's stack, whose
 * frames never returned, would else be held against the next mapping at that address.
 */
void forget_keeper(const struct pvr_vm *vm);
