/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The turns that queue.c will give, without giving them. A unit's nth waiting job is granted when
 * the unit has n slots more than now, and the unit with the fewest slots is next: so jobs are
 * sorted by that number. Those that are equal are of one unit each, and go by their units' tickets,
 * each drawn anew with the unit's grant before. Owns nothing but what it returns.
 */

#include "daemon/governor/turns.h"

#include <stdlib.h>

#define HOUR_USEC (3600 * USEC_PER_SEC)

struct turn {
        struct job *job;
        bool later;     /* memory is short, and it frees none */
        unsigned level; /* slots that its unit will have before */
};

static int by_level(const void *a, const void *b) {
        const struct turn *x = a, *y = b;

        if (x->later != y->later)
                return x->later - y->later;
        return (x->level > y->level) - (x->level < y->level);
}

static int by_ticket(const void *a, const void *b) {
        uint64_t x = ((const struct turn *)a)->job->queued_for->line.played_ticket;
        uint64_t y = ((const struct turn *)b)->job->queued_for->line.played_ticket;

        return (x > y) - (x < y);
}

/* Those of a unit in order of registration, but first the ones that go first. */
static size_t add(const struct queue *q, bool later, struct turn *turns, size_t n) {
        struct job *job;

        TAILQ_FOREACH (job, &q->waiting, link) {
                struct unit *unit = job->queued_for;

                if ((q->memory_short && !job->queued_first) != later)
                        continue;
                turns[n++] = (struct turn){job, later, unit->n_counted + unit->line.played++};
        }
        return n;
}

static void play(struct turn *turns, size_t n, uint64_t next_ticket, struct job **ret) {
        size_t end;

        qsort(turns, n, sizeof(*turns), by_level);
        for (size_t i = 0; i < n; i = end) {
                for (end = i + 1; end < n && by_level(&turns[i], &turns[end]) == 0; end++)
                        ;
                qsort(&turns[i], end - i, sizeof(*turns), by_ticket);
                for (size_t k = i; k < end; k++) {
                        ret[k] = turns[k].job;
                        turns[k].job->queued_for->line.played_ticket = next_ticket++;
                }
        }
}

struct job **turns_order(const struct queue *q) {
        _cleanup_(freep) struct turn *turns = calloc(q->n_waiting + 1, sizeof(*turns));
        struct job **order = q->n_waiting > 0 ? calloc(q->n_waiting, sizeof(struct job *)) : NULL;
        struct job *job;
        size_t n;

        if (!turns || !order) {
                free(order);
                return NULL;
        }
        TAILQ_FOREACH (job, &q->waiting, link) {
                job->queued_for->line.played = 0;
                job->queued_for->line.played_ticket = job->queued_for->line.ticket;
        }
        n = add(q, false, turns, 0);
        n = add(q, true, turns, n);
        play(turns, n, q->next_ticket, order);
        return order;
}

const char *turns_why(const struct governor *g, uint64_t now, const struct job *job) {
        const struct job *first = queue_next(&g->queue);

        if (!job->queued_for || !first)
                return NULL;
        if (g->queue.memory_short && first->queued_first && !job->queued_first)
                return "memory";
        if (job->queued_for->n_counted > first->queued_for->n_counted)
                return "turn";
        if (g->n_counted >= g->effective.max_concurrent)
                return governor_mode(g) == GOVERNOR_DRAINING ? "drain" : "limit";
        return bucket_ready_at(&g->starts, now, 1) > now ? "start-rate" : NULL;
}

uint64_t turns_start_at(const struct governor *g, uint64_t now, unsigned n) {
        const struct bucket *b = &g->starts;
        unsigned at_once = n < b->burst ? n : b->burst;

        if (b->rate == 0)
                return now;
        return bucket_ready_at(b, now, at_once) + (n - at_once) * HOUR_USEC / b->rate;
}
