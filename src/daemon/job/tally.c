/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Adding up what ended. Sizes are claims of workers, so their sum stays where it is rather than
 * wrap around. A histogram's counts are each bucket's own here, and added up where they are shown.
 * Nothing is ever taken off: these are counters.
 */

#include "daemon/job/tally.h"

/* From what the smallest guest takes to what a night of them takes. */
const double tally_bounds[] = {0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400};

_Static_assert(ARRAY_SIZE(tally_bounds) == TALLY_N_BOUNDS, "one count per bound, and one more");

size_t tally_kind(uint32_t kind) {
        if (kind == JOB_KIND_ADOPTED)
                return _WIRE_KIND_MAX;
        return kind < _WIRE_KIND_MAX ? kind : WIRE_KIND_NONE;
}

const char *tally_kind_name(size_t kind) {
        return job_kind_to_string(kind == _WIRE_KIND_MAX ? JOB_KIND_ADOPTED : (uint32_t)kind);
}

void tally_init(struct tally *tally) {
        *tally = (struct tally){.started_at = realtime_usec()};
}

void histogram_add(struct histogram *histogram, uint64_t usec) {
        size_t i = 0;

        if (usec == USEC_INFINITY)
                return;
        while (i < TALLY_N_BOUNDS && (double)usec > tally_bounds[i] * (double)USEC_PER_SEC)
                i++;
        histogram->counts[i]++;
        histogram->sum_usec += usec;
}

/* To a closer the kernel says -EIO as a rule, and its close cleared the VM all the same. */
static bool has_cleared(const struct job *job) {
        return job->state == JOB_DONE || job->state == JOB_UNGOVERNED ||
               (job->state == JOB_FOREIGN && job->kind == WIRE_KIND_CLOSE);
}

void tally_job(struct tally *tally, const struct job *job) {
        size_t kind = tally_kind(job->kind);
        uint64_t *cleared = &tally->cleared[kind];

        if (kind == WIRE_KIND_NONE || job->state >= _JOB_STATE_MAX)
                return;
        tally->jobs[kind][job->state]++;
        histogram_add(&tally->waited[kind], job->waited_usec);
        histogram_add(&tally->ran[kind], job->ran_usec);
        if (job->cpu_usec != USEC_INFINITY)
                tally->cpu_usec[kind] += job->cpu_usec;
        tally->n_ungoverned += job->ungoverned;
        if (has_cleared(job))
                *cleared = job->bytes > UINT64_MAX - *cleared ? UINT64_MAX : *cleared + job->bytes;
}
