/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The level is counted in 1/interval of a token, so that a µs adds exactly rate of them and a token
 * costs exactly interval: whole numbers, whatever the rate. It lies within ±LEVEL_MAX, which two
 * numbers may be apart from each other or added up without leaving 64 bits.
 */

#include "daemon/governor/bucket.h"

#define LEVEL_MAX ((int64_t)(BUCKET_TOKENS_MAX * BUCKET_INTERVAL_MAX))

_Static_assert(BUCKET_TOKENS_MAX <= INT64_MAX / 2 / BUCKET_INTERVAL_MAX, "levels add up");

/* What n tokens are in units of the level. n is within BUCKET_TOKENS_MAX. */
static int64_t cost(const struct bucket *b, uint32_t n) {
        return (int64_t)(n * b->interval);
}

static void set_limits(struct bucket *b, uint32_t rate, uint32_t burst) {
        b->rate = rate;
        b->burst = (uint32_t)min_u64(max_u64(burst, 1), BUCKET_TOKENS_MAX);
}

void bucket_init(struct bucket *b, uint64_t interval, uint32_t rate, uint32_t burst) {
        *b = (struct bucket){.interval = min_u64(max_u64(interval, 1), BUCKET_INTERVAL_MAX)};
        set_limits(b, rate, burst);
        b->level = cost(b, b->burst);
}

static int64_t level_at(const struct bucket *b, uint64_t now) {
        uint64_t elapsed = now > b->updated_at ? now - b->updated_at : 0;
        uint64_t room = (uint64_t)(cost(b, b->burst) - b->level);

        if (b->rate == 0 || elapsed > room / b->rate)
                return cost(b, b->burst);
        return b->level + (int64_t)(elapsed * b->rate);
}

static void refill(struct bucket *b, uint64_t now) {
        b->level = level_at(b, now);
        b->updated_at = max_u64(b->updated_at, now);
}

void bucket_set(struct bucket *b, uint64_t now, uint32_t rate, uint32_t burst) {
        refill(b, now);
        if (b->rate == 0)
                b->level = 0;
        set_limits(b, rate, burst);
        if (b->level > cost(b, b->burst))
                b->level = cost(b, b->burst);
}

bool bucket_take(struct bucket *b, uint64_t now, uint32_t n) {
        refill(b, now);
        if (b->rate == 0)
                return true;
        if (n > b->burst || b->level < cost(b, n))
                return false;
        b->level -= cost(b, n);
        return true;
}

void bucket_give(struct bucket *b, uint32_t n) {
        int64_t room = cost(b, b->burst) - b->level;
        int64_t given = cost(b, (uint32_t)min_u64(n, BUCKET_TOKENS_MAX));

        b->level += given < room ? given : room;
}

/* When the level reaches wanted, which is at most full. */
static uint64_t reaches_at(const struct bucket *b, uint64_t now, int64_t wanted) {
        int64_t level = level_at(b, now);
        uint64_t missing, wait;

        if (level >= wanted)
                return now;
        missing = (uint64_t)(wanted - level);
        wait = missing / b->rate + (missing % b->rate != 0);
        now = max_u64(now, b->updated_at);
        return wait > UINT64_MAX - now ? USEC_INFINITY : now + wait;
}

uint64_t bucket_ready_at(const struct bucket *b, uint64_t now, uint32_t n) {
        if (b->rate == 0)
                return now;
        return n > b->burst ? USEC_INFINITY : reaches_at(b, now, cost(b, n));
}

uint64_t bucket_reserve(struct bucket *b, uint64_t now, uint32_t n) {
        refill(b, now);
        if (b->rate == 0)
                return now;
        if (n > BUCKET_TOKENS_MAX || b->level - cost(b, n) < -LEVEL_MAX)
                return USEC_INFINITY;
        b->level -= cost(b, n);
        return reaches_at(b, now, 0);
}

bool bucket_is_full(const struct bucket *b, uint64_t now) {
        return level_at(b, now) == cost(b, b->burst);
}
