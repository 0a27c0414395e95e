/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* struct pvr_vm, between vm.c (the API), prepare.c and heir.c. */

#include <pthread.h>
#include <pvreaper.h>

#include "base/kvm-pv.h"
#include "lib/identity.h"
#include "lib/keeper.h"

#define _public_ __attribute__((visibility("default")))

struct pvr_vm {
        pid_t owner;                  /* the process that made it: a fork may not use it */
        bool drains;                  /* PVR_FLAG_DRAIN_NATIVE_AIO */
        _Atomic time_t heir_look_sec; /* how often the heir looks without being woken */

        /* owned; all in the VMM's fd table, CLOEXEC and above 2 */
        int bell;          /* our end of the doorbell */
        int keeper_bell;   /* the keeper's end, until it has its copy */
        int outcomes;      /* where outcomes are read */
        int outcomes_sink; /* where keeper and heir send them; kept open, so no POLLHUP */
        int vm_fd;         /* our duplicate, always the same number once set; or -1 */
        uint64_t bell_inode, sink_inode; /* of bell and outcomes_sink */
        struct keeper *keeper;           /* the mapping: guard page, stack, struct keeper */

        /* state */
        _Atomic unsigned n_refs;    /* the user, the heir, threads that perform */
        _Atomic bool keeper_has_fd; /* it was sent vm_fd */
        _Atomic int clone_error;    /* the reason why there is no keeper, or 0 */
        _Atomic bool keeper_gone;   /* its end was seen */
};

/*
 * Whether bell and outcomes_sink are still the library's own sockets: a VMM may close all its fds,
 * and the kernel then gives their numbers to others. Without libc (raw.h).
 */
bool vm_has_its_fds(const struct pvr_vm *vm);

/* Whether the caller is a child of fork(2) of the process that made vm. */
bool vm_is_fork(const struct pvr_vm *vm);

struct pvr_vm *vm_ref(struct pvr_vm *vm);

/* Drops a reference; the last one frees. Returns NULL. */
struct pvr_vm *vm_unref(struct pvr_vm *vm);

/*
 * Whether the caller still has the rights that its keeper has. If not, the keeper must leave and
 * does; the heir does what the keeper had taken. Any thread.
 */
bool vm_is_itself(struct pvr_vm *vm);

/*
 * KVM_PV_ASYNC_CLEANUP_PREPARE on vm_fd, with cmd. If there is no room, since an earlier hand-off
 * is still queued, this begins that one at once and tries PREPARE again. 0, or the negative errno
 * of the last PREPARE. Any thread. Blocks as PREPARE does, and 1 s at most until the earlier one
 * has begun.
 */
int vm_prepare(struct pvr_vm *vm, int vm_fd, struct pv_cmd *cmd);

/*
 * Lets the keeper go for good, as pvr_vm_free() does, but vm stays valid: any thread may still be
 * in a call on it. Waits until the keeper is gone, timeout_usec at most; then kills it, unless it
 * is inside PERFORM. 0. -EBUSY: it is still inside PERFORM, and leaves after that. Any thread.
 */
int vm_let_go(struct pvr_vm *vm, uint64_t timeout_usec);

/*
 * Makes the thread that clones the keeper and then waits for its end; all its signals are blocked.
 * Takes a reference on vm. The keeper says READY on vm->bell, or that socket reaches EOF.
 * 0 or a negative errno.
 */
int heir_start(struct pvr_vm *vm);

/* Makes another such thread, detached. Takes no reference. 0 or a negative errno. */
int start_thread(void *(*function)(void *), void *userdata);

/* PERFORM for vm by the calling thread, without the daemon; reports the outcome. Blocks. */
void perform_here(struct pvr_vm *vm);
