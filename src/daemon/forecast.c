/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where the estimate gets its numbers: from finished jobs, from the bills of those that run, and
 * from the limits in force. Owns nothing; manager.estimate is what was learnt since the start. It
 * reads a worker's bill when asked, so a list of jobs costs a file per running job, not per job.
 */

#include "daemon/forecast.h"

#include "daemon/manager.h"

#define HOUR_USEC (3600 * USEC_PER_SEC)

/* n: among how many the quota is shared. */
static struct estimate_job look_at(const struct job *job, unsigned n) {
        struct manager *m = manager_of(job->worker);
        struct estimate_job look = {.kind = job->kind,
                                    .bytes = job->bytes,
                                    .bytes_left = job->bytes_left,
                                    .share = manager_cpu_quota(m)};
        uint64_t cpu = 0;

        if (look.share != USEC_INFINITY)
                look.share /= n > 0 ? n : 1;
        if (job->state != JOB_RUNNING)
                return look;
        look.cpu_usec = look.ran_usec = USEC_INFINITY;
        if (job->granted_at == 0 || worker_cpu_usec(job->worker, &cpu) < 0 || cpu < job->cpu_base)
                return look;
        look.cpu_usec = cpu - job->cpu_base;
        look.ran_usec = loop_now(m->event) - job->granted_at;
        return look;
}

bool forecast_percent(const struct job *job, unsigned *ret) {
        struct estimate_job look;

        if (job->state != JOB_RUNNING)
                return false;
        look = look_at(job, 1);
        return estimate_percent(&manager_of(job->worker)->ledger.estimate, &look, ret);
}

uint64_t forecast_left(const struct job *job) {
        struct estimate_job look;

        if (job->state != JOB_RUNNING)
                return USEC_INFINITY;
        look = look_at(job, manager_of(job->worker)->governor.n_counted);
        return estimate_left(&manager_of(job->worker)->ledger.estimate, &look);
}

/* start-rate lets so many begin, and no more. */
static uint64_t starts_usec(const struct governor *g) {
        if (g->effective.start_rate == 0 || g->queue.n_waiting <= g->effective.start_burst)
                return 0;
        return (g->queue.n_waiting - g->effective.start_burst) * HOUR_USEC /
               g->effective.start_rate;
}

uint64_t forecast_left_in_all(struct manager *m) {
        unsigned at_once = m->governor.effective.max_concurrent;
        struct estimate_sum sum = {};
        uint64_t left;
        struct worker *w;

        TAILQ_FOREACH (w, &m->workers.list, link) {
                struct estimate_job look;

                if (worker_is_found(w)) /* what it does, and how far it is, nobody knows */
                        sum.unknown = true;
                if (!w->job)
                        continue;
                look = look_at(w->job, (unsigned)min_u64(governor_n_left(&m->governor), at_once));
                estimate_add(&sum, &m->ledger.estimate, &look);
        }
        left = estimate_total(&sum, at_once, manager_cpu_quota(m));
        return left == USEC_INFINITY ? left : max_u64(left, starts_usec(&m->governor));
}
