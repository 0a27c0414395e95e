/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the VMM's side (vm.c, heir.c) and the keeper (keeper.c) share: one struct in an anonymous
 * mapping that both see, since the keeper shares the address space, and that outlives the VMM. The
 * keeper owns every field below "state"; the VMM reads only the atomics.
 */

#include <pvreaper.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/link.h"
#include "lib/filter.h"
#include "lib/space.h"

/* VMM to keeper, over the socketpair; the SET_FD packet carries the VM fd. */
enum bell_type {
        BELL_RING = 1,
        BELL_SET_FD = 2,
        BELL_LEAVE = 3,
        BELL_READY = 4 /* keeper to VMM */
};

struct bell {
        uint32_t type;    /* enum bell_type */
        int32_t error;    /* READY: 0 or why the keeper could not start */
        bool protectable; /* SET_FD: the guest may be, or become, a protected one */
};

/* The mapping: a guard (a page on every architecture), the stack, struct keeper. */
#define KEEPER_GUARD_SIZE (64UL * 1024)
#define KEEPER_STACK_SIZE (64UL * 1024)

struct keeper {
        /* identity; written before the clone */
        pid_t vmm_pid;
        uint64_t grace_reboot_usec;
        uint64_t grace_shutdown_usec;
        struct filter filter;

        /* fds, in the keeper's own table after it started */
        int bell;
        int outcomes;
        int vmm; /* pidfd */
        int vm_fd;

        struct link link; /* to the daemon; with name and job */
        struct space space;

        /* state: the VMM */
        bool vmm_gone;        /* its pidfd said so */
        uint64_t bell_eof_at; /* the socketpair ended and the pidfd is silent since, or 0 */

        /* read by the heir and the VMM */
        _Atomic uint64_t performing; /* seq of the job whose PERFORM is running, or 0 */
        _Atomic uint64_t dropped;    /* outcomes nobody read */
};

/* For clone(2) with CLONE_VM; arg is the struct keeper. Returns only if it could not start. */
int keeper_main(void *arg);
