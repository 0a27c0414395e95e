/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Workers without a manager: all that they use, and a count of what they tell their owner. There
 * are no cgroups. Time is loop.h's.
 *
 * A hand is a worker with a connection, of which the test holds the worker's end. There is no
 * process behind it: the test says what its CPU bill is, and whether its VMM lives.
 *
 * For a test that uses it, unit_crew_dep is among the dependencies in meson.build.
 */

#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "base/wire.h"
#include "daemon/cpu/cap.h"
#include "daemon/worker/worker.h"

struct crew {
        sd_event *event;
        struct governor governor;
        struct cap *cap;
        struct workers workers;

        /* what was told since crew_forget() */
        unsigned n_changed, n_quiet, n_moved;
        unsigned n_marks; /* worker_mark() */

        unsigned n_jobs; /* ever */

        /* jobs that ended, oldest first; the crew's */
        struct job_list ended;
        unsigned n_ended;
};

/* Time stands still from here on. As many jobs may run at once. */
void crew_begin(struct crew *crew, unsigned max_concurrent);

/* Frees the workers that are left. Time is real again. */
void crew_end(struct crew *crew);

void crew_forget(struct crew *crew);

/* Grants what can be granted, as a manager does. */
void crew_dispatch(struct crew *crew);

/* The job that ended last. */
const struct job *crew_last(const struct crew *crew);

/* How many of the workers are under the CPU cap. */
unsigned crew_n_capped(const struct crew *crew);

struct hand {
        struct crew *crew;
        struct worker *worker; /* the crew's; do not look once it has ended */
        struct channel channel;
        int end;       /* the worker's end of its connection */
        uint64_t bill; /* CPU time in µs */
        LIST_ENTRY(hand) link;
};

/* A keeper, whose VMM lives. */
void hand_new(struct hand *hand, struct crew *crew);

/* The test has no use for it any more. Its worker stays. */
void hand_free(struct hand *hand);

/* Its process, or its VMM, ends: as a pidfd says it. */
void hand_die(struct hand *hand);
void hand_lose_vmm(struct hand *hand);

/* REQUEST, of 4 GiB. Returns what worker_on_request() does. */
int hand_request(struct hand *hand, uint32_t kind, uint64_t seq);

/* A crew of which two may run, and a hand whose reboot, 1, has just been granted. */
void crew_begin_granted(struct crew *crew, struct hand *hand);

/* Asserts that the next message to it is a GRANT or a DONE_ACK with that seq; type 0: none. */
void hand_expect(const struct hand *hand, int type, uint64_t seq);

/* The type of the next message to it, and *ret; 0: there is none; -1: the connection has ended. */
int hand_read(const struct hand *hand, union wire_message *ret);
