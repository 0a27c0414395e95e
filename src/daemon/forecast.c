/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where the estimate gets its numbers: from finished jobs, from the bills of those that run, and
 * from the limits in force. Owns nothing; manager.estimate is what was learnt since the start. It
 * reads a worker's bill when asked, so a list of jobs costs a file per running job, not per job.
 *
 * For all jobs together a plan is made: it plays what comes, in the order in which jobs will be
 * granted, with the slots, the starts and the CPU time that there are. It does not know of jobs
 * that have not been asked for yet, and no job is expected to stand still, or to be cancelled.
 */

#include "daemon/forecast.h"

#include <math.h>
#include <stdlib.h>

#include "daemon/governor/turns.h"
#include "daemon/manager.h"

/* Before that the numbers of other jobs say nothing of how far this one is. */
#define RAN_MIN_USEC (1 * USEC_PER_SEC)

/* Of a plan, a few ns each: what is beyond is not worth the time, and unknown. */
#define STEPS_MAX UINT64_C(2000000)

/* share: the CPU time that it may use at most, µs per s. */
static struct estimate_job look_at(const struct job *job, uint64_t share) {
        struct estimate_job look = {.kind = job->kind,
                                    .bytes = job->bytes,
                                    .bytes_left = job->bytes_left,
                                    .share = share};
        uint64_t cpu = 0;

        if (job->state != JOB_RUNNING)
                return look;
        look.cpu_usec = look.ran_usec = USEC_INFINITY;
        if (job->granted_at == 0 || worker_cpu_usec(job->worker, &cpu) < 0 || cpu < job->cpu_base)
                return look;
        look.cpu_usec = cpu - job->cpu_base;
        look.ran_usec = loop_now(job->worker->workers->event) - job->granted_at;
        return look;
}

const char *forecast_why(const struct manager *m) {
        const struct job *next = queue_next(&m->governor.queue);

        return next ? turns_why(&m->governor, loop_now(m->event), next) : NULL;
}

uint64_t forecast_oldest_wait(const struct manager *m) {
        const struct job *oldest = TAILQ_FIRST(&m->governor.queue.waiting);
        uint64_t now = loop_now(m->event);

        return oldest && oldest->queued_at <= now ? now - oldest->queued_at : USEC_INFINITY;
}

bool forecast_percent(const struct job *job, unsigned *ret) {
        struct estimate_job look;

        if (job->state != JOB_RUNNING)
                return false;
        look = look_at(job, USEC_INFINITY);
        if (look.bytes_left == USEC_INFINITY && look.ran_usec < RAN_MIN_USEC)
                return false;
        return estimate_percent(&manager_of(job->worker)->ledger.estimate, &look, ret);
}

/*
 * Without any limit of CPU time, and *ret_share: the CPU time that it would use meanwhile per time;
 * 0: unknown. What the job itself has shown is worth more than what others needed, until it is
 * proved wrong. One that stands still has shown nothing.
 */
static uint64_t left_alone(const struct job *job, double *ret_share) {
        const struct manager *m = manager_of(job->worker);
        struct estimate_job look;
        uint64_t left;

        *ret_share = 0;
        if (worker_is_overdue(job->worker))
                return USEC_INFINITY;
        left = progress_eta(&job->progress, loop_now(m->event));
        if (job->state == JOB_RUNNING && left != USEC_INFINITY)
                return left > 0 ? left : USEC_INFINITY;
        look = look_at(job, USEC_INFINITY);
        left = estimate_left(&m->ledger.estimate, &look);
        if (left != USEC_INFINITY)
                *ret_share = (double)estimate_cpu_left(&m->ledger.estimate, &look) / (double)left;
        return left;
}

/* How fast it is, of what it would be without limit, if so many share the quota. */
static double speed_of(double share, double quota, unsigned n) {
        double most = quota / n;

        return share > most ? most / share : 1;
}

uint64_t forecast_left(const struct job *job) {
        struct manager *m;
        double share, left;
        uint64_t alone;

        if (job->state != JOB_RUNNING)
                return USEC_INFINITY;
        m = manager_of(job->worker);
        alone = left_alone(job, &share);
        if (alone == USEC_INFINITY || manager_cpu_quota(m) == USEC_INFINITY)
                return alone;
        left = (double)alone /
               speed_of(share, (double)manager_cpu_quota(m) / USEC_PER_SEC, m->governor.n_counted);
        return left < (double)INT64_MAX ? (uint64_t)left : USEC_INFINITY;
}

/* ---- the plan ---- */

