/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How far a job is, and how long it will take, from made-up histories: jobs that cleared 1 GiB per
 * CPU second on half a CPU, liars among them. Above all: when nothing is to be said. Owns nothing.
 * Numbers are chosen so that doubles hold them exactly.
 */

#include "fds.h"

#include "daemon/job/estimate.h"

#define GIB (UINT64_C(1) << 30)
#define SEC USEC_PER_SEC

/* A job of 1 GiB per CPU second, alone on half a CPU. */
static void learn(struct estimate *e, uint32_t kind, uint64_t gib, unsigned n) {
        const struct estimate_sample sample = {gib * GIB, gib * SEC, 2 * gib * SEC};

        for (unsigned i = 0; i < n; i++)
                estimate_learn(e, kind, &sample);
}

static struct estimate_job job_of(uint64_t gib, uint64_t cpu_sec, uint64_t ran_sec) {
        return (struct estimate_job){.kind = WIRE_KIND_REBOOT,
                                     .bytes = gib * GIB,
                                     .bytes_left = USEC_INFINITY,
                                     .cpu_usec = cpu_sec * SEC,
                                     .ran_usec = ran_sec * SEC,
                                     .share = USEC_INFINITY};
}

static void assert_unknown(const struct estimate *e, const struct estimate_job *job) {
        unsigned percent = 7;

        assert_int_equal(estimate_left(e, job), USEC_INFINITY);
        assert_int_equal(estimate_cpu_left(e, job), USEC_INFINITY);
        assert_false(estimate_percent(e, job, &percent));
        assert_int_equal(percent, 7);
}

static void test_estimate_without_history(void **state) {
        struct estimate_job job = job_of(8, 2, 4);
        struct estimate e = {};

        assert_unknown(&e, &job);
        learn(&e, WIRE_KIND_SHUTDOWN, 4, 3); /* another kind says nothing */
        assert_unknown(&e, &job);
        job.kind = 99;
        assert_unknown(&e, &job);
}

static void test_estimate_running(void **state) {
        struct estimate_job job = job_of(8, 2, 8), first;
        struct estimate e = {};
        unsigned percent;

        learn(&e, WIRE_KIND_REBOOT, 4, 1);
        first = job_of(1, 0, 0);
        assert_int_equal(estimate_cpu_left(&e, &first), SEC);
        assert_int_equal(estimate_left(&e, &first), 2 * SEC);
        assert_true(estimate_percent(&e, &job, &percent));
        assert_int_equal(percent, 25);
        assert_int_equal(estimate_cpu_left(&e, &job), 6 * SEC);
        assert_int_equal(estimate_left(&e, &job), 24 * SEC); /* it gets a quarter of a CPU */
        job = job_of(8, 0, 0);
        assert_int_equal(estimate_left(&e, &job), 16 * SEC); /* like those before */
        job.share = SEC / 10;
        assert_int_equal(estimate_left(&e, &job), 80 * SEC); /* but the quota is a tenth */
}

/* Longer than the others took: what is left is not "nothing", it is unknown. */
static void test_estimate_late(void **state) {
        struct estimate_job job = job_of(8, 8, 16);
        struct estimate e = {};
        unsigned percent;

        learn(&e, WIRE_KIND_REBOOT, 4, 1);
        assert_unknown(&e, &job);
        job.cpu_usec--;
        assert_true(estimate_percent(&e, &job, &percent));
        assert_int_equal(percent, 99);
        assert_in_range(estimate_left(&e, &job), 1, SEC);
}

static void test_estimate_unknown_parts(void **state) {
        struct estimate_job job = job_of(8, 2, 4);
        struct estimate e = {};

        learn(&e, WIRE_KIND_REBOOT, 4, 1);
        job.bytes = 0; /* it did not say */
        assert_unknown(&e, &job);
        job.bytes = USEC_INFINITY;
        assert_unknown(&e, &job);
        job.bytes = 8 * GIB;
        job.cpu_usec = USEC_INFINITY; /* it began under an earlier daemon */
        assert_unknown(&e, &job);
}

/* A worker that tells needs no history to say how far it is, but one to say how long. */
static void test_estimate_told(void **state) {
        struct estimate_job job = job_of(8, 100, 200);
        struct estimate e = {};
        unsigned percent;

        job.bytes_left = 6 * GIB;
        assert_true(estimate_percent(&e, &job, &percent));
        assert_int_equal(percent, 25);
        assert_int_equal(estimate_left(&e, &job), USEC_INFINITY);
        learn(&e, WIRE_KIND_REBOOT, 4, 1);
        assert_int_equal(estimate_left(&e, &job), 12 * SEC);
        job.bytes_left = 0; /* all but its end */
        assert_true(estimate_percent(&e, &job, &percent));
        assert_int_equal(percent, 99);
        assert_int_equal(estimate_left(&e, &job), 2);
        job.bytes_left = 9 * GIB; /* more than all of it: nonsense */
        assert_true(estimate_percent(&e, &job, &percent));
        assert_int_equal(percent, 0);
}

/* A lie, or a job on a slow day, is one of many. */
static void test_estimate_median(void **state) {
        const struct estimate_sample lie = {UINT64_MAX - 1, 2 * SEC, 2 * SEC};
        struct estimate_job job = job_of(8, 0, 0);
        struct estimate e = {};

        learn(&e, WIRE_KIND_REBOOT, 4, 9);
        for (unsigned i = 0; i < 7; i++)
                estimate_learn(&e, WIRE_KIND_REBOOT, &lie);
        assert_int_equal(estimate_left(&e, &job), 16 * SEC);
        for (unsigned i = 0; i < 100; i++) /* what was is forgotten */
                estimate_learn(&e, WIRE_KIND_REBOOT, &lie);
        assert_in_range(estimate_left(&e, &job), 1, 1000);
}

static void test_estimate_learns_nothing(void **state) {
        static const struct estimate_sample samples[] = {
                {GIB, 9 * USEC_PER_MSEC, SEC}, /* too short */
                {GIB, USEC_INFINITY, SEC},     {0, SEC, SEC},
                {GIB, SEC, USEC_INFINITY},     {GIB, SEC, 0},
        };
        const struct estimate_job job = job_of(1, 0, 0);
        struct estimate e = {};

        for (unsigned i = 0; i < ARRAY_SIZE(samples); i++)
                estimate_learn(&e, WIRE_KIND_REBOOT, &samples[i]);
        assert_unknown(&e, &job);
        estimate_learn(&e, 99, &(struct estimate_sample){GIB, SEC, SEC});
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_estimate_without_history),
                checked_test(test_estimate_running),
                checked_test(test_estimate_late),
                checked_test(test_estimate_unknown_parts),
                checked_test(test_estimate_told),
                checked_test(test_estimate_median),
                checked_test(test_estimate_learns_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
