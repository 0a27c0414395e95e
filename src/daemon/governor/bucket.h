/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A token bucket: so many per interval, and so many at once. Pure: the time is passed in, in µs of
 * any clock that does not run backwards (if it does, the bucket waits for it to catch up).
 *
 * It is exact: over any time t in which the limits stay as they are, at most
 * burst + rate * t / interval tokens are taken, and if somebody always wants one, that many are
 * (with a burst of 1, less what comes in while he waits for a whole µs). Nothing is rounded, so
 * nothing drifts; absurd numbers are clamped, and never wrap around.
 */

#include "base/util.h"

#define BUCKET_TOKENS_MAX   UINT32_C(1000000000)  /* for burst and what is taken at once */
#define BUCKET_INTERVAL_MAX (3600 * USEC_PER_SEC) /* an hour */

struct bucket {
        uint32_t rate;  /* tokens per interval; 0: no limit */
        uint32_t burst; /* tokens it holds at most */
        uint64_t interval;
        int64_t level; /* tokens times interval; below 0: taken in advance */
        uint64_t updated_at;
};

/* Full. interval: µs, at least 1. rate 0: no limit; a burst of 0 is one of 1. */
void bucket_init(struct bucket *bucket, uint64_t interval, uint32_t rate, uint32_t burst);

/*
 * New limits from now on; what is in there stays, as far as it fits. One that had no limit so far
 * is empty afterwards: its user has had the burst already.
 */
void bucket_set(struct bucket *bucket, uint64_t now, uint32_t rate, uint32_t burst);

/* Takes n tokens, or none and returns false. */
bool bucket_take(struct bucket *bucket, uint64_t now, uint32_t n);

/* Puts n back that were taken and not used. */
void bucket_give(struct bucket *bucket, uint32_t n);

/*
 * The first time, not before now, at which bucket_take() of n would succeed if nobody else took
 * any; USEC_INFINITY if never (n is beyond burst). At that time it does, 1 µs earlier it does not.
 */
uint64_t bucket_ready_at(const struct bucket *bucket, uint64_t now, uint32_t n);

/*
 * Takes n in any case, in advance if need be, and returns when they are paid for: the taker has to
 * stop until then. For many takers that wait at the same bucket: each gets a time of its own, so
 * that they do not all wake up for the same token. USEC_INFINITY: nothing was taken, since it could
 * not be paid for in any time worth naming.
 */
uint64_t bucket_reserve(struct bucket *bucket, uint64_t now, uint32_t n);

/* Whether nothing is missing: no new bucket could give more than this one. */
bool bucket_is_full(const struct bucket *bucket, uint64_t now);
