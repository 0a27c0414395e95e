/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The token bucket against its promise, not against another bucket: every take is written down, and
 * for every pair of them it is counted what was taken in between. Time is a number here, so a test
 * may wait for a century. The random steps are the same in every run.
 */

#include "fds.h"

#include "daemon/governor/bucket.h"
#include "rng.h"

#define MINUTE  (60 * USEC_PER_SEC)
#define CENTURY (UINT64_C(100) * 366 * 24 * 3600 * USEC_PER_SEC)
#define N_TAKES 600

static void test_bucket_burst_then_rate(void **state) {
        struct bucket b;
        uint64_t now = 5 * MINUTE;

        bucket_init(&b, MINUTE, 6, 3);
        for (int i = 0; i < 3; i++)
                assert_true(bucket_take(&b, now, 1));
        assert_false(bucket_take(&b, now, 1));
        assert_int_equal(bucket_ready_at(&b, now, 1), now + 10 * USEC_PER_SEC);
        assert_int_equal(bucket_ready_at(&b, now, 3), now + 30 * USEC_PER_SEC);
        assert_int_equal(bucket_ready_at(&b, now, 4), USEC_INFINITY);
        assert_false(bucket_take(&b, now + 10 * USEC_PER_SEC - 1, 1));
        assert_true(bucket_take(&b, now + 10 * USEC_PER_SEC, 1));
        assert_false(bucket_take(&b, now + 10 * USEC_PER_SEC, 1));
}

static void test_bucket_no_limit(void **state) {
        struct bucket b;

        bucket_init(&b, MINUTE, 0, 0);
        for (int i = 0; i < 1000; i++)
                assert_true(bucket_take(&b, 0, UINT32_MAX));
        assert_int_equal(bucket_ready_at(&b, 7, UINT32_MAX), 7);
        assert_int_equal(bucket_reserve(&b, 7, UINT32_MAX), 7);
        assert_true(bucket_is_full(&b, 0));
}

/* 7 a minute are one every 8571428.57 µs: rounding would show within a few of them. */
static void test_bucket_does_not_drift(void **state) {
        static const uint32_t rates[] = {1, 7, 13, 59, 61, 999, 777777};
        struct bucket b;

        for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
                uint64_t now = 0;
                const uint32_t n = rates[i] * 5;

                bucket_init(&b, MINUTE, rates[i], 1);
                assert_true(bucket_take(&b, now, 1));
                for (uint32_t k = 0; k < n; k++) {
                        now = bucket_ready_at(&b, now, 1);
                        assert_true(bucket_take(&b, now, 1));
                }
                /* A bucket of one loses what came in while it waited for a whole µs: less than
                 * one each time. A bucket of two loses nothing. */
                assert_in_range(now, 5 * MINUTE, 5 * MINUTE + n);
                bucket_init(&b, MINUTE, rates[i], 2);
                for (now = 0; bucket_take(&b, 0, 1);)
                        ;
                for (uint32_t k = 0; k < n; k++) {
                        now = bucket_ready_at(&b, now, 1);
                        assert_true(bucket_take(&b, now, 1));
                }
                assert_int_equal(now, 5 * MINUTE);
        }
}

/* ---- the promise ---- */

struct take {
        uint64_t at;
        uint32_t n;
};

/* Between any two takes, both included: no more than burst + rate * t / interval. */
static void check_windows(const struct bucket *b, const struct take *takes, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                unsigned __int128 sum = 0, allowed;

                for (unsigned k = i; k < n; k++) {
                        sum += takes[k].n;
                        allowed = (unsigned __int128)b->burst * b->interval;
                        allowed += (unsigned __int128)b->rate * (takes[k].at - takes[i].at);
                        assert_true(sum * b->interval <= allowed);
                }
        }
}

/* A time that matters: none, a bit, about a token's, or long. */
static uint64_t random_pause(struct rng *rng, const struct bucket *b) {
        uint64_t token = b->interval / b->rate;

        switch (rng_below(rng, 4)) {
        case 0:
                return 0;
        case 1:
                return rng_below(rng, 3);
        case 2:
                return token + rng_below(rng, 3) - (token > 0);
        default:
                return rng_next(rng) % (token * 3 + 1);
        }
}

