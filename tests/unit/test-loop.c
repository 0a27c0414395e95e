/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The timers of loop.c, by a clock that a test moves on (loop.h): when they go off and how often,
 * and what it means to set one that is on already. Here is also shown that this clock is the one
 * that everybody asks.
 */

#include "fds.h"

#include "daemon/runtime/loop.h"
#include "loop.h"

struct alarm {
        sd_event *event;
        sd_event_source *timer;
        uint64_t began, period; /* 0: goes off once */
        unsigned n;
        uint64_t at; /* when it last went off, since it began */
};

static int on_alarm(sd_event_source *source, uint64_t usec, void *userdata) {
        struct alarm *a = userdata;

        a->n++;
        a->at = loop_now(a->event) - a->began;
        if (a->period > 0)
                loop_timer_in(source, a->period);
        return 0;
}

static void begin(struct alarm *a) {
        *a = (struct alarm){};
        fake_time_begin();
        assert_int_equal(sd_event_new(&a->event), 0);
        assert_true(loop_add_timer(&a->timer, a->event, on_alarm, a) >= 0);
        a->began = loop_now(a->event);
}

static void end(struct alarm *a) {
        a->timer = sd_event_source_disable_unref(a->timer);
        a->event = sd_event_unref(a->event);
        fake_time_end();
}

static void test_a_new_timer_is_off(void **state) {
        struct alarm a;

        begin(&a);
        fake_time_pass(a.event, 60 * USEC_PER_SEC);
        assert_int_equal(a.n, 0);
        end(&a);
}

static void test_a_timer_goes_off_once(void **state) {
        struct alarm a;

        begin(&a);
        loop_timer_in(a.timer, 250 * USEC_PER_MSEC);
        fake_time_pass(a.event, 240 * USEC_PER_MSEC);
        assert_int_equal(a.n, 0);
        fake_time_pass(a.event, 10 * USEC_PER_MSEC);
        assert_int_equal(a.n, 1);
        fake_time_pass(a.event, 10 * USEC_PER_SEC);
        assert_int_equal(a.n, 1);
        assert_int_equal(a.at, 250 * USEC_PER_MSEC);
        end(&a);
}

static void test_one_that_sets_itself_is_periodic(void **state) {
        struct alarm a;

        begin(&a);
        a.period = USEC_PER_SEC;
        loop_timer_in(a.timer, 0);
        fake_time_pass(a.event, 10 * USEC_PER_SEC);
        assert_int_equal(a.n, 11);
        assert_int_equal(a.at, 10 * USEC_PER_SEC);
        end(&a);
}

static void test_setting_moves_it(void **state) {
        struct alarm a;

        begin(&a);
        loop_timer_at(a.timer, a.began + USEC_PER_SEC);
        loop_timer_at(a.timer, a.began + 2 * USEC_PER_SEC);
        fake_time_pass(a.event, 3 * USEC_PER_SEC);
        assert_int_equal(a.n, 1);
        assert_int_equal(a.at, 2 * USEC_PER_SEC);
        end(&a);
}

static void test_starting_does_not_move_it(void **state) {
        struct alarm a;

        begin(&a);
        loop_timer_start(a.timer, a.began + 2 * USEC_PER_SEC);
        loop_timer_start(a.timer, a.began + USEC_PER_SEC);
        fake_time_pass(a.event, 3 * USEC_PER_SEC);
        assert_int_equal(a.at, 2 * USEC_PER_SEC);
        loop_timer_start(a.timer, a.began); /* it is off by now; that time is past */
        fake_time_pass(a.event, 0);
        assert_int_equal(a.n, 2);
        end(&a);
}

static void test_off_and_never(void **state) {
        struct alarm a;

        begin(&a);
        loop_timer_in(a.timer, USEC_PER_SEC);
        loop_timer_off(a.timer);
        fake_time_pass(a.event, 2 * USEC_PER_SEC);
        loop_timer_at(a.timer, USEC_INFINITY);
        fake_time_pass(a.event, 60 * USEC_PER_SEC);
        assert_int_equal(a.n, 0);
        end(&a);
}

static void test_without_a_timer_nothing_happens(void **state) {
        loop_timer_at(NULL, 1);
        loop_timer_in(NULL, 1);
        loop_timer_start(NULL, 1);
        loop_timer_off(NULL);
}

static void test_all_ask_the_same_clock(void **state) {
        struct alarm a;
        uint64_t now;

        begin(&a);
        fake_time_pass(a.event, 90 * USEC_PER_SEC);
        assert_true(sd_event_now(a.event, CLOCK_MONOTONIC, &now) == 0);
        assert_int_equal(now, a.began + 90 * USEC_PER_SEC);
        assert_int_equal(loop_now(a.event), now);
        assert_int_equal(now_usec(), now);
        end(&a);
        assert_true(now_usec() != now);
}

static void test_time_ends_with_the_loop(void **state) {
        struct alarm a;
        int code = 0;

        begin(&a);
        (void)sd_event_exit(a.event, 3);
        fake_time_pass(a.event, USEC_PER_SEC);
        assert_true(sd_event_get_exit_code(a.event, &code) >= 0);
        assert_int_equal(code, 3);
        assert_int_equal(now_usec(), a.began);
        end(&a);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_a_new_timer_is_off),
                checked_test(test_a_timer_goes_off_once),
                checked_test(test_one_that_sets_itself_is_periodic),
                checked_test(test_setting_moves_it),
                checked_test(test_starting_does_not_move_it),
                checked_test(test_off_and_never),
                checked_test(test_without_a_timer_nothing_happens),
                checked_test(test_all_ask_the_same_clock),
                checked_test(test_time_ends_with_the_loop),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
