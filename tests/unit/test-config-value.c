/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Each type of configuration value: what it takes, up to the boundaries, and what it must not take.
 * A wrong text must leave the result alone, which is why each try begins with a number that no text
 * means. The rules here are the test's own; real keys are tried in test-config.c.
 */

#include "fds.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "daemon/config/config.h"
#include "daemon/config/value.h"

#define MINUTE (60 * USEC_PER_SEC)
#define HOUR   (60 * MINUTE)
#define KIB    UINT64_C(1024)
#define WRONG  UINT64_C(0x5a5a5a5a5a5a5a5a) /* of a good[]: must be refused */

struct try {
        const char *text;
        uint64_t value;
};

static void try_all(const struct value_rule *rule, const struct try *tries, size_t n) {
        for (size_t i = 0; i < n; i++) {
                uint64_t value = WRONG;
                int r = value_parse_number(rule, tries[i].text, &value);

                if (r != (tries[i].value == WRONG ? -EINVAL : 0) || value != tries[i].value)
                        fail_msg("\"%s\": %d, %" PRIu64 " instead of %" PRIu64, tries[i].text, r,
                                 value, tries[i].value);
        }
}

#define TRY(rule, ...)                                                                             \
        try_all((rule), (const struct try[]){__VA_ARGS__},                                         \
                sizeof((const struct try[]){__VA_ARGS__}) / sizeof(struct try))

/* What no type of number takes. */
static const char *const garbage[] = {
        "",    " ",    "-",    "+",        "-1", "+1",   " 1",  "0x10", "1e3",
        ".5",  "1.",   "1..5", "nan",      "1;", "1 x",  "é",   "1\n",  "\t1",
        "1,5", "auto", "none", "infinity", "%",  "Auto", "1 1", "--1",  "1%%",
};

static void refuse_garbage(const struct value_rule *rule) {
        for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
                uint64_t value = WRONG;

                if (value_parse_number(rule, garbage[i], &value) != -EINVAL || value != WRONG)
                        fail_msg("\"%s\" was taken for %" PRIu64, garbage[i], value);
        }
}

static void test_value_garbage(void **state) {
        static const char *const words[] = {"one", NULL};
        struct value_rule rule = {.maximum = UINT64_MAX, .unit = 1, .words = words};
        static const enum value_type types[] = {VALUE_BOOL, VALUE_UNSIGNED, VALUE_PERCENT,
                                                VALUE_SIZE, VALUE_TIME,     VALUE_RATE,
                                                VALUE_WORD};

        for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
                rule.type = types[i];
                refuse_garbage(&rule);
        }
}

static void test_value_bool(void **state) {
        static const struct value_rule rule = {.type = VALUE_BOOL};

        TRY(&rule, {"yes", 1}, {"true", 1}, {"on", 1}, {"1", 1}, {"no", 0}, {"false", 0},
            {"off", 0}, {"0", 0}, {"YES", 1}, {"False", 0}, {"y", WRONG}, {"2", WRONG},
            {"01", WRONG}, {"yes ", WRONG}, {"enabled", WRONG});
}

static void test_value_unsigned(void **state) {
        static const struct value_rule rule = {.type = VALUE_UNSIGNED, .minimum = 2, .maximum = 9};
        static const struct value_rule all = {.type = VALUE_UNSIGNED, .maximum = UINT64_MAX};

        TRY(&rule, {"2", 2}, {"9", 9}, {"1", WRONG}, {"10", WRONG}, {"0", WRONG}, {"09", 9},
            {"2.0", WRONG}, {"3 ", WRONG});
        TRY(&all, {"0", 0}, {"18446744073709551615", UINT64_MAX}, {"18446744073709551616", WRONG},
            {"36893488147419103232", WRONG}, {"99999999999999999999", WRONG});
}

static void test_value_auto_and_infinity(void **state) {
        static const struct value_rule both = {.type = VALUE_UNSIGNED,
                                               .or_auto = true,
                                               .or_infinity = true,
                                               .minimum = 3,
                                               .maximum = 5};
        static const struct value_rule neither = {.type = VALUE_UNSIGNED, .maximum = 5};

        TRY(&both, {"auto", CONFIG_AUTO}, {"infinity", CONFIG_INFINITY}, {"3", 3}, {"0", WRONG},
            {"Infinity", WRONG}, {"infinity ", WRONG}, {"inf", WRONG}, {"", WRONG});
        TRY(&neither, {"auto", WRONG}, {"infinity", WRONG});
}

static void test_value_percent(void **state) {
        static const struct value_rule rule = {
                .type = VALUE_PERCENT, .or_infinity = true, .minimum = 1, .maximum = 1000};

        TRY(&rule, {"1%", 1}, {"100%", 100}, {"1000%", 1000}, {"infinity", CONFIG_INFINITY},
            {"0%", WRONG}, {"1001%", WRONG}, {"100", WRONG}, {"50 %", WRONG}, {"50%%", WRONG},
            {"12.5%", WRONG}, {"%", WRONG}, {"50% ", WRONG}, {"18446744073709551666%", WRONG});
}

