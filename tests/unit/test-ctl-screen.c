/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What "watch" draws: order, what fits, what the keys do; and the sequences that a terminal sends
 * for them. Records are made here as if a daemon had answered; the screen is memory. Each test
 * frees what it made.
 */

#include "fds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/screen.h"
#include "ctl/terminal.h"

static void add_text(struct record *record, const char *key, const char *text) {
        const struct value value = {.type = VALUE_STRING, .string = text};

        assert_int_equal(record_add(record, key, &value), 0);
}

static void add_job(struct record_list *jobs, uint64_t id, const char *state, uint64_t bytes) {
        struct value value = {.type = VALUE_UNSIGNED, .number = id};
        struct record *job;
        char name[32];

        assert_int_equal(record_list_add(jobs, &job), 0);
        assert_int_equal(record_add(job, "Id", &value), 0);
        value.number = bytes;
        if (bytes > 0)
                assert_int_equal(record_add(job, "Bytes", &value), 0);
        (void)snprintf(name, sizeof(name), "vm-%u", (unsigned)id);
        add_text(job, "VM", name);
        add_text(job, "State", state);
}

static void add_jobs(struct record_list *jobs) {
        add_job(jobs, 1, "done", 5);
        add_job(jobs, 2, "failed", 0);
        add_job(jobs, 3, "running", 7);
        add_job(jobs, 4, "running", 1);
        add_job(jobs, 5, "queued", 9);
        add_job(jobs, 6, "queued", 3);
}

/* The names of the VMs, in the order in which they are shown. */
static void assert_order(struct screen *screen, const struct record_list *jobs, const char *order) {
        char *text = NULL, seen[256] = "";
        size_t size;
        FILE *out = open_memstream(&text, &size);

        assert_non_null(out);
        assert_int_equal(screen_draw(out, screen, NULL, jobs), 0);
        assert_int_equal(fclose(out), 0);
        for (char *at = text; (at = strstr(at, "vm-")); at += 4) {
                (void)strncat(seen, at + 3, 1);
        }
        assert_string_equal(seen, order);
        free(text);
}

static void test_order(void **state) {
        struct screen screen = {.rows = 24, .columns = 200, .paint = paint_of(false)};
        struct record_list jobs = {};

        add_jobs(&jobs);
        assert_order(&screen, &jobs, "345621"); /* running, waiting, the last to end */
        assert_true(screen_key(&screen, 'r', 6));
        assert_order(&screen, &jobs, "126543");
        assert_true(screen_key(&screen, '>', 6)); /* by ID */
        assert_order(&screen, &jobs, "654321");
        assert_true(screen_key(&screen, 'r', 6));
        assert_order(&screen, &jobs, "123456");
        for (unsigned i = 0; i < 4; i++)
                assert_true(screen_key(&screen, KEY_RIGHT, 6)); /* by SIZE */
        assert_order(&screen, &jobs, "461352");                 /* the unknown last */
        for (unsigned i = 0; i < 5; i++)
                assert_true(screen_key(&screen, KEY_LEFT, 6));
        assert_order(&screen, &jobs, "345621");
        record_list_deinit(&jobs);
}

static void test_scrolling(void **state) {
        struct screen screen = {.rows = 6, .columns = 200, .paint = paint_of(false)};
        struct record_list jobs = {};

        add_jobs(&jobs);
        assert_order(&screen, &jobs, "34"); /* four rows are for others */
        assert_true(screen_key(&screen, KEY_UP, 6));
        assert_order(&screen, &jobs, "34");
        assert_true(screen_key(&screen, KEY_DOWN, 6));
        assert_order(&screen, &jobs, "45");
        assert_true(screen_key(&screen, KEY_PAGE_DOWN, 6));
        assert_order(&screen, &jobs, "62");
        assert_true(screen_key(&screen, KEY_PAGE_DOWN, 6)); /* not beyond the end */
        assert_order(&screen, &jobs, "21");
        assert_true(screen_key(&screen, KEY_PAGE_UP, 6));
        assert_order(&screen, &jobs, "56");
        assert_true(screen_key(&screen, KEY_HOME, 6));
        assert_order(&screen, &jobs, "34");
        assert_true(screen_key(&screen, KEY_END, 6));
        assert_order(&screen, &jobs, "21");
        screen.rows = 9; /* it grew: nothing of it is left empty */
        assert_order(&screen, &jobs, "45621");
        assert_false(screen_key(&screen, 'q', 6));
        assert_false(screen_key(&screen, 'x', 6));
        record_list_deinit(&jobs);
}

/* Never more rows or columns than there are, whatever is to be shown. */
static void test_small_terminals(void **state) {
        struct record_list jobs = {}, status = {};
        struct record *record;

        add_jobs(&jobs);
        assert_int_equal(record_list_add(&status, &record), 0);
        add_text(record, "State", "running");
        for (unsigned rows = 1; rows < 12; rows++)
                for (unsigned columns = 1; columns < 120; columns += 7) {
                        struct screen screen = {
                                .rows = rows, .columns = columns, .paint = paint_of(false)};
                        char *text = NULL;
                        unsigned lines = 1, width = 0;
                        size_t size;
                        FILE *out = open_memstream(&text, &size);

                        assert_non_null(out);
                        assert_int_equal(screen_draw(out, &screen, record, &jobs), 0);
                        assert_int_equal(fclose(out), 0);
                        for (char *at = text; *at; at++) {
                                if (*at == '\033')
                                        at += strcspn(at, "HKJm");
                                else if (*at == '\n')
                                        lines++, width = 0;
                                else
                                        assert_true(++width <= columns);
                        }
                        assert_true(lines <= rows);
                        free(text);
                }
        record_list_deinit(&jobs);
        record_list_deinit(&status);
}

static void assert_foot(struct screen *screen, const char *foot) {
        const struct record_list jobs = {};
        char *text = NULL;
        size_t size;
        FILE *out = open_memstream(&text, &size);

        assert_non_null(out);
        assert_int_equal(screen_draw(out, screen, NULL, &jobs), 0);
        assert_int_equal(fclose(out), 0);
        if (!strstr(text, foot))
                fail_msg("\"%s\" is not in: %s", foot, text);
        free(text);
}

static void test_foot(void **state) {
        struct screen screen = {.rows = 24, .columns = 200, .paint = paint_of(false)};

        assert_foot(&screen, "(by state)");
        (void)screen_key(&screen, '>', 0);
        (void)screen_key(&screen, 'r', 0);
        assert_foot(&screen, "(by ID, reversed)");
        (void)screen_key(&screen, 'p', 0);
        assert_foot(&screen, "PAUSED");
        screen.notice = "nobody answers";
        assert_foot(&screen, "nobody answers");
}

static void test_keys(void **state) {
        const char *text = "q\033[A\033OB\033[5~x\033";
        size_t n = strlen(text);

        assert_int_equal(terminal_next_key(&text, &n), 'q');
        assert_int_equal(terminal_next_key(&text, &n), KEY_UP);
        assert_int_equal(terminal_next_key(&text, &n), KEY_DOWN);
        assert_int_equal(terminal_next_key(&text, &n), KEY_PAGE_UP);
        assert_int_equal(terminal_next_key(&text, &n), 'x');
        assert_int_equal(terminal_next_key(&text, &n), '\033'); /* and no more of it */
        assert_int_equal(terminal_next_key(&text, &n), KEY_NONE);
        assert_int_equal(n, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_order),
                checked_test(test_scrolling),
                checked_test(test_small_terminals),
                checked_test(test_foot),
                checked_test(test_keys),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
