/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Shares, for every sensible quota, period, number of workers and tick: what all get together is
 * never more than the quota, hardly less, and always something that the kernel takes. The checks
 * are made in 128 bits, so that they cannot overflow as the code under test might.
 */

#include "fds.h"

#include <stdio.h>
#include <string.h>

#include "daemon/cpu/share.h"
#include "rng.h"

#define NSEC_PER_SEC UINT64_C(1000000000)
#define PERCENT      (USEC_PER_SEC / 100)

__extension__ typedef unsigned __int128 u128;

static struct share_host host_with(unsigned n_cpus, uint64_t tick_msec) {
        return (struct share_host){
                .n_cpus = n_cpus,
                .tick_nsec = tick_msec * 1000 * 1000,
                .admissible = n_cpus * 95 * PERCENT,
                .period_min_nsec = 100 * NSEC_PER_USEC,
                .period_max_nsec = 4 * NSEC_PER_SEC,
        };
}

/* What holds for every share, whatever it was computed from. */
static void check_share(const struct share *share, const struct share_host *host, uint64_t quota,
                        unsigned n) {
        u128 given = (u128)n * share->runtime_nsec * USEC_PER_SEC;
        u128 wanted = (u128)quota * share->period_nsec;

        assert_true(given <= wanted);
        /* n times less than 1 ns, and less than 1e-9 of the period */
        assert_true(wanted - given <=
                    (u128)n * USEC_PER_SEC * (1 + share->period_nsec / NSEC_PER_SEC + 1));
        assert_true(share->runtime_nsec >= 1024);
        assert_true(share->runtime_nsec <= share->period_nsec);
        assert_true(share->period_nsec >= host->period_min_nsec);
        assert_true(share->period_nsec <= host->period_max_nsec);
        /* A burst is no longer than the share of a period, where the period can be that long. */
        if (share->period_nsec < host->period_max_nsec)
                assert_true(share->runtime_nsec + 1 >= host->tick_nsec);
}

static void test_share_sum_never_above_quota(void **state) {
        static const uint64_t ticks[] = {1, 4, 10},
                              periods[] = {1, 100, 10000, 40000, 1000000, 9000000, USEC_INFINITY};
        unsigned n_checked = 0;

        for (size_t t = 0; t < ARRAY_SIZE(ticks); t++)
                for (size_t p = 0; p < ARRAY_SIZE(periods); p++)
                        for (unsigned n = 1; n <= 300; n += n < 20 ? 1 : 7)
                                for (uint64_t quota = 1; quota < 8 * USEC_PER_SEC;
                                     quota += 1 + quota / 7) {
                                        struct share_host host = host_with(8, ticks[t]);
                                        struct share share;

                                        if (share_compute(&share, &host, quota, periods[p], n) !=
                                            SHARE_DEADLINE)
                                                continue;
                                        check_share(&share, &host, quota, n);
                                        n_checked++;
                                }
        assert_true(n_checked > 100000);
}

static void test_share_random(void **state) {
        struct rng rng = {5};

        for (int i = 0; i < 300000; i++) {
                struct share_host host =
                        host_with(1 + rng_below(&rng, 4096), 1 + rng_below(&rng, 10));
                unsigned n = 1 + rng_below(&rng, 1 << rng_below(&rng, 20));
                uint64_t quota = 1 + rng_next(&rng) % (host.n_cpus * USEC_PER_SEC);
                struct share share;

                if (share_compute(&share, &host, quota, rng_below(&rng, 5000000), n) ==
                    SHARE_DEADLINE)
                        check_share(&share, &host, quota, n);
        }
}

static void check_compute(uint64_t quota, uint64_t period_usec, unsigned n, uint64_t runtime_usec,
                          uint64_t expected_period_usec) {
        struct share_host host = host_with(2, 4);
        struct share share;

        assert_int_equal(share_compute(&share, &host, quota, period_usec, n), SHARE_DEADLINE);
        assert_int_equal(share.runtime_nsec, runtime_usec * NSEC_PER_USEC);
        assert_int_equal(share.period_nsec, expected_period_usec * NSEC_PER_USEC);
}

static void test_share_examples(void **state) {
        check_compute(10 * PERCENT, 10000, 1, 4000, 40000); /* a tick is a tenth of 40 ms */
        check_compute(50 * PERCENT, 10000, 1, 5000, 10000);
        check_compute(50 * PERCENT, 1000, 1, 4000, 8000);
        check_compute(10 * PERCENT, 10000, 4, 4000, 160000);
        check_compute(10 * PERCENT, 100000, 1, 10000, 100000);
        check_compute(1 * PERCENT, 10000, 1, 4000, 400000);
        check_compute(1 * PERCENT, 10000, 100, 400, 4000000); /* the period ends at 4 s */
        check_compute(10 * PERCENT, 60000000, 1, 400000, 4000000);
        check_compute(150 * PERCENT, 10000, 2, 7500, 10000);
}