static void test_value_size(void **state) {
        static const struct value_rule rule = {.type = VALUE_SIZE, .maximum = UINT64_MAX};
        static const struct value_rule some = {
                .type = VALUE_SIZE, .minimum = 1024, .maximum = 2048};

        TRY(&rule, {"0", 0}, {"1", 1}, {"7B", 7}, {"1K", KIB}, {"1M", KIB * KIB},
            {"3G", 3 * KIB * KIB * KIB}, {"2T", 2 * KIB * KIB * KIB * KIB}, {"16 G", 16ULL << 30},
            {"1.5G", 3ULL << 29}, {"0.25K", 256}, {"1.000001M", 1048577}, {"0.0001K", 0},
            {"16777215T", UINT64_C(16777215) << 40}, {"16777216T", WRONG},
            {"16777215.999999T", (UINT64_C(16777215) << 40) + 1099510528264},
            {"18446744073709551615", UINT64_MAX}, {"18446744073709551616", WRONG},
            {"18446744073709551615.5K", WRONG}, {"1.0000001M", WRONG}, {"1k", WRONG}, {"1g", WRONG},
            {"1KB", WRONG}, {"1Ki", WRONG}, {"1P", WRONG}, {"1G1M", WRONG}, {"1G ", WRONG},
            {"G", WRONG}, {"1.G", WRONG});
        TRY(&some, {"1K", 1024}, {"2K", 2048}, {"1023", WRONG}, {"2049", WRONG});
}