/* Whether it is told right when the next n come: then, and not a µs earlier. */
static void check_ready_at(const struct bucket *b, uint64_t now, uint32_t n) {
        uint64_t at = bucket_ready_at(b, now, n);
        struct bucket early = *b, then = *b;

        assert_true(at >= now);
        assert_true(n > b->burst || at != USEC_INFINITY);
        if (at == USEC_INFINITY)
                return;
        assert_true(bucket_take(&then, at, n));
        if (at > now)
                assert_false(bucket_take(&early, at - 1, n));
}

static void test_bucket_any_window(void **state) {
        struct rng rng = {21};
        unsigned refused = 0;

        for (int round = 0; round < 60; round++) {
                struct take takes[N_TAKES];
                struct bucket b;
                uint64_t now = rng_next(&rng) >> 8;
                unsigned n_takes = 0;

                bucket_init(&b, 1 + rng_next(&rng) % MINUTE, 1 + rng_below(&rng, 5000),
                            rng_below(&rng, 40));
                while (n_takes < N_TAKES) {
                        uint32_t n = 1 + rng_below(&rng, 3);

                        check_ready_at(&b, now, n);
                        if (bucket_take(&b, now, n))
                                takes[n_takes++] = (struct take){now, n};
                        else
                                refused++;
                        now += random_pause(&rng, &b);
                }
                check_windows(&b, takes, n_takes);
        }
        assert_true(refused > 1000);
}

/* ---- in advance ---- */

static void test_bucket_reserve_gives_times_apart(void **state) {
        struct bucket b;

        bucket_init(&b, USEC_PER_SEC, 1000, 10);
        for (unsigned i = 0; i < 10; i++)
                assert_int_equal(bucket_reserve(&b, 500, 1), 500);
        for (unsigned i = 1; i <= 5000; i++)
                assert_int_equal(bucket_reserve(&b, 500, 1), 500 + i * 1000);
        assert_false(bucket_take(&b, 500 + 5000 * 1000, 1)); /* paid for, and nothing left */
        assert_true(bucket_take(&b, 500 + 5001 * 1000, 1));
}

static void test_bucket_reserve_has_an_end(void **state) {
        uint64_t at, last = 0;
        struct bucket b;
        unsigned n = 0;

        bucket_init(&b, BUCKET_INTERVAL_MAX, 1, 1);
        assert_int_equal(bucket_reserve(&b, 0, UINT32_MAX), USEC_INFINITY);
        while ((at = bucket_reserve(&b, 0, BUCKET_TOKENS_MAX / 4)) != USEC_INFINITY) {
                assert_true(at > last);
                last = at;
                n++;
        }
        assert_int_equal(n, 4);
        assert_int_equal(bucket_reserve(&b, 0, 1), last + BUCKET_INTERVAL_MAX); /* as it was */
        assert_false(bucket_take(&b, UINT64_MAX, UINT32_MAX));
}

static void test_bucket_give_back(void **state) {
        struct bucket b;

        bucket_init(&b, MINUTE, 1, 5);
        assert_true(bucket_take(&b, 0, 5));
        bucket_give(&b, 2);
        assert_true(bucket_take(&b, 0, 2));
        assert_false(bucket_take(&b, 0, 1));
        bucket_give(&b, UINT32_MAX);
        assert_true(bucket_is_full(&b, 0));
        assert_true(bucket_take(&b, 0, 5));
        assert_false(bucket_take(&b, 0, 1));
}

/* ---- numbers that nobody means, clocks that do not run ---- */

static void test_bucket_absurd_numbers(void **state) {
        static const uint64_t times[] = {0, 1, CENTURY, INT64_MAX, UINT64_MAX - 1, UINT64_MAX};
        static const uint32_t tokens[] = {0, 1, BUCKET_TOKENS_MAX, BUCKET_TOKENS_MAX + 1,
                                          UINT32_MAX};
        struct bucket b;

        for (size_t i = 0; i < ARRAY_SIZE(times); i++)
                for (size_t k = 0; k < ARRAY_SIZE(tokens); k++)
                        for (size_t l = 0; l < ARRAY_SIZE(tokens); l++) {
                                uint64_t at;

                                bucket_init(&b, times[i], tokens[k], tokens[l]);
                                assert_true(bucket_take(&b, times[i], 1));
                                at = bucket_ready_at(&b, times[i], b.burst);
                                assert_true(at >= times[i]);
                                assert_true(at == USEC_INFINITY || bucket_take(&b, at, b.burst));
                                (void)bucket_reserve(&b, times[i], tokens[l]);
                                assert_true(b.rate == 0 ||
                                            b.level <= (int64_t)(b.burst * b.interval));
                        }
}

