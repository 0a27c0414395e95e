/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The jobs that wait, in order, and how many workers count as running. Pure: no clock, no system
 * call; the manager asks it whom to grant next.
 */

#include "daemon/job.h"

struct queue {
        struct job_list waiting;
        unsigned n_waiting;
        unsigned n_counted; /* workers that count as running */
        unsigned max_concurrent;
};

void queue_init(struct queue *queue, unsigned max_concurrent);

/* Appends; the job stays its worker's. */
void queue_push(struct queue *queue, struct job *job);

/* Takes it off, if it is in there: not every job ever waited. */
void queue_remove(struct queue *queue, struct job *job);

/* The job to grant now, still in the queue, or NULL: nobody waits, or no slot is free. */
struct job *queue_next(const struct queue *queue);