static uint64_t memory(void) {
        return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Within a millionth, which is far less than anybody means. */
static void assert_part(const char *text, double part) {
        static const struct value_rule rule = {.type = VALUE_SIZE, .maximum = UINT64_MAX};
        double wanted = part * (double)memory(), off;
        uint64_t value;

        assert_int_equal(value_parse_number(&rule, text, &value), 0);
        off = (double)value - wanted;
        if (off > wanted / 1e6 + 100 || -off > wanted / 1e6 + 100e6)
                fail_msg("%s is %" PRIu64 " of %" PRIu64, text, value, memory());
}

static void test_value_part_of_memory(void **state) {
        static const struct value_rule rule = {.type = VALUE_SIZE, .maximum = UINT64_MAX};

        assert_true(memory() > 100 * KIB * KIB);
        assert_part("100%", 1);
        assert_part("50%", 0.5);
        assert_part("12.5%", 0.125);
        TRY(&rule, {"0%", 0}, {"101%", WRONG}, {"100.1%", WRONG}, {"10 %", WRONG}, {"10%G", WRONG},
            {"1G%", WRONG}, {"99999999999999999999%", WRONG}, {"1.1234567%", WRONG});
}

static void test_value_time(void **state) {
        static const struct value_rule rule = {
                .type = VALUE_TIME, .or_infinity = true, .maximum = UINT64_MAX};

        TRY(&rule, {"0", 0}, {"1", USEC_PER_SEC}, {"30s", 30 * USEC_PER_SEC}, {"100ms", 100000},
            {"7us", 7}, {"7µs", 7}, {"7μs", 7}, {"5min 20s", 320 * USEC_PER_SEC},
            {"5min20s", 320 * USEC_PER_SEC}, {"5 min 20 s", 320 * USEC_PER_SEC}, {"2h", 2 * HOUR},
            {"1h30m", HOUR + 30 * MINUTE}, {"1d", 24 * HOUR}, {"1w", 168 * HOUR}, {"1.5s", 1500000},
            {"1.5", 1500000}, {"0.0000015s", WRONG}, {"0.5us", 0},
            {"1hour 1minute 1second 1msec 1usec", HOUR + MINUTE + USEC_PER_SEC + 1001},
            {"2weeks", 336 * HOUR}, {"2days", 48 * HOUR}, {"2hours", 2 * HOUR},
            {"3sec 4", 7 * USEC_PER_SEC}, {"20s ", 20 * USEC_PER_SEC},
            {"infinity", CONFIG_INFINITY});
        TRY(&rule, {"18446744073709551615us", UINT64_MAX}, {"18446744073709551616us", WRONG},
            {"18446744073709s", 18446744073709 * USEC_PER_SEC}, {"18446744073710s", WRONG},
            {"30500569w", WRONG}, {"18446744073709551615us 1us", WRONG}, {"1x", WRONG},
            {"s", WRONG}, {"1M", WRONG}, {"1y", WRONG}, {"5min -20s", WRONG}, {"5min,20s", WRONG},
            {"1 2min", WRONG}, {"1S", WRONG}, {"infinity 1s", WRONG}, {"1s infinity", WRONG},
            {"1.2.3s", WRONG}, {"5%", WRONG});
}

static void test_value_time_limits(void **state) {
        static const struct value_rule rule = {
                .type = VALUE_TIME, .minimum = USEC_PER_MSEC, .maximum = USEC_PER_SEC};

        TRY(&rule, {"1ms", 1000}, {"1s", 1000000}, {"999us", WRONG}, {"1.000001s", WRONG},
            {"0", WRONG}, {"infinity", WRONG}, {"1000ms", 1000000});
}

static void test_value_rate(void **state) {
        static const struct value_rule minute = {.type = VALUE_RATE,
                                                 .or_infinity = true,
                                                 .unit = VALUE_PER_MINUTE,
                                                 .minimum = 1,
                                                 .maximum = 3600000};
        struct value_rule second = minute;

        second.unit = VALUE_PER_SECOND;
        second.or_infinity = false;
        TRY(&minute, {"30", 1800}, {"30/min", 1800}, {"1/s", 3600}, {"5/h", 5}, {"2/second", 7200},
            {"2 / sec", 7200}, {"3/minute", 180}, {"3/m", 180}, {"1/hour", 1}, {"1/hr", 1},
            {"0", CONFIG_INFINITY}, {"0/s", CONFIG_INFINITY}, {"infinity", CONFIG_INFINITY},
            {"1000/s", 3600000}, {"1001/s", WRONG}, {"3600000/h", 3600000}, {"3600001/h", WRONG},
            {"30/", WRONG}, {"/s", WRONG}, {"30/d", WRONG}, {"1.5/s", WRONG}, {"30/min ", WRONG},
            {"30s", WRONG}, {"1/1s", WRONG}, {"18446744073709551615", WRONG},
            {"5124095576030432/s", WRONG}, {"18446744073709551615/h", WRONG}, {"30//s", WRONG});
        TRY(&second, {"50", 180000}, {"60/min", 3600}, {"0", CONFIG_INFINITY}, {"infinity", WRONG});
}

static void test_value_word(void **state) {
        static const char *const words[] = {"auto", "cgroup", "off", NULL};
        static const struct value_rule rule = {.type = VALUE_WORD, .words = words};

        TRY(&rule, {"auto", 0}, {"cgroup", 1}, {"off", 2}, {"Cgroup", WRONG}, {"of", WRONG},
            {"off ", WRONG}, {"", WRONG}, {"0", WRONG}, {"1", WRONG});
}

/* ---- texts ---- */

static void test_value_patterns(void **state) {
        static const struct value_rule rule = {.type = VALUE_PATTERNS};
        static const char *const right[] = {"/a", "/a /b", " /usr/bin/qemu-*\t/c[de] ", "/a?"};
        static const char *const wrong[] = {"", " ", "a", "/a b", "*", "\"/a\""};

        for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
                _cleanup_(freep) char *copy = NULL;

                assert_int_equal(value_parse_text(&rule, right[i], &copy), 0);
                assert_string_equal(copy, right[i]);
        }
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
                char *copy = NULL;

                assert_int_equal(value_parse_text(&rule, wrong[i], &copy), -EINVAL);
                assert_null(copy);
        }
}

/* ---- what would be right ---- */

static void assert_described(const struct value_rule *rule, const char *wanted) {
        char text[256];

        value_describe(rule, text, sizeof(text));
        assert_string_equal(text, wanted);
}

static void test_value_describe(void **state) {
        static const char *const words[] = {"a", "b", "c", NULL};

        assert_described(&(struct value_rule){.type = VALUE_UNSIGNED, .maximum = 7},
                         "a number from 0 to 7");
        assert_described(
                &(struct value_rule){
                        .type = VALUE_PERCENT, .or_infinity = true, .minimum = 1, .maximum = 300},
                "a percentage from 1% to 300% or \"infinity\"");
        assert_described(&(struct value_rule){.type = VALUE_WORD, .words = words},
                         "\"a\", \"b\" or \"c\"");
        assert_described(&(struct value_rule){.type = VALUE_TIME,
                                              .minimum = 90 * USEC_PER_SEC,
                                              .maximum = 48 * HOUR},
                         "a time span such as \"5min 20s\" or 100ms (a plain number: seconds) from "
                         "90s to 2d");
        assert_described(&(struct value_rule){.type = VALUE_BOOL}, "\"yes\" or \"no\"");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_value_garbage),        checked_test(test_value_bool),
                checked_test(test_value_unsigned),       checked_test(test_value_auto_and_infinity),
                checked_test(test_value_percent),        checked_test(test_value_size),
                checked_test(test_value_part_of_memory), checked_test(test_value_time),
                checked_test(test_value_time_limits),    checked_test(test_value_rate),
                checked_test(test_value_word),           checked_test(test_value_patterns),
                checked_test(test_value_describe),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
