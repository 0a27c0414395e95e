/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How often each client of the system bus may call: each as often as the next, however much another
 * one calls, and a client that has been quiet for long as often as a new one. Nobody gains anything
 * by many names.
 */

#include "fds.h"

#include <stdio.h>

#include "daemon/bus/senders.h"

#define NOW  USEC_PER_SEC
#define MANY 512

static struct senders *senders;

static void begin(void) {
        assert_int_equal(senders_new(&senders), 0);
}

static void end(void) {
        senders = senders_free(senders);
}

/* How many of n calls of that client are let through. */
static unsigned call(const char *name, unsigned n, uint64_t now) {
        unsigned allowed = 0;

        for (unsigned i = 0; i < n; i++)
                allowed += senders_may_call(senders, name, now);
        return allowed;
}

static void test_senders_are_counted_each(void **state) {
        begin();
        assert_int_equal(call(":1.5", 1000, NOW), 100);
        assert_int_equal(call(":1.6", 1, NOW), 1);
        assert_int_equal(call(":1.5", 1000, NOW + USEC_PER_SEC), 10);
        assert_int_equal(call(":1.6", 1000, NOW + USEC_PER_SEC), 100);
        end();
}

/* A place is another's once its bucket is full, no earlier: else many could have it in turns. */
static void test_senders_are_many(void **state) {
        char name[16];

        begin();
        for (int i = 0; i < MANY; i++) {
                (void)snprintf(name, sizeof(name), ":1.%d", i);
                assert_int_equal(call(name, 101, NOW), 100);
        }
        assert_int_equal(call(":1.9999", 1, NOW), 0);
        assert_int_equal(call(":1.3", 1, NOW), 0);
        assert_int_equal(call(":1.9999", 1, NOW + 9 * USEC_PER_SEC), 0);
        assert_int_equal(call(":1.9999", 101, NOW + 10 * USEC_PER_SEC), 100);
        end();
}

static void test_senders_have_names(void **state) {
        begin();
        assert_int_equal(call(":1.0123456789012345678901234567890", 1, NOW), 0);
        end();
        assert_null(senders_free(NULL));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_senders_are_counted_each),
                checked_test(test_senders_are_many),
                checked_test(test_senders_have_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