/* A job in a slot. */
struct runner {
        struct job *job; /* NULL: of a worker that was found */
        double left;     /* µs without limit of CPU time; INFINITY: unknown */
        double share;    /* CPU time per time */
};

struct plan {
        struct manager *m;
        uint64_t now;
        double quota; /* CPU time per time, of all */

        /* owned */
        struct runner *runners; /* room for all jobs */
        struct job **order;

        /* state */
        double t; /* µs from now */
        unsigned n_runners, n_started;
        bool unknown; /* of some job */
};

static void plan_deinit(struct plan *p) {
        free(p->runners);
        free(p->order);
}

static void add_runner(struct plan *p, struct job *job) {
        struct runner *r = &p->runners[p->n_runners++];
        uint64_t left = USEC_INFINITY;

        *r = (struct runner){.job = job};
        if (job)
                left = left_alone(job, &r->share);
        r->left = left == USEC_INFINITY ? INFINITY : (double)left;
}

/* What runs now; one that stands still has no slot, and its end is unknown. */
static void add_running(struct plan *p) {
        struct worker *w;

        TAILQ_FOREACH (w, &p->m->workers.list, link) {
                bool runs = worker_running_job(w) || worker_is_found(w);

                p->unknown = p->unknown || (runs && w->slot.state != SLOT_COUNTED);
                if (w->slot.state == SLOT_COUNTED)
                        add_runner(p, worker_running_job(w));
        }
}

static int plan_init(struct plan *p, struct manager *m) {
        unsigned n = m->governor.queue.n_waiting;
        uint64_t quota = manager_cpu_quota(m);
        struct job *job;

        *p = (struct plan){.m = m, .now = loop_now(m->event), .quota = INFINITY};
        if (quota != USEC_INFINITY)
                p->quota = (double)quota / USEC_PER_SEC;
        TAILQ_FOREACH (job, &m->governor.queue.waiting, link) {
                job->turn = 0;
                job->eta = USEC_INFINITY;
        }
        p->order = turns_order(&m->governor.queue);
        p->runners = calloc(n + m->governor.n_counted + 1, sizeof(*p->runners));
        if (!p->runners || (n > 0 && !p->order))
                return -ENOMEM;
        for (unsigned i = 0; i < n; i++)
                p->order[i]->turn = i + 1;
        add_running(p);
        return 0;
}

/* When the next one may start; INFINITY: all have, or all slots are taken. */
static double next_start(const struct plan *p) {
        const struct governor *g = &p->m->governor;
        uint64_t at;

        if (p->n_started >= g->queue.n_waiting || p->n_runners >= g->effective.max_concurrent)
                return INFINITY;
        at = turns_start_at(g, p->now, p->n_started + 1);
        return at == USEC_INFINITY ? INFINITY : (double)(at - p->now);
}

static double earlier(double a, double b) {
        return a < b ? a : b;
}

static double next_end(const struct plan *p) {
        double end = INFINITY;

        for (unsigned i = 0; i < p->n_runners; i++) {
                const struct runner *r = &p->runners[i];

                end = earlier(end, p->t + r->left / speed_of(r->share, p->quota, p->n_runners));
        }
        return end;
}

static void advance(struct plan *p, double to) {
        double by = to - p->t;
        unsigned n = p->n_runners;

        for (unsigned i = p->n_runners; i-- > 0;) {
                struct runner *r = &p->runners[i];

                r->left -= by * speed_of(r->share, p->quota, n);
                if (r->left > 0.5) /* a fraction is rounding */
                        continue;
                if (r->job)
                        r->job->eta = (uint64_t)to;
                *r = p->runners[--p->n_runners];
        }
        p->t = to;
}

static void play(struct plan *p) {
        uint64_t n_steps = 0;

        for (;;) {
                double start = next_start(p), end = next_end(p);

                n_steps += p->n_runners + 1;
                if (start <= p->t) {
                        add_runner(p, p->order[p->n_started++]);
                        continue;
                }
                if (earlier(start, end) >= (double)INT64_MAX || n_steps > STEPS_MAX)
                        return;
                advance(p, earlier(start, end));
        }
}

uint64_t forecast_all(struct manager *m) {
        _cleanup_(plan_deinit) struct plan plan = {};

        if (plan_init(&plan, m) < 0)
                return USEC_INFINITY;
        play(&plan);
        if (plan.unknown || plan.n_runners > 0 || plan.n_started < m->governor.queue.n_waiting)
                return USEC_INFINITY;
        return (uint64_t)plan.t;
}
