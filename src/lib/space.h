/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The work of keeper and guard on the address space that a dead VMM has left to them. System calls
 * only. space_open() opens all files at the keeper's start; the others open none. Call
 * space_fence(), space_give_back() and space_release() only once the VMM is known to be dead:
 * before that, and after the VMM's execve(2), the memory may be in use.
 */

#include "lib/mappings.h"

#define SPACE_OWN_MAX 4

/*
 * The smallest unit in which memory is released, in bytes. It takes some milliseconds; then the
 * keeper is back in user mode, where a CPU cap of any sort acts. It is a multiple of every page
 * size of transparent huge pages. Smaller mappings are left to the exit.
 */
#define SPACE_SLICE (UINT64_C(64) << 20)

struct space {
        /* identity */
        uint64_t shmem; /* see struct filesystems */
        struct range own[SPACE_OWN_MAX];
        unsigned n_own;

        /* owned; in the table that keeper and guard share. Only one of the two reads at a time */
        int maps, mountinfo, statm;

        /* state */
        _Atomic bool maybe_protected; /* the guest is or was a protected one, or could have been */
};

/* In the VMM: fills in shmem, for which it needs libc. Never fails; 0 if not known. */
void space_init(struct space *space);

/* In the keeper. 0, or the negative errno of /proc/self/maps. Other files: -1 if not opened. */
int space_open(struct space *space);

/* The caller runs on these size bytes: slices that contain some of them are left alone. */
void space_add_own(struct space *space, const void *start, size_t size);

/* In the VMM. 1: it has rings of native AIO; 0: it has none; negative errno: not known. */
int space_has_aio(void);

/*
 * Ends all native AIO of this address space. Blocks without a limit until no request is in flight,
 * as the kernel itself does in the exit of the last task that shares it.
 * Negative errno: some requests may be in flight; then the keeper's exit is the fence.
 */
int space_fence(const struct space *space);

/* Unmaps each mapping that somebody else may be waiting for: mapping_goes_at_once(). */
void space_give_back(struct space *space);

/* How much memory is mapped here, in bytes; 0: not known. */
uint64_t space_resident(const struct space *space);

/*
 * For an ordinary guest: unmaps the VM's vCPUs, then drops the memory of its large private mappings
 * slice by slice. The rest is left to the exit. Calls progress with the bytes that are left, 32
 * times in all or ten times a second, whichever is more often; but never twice within 5 ms, and not
 * in the first 10 ms.
 */
void space_release(struct space *space, void (*progress)(void *userdata, uint64_t bytes_left),
                   void *userdata);
