/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * When memory is short: what /proc/meminfo says, understood exactly or not at all, and where it
 * begins and ends. The loop around it is memory/test-memory.py's, with a file of its own
 * in place of the kernel's. Owns nothing.
 */

#include "fds.h"

#include "daemon/memory/memory.h"

#define GIB (UINT64_C(1) << 30)

static void test_memory_parse(void **state) {
        uint64_t n = 7;

        assert_int_equal(memory_parse_available("MemTotal:  9 kB\nMemAvailable:    5 kB\n", &n), 0);
        assert_int_equal(n, 5 * 1024);
        assert_int_equal(memory_parse_available("MemAvailable: 18014398509481983 kB\n", &n), 0);
        assert_int_equal(n, UINT64_C(18014398509481983) * 1024);
        n = 7;
        assert_int_equal(memory_parse_available("", &n), -EBADMSG);
        assert_int_equal(memory_parse_available("MemFree: 5 kB\n", &n), -EBADMSG);
        assert_int_equal(memory_parse_available("NoMemAvailable: 5 kB\n", &n), -EBADMSG);
        assert_int_equal(memory_parse_available("MemAvailable: x kB\n", &n), -EBADMSG);
        assert_int_equal(memory_parse_available("MemAvailable: 18014398509481984 kB\n", &n),
                         -EBADMSG);
        assert_int_equal(n, 7);
}

/* 5 % of what is not huge pages, whoever uses them; 16 GiB at most. */
static void test_memory_auto_low(void **state) {
        assert_int_equal(memory_auto_low("MemTotal: 100 kB\nHugetlb: 0 kB\n"), 5 * 1024);
        assert_int_equal(memory_auto_low("MemTotal: 100 kB\nHugetlb: 60 kB\n"), 2 * 1024);
        assert_int_equal(memory_auto_low("MemTotal: 100 kB\n"), 5 * 1024);
        assert_int_equal(memory_auto_low("MemTotal: 100 kB\nHugetlb: 100 kB\n"), 0);
        assert_int_equal(memory_auto_low("MemTotal: 100 kB\nHugetlb: 101 kB\n"), 0);
        assert_int_equal(memory_auto_low("MemTotal: 335544320 kB\n"), 16 * GIB); /* 320 GiB */
        assert_int_equal(memory_auto_low("MemTotal: 1073741824 kB\n"), 16 * GIB);
        assert_int_equal(memory_auto_low("MemAvailable: 5 kB\nHugetlb: 1 kB\n"), 0);
}

static void test_memory_hysteresis(void **state) {
        assert_false(memory_is_low(false, 4 * GIB, 4 * GIB, 5 * GIB));
        assert_true(memory_is_low(false, 4 * GIB - 1, 4 * GIB, 5 * GIB));
        assert_false(memory_is_low(false, 5 * GIB, 4 * GIB, 5 * GIB));
        assert_true(memory_is_low(true, 5 * GIB, 4 * GIB, 5 * GIB));
        assert_false(memory_is_low(true, 5 * GIB + 1, 4 * GIB, 5 * GIB));
        assert_false(memory_is_low(false, 0, 0, 0)); /* memory-low=0 */
        assert_false(memory_is_low(true, 0, 0, 5 * GIB));
        assert_true(memory_is_low(true, 4 * GIB, 4 * GIB, 0)); /* a high below low is low */
        assert_false(memory_is_low(true, 4 * GIB + 1, 4 * GIB, 0));
}

static void test_memory_pressure(void **state) {
        uint32_t pressure = 7;

        assert_int_equal(memory_parse_pressure("some avg10=12.34 avg60=0.00 avg300=0.00 total=1\n"
                                               "full avg10=99.99 avg60=0.00\n",
                                               &pressure),
                         0);
        assert_int_equal(pressure, 1234);
        assert_int_equal(memory_parse_pressure("some avg10=0.05 avg60=0.00 \n", &pressure), 0);
        assert_int_equal(pressure, 5);
        assert_int_equal(memory_parse_pressure("full avg10=0.05 \n", &pressure), -EBADMSG);
        assert_int_equal(memory_parse_pressure("", &pressure), -EBADMSG);
        assert_int_equal(pressure, 5);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_memory_pressure),
                checked_test(test_memory_parse),
                checked_test(test_memory_auto_low),
                checked_test(test_memory_hysteresis),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
