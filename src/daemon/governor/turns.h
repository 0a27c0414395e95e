/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What is to be said of the jobs that wait: in which order they are granted, and why each of them
 * still waits. Pure; times are µs of CLOCK_MONOTONIC. Nothing is decided here: governor.c does.
 */

#include "daemon/governor/governor.h"

/*
 * The jobs that wait, queue.n_waiting of them, as they would be granted one after the other if no
 * slot was given back meanwhile: then others may go before. The caller frees the array. Takes
 * O(n log n) steps. NULL: there is no memory, or no job.
 */
struct job **turns_order(const struct queue *queue);

/*
 * Why it waits, in a word:
 * - "memory": memory is short, and jobs that free some go first;
 * - "turn": its unit has more slots than another one that waits;
 * - "limit": all slots are taken; "drain": likewise, in a drain;
 * - "start-rate": it is too early for the next start.
 * NULL: it does not wait, or is granted now.
 */
const char *turns_why(const struct governor *governor, uint64_t now, const struct job *job);

/* When the nth job from now on may start, n from 1, as far as start-rate says. */
uint64_t turns_start_at(const struct governor *governor, uint64_t now, unsigned n);
