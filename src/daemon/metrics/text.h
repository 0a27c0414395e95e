/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The metrics as text. Pure: a snapshot in, text out. The man page pv-reaper(8) explains them. */

#include <stdio.h>

#include "daemon/job/tally.h"

enum metrics_format {
        METRICS_OPENMETRICS, /* OpenMetrics 1.0 */
        METRICS_TEXTFILE,    /* Prometheus' text format 0.0.4, all that node_exporter's textfile
                              * collector and "promtool check metrics" know */
};

/* What there is at one moment. */
struct metrics {
        const struct tally *tally;
        const char *version;
        const char *mode;               /* the one of metrics_modes that is in force */
        uint64_t queued[TALLY_N_KINDS]; /* jobs that wait, by tally_kind() */
        uint64_t held;        /* bytes that waiting shutdowns hold, as their workers claim */
        uint64_t to_clear;    /* bytes that running and waiting jobs have left, likewise */
        const char *why;      /* the next job waits, one of metrics_whys; NULL: none does */
        uint64_t oldest_wait; /* of the first of those that wait, in µs */
        uint64_t running, overdue, workers, connections;
        uint64_t max_concurrent;
        uint64_t waiters;
        uint64_t unreported;
        uint64_t stay;                         /* as worker_stays() */
        uint64_t unenforced, refused, escaped; /* as in struct enforce_counts */
};

/* NULL at the end */
extern const char *const metrics_modes[];
extern const char *const metrics_whys[];

/* Errors of writing are the stream's: look with ferror() or fclose(). */
void metrics_print(FILE *out, const struct metrics *metrics, enum metrics_format format);
