/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Each unit has its waiting jobs in two lists, those that free memory and the others, both in order
 * of registration; and the queue has two heaps of units. Always: a unit is in HEAP_ANY if it has a
 * job waiting at all, in HEAP_FIRST if it has one that frees memory, and at[] says where; a job in
 * a list holds a reference to its unit, so no unit in a heap can go away. Tickets are never given
 * twice, so there are no ties, and what comes out depends on nothing but what came in.
 */

#include "daemon/governor/queue.h"

enum { HEAP_ANY, HEAP_FIRST };

/* ---- the heaps ---- */

static bool goes_before(const struct unit *a, const struct unit *b) {
        if (a->n_counted != b->n_counted)
                return a->n_counted < b->n_counted;
        return a->line.ticket < b->line.ticket;
}

static int heap_reserve(struct queue_heap *heap) {
        unsigned size = heap->size ? heap->size * 2 : 16;
        struct unit **units;

        if (heap->n + 1 < heap->size)
                return 0;
        units = reallocarray(heap->units, size, sizeof(struct unit *));
        if (!units)
                return -ENOMEM;
        heap->units = units;
        heap->size = size;
        return 0;
}

static void heap_put(struct queue *q, int which, unsigned at, struct unit *u) {
        q->heaps[which].units[at] = u;
        u->line.at[which] = at;
}

/* Puts the unit where it belongs, from the free place at. */
static void heap_settle(struct queue *q, int which, unsigned at, struct unit *u) {
        const struct queue_heap *heap = &q->heaps[which];

        for (; at > 1 && goes_before(u, heap->units[at / 2]); at /= 2)
                heap_put(q, which, at, heap->units[at / 2]);
        for (unsigned child = at * 2; child <= heap->n; child = at * 2) {
                if (child < heap->n && goes_before(heap->units[child + 1], heap->units[child]))
                        child++;
                if (!goes_before(heap->units[child], u))
                        break;
                heap_put(q, which, at, heap->units[child]);
                at = child;
        }
        heap_put(q, which, at, u);
}

static void heap_add(struct queue *q, int which, struct unit *u) {
        if (u->line.at[which] == 0)
                heap_settle(q, which, ++q->heaps[which].n, u);
}

static void heap_remove(struct queue *q, int which, struct unit *u) {
        struct queue_heap *heap = &q->heaps[which];
        unsigned at = u->line.at[which];
        struct unit *last;

        if (at == 0)
                return;
        last = heap->units[heap->n--];
        u->line.at[which] = 0;
        if (last != u)
                heap_settle(q, which, at, last);
}

void queue_unit_changed(struct queue *q, struct unit *u) {
        for (int i = HEAP_ANY; i <= HEAP_FIRST; i++)
                if (u->line.at[i] != 0)
                        heap_settle(q, i, u->line.at[i], u);
}

/* ---- the jobs ---- */

static struct job *first_of(const struct unit *u, bool first) {
        return TAILQ_FIRST(&u->line.jobs[first]);
}

static struct job *oldest_of(const struct unit *u) {
        struct job *a = first_of(u, true), *b = first_of(u, false);

        if (!a || !b)
                return a ? a : b;
        return a->place < b->place ? a : b;
}

void queue_init(struct queue *q, struct unit_table *units) {
        *q = (struct queue){.units = units};
        TAILQ_INIT(&q->waiting);
}

void queue_deinit(struct queue *q) {
        while (!TAILQ_EMPTY(&q->waiting))
                queue_remove(q, TAILQ_FIRST(&q->waiting));
        for (int i = HEAP_ANY; i <= HEAP_FIRST; i++)
                free(q->heaps[i].units);
}

static void draw_ticket(struct queue *q, uint64_t now, struct unit *u) {
        u->line.ticket = q->next_ticket++;
        u->line.since = now;
}

int queue_push(struct queue *q, uint64_t now, struct job *job) {
        struct unit *u;

        if (heap_reserve(&q->heaps[HEAP_ANY]) < 0 || heap_reserve(&q->heaps[HEAP_FIRST]) < 0)
                return -ENOMEM;
        u = unit_get(q->units, now, job->unit);
        job->queued_for = u;
        job->queued_first = job->frees_memory;
        job->place = q->next_place++;
        TAILQ_INSERT_TAIL(&q->waiting, job, link);
        TAILQ_INSERT_TAIL(&u->line.jobs[job->queued_first], job, unit_link);
        q->n_waiting++;
        if (u->line.at[HEAP_ANY] == 0)
                draw_ticket(q, now, u);
        heap_add(q, HEAP_ANY, u);
        if (job->queued_first)
                heap_add(q, HEAP_FIRST, u);
        return 0;
}

void queue_remove(struct queue *q, struct job *job) {
        struct unit *u = job->queued_for;

        if (!u)
                return;
        TAILQ_REMOVE(&q->waiting, job, link);
        TAILQ_REMOVE(&u->line.jobs[job->queued_first], job, unit_link);
        q->n_waiting--;
        if (!oldest_of(u))
                heap_remove(q, HEAP_ANY, u);
        if (!first_of(u, true))
                heap_remove(q, HEAP_FIRST, u);
        job->queued_for = unit_unref(u);
}

void queue_take(struct queue *q, uint64_t now, struct job *job) {
        struct unit *u = job->queued_for;

        draw_ticket(q, now, u);
        queue_unit_changed(q, u);
        queue_remove(q, job);
}

struct job *queue_next(const struct queue *q) {
        if (q->memory_short && q->heaps[HEAP_FIRST].n > 0)
                return first_of(q->heaps[HEAP_FIRST].units[1], true);
        return q->heaps[HEAP_ANY].n > 0 ? oldest_of(q->heaps[HEAP_ANY].units[1]) : NULL;
}

struct job *queue_next_without_slot(const struct queue *q) {
        const struct unit *u = q->heaps[HEAP_ANY].n > 0 ? q->heaps[HEAP_ANY].units[1] : NULL;
        struct job *first;

        if (!u || u->n_counted > 0)
                return NULL;
        first = q->memory_short ? first_of(u, true) : NULL;
        return first ? first : oldest_of(u);
}

void queue_set_memory_short(struct queue *q, bool memory_short) {
        q->memory_short = memory_short;
}
