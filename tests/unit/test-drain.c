/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How the daemon stops, on a clock of our own. Each case tells the state machine what happens and
 * checks what it says is to be done. Above all: nothing but SIGTERM ends the daemon, SIGTERM always
 * does (within bounds that are tested), and what was called off leaves no trace.
 */

#include "fds.h"

#include "daemon/service/drain.h"

#define SEC   USEC_PER_SEC
#define START (1000 * SEC)

static struct drain_work work(unsigned n_left, uint64_t progress) {
        return (struct drain_work){.n_left = n_left, .progress = progress, .limit = 30 * SEC};
}

static enum drain_step look(struct drain *d, unsigned n_left, uint64_t progress, uint64_t now) {
        struct drain_work w = work(n_left, progress);

        return drain_look(d, &w, START + now);
}

static void test_drain_sigterm_alone(void **state) {
        struct drain nobody = {}, asked = {}, twice = {};

        assert_int_equal(look(&nobody, 0, 0, 0), DRAIN_STAY);
        assert_int_equal(look(&nobody, 3, 0, 3600 * SEC), DRAIN_STAY);
        assert_int_equal(drain_terminate(&nobody, false, START), DRAIN_EXIT);

        assert_int_equal(drain_terminate(&asked, true, START), DRAIN_ASK);
        assert_int_equal(look(&asked, 0, 0, 1 * SEC), DRAIN_STAY);
        assert_int_equal(look(&asked, 3, 0, 60 * SEC), DRAIN_STAY);
        assert_int_equal(drain_told(&asked, DRAIN_NOTHING, START + 60 * SEC), DRAIN_EXIT);

        assert_int_equal(drain_terminate(&twice, true, START), DRAIN_ASK);
        assert_int_equal(drain_terminate(&twice, true, START), DRAIN_EXIT);
}

/* Told what nobody asked for, or what is no news: nothing happens. */
static void test_drain_no_news(void **state) {
        struct drain d = {};

        assert_int_equal(drain_told(&d, DRAIN_NOTHING, START), DRAIN_STAY);
        assert_int_equal(drain_told(&d, DRAIN_SYSTEM, START), DRAIN_BEGIN);
        assert_int_equal(drain_told(&d, DRAIN_SYSTEM, START), DRAIN_STAY);
        assert_int_equal(drain_told(&d, DRAIN_NOTHING, START), DRAIN_RESUME);
        assert_int_equal(d.reason, DRAIN_NOTHING);
        assert_int_equal(drain_told(&d, DRAIN_NOTHING, START), DRAIN_STAY);
        assert_int_equal(drain_terminate(&d, false, START), DRAIN_EXIT);
}

/* VMs are still being stopped: neither idleness nor standstill ends it before SIGTERM. */
static void test_drain_before_sigterm(void **state) {
        struct drain d = {};

        assert_int_equal(drain_told(&d, DRAIN_SYSTEM, START), DRAIN_BEGIN);
        assert_int_equal(look(&d, 0, 0, 1 * SEC), DRAIN_STAY);
        assert_int_equal(look(&d, 5, 0, 3600 * SEC), DRAIN_STAY);
        assert_int_equal(look(&d, 5, 1, 3601 * SEC), DRAIN_STAY);
        assert_int_equal(drain_terminate(&d, true, START + 3700 * SEC), DRAIN_EXTEND);
        assert_int_equal(look(&d, 5, 1, 3701 * SEC), DRAIN_STAY);
        assert_int_equal(look(&d, 0, 1, 3702 * SEC), DRAIN_END);
}

static void test_drain_system_as_long_as_it_moves(void **state) {
        struct drain d = {};
        uint64_t now = 0;

        assert_int_equal(drain_terminate(&d, true, START), DRAIN_ASK);
        assert_int_equal(drain_told(&d, DRAIN_SYSTEM, START), DRAIN_BEGIN);
        for (uint64_t n = 1; n <= 1000; n++) {
                now += DRAIN_STALL_USEC - 1;
                assert_int_equal(look(&d, 5, n, now), DRAIN_EXTEND);
        }
        assert_int_equal(look(&d, 5, 1000, now + DRAIN_STALL_USEC - 1), DRAIN_STAY);
        assert_int_equal(look(&d, 5, 1000, now + DRAIN_STALL_USEC), DRAIN_END);
}

