/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* struct pvr_vm, between vm.c (the API) and heir.c. */

#include <pthread.h>
#include <pvreaper.h>

#include "lib/keeper.h"

struct pvr_vm {
        pid_t owner; /* the process that made it: a fork may not use it */

        /* owned; all in the VMM's fd table, CLOEXEC and above 2 */
        int bell;              /* our end of the doorbell */
        int keeper_bell;       /* the keeper's end, until it has its copy */
        int outcomes;          /* where outcomes are read */
        int outcomes_sink;     /* where keeper and heir send them; kept open, so no POLLHUP */
        int vm_fd;             /* our duplicate, always the same number once set; or -1 */
        struct keeper *keeper; /* the mapping: guard page, stack, struct keeper */

        /* state */
        _Atomic unsigned n_refs;    /* the user, the heir, threads that perform */
        _Atomic bool keeper_has_fd; /* it was sent vm_fd */
        _Atomic int clone_error;    /* why there is no keeper, or 0 */
};

/* Above the first frame: s390x saves registers in its caller's. */
#define KEEPER_STACK_RESERVE 512UL

struct pvr_vm *vm_ref(struct pvr_vm *vm);

/* Drops a reference; the last one frees. Returns NULL. */
struct pvr_vm *vm_unref(struct pvr_vm *vm);

/*
 * The guest has another size now, in bytes: what the keeper says from its next job or connection
 * on. A store; any thread, any time.
 */
void vm_set_mem(struct pvr_vm *vm, uint64_t mem_bytes);

/*
 * Makes the thread that clones the keeper and then waits for its end; all its signals are blocked.
 * Takes a reference on vm. The keeper says READY on vm->bell, or that socket reaches EOF.
 * 0 or a negative errno.
 */
int heir_start(struct pvr_vm *vm);

/* The same sort of thread, detached, for anything else. Takes no reference. 0 or negative errno. */
int start_thread(void *(*function)(void *), void *userdata);

/* PERFORM for vm by the calling thread, without the daemon; reports the outcome. Blocks. */
void perform_here(struct pvr_vm *vm);
