/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Is a VM quiet: is its VMM gone, and no I/O that it submitted in flight any more? The pid's end
 * does not say so where a worker shares the address space: the kernel waits for native AIO when its
 * last user goes. A worker that ends its VMM's I/O itself says when it has (QUIET, or a flag of
 * REGISTER). That is a claim, and counts only while the VMM is seen dead; who says it too early
 * gives away nothing but the disk of its own VM.
 *
 * Of a keeper that speaks version 1, and of an adopted helper, nothing is known: their VM is quiet
 * when they are gone. That a shutdown runs proves nothing: it releases memory first.
 */

#include <sys/queue.h>

#include "base/util.h"

struct manager;
struct quiet;
struct worker;

/* A closer has no VMM's memory; but without cgroups anybody may pass for one. */
bool worker_is_quiet(const struct worker *worker);

/*
 * How its VMM's native AIO is ended: "drain", by the worker; "none", it has none; "unknown", if the
 * worker is one that does not tell, or was not heard from since the daemon's start.
 */
const char *worker_fencing(const struct worker *worker);

/*
 * Somebody who waits until a VM is quiet: part of whatever waits. what: NAME, UUID or pid=NUMBER,
 * of the worker or the VMM, as in pv-reaperctl(1); it stays its owner's, and may not change.
 */
struct quiet_waiter {
        char *what;
        uint64_t deadline; /* CLOCK_MONOTONIC µs; USEC_INFINITY: none */

        /* Called once, when it waits no more. 0: quiet; or -ETIMEDOUT. */
        void (*done)(struct quiet_waiter *waiter, int error);

        unsigned n_known;               /* workers that were meant when it began to wait */
        struct quiet *quiet;            /* NULL: does not wait */
        TAILQ_ENTRY(quiet_waiter) link; /* in quiet.waiters */
};

#define QUIET_WAITERS_MAX 64

int quiet_new(struct quiet **ret, struct manager *manager);

/* Nobody may wait any more. Takes NULL. */
struct quiet *quiet_free(struct quiet *quiet);

/*
 * Waits until no worker is left that is meant and not quiet, nor one that could be meant, whose VMM
 * is dead: of those found after a restart the names are not known until they register, of adopted
 * helpers never. Never calls done() itself, but
 * from the loop. -EBUSY: too many wait already; -ENOMEM.
 */
int quiet_wait(struct quiet *quiet, struct quiet_waiter *waiter);

/* It waits no more; done() is not called. Does nothing if it does not wait. */
void quiet_leave(struct quiet_waiter *waiter);

/* A worker came, went, or said that it is quiet. Cheap. Takes NULL. */
void quiet_changed(struct quiet *quiet);
