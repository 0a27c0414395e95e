/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * When memory is looked at, how often, and who is told: memory.c by a clock that a test moves on,
 * with a file in place of /proc/meminfo. Who waits for memory, and what a waiter is told. How much
 * is low is test-memory.c's.
 */

#include "fds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "capture.h"
#include "daemon/memory/memory.h"
#include "daemon/runtime/loop.h"
#include "loop.h"

#define GIB (UINT64_C(1) << 30)
#define SEC USEC_PER_SEC

struct host {
        sd_event *event;
        struct config *config;
        struct governor governor;
        struct memory *memory;
        int meminfo; /* an unnamed file */

        /* what was told */
        unsigned n_told;
        bool is_short;
};

static void on_short(void *userdata, bool is_short) {
        struct host *h = userdata;

        assert_true(is_short != h->is_short);
        h->is_short = is_short;
        h->n_told++;
}

static void set_text(struct host *h, const char *text) {
        assert_int_equal(ftruncate(h->meminfo, 0), 0);
        assert_int_equal(pwrite(h->meminfo, text, strlen(text), 0), strlen(text));
}

static void set_available(struct host *h, uint64_t bytes) {
        char text[64];

        (void)snprintf(text, sizeof(text), "MemAvailable: %llu kB\n",
                       (unsigned long long)(bytes >> 10));
        set_text(h, text);
}

/* Short below 4 GiB, until there are more than 5; n jobs run. */
static void begin(struct host *h, unsigned n_jobs) {
        struct memory_config config = {.on_short = on_short, .userdata = h};
        char path[32];

        *h = (struct host){.meminfo = memfd_create("meminfo", MFD_CLOEXEC)};
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", h->meminfo);
        assert_int_equal(setenv("PVREAPER_MEMINFO", path, true), 0);
        assert_int_equal(config_new(&h->config), 0);
        h->config->memory_low = 4 * GIB;
        h->config->memory_high = 5 * GIB;
        h->governor.n_counted = n_jobs;
        h->governor.effective.max_concurrent = 2;
        fake_time_begin();
        assert_int_equal(sd_event_new(&h->event), 0);
        config.event = h->event;
        config.config = h->config;
        config.governor = &h->governor;
        assert_int_equal(memory_new(&h->memory, &config), 0);
        set_available(h, 8 * GIB);
        memory_changed(h->memory);
        fake_time_pass(h->event, 0);
}

static void end(struct host *h) {
        h->memory = memory_free(h->memory);
        h->event = sd_event_unref(h->event);
        fake_time_end();
        config_free(h->config);
        close_fd(&h->meminfo);
        (void)unsetenv("PVREAPER_MEMINFO");
}

static const char *pass(struct host *h, uint64_t usec) {
        capture_begin();
        fake_time_pass(h->event, usec);
        return capture_end();
}

/* ---- the line ---- */

static void test_memory_becomes_short(void **state) {
        struct host h;

        begin(&h, 1);
        assert_string_equal(pass(&h, 10 * SEC), "");
        set_available(&h, 3 * GIB);
        assert_non_null(strstr(pass(&h, SEC),
                               "memory is short (3.0 GiB available, 0 wait for more): "
                               "at most 2 at once now"));
        assert_true(h.is_short);
        set_available(&h, 5 * GIB); /* above the line, and not by enough */
        assert_string_equal(pass(&h, 10 * SEC), "");
        set_available(&h, 6 * GIB);
        assert_non_null(strstr(pass(&h, SEC), "memory is no longer short (6.0 GiB available)"));
        assert_false(h.is_short);
        assert_int_equal(h.n_told, 2);
        end(&h);
}

static void set_host(struct host *h, uint64_t total, uint64_t huge, uint64_t available) {
        char text[128];

        (void)snprintf(text, sizeof(text),
                       "MemTotal: %llu kB\nMemAvailable: %llu kB\nHugetlb: %llu kB\n",
                       (unsigned long long)(total >> 10), (unsigned long long)(available >> 10),
                       (unsigned long long)(huge >> 10));
        set_text(h, text);
}