static void test_bucket_long_silence(void **state) {
        struct bucket b;

        bucket_init(&b, MINUTE, BUCKET_TOKENS_MAX, 4);
        assert_true(bucket_take(&b, 0, 4));
        assert_true(bucket_take(&b, CENTURY, 4));
        assert_false(bucket_take(&b, CENTURY, 1));
        assert_true(bucket_take(&b, UINT64_MAX, 4));
        assert_false(bucket_take(&b, UINT64_MAX, 1));
        bucket_init(&b, MINUTE, 1, 1);
        assert_true(bucket_take(&b, UINT64_MAX - 1, 1));
        assert_int_equal(bucket_ready_at(&b, UINT64_MAX - 1, 1), USEC_INFINITY);
}

/* Nothing is gained by a clock that is set back and runs the same time again. */
static void test_bucket_clock_backwards(void **state) {
        struct bucket b;

        bucket_init(&b, MINUTE, 60, 1);
        assert_true(bucket_take(&b, 100 * USEC_PER_SEC, 1));
        assert_false(bucket_take(&b, 50 * USEC_PER_SEC, 1));
        assert_false(bucket_take(&b, 100 * USEC_PER_SEC, 1));
        assert_int_equal(bucket_ready_at(&b, 60 * USEC_PER_SEC, 1), 101 * USEC_PER_SEC);
        assert_true(bucket_take(&b, 101 * USEC_PER_SEC, 1));
}

/* ---- other limits while it runs ---- */

static void test_bucket_new_limits(void **state) {
        struct bucket b;

        bucket_init(&b, MINUTE, 60, 10);
        assert_true(bucket_take(&b, 0, 4));
        bucket_set(&b, 0, 60, 20); /* more room, and nothing to fill it with yet */
        assert_true(bucket_take(&b, 0, 6));
        assert_false(bucket_take(&b, 0, 1));
        bucket_set(&b, 10 * USEC_PER_SEC, 6, 2); /* ten came in, two fit */
        assert_true(bucket_take(&b, 10 * USEC_PER_SEC, 2));
        assert_false(bucket_take(&b, 10 * USEC_PER_SEC, 1));
        assert_int_equal(bucket_ready_at(&b, 10 * USEC_PER_SEC, 1), 20 * USEC_PER_SEC);
        bucket_set(&b, 15 * USEC_PER_SEC, 60, 2); /* half a token at the old rate */
        assert_int_equal(bucket_ready_at(&b, 15 * USEC_PER_SEC, 1), 15500000);
        bucket_set(&b, 15 * USEC_PER_SEC, 0, 0);
        assert_true(bucket_take(&b, 15 * USEC_PER_SEC, 1000));
        bucket_set(&b, 15 * USEC_PER_SEC, 60, 30); /* who had no limit does not begin with 30 */
        assert_int_equal(bucket_ready_at(&b, 15 * USEC_PER_SEC, 1), 16 * USEC_PER_SEC);
}

static void test_bucket_is_full(void **state) {
        struct bucket b;

        bucket_init(&b, MINUTE, 60, 3);
        assert_true(bucket_is_full(&b, 0));
        assert_true(bucket_take(&b, 0, 2));
        assert_false(bucket_is_full(&b, 2 * USEC_PER_SEC - 1));
        assert_true(bucket_is_full(&b, 2 * USEC_PER_SEC));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_bucket_burst_then_rate),
                checked_test(test_bucket_no_limit),
                checked_test(test_bucket_does_not_drift),
                checked_test(test_bucket_any_window),
                checked_test(test_bucket_reserve_gives_times_apart),
                checked_test(test_bucket_reserve_has_an_end),
                checked_test(test_bucket_give_back),
                checked_test(test_bucket_absurd_numbers),
                checked_test(test_bucket_long_silence),
                checked_test(test_bucket_clock_backwards),
                checked_test(test_bucket_new_limits),
                checked_test(test_bucket_is_full),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
