/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How the daemon stops. Pure: no clock, no system call; told what happens and what time it is, it
 * says what is to be done. Times are CLOCK_MONOTONIC µs.
 *
 * Draining: jobs run at the boosted limit and no new VM is taken in. It begins when PID 1 stops
 * the system or our socket, and it ends only after our own SIGTERM: until then VMs are still being
 * stopped, and their jobs are yet to come.
 */

#include "base/util.h"

/* Without any progress for that long a drain has nothing to wait for. */
#define DRAIN_STALL_USEC (15 * USEC_PER_SEC)

/* What is being stopped, in order of weight. */
enum drain_reason { DRAIN_NOTHING, DRAIN_SOCKET, DRAIN_SYSTEM };

enum drain_step {
        DRAIN_STAY,   /* as before */
        DRAIN_ASK,    /* find out what is being stopped, then drain_told() */
        DRAIN_BEGIN,  /* boost, and no new VMs */
        DRAIN_RESUME, /* it was called off: as if nothing had been */
        DRAIN_EXTEND, /* there is progress: ask for more time */
        DRAIN_END,    /* send the workers away and exit */
        DRAIN_EXIT,   /* exit at once: the workers come back to the next daemon */
};

struct drain {
        enum drain_reason reason; /* not DRAIN_NOTHING: draining */
        bool asking;              /* for the reason of our SIGTERM */
        bool terminated;          /* by SIGTERM */
        uint64_t began_at;
        uint64_t progress; /* as last told */
        uint64_t moved_at; /* when it last changed */
};

/* What there is to wait for. */
struct drain_work {
        unsigned n_left;   /* jobs that run or wait, or are about to be asked for */
        uint64_t progress; /* any number that changes when something gets on */
        uint64_t limit;    /* how long the stop of the socket may take, µs */
};

/* PID 1 says (or, after DRAIN_ASK, does not say: DRAIN_NOTHING) what is being stopped. */
enum drain_step drain_told(struct drain *drain, enum drain_reason reason, uint64_t now);

/* SIGTERM. can_ask: there is somebody who may know why. */
enum drain_step drain_terminate(struct drain *drain, bool can_ask, uint64_t now);

/* Once a second and whenever work has changed. */
enum drain_step drain_look(struct drain *drain, const struct drain_work *work, uint64_t now);