/* 94 % of it is huge pages, all of it is given to guests, and nothing is short. */
static void test_a_full_host_is_not_short_for_ever(void **state) {
        struct host h;

        begin(&h, 1);
        h.config->memory_low = CONFIG_AUTO_SIZE;
        h.config->memory_high = CONFIG_AUTO;
        set_host(&h, 1000 * GIB, 940 * GIB, 40 * GIB);
        pass(&h, 10 * SEC);
        assert_false(h.is_short);
        set_host(&h, 1000 * GIB, 940 * GIB, 3 * GIB - 1024);
        pass(&h, SEC);
        assert_true(h.is_short);
        set_host(&h, 1000 * GIB, 940 * GIB, 4 * GIB); /* above 3 and a quarter of it */
        pass(&h, SEC);
        assert_false(h.is_short);
        set_host(&h, 1000 * GIB, 0, 16 * GIB - 1024); /* they were given back */
        pass(&h, SEC);
        assert_true(h.is_short);
        end(&h);
}

/* Once a second, not more often. */
static void test_it_is_looked_at_once_a_second(void **state) {
        struct host h;

        begin(&h, 1);
        set_available(&h, 3 * GIB);
        pass(&h, SEC - 1);
        assert_false(h.is_short);
        pass(&h, 1);
        assert_true(h.is_short);
        end(&h);
}

static void test_without_work_it_is_not_looked_at(void **state) {
        struct host h;

        begin(&h, 0);
        set_available(&h, 3 * GIB);
        pass(&h, 60 * SEC);
        assert_false(h.is_short);
        h.governor.n_counted = 1;
        memory_changed(h.memory);
        pass(&h, 0); /* at once */
        assert_true(h.is_short);
        end(&h);
}

static void test_work_that_ends(void **state) {
        struct host h;

        begin(&h, 1);
        h.governor.n_counted = 0;
        set_available(&h, 3 * GIB);
        pass(&h, 10 * SEC);
        assert_false(h.is_short);
        end(&h);
}

/* In boost mode it is looked at until that ends, with work or without. */
static void test_the_boost_ends_without_work(void **state) {
        struct host h;

        begin(&h, 1);
        set_available(&h, 3 * GIB);
        pass(&h, SEC);
        h.governor.n_counted = 0;
        set_available(&h, 8 * GIB);
        pass(&h, SEC);
        assert_false(h.is_short);
        end(&h);
}

static void test_without_a_line_it_is_not_looked_at(void **state) {
        struct host h;

        begin(&h, 1);
        h.config->memory_low = 0;
        set_available(&h, 0);
        pass(&h, 10 * SEC);
        memory_changed(h.memory);
        pass(&h, 10 * SEC);
        assert_int_equal(h.n_told, 0);
        end(&h);
}

static void test_the_line_is_lowered(void **state) {
        struct host h;

        begin(&h, 1);
        set_available(&h, 3 * GIB);
        pass(&h, SEC);
        assert_true(h.is_short);
        h.config->memory_low = 0;
        memory_changed(h.memory);
        pass(&h, SEC);
        assert_false(h.is_short);
        end(&h);
}

/* Nobody is put in boost mode by a file that cannot be read. */
static void test_it_cannot_be_read(void **state) {
        struct host h;

        begin(&h, 1);
        set_available(&h, 3 * GIB);
        pass(&h, SEC);
        set_text(&h, "nothing\n");
        assert_non_null(strstr(pass(&h, SEC), "cannot read how much memory is available"));
        assert_false(h.is_short);
        end(&h);
}

/* ---- who waits ---- */

struct waiting {
        struct memory_waiter waiter;
        unsigned n_done;
        int error;
        uint64_t available;
        struct memory *again; /* waits once more when it is told */
};

