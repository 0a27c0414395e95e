/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rate and time left, from what a worker says is left, with a clock of the test's own: a steady
 * worker, one under a cap that works in bursts, one whose cap changes, and one that lies. What the
 * worker says goes into numbers that administrators see, so it must never wrap around.
 */

#include "fds.h"

#include "daemon/job/progress.h"

#define GIB (UINT64_C(1) << 30)
#define T0  (1000 * USEC_PER_SEC)

static void test_progress_nothing_told(void **state) {
        struct progress p = {};

        assert_true(progress_rate(&p) == USEC_INFINITY);
        assert_true(progress_eta(&p, T0) == USEC_INFINITY);
        progress_begin(&p, T0, GIB);
        assert_true(progress_rate(&p) == USEC_INFINITY);
        assert_true(progress_eta(&p, T0 + USEC_PER_SEC) == USEC_INFINITY);
}

static void test_progress_steady(void **state) {
        struct progress p;

        progress_begin(&p, T0, 100 * GIB);
        /* the first word counts, though it is early */
        assert_true(progress_tell(&p, T0 + USEC_PER_SEC / 10, 99 * GIB));
        assert_true(progress_rate(&p) == 10 * GIB);
        for (uint64_t i = 2; i <= 50; i++) {
                assert_true(progress_tell(&p, T0 + i * USEC_PER_SEC / 10, (100 - i) * GIB));
                assert_true(progress_rate(&p) == 10 * GIB);
                assert_true(progress_eta(&p, T0 + i * USEC_PER_SEC / 10) ==
                            (100 - i) * USEC_PER_SEC / 10);
        }
        /* in silence the time runs on */
        assert_true(progress_eta(&p, T0 + 6 * USEC_PER_SEC) == 4 * USEC_PER_SEC);
        assert_true(progress_eta(&p, T0 + 60 * USEC_PER_SEC) == 0);
}

/* Bursts: 4 ms of work, then a pause; what counts is the average. */
static void test_progress_bursts(void **state) {
        struct progress p;
        uint64_t now = T0, left = 1000 * GIB;

        progress_begin(&p, now, left);
        for (int i = 0; i < 300; i++) {
                now += i % 2 ? 4 * USEC_PER_MSEC : 76 * USEC_PER_MSEC;
                left -= i % 2 ? GIB : 0;
                progress_tell(&p, now, left);
        }
        /* a GiB in 80 ms */
        assert_true(progress_rate(&p) > 11 * GIB && progress_rate(&p) < 14 * GIB);
}

/* The cap is lifted: within seconds the estimate follows. */
static void test_progress_change(void **state) {
        struct progress p;
        uint64_t now = T0, left = 1000 * GIB;

        progress_begin(&p, now, left);
        for (int i = 0; i < 20; i++)
                progress_tell(&p, now += USEC_PER_SEC, left -= GIB);
        assert_true(progress_rate(&p) == GIB);
        for (int i = 0; i < 5; i++)
                progress_tell(&p, now += USEC_PER_SEC, left -= 11 * GIB);
        assert_true(progress_rate(&p) > 10 * GIB && progress_rate(&p) < 11 * GIB);
        /* it stands: the rate goes to nothing, and no time is promised for ever */
        for (int i = 0; i < 5; i++)
                assert_false(progress_tell(&p, now += USEC_PER_SEC, left));
        assert_true(progress_rate(&p) < GIB);
}

/* What is claimed may be anything. */
static void test_progress_lies(void **state) {
        struct progress p;

        progress_begin(&p, T0, UINT64_MAX);
        assert_true(progress_tell(&p, T0, 0)); /* all of it, in no time */
        assert_true(progress_rate(&p) == USEC_INFINITY);
        assert_true(progress_tell(&p, T0 + 1, 0) == false);
        assert_true(progress_rate(&p) == UINT64_C(1) << 63);
        assert_true(progress_eta(&p, T0 + 1) == 0);

        progress_begin(&p, T0, GIB);
        assert_false(progress_tell(&p, T0 + USEC_PER_SEC, UINT64_MAX));
        assert_true(progress_rate(&p) == USEC_INFINITY);
        assert_true(progress_tell(&p, T0 + 2 * USEC_PER_SEC, GIB / 2));
        assert_false(progress_tell(&p, T0 + 3 * USEC_PER_SEC, GIB)); /* more again */

        progress_begin(&p, T0, UINT64_MAX);
        assert_true(progress_tell(&p, T0 + 1000 * USEC_PER_SEC, UINT64_MAX - 1000));
        assert_true(progress_rate(&p) == 1);
        assert_true(progress_eta(&p, T0 + 1000 * USEC_PER_SEC) == USEC_INFINITY);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_progress_nothing_told), checked_test(test_progress_steady),
                checked_test(test_progress_bursts),       checked_test(test_progress_change),
                checked_test(test_progress_lies),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
