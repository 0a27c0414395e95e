/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The jobs that wait, and whose turn it is. Pure: no clock, no system call.
 *
 * 1. While memory is short, the jobs that give memory back go before all others.
 * 2. Among units it is the turn of the one that holds the fewest slots; among those with as few, of
 *    the one that has been waiting in line the longest. A unit gets in line when its first job
 *    begins to wait, and goes to the end of it with each grant.
 * 3. Within a unit: first come, first served.
 *
 * So guests with a unit and a request each are served in the order of their requests. A unit that
 * has no slot is granted after at most one grant to each unit that was in line before it, however
 * many jobs they have. While everybody wants more than there is, no unit has two slots more than
 * another that waits; one that has its share already waits for those that have not, however long.
 *
 * Slots and turns are what is shared out, because they are what max-concurrent and start-rate make
 * scarce, and because nobody can lie about them: they are counted when we give and take them.
 * Bytes are claims. CPU time, or time in a slot, could be measured, but only once it is spent; and
 * who returns his slot at once would pay nothing, and could spend the start-rate of everybody.
 *
 * All operations take O(log units) comparisons at most.
 */

#include "daemon/governor/unit.h"
#include "daemon/job/job.h"

/* A binary heap, the unit whose turn it is on top. */
struct queue_heap {
        struct unit **units; /* owned array of references that job.queued_for holds; from 1 */
        unsigned n, size;
};

struct queue {
        struct unit_table *units; /* not owned */

        /* owned */
        struct queue_heap heaps[2]; /* units that have any job waiting; one that frees memory */

        /* state; read-only to others */
        struct job_list waiting; /* in order of registration */
        unsigned n_waiting;
        bool memory_short;
        uint64_t next_ticket, next_place;
};

void queue_init(struct queue *queue, struct unit_table *units);

/* What waits is taken off; the jobs stay their workers'. */
void queue_deinit(struct queue *queue);

/*
 * Lets a job wait, under job->unit and job->frees_memory as they are now. It stays its worker's.
 * now: µs of CLOCK_MONOTONIC. -ENOMEM: it does not wait. It must not be waiting already.
 */
int queue_push(struct queue *queue, uint64_t now, struct job *job);

/* Takes it off, if it is in there: not every job ever waited. */
void queue_remove(struct queue *queue, struct job *job);

/* Takes off one that waits because it is granted: its unit goes to the end of the line. */
void queue_take(struct queue *queue, uint64_t now, struct job *job);

/* Whose turn it is, still in the queue, or NULL: nobody waits. */
struct job *queue_next(const struct queue *queue);

/* The same among units of which no slot counts, the longest in line first, memory short or not. */
struct job *queue_next_without_slot(const struct queue *queue);

void queue_set_memory_short(struct queue *queue, bool memory_short);

/* unit->n_counted has changed. */
void queue_unit_changed(struct queue *queue, struct unit *unit);
