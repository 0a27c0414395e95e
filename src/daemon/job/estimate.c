/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Medians over the last jobs of a kind: of bytes per CPU time, and of CPU time per time in a slot.
 * Not sums or means: sizes are claims, and one VMM that claims a petabyte must not spoil the
 * estimate of all others. Owns nothing. Numbers are doubles inside, for claims times rates overflow
 * everything else; an estimate needs no sixteenth digit.
 */

#include "daemon/job/estimate.h"

#include <stdlib.h>

/* Below that a job was mostly something else than clearing. */
#define CPU_MIN_USEC (10 * USEC_PER_MSEC)

/* So long a job must have run before its own share of a CPU says anything. */
#define RAN_MIN_USEC (1 * USEC_PER_SEC)

void estimate_learn(struct estimate *e, uint32_t kind, const struct estimate_sample *sample) {
        if (kind >= ESTIMATE_KINDS || sample->bytes == 0 || sample->cpu_usec < CPU_MIN_USEC ||
            sample->cpu_usec == USEC_INFINITY || sample->ran_usec == 0 ||
            sample->ran_usec == USEC_INFINITY)
                return;
        e->kinds[kind].samples[e->kinds[kind].next] = *sample;
        e->kinds[kind].next = (e->kinds[kind].next + 1) % ESTIMATE_SAMPLES;
        if (e->kinds[kind].n < ESTIMATE_SAMPLES)
                e->kinds[kind].n++;
}

/* ---- medians ---- */

static double bytes_per_cpu(const struct estimate_sample *s) {
        return (double)s->bytes / (double)s->cpu_usec;
}

static double cpu_per_time(const struct estimate_sample *s) {
        return (double)s->cpu_usec / (double)s->ran_usec;
}

static int compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

/* Of an even number the lower one in the middle: one that was there. 0: nothing is known. */
static double median(const struct estimate *e, uint32_t kind,
                     double (*of)(const struct estimate_sample *s)) {
        double values[ESTIMATE_SAMPLES];
        unsigned n;

        if (kind >= ESTIMATE_KINDS || e->kinds[kind].n == 0)
                return 0;
        n = e->kinds[kind].n;
        for (unsigned i = 0; i < n; i++)
                values[i] = of(&e->kinds[kind].samples[i]);
        qsort(values, n, sizeof(values[0]), compare);
        return values[(n - 1) / 2];
}

static uint64_t rounded(double number) {
        return number < (double)INT64_MAX ? (uint64_t)number : USEC_INFINITY;
}

/* ---- one job ---- */

/* What it has cleared and what it has left, in bytes. false: unknown. */
static bool look_at(const struct estimate *e, const struct estimate_job *job, double *ret_cleared,
                    double *ret_left) {
        double rate = median(e, job->kind, bytes_per_cpu), bytes = (double)job->bytes;

        if (job->bytes == 0 || job->bytes == USEC_INFINITY)
                return false;
        if (job->bytes_left != USEC_INFINITY) {
                *ret_left = (double)min_u64(job->bytes_left, job->bytes);
                *ret_cleared = bytes - *ret_left;
                return true;
        }
        if (rate <= 0 || job->cpu_usec == USEC_INFINITY)
                return false;
        *ret_cleared = (double)job->cpu_usec * rate;
        *ret_left = bytes - *ret_cleared;
        /* Else it takes longer than others did: nobody knows how long. A fraction is rounding. */
        return *ret_left >= 1;
}

bool estimate_percent(const struct estimate *e, const struct estimate_job *job, unsigned *ret) {
        double cleared, left;

        if (!look_at(e, job, &cleared, &left))
                return false;
        *ret = (unsigned)(cleared * 100 / (double)job->bytes);
        if (*ret > 99)
                *ret = 99;
        return true;
}

uint64_t estimate_cpu_left(const struct estimate *e, const struct estimate_job *job) {
        double cleared, left, rate = median(e, job->kind, bytes_per_cpu);

        if (rate <= 0 || !look_at(e, job, &cleared, &left))
                return USEC_INFINITY;
        return max_u64(rounded(left / rate), 1);
}

/* Its own share, once it ran for a while, else that of the jobs before; never more than allowed. */
static double share_of(const struct estimate *e, const struct estimate_job *job) {
        double share = median(e, job->kind, cpu_per_time), most;

        if (job->ran_usec != USEC_INFINITY && job->ran_usec >= RAN_MIN_USEC &&
            job->cpu_usec != USEC_INFINITY && job->cpu_usec > 0)
                share = (double)job->cpu_usec / (double)job->ran_usec;
        most = (double)job->share / (double)USEC_PER_SEC;
        return job->share != USEC_INFINITY && share > most ? most : share;
}

uint64_t estimate_left(const struct estimate *e, const struct estimate_job *job) {
        uint64_t cpu = estimate_cpu_left(e, job);
        double share = share_of(e, job);

        if (cpu == USEC_INFINITY || share <= 0)
                return USEC_INFINITY;
        return max_u64(rounded((double)cpu / share), 1);
}