static enum share_kind kind_of(uint64_t quota, unsigned n) {
        struct share_host host = host_with(2, 4);
        struct share share = {.runtime_nsec = 7, .period_nsec = 7};
        enum share_kind kind = share_compute(&share, &host, quota, 10000, n);

        if (kind != SHARE_DEADLINE)
                assert_true(share.runtime_nsec == 7 && share.period_nsec == 7);
        return kind;
}

static void test_share_kinds(void **state) {
        assert_int_equal(kind_of(SHARE_UNLIMITED, 1), SHARE_FREE);
        assert_int_equal(kind_of(50 * PERCENT, 0), SHARE_FREE);
        assert_int_equal(kind_of(100 * PERCENT, 1), SHARE_FREE); /* one worker is one task */
        assert_int_equal(kind_of(100 * PERCENT - 1, 1), SHARE_DEADLINE);
        assert_int_equal(kind_of(100 * PERCENT, 2), SHARE_DEADLINE);
        assert_int_equal(kind_of(190 * PERCENT, 2), SHARE_DEADLINE);
        assert_int_equal(kind_of(190 * PERCENT, 1), SHARE_FREE);
        assert_int_equal(kind_of(190 * PERCENT + 1, 2), SHARE_TOO_MUCH);
        assert_int_equal(kind_of(199 * PERCENT, 50), SHARE_TOO_MUCH);
        assert_int_equal(kind_of(200 * PERCENT, 50), SHARE_FREE); /* all there is */
        assert_int_equal(kind_of(1000 * PERCENT, 50), SHARE_FREE);
        assert_int_equal(kind_of(0, 1), SHARE_TOO_TINY);
        assert_int_equal(kind_of(1, 1), SHARE_DEADLINE); /* 4 us in 4 s */
        assert_int_equal(kind_of(1, 3), SHARE_DEADLINE);
        assert_int_equal(kind_of(1, 4), SHARE_TOO_TINY); /* 1000 ns */
}

static void test_share_without_admission_control(void **state) {
        struct share_host host = host_with(2, 4);
        struct share share;

        host.admissible = SHARE_UNLIMITED;
        assert_int_equal(share_compute(&share, &host, 199 * PERCENT, 10000, 2), SHARE_DEADLINE);
        check_share(&share, &host, 199 * PERCENT, 2);
}

static void test_share_parts(void **state) {
        struct share whole = {.runtime_nsec = 4000000, .period_nsec = 40000000}, part;

        assert_true(share_part(&part, &whole, SHARE_PARTS));
        assert_int_equal(part.runtime_nsec, whole.runtime_nsec);
        assert_true(share_part(&part, &whole, SHARE_PARTS / 2));
        assert_int_equal(part.runtime_nsec, 2000000);
        assert_int_equal(part.period_nsec, whole.period_nsec);
        assert_false(share_part(&part, &whole, 0));
        whole.runtime_nsec = 1024;
        assert_true(share_part(&part, &whole, SHARE_PARTS));
        assert_false(share_part(&part, &whole, SHARE_PARTS - 1));
}

static void check_cpu_max(const char *expected, uint64_t quota, uint64_t period_usec) {
        char buffer[SHARE_CPU_MAX_SIZE];

        share_cpu_max(buffer, quota, period_usec);
        assert_string_equal(buffer, expected);
}

static void test_share_cpu_max(void **state) {
        check_cpu_max("max 10000", SHARE_UNLIMITED, 10000);
        check_cpu_max("5000 10000", 50 * PERCENT, 10000);
        check_cpu_max("1000 10000", 10 * PERCENT, 10000);
        check_cpu_max("1000 20000", 5 * PERCENT, 10000); /* the least quota is 1 ms */
        check_cpu_max("20000 10000", 200 * PERCENT, 10000);
        check_cpu_max("1000 1000000", 0, 10000);
        check_cpu_max("1000 1000000", 1, 10000);
        check_cpu_max("500000 1000000", 50 * PERCENT, 9000000);
        check_cpu_max("1000 1000", 100 * PERCENT, 1);
}

/* Never above the quota either, but where the kernel takes no less. */
static void test_share_cpu_max_random(void **state) {
        struct rng rng = {3};

        for (int i = 0; i < 100000; i++) {
                uint64_t quota = 1 + rng_next(&rng) % (64 * USEC_PER_SEC);
                unsigned long long q, p;
                char buffer[SHARE_CPU_MAX_SIZE];

                share_cpu_max(buffer, quota, rng_below(&rng, 2000000));
                assert_int_equal(sscanf(buffer, "%llu %llu", &q, &p), 2);
                assert_true(p >= 1000 && p <= 1000000 && q >= 1000);
                assert_true((u128)q * USEC_PER_SEC <= (u128)quota * p ||
                            (q == 1000 && p == 1000000));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_share_sum_never_above_quota),
                checked_test(test_share_random),
                checked_test(test_share_examples),
                checked_test(test_share_kinds),
                checked_test(test_share_without_admission_control),
                checked_test(test_share_parts),
                checked_test(test_share_cpu_max),
                checked_test(test_share_cpu_max_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