static void on_done(struct memory_waiter *waiter, int error, uint64_t available) {
        struct waiting *w = (struct waiting *)((char *)waiter - offsetof(struct waiting, waiter));

        w->n_done++;
        w->error = error;
        w->available = available;
        if (w->again)
                assert_int_equal(memory_wait(w->again, waiter), 0);
}

static void wait_for(struct host *h, struct waiting *w, uint64_t bytes, uint64_t usec) {
        *w = (struct waiting){.waiter = {.bytes = bytes, .done = on_done}};
        w->waiter.deadline = usec == USEC_INFINITY ? usec : loop_now(h->event) + usec;
        assert_int_equal(memory_wait(h->memory, &w->waiter), 0);
        assert_int_equal(w->n_done, 0); /* from the loop only */
}

static void test_enough_is_there_already(void **state) {
        struct waiting w;
        struct host h;

        begin(&h, 0);
        wait_for(&h, &w, 8 * GIB, USEC_INFINITY);
        assert_string_equal(pass(&h, 0), "");
        assert_int_equal(w.n_done, 1);
        assert_int_equal(w.error, 0);
        assert_int_equal(w.available, 8 * GIB);
        assert_int_equal(memory_n_waiters(h.memory), 0);
        assert_int_equal(h.n_told, 0); /* it waited for nothing */
        end(&h);
}

/* While somebody waits memory is short, and looked at ten times a second. */
static void test_somebody_waits(void **state) {
        struct waiting w;
        struct host h;

        begin(&h, 1);
        wait_for(&h, &w, 9 * GIB, USEC_INFINITY);
        assert_non_null(
                strstr(pass(&h, 0), "memory is short (8.0 GiB available, 1 wait for more)"));
        assert_true(h.is_short);
        set_available(&h, 10 * GIB);
        pass(&h, 100 * USEC_PER_MSEC - 1);
        assert_int_equal(w.n_done, 0);
        assert_non_null(strstr(pass(&h, 1), "memory is no longer short"));
        assert_int_equal(w.n_done, 1);
        assert_int_equal(w.error, 0);
        assert_int_equal(w.available, 10 * GIB);
        assert_false(h.is_short);
        end(&h);
}

static void test_a_deadline(void **state) {
        struct waiting w, longer;
        struct host h;

        begin(&h, 1);
        wait_for(&h, &w, 9 * GIB, 2 * SEC);
        wait_for(&h, &longer, 9 * GIB, 5 * SEC);
        pass(&h, 2 * SEC - 1);
        assert_int_equal(w.n_done, 0);
        pass(&h, 1);
        assert_int_equal(w.n_done, 1);
        assert_int_equal(w.error, -ETIMEDOUT);
        assert_int_equal(w.available, 8 * GIB);
        assert_int_equal(memory_n_waiters(h.memory), 1);
        assert_true(h.is_short);
        pass(&h, 3 * SEC);
        assert_int_equal(longer.error, -ETIMEDOUT);
        assert_false(h.is_short);
        end(&h);
}

static void test_a_waiter_leaves(void **state) {
        struct waiting w;
        struct host h;

        begin(&h, 1);
        wait_for(&h, &w, 9 * GIB, USEC_INFINITY);
        pass(&h, SEC);
        assert_true(h.is_short);
        memory_leave(&w.waiter);
        memory_leave(&w.waiter); /* it waits no more */
        assert_int_equal(memory_n_waiters(h.memory), 0);
        pass(&h, SEC);
        assert_false(h.is_short);
        assert_int_equal(w.n_done, 0);
        end(&h);
}

