/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * First come, first served, by order of the request's registration. n_counted is kept by
 * worker-job.c, which alone knows when a worker counts: from GRANT to DONE, or from being found
 * after a restart until it registers, ends or stands still.
 */

#include "daemon/queue.h"

void queue_init(struct queue *queue, unsigned max_concurrent) {
        *queue = (struct queue){.max_concurrent = max_concurrent};
        TAILQ_INIT(&queue->waiting);
}

void queue_push(struct queue *queue, struct job *job) {
        TAILQ_INSERT_TAIL(&queue->waiting, job, link);
        job->in_queue = true;
        queue->n_waiting++;
}

void queue_remove(struct queue *queue, struct job *job) {
        if (!job->in_queue)
                return;
        TAILQ_REMOVE(&queue->waiting, job, link);
        job->in_queue = false;
        queue->n_waiting--;
}

struct job *queue_next(const struct queue *queue) {
        if (queue->n_counted >= queue->max_concurrent)
                return NULL;
        return TAILQ_FIRST(&queue->waiting);
}
