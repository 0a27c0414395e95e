/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What pv-reaperctl takes for a size or a time, and what it does not. What is refused must leave
 * the result alone, and nothing is rounded up: somebody waits for that much. Owns nothing beyond
 * a test's own variables.
 */

#include "fds.h"

#include "ctl/amount.h"

static void test_amount_size(void **state) {
        static const char *const bad[] = {"",         "G",   "-1", "+1",
                                          " 1",       "1 ",  "1.", ".5",
                                          "0x10",     "1GG", "1g", "18446744073709551616",
                                          "16777216T"};
        uint64_t n = 7;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(amount_parse_size(bad[i], &n), -EINVAL);
        assert_int_equal(n, 7);
        assert_int_equal(amount_parse_size("4096", &n), 0);
        assert_int_equal(n, 4096);
        assert_int_equal(amount_parse_size("2G", &n), 0);
        assert_int_equal(n, UINT64_C(2) << 30);
        assert_int_equal(amount_parse_size("1.5T", &n), 0);
        assert_true(n <= UINT64_C(3) << 39 && n > (UINT64_C(3) << 39) - 10);
        assert_int_equal(amount_parse_size("18446744073709551615", &n), 0);
        assert_true(n == UINT64_MAX);
}

static void test_amount_time(void **state) {
        uint64_t n = 7;

        assert_int_equal(amount_parse_time("10y", &n), -EINVAL);
        assert_int_equal(amount_parse_time("30", &n), 0);
        assert_int_equal(n, 30 * USEC_PER_SEC);
        assert_int_equal(amount_parse_time("0.25", &n), 0);
        assert_int_equal(n, 250 * USEC_PER_MSEC);
        assert_int_equal(amount_parse_time("10min", &n), 0);
        assert_int_equal(n, 600 * USEC_PER_SEC);
}

static void test_amount_pid(void **state) {
        static const char *const bad[] = {
                "", "0", "x", "-1", " 1", "1 ", "01", "2147483648", "18446744073709551617"};
        pid_t pid = 7;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(amount_parse_pid(bad[i], &pid), -EINVAL);
        assert_int_equal(pid, 7);
        assert_int_equal(amount_parse_pid("2147483647", &pid), 0);
        assert_int_equal(pid, INT32_MAX);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_amount_size),
                checked_test(test_amount_time),
                checked_test(test_amount_pid),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
