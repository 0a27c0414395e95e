/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The estimate of estimate.c, for the jobs of this daemon as they stand now. */

#include "base/util.h"

struct job;
struct manager;

/* What is cleared of a running job, in percent. false: unknown, also during its first second. */
bool forecast_percent(const struct job *job, unsigned *ret);

/* How long a running job still takes, in µs; USEC_INFINITY: unknown. */
uint64_t forecast_left(const struct job *job);

/* Why the job whose turn it is waits all the same: turns_why()'s word. NULL: no job waits. */
const char *forecast_why(const struct manager *manager);

/* For how long the first of the waiting jobs has been waiting, in µs; USEC_INFINITY: no job waits.
 */
uint64_t forecast_oldest_wait(const struct manager *manager);

/*
 * How long it takes until nothing is left, as things are now, in µs; USEC_INFINITY: unknown. Also
 * writes turn and eta of each job that waits.
 */
uint64_t forecast_all(struct manager *manager);
