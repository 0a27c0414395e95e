/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From the configuration's words to numbers: what holds in normal times and in boost mode, what
 * "auto" is on this host or that, and what a word that says nothing is replaced with. Each case
 * begins with the built-in defaults.
 */

#include "fds.h"

#include <string.h>

#include "daemon/policy.h"

#define PERCENT (USEC_PER_SEC / 100)

static struct config *defaults(void) {
        struct config *config = NULL;

        assert_int_equal(config_new(&config), 0);
        return config;
}

static void test_normal_limits(void **state) {
        struct config *c = defaults();
        struct governor_limits l;

        c->max_concurrent = 3;
        c->boost_max_concurrent = 7;
        c->start_rate = 60;
        c->start_burst = 5;
        c->overdue = 1234;
        c->starvation_timeout = 77;
        l = policy_limits(c, GOVERNOR_NORMAL, 64);
        assert_int_equal(l.max_concurrent, 3);
        assert_int_equal(l.start_rate, 60);
        assert_int_equal(l.start_burst, 5);
        assert_int_equal(l.overdue_usec, 1234);
        assert_int_equal(l.starvation_usec, 77);
        config_free(c);
}

/* An eighth of the CPUs, at least 4; the boost is never below it. */
static void test_how_many_are_chosen(void **state) {
        static const struct {
                unsigned n_cpus, normal, boost;
        } rows[] = {{1, 4, 4},   {2, 4, 4},      {8, 4, 8}, {32, 4, 32}, {39, 4, 39},   {40, 5, 40},
                    {64, 8, 64}, {128, 16, 128}, {0, 4, 4}, {7, 4, 7},   {512, 64, 512}};
        struct config *c = defaults();

        assert_int_equal(c->max_concurrent, CONFIG_AUTO);
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                unsigned n = rows[i].n_cpus;

                c->boost_max_concurrent = CONFIG_AUTO;
                assert_int_equal(policy_limits(c, GOVERNOR_NORMAL, n).max_concurrent,
                                 rows[i].normal);
                assert_int_equal(policy_limits(c, GOVERNOR_BOOST, n).max_concurrent, rows[i].boost);
                c->boost_max_concurrent = 1;
                assert_int_equal(policy_limits(c, GOVERNOR_BOOST, n).max_concurrent,
                                 rows[i].normal);
        }
        config_free(c);
}

/* As many as the boost says, as fast as slots become free. */
static void test_boost_limits(void **state) {
        static const enum governor_mode modes[] = {GOVERNOR_BOOST, GOVERNOR_DRAINING};
        struct config *c = defaults();

        c->max_concurrent = 3;
        c->start_rate = 60;
        c->overdue = 1234;
        for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
                c->boost_max_concurrent = 7;
                assert_int_equal(policy_limits(c, modes[i], 64).max_concurrent, 7);
                assert_int_equal(policy_limits(c, modes[i], 64).start_rate, 0);
                assert_int_equal(policy_limits(c, modes[i], 64).overdue_usec, 1234);
                c->boost_max_concurrent = 2; /* never less than in normal times */
                assert_int_equal(policy_limits(c, modes[i], 64).max_concurrent, 3);
                c->boost_max_concurrent = CONFIG_AUTO;
                assert_int_equal(policy_limits(c, modes[i], 64).max_concurrent, 64);
                assert_int_equal(policy_limits(c, modes[i], 2).max_concurrent, 3);
        }
        config_free(c);
}

/* 0 is no limit to the governor. */
static void test_a_rate_beyond_counting(void **state) {
        struct config *c = defaults();

        c->start_rate = CONFIG_INFINITY;
        assert_int_equal(policy_limits(c, GOVERNOR_NORMAL, 1).start_rate, 0);
        c->start_rate = UINT64_C(1) << 32;
        assert_int_equal(policy_limits(c, GOVERNOR_NORMAL, 1).start_rate, 0);
        c->start_rate = UINT32_MAX;
        assert_int_equal(policy_limits(c, GOVERNOR_NORMAL, 1).start_rate, UINT32_MAX);
        config_free(c);
}

