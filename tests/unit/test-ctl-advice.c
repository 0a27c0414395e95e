/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The "Action" lines of status: which state has one, with which command, and that a state which
 * ends by itself has none. Records are made here as if a daemon had answered; the text goes to
 * memory. Each test frees what it made.
 */

#include "fds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/advice.h"

static struct record_list status, limits, failures;

static void add_text(struct record *record, const char *key, const char *text) {
        assert_int_equal(record_add(record, key, &(struct value){VALUE_STRING, {.string = text}}),
                         0);
}

static void add_number(struct record *record, const char *key, uint64_t number) {
        assert_int_equal(
                record_add(record, key, &(struct value){VALUE_UNSIGNED, {.number = number}}), 0);
}

static struct record *add_record(struct record_list *list) {
        struct record *record;

        assert_int_equal(record_list_add(list, &record), 0);
        return record;
}

static struct record *begin(void) {
        struct record *limit = add_record(&limits);

        add_text(limit, "Key", "start-rate");
        add_text(limit, "Value", "6/h");
        add_text(limit, "Origin", "/etc/x.conf:3");
        return add_record(&status);
}

/* What is said of what was added since begin(). */
static void end(const char *expected) {
        const struct status s = {status.records, &limits, &failures, paint_of(false)};
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        assert_non_null(out);
        advice_print(out, &s);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(text, expected);
        free(text);
        record_list_deinit(&status);
        record_list_deinit(&limits);
        record_list_deinit(&failures);
}

static void test_advice_none(void **state) {
        (void)begin();
        end("");
}

static void test_advice_start_rate(void **state) {
        struct record *r = begin();

        add_number(r, "Queued", 7);
        add_text(r, "Why", "start-rate");
        add_number(r, "NextStartUSec", 59 * USEC_PER_SEC);
        add_number(r, "OldestWaitUSec", 59 * USEC_PER_SEC);
        end("");
        r = begin();
        add_number(r, "Queued", 1);
        add_text(r, "Why", "start-rate");
        add_number(r, "NextStartUSec", 5 * USEC_PER_SEC);
        add_number(r, "OldestWaitUSec", 60 * USEC_PER_SEC);
        end("   Action: 1 waits for start-rate=6/h (/etc/x.conf:3), the next starts in 5.0 s: "
            "pv-reaperctl set start-rate=infinity, or pv-reaperctl hurry VM\n");
        r = begin();
        add_number(r, "Queued", 7);
        add_text(r, "Why", "start-rate");
        add_number(r, "NextStartUSec", 540 * USEC_PER_SEC);
        end("   Action: 7 wait for start-rate=6/h (/etc/x.conf:3), the next starts in 9 min 0 s: "
            "pv-reaperctl set start-rate=infinity, or pv-reaperctl hurry VM\n");
}

/* Jobs that wait for others are what there is a queue for, unless it takes long. */
static void test_advice_limit(void **state) {
        struct record *r = begin();

        add_number(r, "Queued", 7);
        add_text(r, "Why", "limit");
        add_number(r, "OldestWaitUSec", 59 * USEC_PER_SEC);
        end("");
        r = begin();
        add_number(r, "Queued", 7);
        add_text(r, "Why", "limit");
        add_number(r, "OldestWaitUSec", 60 * USEC_PER_SEC);
        add_number(r, "MaxConcurrent", 4);
        end("   Action: 7 wait for max-concurrent: pv-reaperctl set max-concurrent=8 "
            "boost-max-concurrent=auto, or pv-reaperctl hurry VM\n");
}

static void test_advice_drain(void **state) {
        struct record *r = begin();

        add_text(r, "DrainReason", "administrator");
        add_number(r, "Queued", 1);
        end("");
        r = begin();
        add_text(r, "DrainReason", "system");
        end("");
        r = begin();
        add_text(r, "DrainReason", "administrator");
        end("   Action: the drain is done, and new VMs are sent away: pv-reaperctl resume\n");
}

static void test_advice_workers(void **state) {
        struct record *r = begin();

        add_number(r, "Overdue", 2);
        add_number(r, "Unenforced", 3);
        end("   Action: 2 stand still or run too long: pv-reaperctl list names them\n"
            "   Action: 3 run without a CPU cap: pv-reaperctl check says why\n");
        r = begin();
        add_number(r, "Overdue", 1);
        add_number(r, "Unenforced", 1);
        end("   Action: 1 stands still or runs too long: pv-reaperctl list names it\n"
            "   Action: 1 runs without a CPU cap: pv-reaperctl check says why\n");
}

/* For an hour: somebody has read it by then. */
static void test_advice_failures(void **state) {
        struct record *r;

        (void)begin();
        r = add_record(&failures);
        add_number(r, "Id", 12);
        add_number(r, "EndedAt", realtime_usec() - 3700 * USEC_PER_SEC);
        end("");
        (void)begin();
        r = add_record(&failures);
        add_number(r, "Id", 12);
        add_number(r, "EndedAt", realtime_usec() - 60 * USEC_PER_SEC);
        end("   Action: a teardown failed: pv-reaperctl show 12, "
            "journalctl -u pv-reaper.service -p warning\n");
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_advice_none),    checked_test(test_advice_start_rate),
                checked_test(test_advice_limit),   checked_test(test_advice_drain),
                checked_test(test_advice_workers), checked_test(test_advice_failures),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
