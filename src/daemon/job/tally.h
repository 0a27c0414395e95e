/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the metrics count, since the daemon's start: soft state like all else (G6), so they
 * begin at zero after a restart, as readers of counters expect. Pure.
 *
 * What nobody knows of a job (a time or a bill that began under an earlier daemon) is in no sum and
 * in no histogram; so the count of a histogram may be less than the number of jobs.
 */

#include "daemon/job/job.h"

/* Of the histograms, in seconds; one bucket more is for all that took longer. */
extern const double tally_bounds[];
#define TALLY_N_BOUNDS 10

/* Kinds of jobs as indices: those of the wire, then adopted ones. 0 is none. */
#define TALLY_N_KINDS (_WIRE_KIND_MAX + 1)

struct histogram {
        uint64_t counts[TALLY_N_BOUNDS + 1]; /* each observation is in one of them */
        uint64_t sum_usec;
};

struct tally {
        /* by tally_kind(); [0] is unused */
        uint64_t jobs[TALLY_N_KINDS][_JOB_STATE_MAX]; /* by how they ended */
        struct histogram waited[TALLY_N_KINDS];
        struct histogram ran[TALLY_N_KINDS];
        uint64_t cpu_usec[TALLY_N_KINDS];
        uint64_t cleared[TALLY_N_KINDS]; /* bytes, as the workers claimed */

        uint64_t n_ungoverned; /* jobs that began without our grant, however they ended */
        uint64_t n_begun;      /* jobs whose workers could not wait for a grant, and said so */
        uint64_t n_hurried;    /* jobs granted whatever the limits said, for an administrator */
        uint64_t n_starved;    /* jobs granted beyond max-concurrent, to starved units */
        uint64_t n_boosts;     /* times that memory became short, or somebody began to wait */
        uint64_t n_found;      /* workers of an earlier daemon, at the start */
        uint64_t n_threaded;   /* who would be a worker and had more threads than one */
        uint64_t started_at;   /* CLOCK_REALTIME, µs */
};

/* The index of a job's kind, 0 for one that there is not; and what that is called. */
size_t tally_kind(uint32_t kind);
const char *tally_kind_name(size_t kind);

/* Takes the time. All else is zero. */
void tally_init(struct tally *tally);

/* USEC_INFINITY, which is "unknown", is not counted. */
void histogram_add(struct histogram *histogram, uint64_t usec);

/* A job that has ended. */
void tally_job(struct tally *tally, const struct job *job);
