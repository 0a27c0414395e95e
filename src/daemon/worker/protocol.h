/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What keepers and closers say, what they are told, and how the jobs of all workers end. */

#include "daemon/worker/worker.h"

/* What its packets ask for. Negative: it broke the rules, or we are out of memory: disconnect. */
int worker_on_register(struct worker *worker, const struct wire_register *reg);
int worker_on_request(struct worker *worker, const struct wire_request *request);
int worker_on_begun(struct worker *worker, const struct wire_begun *begun);
int worker_on_done(struct worker *worker, const struct wire_outcome *outcome);
int worker_on_quiet(struct worker *worker);
void worker_on_progress(struct worker *worker, uint64_t bytes_left);

/* Its connection is gone: a queued job leaves the queue (it asks again), a running one goes on. */
void worker_on_disconnect(struct worker *worker);

/* Tells a connected worker to go ahead without us. Negative: it cannot be reached. */
int worker_send_away(struct worker *worker);

/* Gives its queued job a slot. If it cannot be reached its connection is ended. */
void worker_grant(struct worker *worker);

/* For a keeper or a closer: its end is noticed from now on, and is the end of its job. */
int worker_serve(struct worker *worker);

/* Its process is gone: ends a job that it had, and frees it. */
void worker_end(struct worker *worker);

/* Likewise of one that went while no daemon looked, and was restored from its cgroup. */
void worker_end_unseen(struct worker *worker);