static void test_limits_of_a_unit(void **state) {
        struct config *c = defaults();
        struct unit_limits l;

        c->unit_connections = 9;
        c->unit_arrivals = 7200;
        c->unit_arrivals_burst = 11;
        l = policy_unit_limits(c, 500);
        assert_int_equal(l.pool[UNIT_CONNECTIONS], 500);
        assert_int_equal(l.pool[UNIT_WORKERS], 500);
        assert_int_equal(l.most[UNIT_CONNECTIONS], 9);
        assert_int_equal(l.most[UNIT_WORKERS], 9);
        assert_int_equal(l.arrivals_per_sec, 2);
        assert_int_equal(l.arrivals_burst, 11);
        assert_int_equal(l.packets_per_sec, 5000);
        assert_int_equal(l.packets_burst, 10000);
        c->unit_arrivals = 3599; /* less than one per second is one */
        assert_int_equal(policy_unit_limits(c, 500).arrivals_per_sec, 1);
        c->unit_arrivals = CONFIG_INFINITY;
        assert_int_equal(policy_unit_limits(c, 500).arrivals_per_sec, 0);
        c->unit_connections = CONFIG_AUTO; /* the unit table shares out what there is */
        assert_int_equal(policy_unit_limits(c, 500).most[UNIT_CONNECTIONS], 0);
        config_free(c);
}

static uint64_t quota(const struct config *c, enum governor_mode mode, unsigned n_cpus,
                      bool yields) {
        const struct policy_host host = {.n_cpus = n_cpus, .yields = yields};

        return policy_cpu_quota(c, mode, &host);
}

static void test_a_quota_in_percent(void **state) {
        struct config *c = defaults();

        c->cpu_quota = 150;
        c->boost_cpu_quota = 400;
        assert_int_equal(quota(c, GOVERNOR_NORMAL, 8, true), 150 * PERCENT);
        assert_int_equal(quota(c, GOVERNOR_BOOST, 8, true), 400 * PERCENT);
        assert_int_equal(quota(c, GOVERNOR_DRAINING, 8, false), 400 * PERCENT);
        c->boost_cpu_quota = 100; /* never less than in normal times */
        assert_int_equal(quota(c, GOVERNOR_BOOST, 8, false), 150 * PERCENT);
        c->boost_cpu_quota = CONFIG_INFINITY;
        assert_true(quota(c, GOVERNOR_BOOST, 8, false) == SHARE_UNLIMITED);
        c->cpu_quota = CONFIG_INFINITY;
        c->boost_cpu_quota = 100;
        assert_true(quota(c, GOVERNOR_BOOST, 8, false) == SHARE_UNLIMITED);
        config_free(c);
}

/* Where weight acts no quota is needed; else 2 % of each CPU, 40 % at most. */
static void test_the_quota_that_is_chosen(void **state) {
        struct config *c = defaults();

        c->cpu_quota = CONFIG_AUTO;
        c->boost_cpu_quota = 10;
        assert_true(quota(c, GOVERNOR_NORMAL, 8, true) == SHARE_UNLIMITED);
        assert_int_equal(quota(c, GOVERNOR_NORMAL, 1, false), 2 * PERCENT);
        assert_int_equal(quota(c, GOVERNOR_NORMAL, 20, false), 40 * PERCENT);
        assert_int_equal(quota(c, GOVERNOR_NORMAL, 500, false), 40 * PERCENT);
        assert_int_equal(quota(c, GOVERNOR_BOOST, 1, false), 10 * PERCENT);
        assert_int_equal(quota(c, GOVERNOR_BOOST, 20, false), 40 * PERCENT);
        config_free(c);
}

static void test_how_it_is_enforced(void **state) {
        static const enum enforce_mode modes[] = {ENFORCE_AUTO, ENFORCE_CGROUP, ENFORCE_DEADLINE,
                                                  ENFORCE_OFF};
        struct config *c = defaults();
        struct enforce_policy p;

        for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
                c->cpu_enforce = modes[i];
                assert_int_equal(policy_enforce(c, 1).mode, modes[i]);
        }
        c->cpu_period = 77;
        p = policy_enforce(c, 123);
        assert_int_equal(p.quota, 123);
        assert_int_equal(p.period_usec, 77);
        config_free(c);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_normal_limits),
                checked_test(test_how_many_are_chosen),
                checked_test(test_boost_limits),
                checked_test(test_a_rate_beyond_counting),
                checked_test(test_limits_of_a_unit),
                checked_test(test_a_quota_in_percent),
                checked_test(test_the_quota_that_is_chosen),
                checked_test(test_how_it_is_enforced),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