/* What could free memory has ended a second ago: it would wait for ever, and boost nothing. */
static void test_nothing_is_left_to_wait_for(void **state) {
        struct waiting w;
        struct host h;

        begin(&h, 1);
        wait_for(&h, &w, 9 * GIB, USEC_INFINITY);
        pass(&h, 10 * SEC);
        assert_true(h.is_short);
        h.governor.n_counted = 0;
        pass(&h, SEC / 2);
        assert_false(h.is_short);
        h.governor.n_counted = 1; /* in time */
        pass(&h, 10 * SEC);
        assert_true(h.is_short);
        assert_int_equal(w.n_done, 0);
        h.governor.n_counted = 0;
        pass(&h, SEC);
        assert_int_equal(w.n_done, 0);
        pass(&h, SEC / 5);
        assert_int_equal(w.error, -ENODATA);
        assert_int_equal(w.available, 8 * GIB);
        assert_false(h.is_short);
        end(&h);
}

static void test_more_than_there_is(void **state) {
        struct waiting w, most;
        struct host h;

        begin(&h, 1);
        set_text(&h, "MemTotal: 10485760 kB\nMemAvailable: 1048576 kB\n");
        wait_for(&h, &w, 10 * GIB + 1, USEC_INFINITY);
        wait_for(&h, &most, 10 * GIB, USEC_INFINITY);
        pass(&h, 0);
        assert_int_equal(w.error, -E2BIG);
        assert_int_equal(most.n_done, 0);
        memory_leave(&most.waiter);
        end(&h);
}

static void test_a_waiter_waits_again(void **state) {
        struct waiting w;
        struct host h;

        begin(&h, 0);
        wait_for(&h, &w, 8 * GIB, USEC_INFINITY);
        w.again = h.memory;
        pass(&h, 0);
        assert_int_equal(w.n_done, 1); /* at the end of the list: one turn each */
        assert_int_equal(memory_n_waiters(h.memory), 1);
        w.again = NULL;
        pass(&h, 100 * USEC_PER_MSEC);
        assert_int_equal(w.n_done, 2);
        end(&h);
}

static void test_waiters_are_told_that_it_cannot_be_read(void **state) {
        struct waiting w;
        struct host h;

        begin(&h, 0);
        set_text(&h, "nothing\n");
        wait_for(&h, &w, 9 * GIB, USEC_INFINITY);
        pass(&h, 0);
        assert_int_equal(w.n_done, 1);
        assert_int_equal(w.error, -EBADMSG);
        end(&h);
}

static void test_too_many_wait(void **state) {
        static struct waiting w[MEMORY_WAITERS_MAX + 1];
        struct host h;

        begin(&h, 0);
        for (unsigned i = 0; i < MEMORY_WAITERS_MAX; i++)
                wait_for(&h, &w[i], 9 * GIB, USEC_INFINITY);
        assert_int_equal(memory_wait(h.memory, &w[MEMORY_WAITERS_MAX].waiter), -EBUSY);
        assert_null(w[MEMORY_WAITERS_MAX].waiter.memory);
        for (unsigned i = 0; i < MEMORY_WAITERS_MAX; i++)
                memory_leave(&w[i].waiter);
        assert_int_equal(memory_n_waiters(h.memory), 0);
        end(&h);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_memory_becomes_short),
                checked_test(test_a_full_host_is_not_short_for_ever),
                checked_test(test_it_is_looked_at_once_a_second),
                checked_test(test_without_work_it_is_not_looked_at),
                checked_test(test_work_that_ends),
                checked_test(test_the_boost_ends_without_work),
                checked_test(test_without_a_line_it_is_not_looked_at),
                checked_test(test_the_line_is_lowered),
                checked_test(test_it_cannot_be_read),
                checked_test(test_enough_is_there_already),
                checked_test(test_somebody_waits),
                checked_test(test_a_deadline),
                checked_test(test_a_waiter_leaves),
                checked_test(test_nothing_is_left_to_wait_for),
                checked_test(test_more_than_there_is),
                checked_test(test_a_waiter_waits_again),
                checked_test(test_waiters_are_told_that_it_cannot_be_read),
                checked_test(test_too_many_wait),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
