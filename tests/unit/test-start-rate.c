/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How often jobs start, by a clock of numbers.
 * The start rate and its burst: from the beginning, after a change, and while the boost lifts them.
 * Each case counts how many jobs a round of grants starts, and when the next one may start.
 */

#include "actors.h"

static void test_governor_rate_live(void **state) {
        struct governor_limits limits = {100, 360, 2, USEC_INFINITY, USEC_INFINITY};
        struct actor actors[20];
        struct governor g;
        uint64_t wake_at;

        setup(&g, actors, 20, &limits);
        assert_int_equal(dispatch(&g, 0, &wake_at), 2);
        assert_int_equal(wake_at, 10 * USEC_PER_SEC);
        assert_int_equal(dispatch(&g, wake_at - 1, &wake_at), 0);
        assert_int_equal(dispatch(&g, wake_at, &wake_at), 1);
        limits.start_rate = 3600;
        governor_set_limits(&g, 10 * USEC_PER_SEC, GOVERNOR_NORMAL, &limits);
        assert_int_equal(dispatch(&g, 10 * USEC_PER_SEC, &wake_at), 0);
        assert_int_equal(wake_at, 11 * USEC_PER_SEC);
        limits.max_concurrent = 3; /* no token helps then */
        governor_set_limits(&g, 10 * USEC_PER_SEC, GOVERNOR_NORMAL, &limits);
        assert_int_equal(dispatch(&g, 10 * USEC_PER_SEC, &wake_at), 0);
        assert_int_equal(wake_at, USEC_INFINITY);
        teardown(&g, actors, 20);
}

/* A start-rate where there was none begins with its burst; a larger burst is there at once. */
static void test_governor_burst_live(void **state) {
        struct governor_limits limits = {1, 0, 10, USEC_INFINITY, USEC_INFINITY};
        struct actor actors[20];
        struct governor g;
        uint64_t wake_at;

        setup(&g, actors, 20, &limits);
        assert_int_equal(dispatch(&g, 0, &wake_at), 1);
        limits = (struct governor_limits){100, 360, 3, USEC_INFINITY, USEC_INFINITY};
        governor_set_limits(&g, 1, GOVERNOR_NORMAL, &limits);
        assert_int_equal(dispatch(&g, 1, &wake_at), 3);
        assert_int_equal(wake_at, 1 + 10 * USEC_PER_SEC);
        limits.start_burst = 5;
        governor_set_limits(&g, 2, GOVERNOR_NORMAL, &limits);
        assert_int_equal(dispatch(&g, 2, &wake_at), 2);
        limits.start_burst = 1; /* what was in advance stays so */
        governor_set_limits(&g, 3, GOVERNOR_NORMAL, &limits);
        governor_set_limits(&g, 3, GOVERNOR_NORMAL, &limits);
        assert_int_equal(dispatch(&g, 3, &wake_at), 0);
        assert_int_equal(wake_at, 1 + 10 * USEC_PER_SEC);
        teardown(&g, actors, 20);
}

/* While the boost lifts the rate nobody needs a burst, and it has had one afterwards. */
static void test_governor_burst_set_in_a_boost(void **state) {
        const struct governor_limits boost = {100, 0, 10, USEC_INFINITY, USEC_INFINITY};
        struct governor_limits limits = {100, 360, 2, USEC_INFINITY, USEC_INFINITY};
        struct actor actors[20];
        struct governor g;
        uint64_t wake_at;

        setup(&g, actors, 20, &limits);
        governor_set_limits(&g, 0, GOVERNOR_BOOST, &boost);
        governor_set_mode(&g, 0, GOVERNOR_BOOST, true);
        limits.start_burst = 10;
        governor_set_limits(&g, 0, GOVERNOR_NORMAL, &limits);
        governor_set_mode(&g, 0, GOVERNOR_BOOST, false);
        assert_int_equal(dispatch(&g, 0, &wake_at), 0);
        assert_int_equal(wake_at, 10 * USEC_PER_SEC);
        teardown(&g, actors, 20);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_governor_rate_live),
                checked_test(test_governor_burst_live),
                checked_test(test_governor_burst_set_in_a_boost),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