/* Counted from our SIGTERM on, however long nothing moved before. */
static void test_drain_standstill(void **state) {
        struct drain d = {};

        assert_int_equal(drain_told(&d, DRAIN_SYSTEM, START), DRAIN_BEGIN);
        assert_int_equal(look(&d, 1, 7, 1 * SEC), DRAIN_STAY);
        assert_int_equal(drain_terminate(&d, true, START + 100 * SEC), DRAIN_EXTEND);
        assert_int_equal(look(&d, 1, 7, 100 * SEC + DRAIN_STALL_USEC - 1), DRAIN_STAY);
        assert_int_equal(look(&d, 1, 7, 100 * SEC + DRAIN_STALL_USEC), DRAIN_END);
}

static void test_drain_socket_has_a_limit(void **state) {
        struct drain d = {}, early = {};

        assert_int_equal(drain_terminate(&d, true, START - 1 * SEC), DRAIN_ASK);
        assert_int_equal(drain_told(&d, DRAIN_SOCKET, START), DRAIN_BEGIN);
        for (uint64_t n = 1; n < 30; n++)
                assert_int_equal(look(&d, 5, n, n * SEC), DRAIN_EXTEND);
        assert_int_equal(look(&d, 5, 30, 30 * SEC - 1), DRAIN_EXTEND);
        assert_int_equal(look(&d, 5, 31, 30 * SEC), DRAIN_END);

        assert_int_equal(drain_terminate(&early, true, START), DRAIN_ASK);
        assert_int_equal(drain_told(&early, DRAIN_SOCKET, START), DRAIN_BEGIN);
        assert_int_equal(look(&early, 1, 1, 1 * SEC), DRAIN_EXTEND);
        assert_int_equal(look(&early, 0, 2, 2 * SEC), DRAIN_END);
}

static void test_drain_socket_without_time(void **state) {
        struct drain_work w = {.n_left = 3, .progress = 1, .limit = 0};
        struct drain d = {};

        assert_int_equal(drain_terminate(&d, true, START), DRAIN_ASK);
        assert_int_equal(drain_told(&d, DRAIN_SOCKET, START), DRAIN_BEGIN);
        assert_int_equal(drain_look(&d, &w, START), DRAIN_END);
}

/* The socket is stopped, and then the whole system: no limit any more. Never back from that. */
static void test_drain_socket_then_system(void **state) {
        struct drain d = {};

        assert_int_equal(drain_terminate(&d, true, START), DRAIN_ASK);
        assert_int_equal(drain_told(&d, DRAIN_SOCKET, START), DRAIN_BEGIN);
        assert_int_equal(drain_told(&d, DRAIN_SYSTEM, START), DRAIN_STAY);
        assert_int_equal(drain_told(&d, DRAIN_SOCKET, START), DRAIN_STAY);
        assert_int_equal(drain_told(&d, DRAIN_NOTHING, START), DRAIN_STAY);
        assert_int_equal(d.reason, DRAIN_SYSTEM);
        assert_int_equal(look(&d, 1, 1, 40 * SEC), DRAIN_EXTEND);
        assert_int_equal(look(&d, 0, 1, 41 * SEC), DRAIN_END);
}

static void test_drain_second_sigterm(void **state) {
        struct drain d = {};

        assert_int_equal(drain_terminate(&d, true, START), DRAIN_ASK);
        assert_int_equal(drain_told(&d, DRAIN_SYSTEM, START), DRAIN_BEGIN);
        assert_int_equal(look(&d, 5, 1, 1 * SEC), DRAIN_EXTEND);
        assert_int_equal(drain_terminate(&d, true, START + 2 * SEC), DRAIN_END);
}

/* An answer to a question that was asked before SIGTERM came. */
static void test_drain_is_told_while_it_asks(void **state) {
        struct drain d = {};

        assert_int_equal(drain_told(&d, DRAIN_SOCKET, START), DRAIN_BEGIN);
        assert_int_equal(drain_told(&d, DRAIN_NOTHING, START), DRAIN_RESUME);
        assert_int_equal(drain_terminate(&d, true, START + 5 * SEC), DRAIN_ASK);
        assert_int_equal(drain_told(&d, DRAIN_SYSTEM, START + 6 * SEC), DRAIN_BEGIN);
        assert_false(d.asking);
        assert_int_equal(drain_told(&d, DRAIN_NOTHING, START + 7 * SEC), DRAIN_STAY);
        assert_int_equal(look(&d, 1, 1, 8 * SEC), DRAIN_EXTEND);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_drain_sigterm_alone),
                checked_test(test_drain_no_news),
                checked_test(test_drain_before_sigterm),
                checked_test(test_drain_system_as_long_as_it_moves),
                checked_test(test_drain_standstill),
                checked_test(test_drain_socket_has_a_limit),
                checked_test(test_drain_socket_without_time),
                checked_test(test_drain_socket_then_system),
                checked_test(test_drain_second_sigterm),
                checked_test(test_drain_is_told_while_it_asks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
