/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How fast a job gets on, by what its worker says is left. Pure; times are µs of CLOCK_MONOTONIC.
 * A job that never said anything has no rate here: what others of its kind took is not its own.
 */

#include "base/util.h"

/* All zero: nothing was told. */
struct progress {
        uint64_t left; /* when it was told last */
        uint64_t told_at;
        uint64_t window_left; /* where the rate is measured from */
        uint64_t window_at;
        uint64_t rate; /* bytes per second; 0: not known */
};

/* The job has begun: so many bytes are to be cleared. */
void progress_begin(struct progress *progress, uint64_t now, uint64_t bytes);

/* Returns whether there is less left than before. More is not believed: it is as much as before. */
bool progress_tell(struct progress *progress, uint64_t now, uint64_t bytes_left);

/* Bytes per second, of the last second or so; USEC_INFINITY: not known. */
uint64_t progress_rate(const struct progress *progress);

/* How long it will take yet, µs; 0: it should be over; USEC_INFINITY: not known. */
uint64_t progress_eta(const struct progress *progress, uint64_t now);
