/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Jobs that an administrator wants to start at once, whatever the limits say. They take slots, and
 * count, as all others; so those behind wait for longer.
 */

#include "daemon/worker/worker.h"

/*
 * The job that waits, or else the next one, of each worker that is meant starts at once; with on
 * false it waits for its turn as ever. what: the number of a job that waits, or NAME, UUID or
 * pid=NUMBER as in pv-reaperctl(1). Returns how many workers are meant.
 */
unsigned hurry_workers(struct workers *workers, const char *what, bool on);

/* Grants the jobs that are to start at once, and wait. */
void hurry_grant(struct workers *workers);
