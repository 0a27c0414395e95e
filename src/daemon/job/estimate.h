/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How far a job is and how long it will take. Pure: no clock, no system call; times are µs.
 *
 * PERFORM and exit_mmap() show no progress of their own. What is known is how many bytes the last
 * jobs of that kind cleared per CPU second, what the job has used so far, and what share of a CPU
 * it gets. So all of this is "about", and where any of it is not known there is no answer: not
 * before a job of the kind has ended, and not for one that takes longer than the others did.
 */

#include "base/util.h"
#include "base/wire.h"

#define ESTIMATE_SAMPLES 16 /* jobs that are remembered of a kind */
#define ESTIMATE_KINDS   (WIRE_KIND_CLOSE + 1)

/* One job that ended well. */
struct estimate_sample {
        uint64_t bytes;
        uint64_t cpu_usec;
        uint64_t ran_usec;
};

/* All zero at first. */
struct estimate {
        struct {
                struct estimate_sample samples[ESTIMATE_SAMPLES];
                unsigned n;    /* how many there are */
                unsigned next; /* the place of the next one */
        } kinds[ESTIMATE_KINDS];
};

/* A job ended well. One that was too short to learn from, or unknown (USEC_INFINITY), is ignored.
 */
void estimate_learn(struct estimate *estimate, uint32_t kind, const struct estimate_sample *sample);

/* A job that waits or runs; USEC_INFINITY is unknown in each. */
struct estimate_job {
        uint32_t kind;
        uint64_t bytes;
        uint64_t bytes_left; /* if it tells */
        uint64_t cpu_usec;   /* used so far */
        uint64_t ran_usec;
        uint64_t share; /* the CPU time that it may use at most, in µs per s */
};

/* What is cleared of it, in percent, never 100. false: unknown. */
bool estimate_percent(const struct estimate *estimate, const struct estimate_job *job,
                      unsigned *ret);

/* The CPU time that it still needs, never 0; USEC_INFINITY: unknown. */
uint64_t estimate_cpu_left(const struct estimate *estimate, const struct estimate_job *job);

/* How long it still takes if it runs; USEC_INFINITY: unknown. */
uint64_t estimate_left(const struct estimate *estimate, const struct estimate_job *job);
