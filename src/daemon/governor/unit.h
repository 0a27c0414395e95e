/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A unit is who a worker belongs to as systemd and the kernel tell it, not as it says itself: the
 * machine scope of its VMM. All libvirt guests share one uid, so this is what limits and fairness
 * go by. A unit is known by its name, and exists while somebody holds a reference, and a little
 * longer: until its buckets are full again, or closing all its connections would renew them.
 *
 * Whose unit is unknown (NULL), or for whom there was no memory, shares one unit with all the
 * others of that sort. Pure: no clock, no system call; times are µs of CLOCK_MONOTONIC.
 *
 * What is limited per unit, and against what:
 * - connections: they cost us fds and memory. One unit that opens thousands must not keep others
 * out.
 * - workers: they cost fds and a cgroup as long as their process lives, connected or not, and one
 *   process makes as many as it likes. They also bound what waits: a worker has one request.
 * - arrivals, i.e. connections per second: each costs a look into /proc, before we know anything.
 * - packets per second: a thousand connections must not get a thousand turns of the loop for one
 *   of somebody else's. Bytes need no limit: packets are small and of fixed size (wire.h).
 * - outcomes without a grant that are told one by one: each is a line of the log and a place in the
 *   history, and costs the worker a packet. Those beyond are told in one sum.
 * Requests per second need none of their own: they are packets, and what they ask for, a slot, is
 * given in turns (queue.h).
 */

#include <sys/queue.h>

#include "base/util.h"
#include "daemon/governor/bucket.h"
#include "daemon/job/job.h"

enum unit_quota {
        UNIT_CONNECTIONS,
        UNIT_WORKERS,
        _UNIT_QUOTA_MAX,
};

struct unit_limits {
        unsigned pool[_UNIT_QUOTA_MAX]; /* what there is for all units together */
        unsigned most[_UNIT_QUOTA_MAX]; /* what a single one may have; 0: see charge_take() */
        uint32_t arrivals_per_sec, arrivals_burst; /* 0 per second: no limit */
        uint32_t packets_per_sec, packets_burst;
        uint32_t outcomes_per_sec, outcomes_burst;
};

/* queue.c's: a unit's place among those that wait. */
struct unit_line {
        struct job_list jobs[2]; /* waiting, by job.queued_first; oldest first */
        uint64_t ticket;         /* drawn when it begins to wait, and anew at each grant */
        uint64_t since;          /* when it was drawn */
        unsigned at[2];          /* place in the queue's heaps, from 1; 0: not in there */

        /* turns.c's, while it plays what will be */
        unsigned played;        /* jobs of it that are granted */
        uint64_t played_ticket; /* as ticket, then */
};

struct unit {
        struct unit_table *table;

        /* identity */
        char *name; /* owned; NULL: the shared unit */

        /* state */
        unsigned n_refs;
        unsigned n_counted; /* governor.c's: slots it holds */
        unsigned used[_UNIT_QUOTA_MAX];
        struct bucket arrivals, packets, outcomes;
        unsigned n_untold; /* outcomes */
        struct unit_line line;

        TAILQ_ENTRY(unit) link;        /* in table.idle, if n_refs is 0 */
        TAILQ_ENTRY(unit) untold_link; /* in table.untold, if n_untold is not 0 */
};

TAILQ_HEAD(unit_list, unit);

struct unit_table {
        struct unit_limits limits;

        /* owned */
        void *tree; /* tsearch(3)'s, by name */
        struct unit shared;

        /* state */
        unsigned n_units; /* without the shared one */
        unsigned used[_UNIT_QUOTA_MAX];
        struct unit_list idle;   /* without reference; whose last one went first is first */
        struct unit_list untold; /* a reference each; of whom something was not told */
};

void unit_table_init(struct unit_table *table, const struct unit_limits *limits);

/* No reference may be left. */
void unit_table_deinit(struct unit_table *table);

/*
 * New limits for what is taken from now on; who has more keeps it. Units whose buckets are not full
 * go over to the new rates at once.
 */
void unit_table_set_limits(struct unit_table *table, uint64_t now,
                           const struct unit_limits *limits);

/* A reference to the unit of that name, made if need be. Never NULL, see above. O(log units). */
struct unit *unit_get(struct unit_table *table, uint64_t now, const char *name);
struct unit *unit_ref(struct unit *unit);

/* Returns NULL. Takes NULL. */
struct unit *unit_unref(struct unit *unit);

/* Whether it may connect now; counts as one if so. If not, the connection is refused at once. */
bool unit_arrives(struct unit *unit, uint64_t now);

/*
 * A packet of it was read. Returns when the connection that it came on may be read again: now, or
 * later if the unit says too much. Nothing is lost: it waits in the socket, as it would if we were
 * busy. USEC_INFINITY: never.
 */
uint64_t unit_packet(struct unit *unit, uint64_t now);

/*
 * A job of it ended without a grant. Whether that is to be told by itself; if not it is one more of
 * those that unit_take_untold() tells of.
 */
bool unit_tells(struct unit *unit, uint64_t now);

/*
 * A unit with outcomes that were not told, and how many; they are told from now on. A reference,
 * which is the caller's. NULL: there is none.
 */
struct unit *unit_take_untold(struct unit_table *table, unsigned *ret);

/*
 * Part of a quota that gives itself back: embedded in what costs it (a peer, a worker), all zero
 * while nothing is taken. Holds a reference to its unit.
 */
struct charge {
        struct unit *unit;
        enum unit_quota quota;
};

/*
 * Takes one of the quota. -EDQUOT: this would be more than limits.most, or, where that is 0, than
 * what is left for all the others together. So a unit alone has half of all there is, two have a
 * third each, and there is always something left for one that has nothing yet; no number has to be
 * right for that. The charge must be free.
 */
int charge_take(struct charge *charge, struct unit *unit, enum unit_quota quota);

/* Takes one whatever the limits say, for what is there already. The charge must be free. */
void charge_take_anyway(struct charge *charge, struct unit *unit, enum unit_quota quota);

/* Free already: nothing happens. */
void charge_give(struct charge *charge);
