/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Is a VM quiet: is its VMM dead, no native AIO of it in flight, and are huge pages, devices and
 * files given back? The pid's end does not say so where a worker shares the address space: the
 * kernel waits for native AIO when its last user goes. A worker that ends its VMM's native AIO
 * itself says when it has (QUIET, or a flag of REGISTER). That is a claim, and counts only while
 * the VMM is seen dead; a worker that says it too early gives away nothing but the disk of its own
 * VM.
 *
 * Of a keeper that speaks version 1, and of an adopted helper, nothing is known: their VM is quiet
 * when they are gone. That a shutdown runs proves nothing: it releases memory first.
 */

#include <sys/queue.h>

#include "base/util.h"
#include "base/wire.h"

struct quiet;
struct workers;

/* Somebody who waits until a VM is quiet: part of whatever waits. */
struct quiet_waiter {
        uint64_t deadline; /* CLOCK_MONOTONIC µs; USEC_INFINITY: none */

        /* Called once, when it waits no more. 0: quiet; or -ETIMEDOUT. */
        void (*done)(struct quiet_waiter *waiter, int error);

        /* which VM, by quiet_wait(); name is set in any case, and is printable ASCII */
        char name[WIRE_NAME_MAX + 1];
        uint8_t uuid[16]; /* all zero: none */
        uint64_t pid;     /* 0: none; else it alone counts */

        unsigned n_known;               /* workers that were meant when it began to wait */
        struct quiet *quiet;            /* NULL: does not wait */
        TAILQ_ENTRY(quiet_waiter) link; /* in quiet.waiters */
};

#define QUIET_WAITERS_MAX 64

int quiet_new(struct quiet **ret, struct workers *workers);

/* Nobody may wait any more. Takes NULL. */
struct quiet *quiet_free(struct quiet *quiet);

/*
 * Waits until no worker is left that is meant and not quiet, nor one that could be meant, whose VMM
 * is dead: a name that an earlier daemon noted is not believed until its worker registers, and an
 * adopted helper has none. done() is called by the loop, never from here. -EBUSY: too many wait
 * already; -ENOMEM.
 *
 * what: NAME, UUID or pid=NUMBER, of the worker or the VMM, as in pv-reaperctl(1). It is read here
 * and not kept.
 */
int quiet_wait(struct quiet *quiet, struct quiet_waiter *waiter, const char *what);

/* It waits no more; done() is not called. Does nothing if it does not wait. */
void quiet_leave(struct quiet_waiter *waiter);

/* A worker came, went, or said that it is quiet. Cheap. Takes NULL. */
void quiet_changed(struct quiet *quiet);
