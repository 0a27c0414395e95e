/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the keeper does with the address space that a dead VMM has left to it. Only once the VMM is
 * known to be dead: before, and after an execve of it, the memory may be in use. System calls only,
 * and none that opens a file: space_open() does that at the keeper's start.
 */

#include "lib/mappings.h"

#define SPACE_OWN_MAX 4

/*
 * The smallest unit in which memory is released: back to user mode after some milliseconds, where a
 * CPU cap of any sort acts; a multiple of every page size of transparent huge pages. Smaller
 * mappings are left to exit.
 */
#define SPACE_SLICE (UINT64_C(64) << 20)

struct space {
        /* identity */
        uint64_t shmem; /* see struct filesystems */
        struct range own[SPACE_OWN_MAX];
        unsigned n_own;

        /* owned, in the table that keeper and guard share; one of the two reads at a time */
        int maps, mountinfo, statm;

        /* state */
        _Atomic bool maybe_protected; /* the guest is or was a protected one, or could have been */
};

/* In the VMM: finds out what only libc's calls can tell. Never fails; what is not known is 0. */
void space_init(struct space *space);

/* In the keeper. 0, or why there is no /proc/self/maps; what else cannot be opened is -1. */
int space_open(struct space *space);

/* These size bytes are what the caller runs on: the slices that they are in are left alone. */
void space_add_own(struct space *space, const void *start, size_t size);

/* In the VMM. 1: it has rings of native AIO; 0: it has none; negative: that cannot be told. */
int space_has_aio(void);

/*
 * Ends all native AIO of this address space: waits, without a limit, until no request is in flight
 * any more, as the kernel itself does in the exit of the last task that shares it.
 * Negative: some may be in flight; the exit is the fence then.
 */
int space_fence(const struct space *space);

/* Unmaps what somebody else may be waiting for: mapping_goes_at_once(). */
void space_give_back(struct space *space);

/* How much memory is mapped here, in bytes; 0: cannot be told. */
uint64_t space_resident(const struct space *space);

/*
 * For an ordinary guest: drops what is in its large private mappings slice by slice, and the VM's
 * vCPUs before that. Calls progress with the bytes that are left, 32 times in all or ten times a
 * second, whichever is more often, but not within 5 ms, and not in the first 10. What remains is
 * for the exit.
 */
void space_release(struct space *space, void (*progress)(void *userdata, uint64_t bytes_left),
                   void *userdata);
