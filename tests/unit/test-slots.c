/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The size of a guest from its memory slots: replaced, deleted, those that do not count, another
 * VM; and that nothing is lost where several threads change slots at once. The table is static, as
 * in the library: it is large.
 */

#include "fds.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <string.h>

#include "base/util.h"
#include "preload/slots.h"

#define THREADS 4
#define ROUNDS  20000
#define GIB     (UINT64_C(1) << 30)

static struct slots slots;

/* Before each test. */
static void begin(void) {
        memset(&slots, 0, sizeof(slots));
}

static void test_slots_sum(void **state) {
        begin();
        slots_set(&slots, 0, 0, 3 * GIB);
        slots_set(&slots, 1, KVM_MEM_LOG_DIRTY_PAGES, GIB);
        assert_int_equal(slots.total, 4 * GIB);
        slots_set(&slots, 0, KVM_MEM_LOG_DIRTY_PAGES, 3 * GIB); /* a flag has changed */
        assert_int_equal(slots.total, 4 * GIB);
        slots_set(&slots, 0, 0, 5 * GIB);
        assert_int_equal(slots.total, 6 * GIB);
        slots_set(&slots, 1, 0, 0);
        slots_set(&slots, 1, 0, 0);
        assert_int_equal(slots.total, 5 * GIB);
        slots_set(&slots, SLOTS_MAX - 1, 0, GIB);
        assert_int_equal(slots.total, 6 * GIB);
}

static void test_slots_that_do_not_count(void **state) {
        begin();
        slots_set(&slots, 0, 0, GIB);
        slots_set(&slots, 1, KVM_MEM_READONLY, GIB);
        slots_set(&slots, 1U << 16 | 0, 0, GIB); /* x86: system management mode */
        slots_set(&slots, SLOTS_MAX, 0, GIB);
        slots_set(&slots, UINT32_MAX, 0, GIB);
        assert_int_equal(slots.total, GIB);
        slots_set(&slots, 0, KVM_MEM_READONLY, GIB);
        assert_int_equal(slots.total, 0);
}

static void test_slots_of_another_vm(void **state) {
        begin();
        slots_set(&slots, 0, 0, GIB);
        slots_set(&slots, 32767, 0, GIB);
        slots_reset(&slots);
        assert_int_equal(slots.total, 0);
        slots_set(&slots, 32767, 0, 2 * GIB);
        assert_int_equal(slots.total, 2 * GIB);
}

/* One slot for all of them, and one of its own. */
static void *change(void *own) {
        uint32_t slot = (uint32_t)(uintptr_t)own;

        for (uint64_t i = 0; i < ROUNDS; i++) {
                slots_set(&slots, 0, 0, i * slot);
                slots_set(&slots, slot, 0, i);
        }
        slots_set(&slots, slot, 0, GIB);
        return NULL;
}

static void test_slots_threads(void **state) {
        pthread_t threads[THREADS];

        begin();
        for (uintptr_t i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, change, (void *)(i + 1)), 0);
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        slots_set(&slots, 0, 0, 0);
        assert_int_equal(slots.total, THREADS * GIB);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_slots_sum),
                checked_test(test_slots_that_do_not_count),
                checked_test(test_slots_of_another_vm),
                checked_test(test_slots_threads),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
