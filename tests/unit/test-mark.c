/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What one daemon writes on a worker's cgroup the next one reads back exactly, whatever the numbers
 * and the unit's name; and what it did not write it does not take for its own: a text that was cut,
 * that has other names, or that tells of times running backwards.
 */

#include "fds.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "daemon/worker/mark.h"

static const struct mark full = {
        .done = 7,
        .seq = 8,
        .kind = 1,
        .bytes = UINT64_C(1) << 40,
        .queued_at = 1000,
        .granted_at = 2000,
        .cpu_base = 3,
        .unit = "machine-qemu\\x2d1.scope done=1 job=2",
};

static void assert_same(const struct mark *a, const struct mark *b) {
        assert_int_equal(a->done, b->done);
        assert_int_equal(a->seq, b->seq);
        assert_int_equal(a->kind, b->kind);
        assert_int_equal(a->bytes, b->bytes);
        assert_int_equal(a->queued_at, b->queued_at);
        assert_int_equal(a->granted_at, b->granted_at);
        assert_int_equal(a->cpu_base, b->cpu_base);
        assert_int_equal(a->away, b->away);
        assert_int_equal(a->adopted, b->adopted);
        assert_int_equal(a->begun, b->begun);
        assert_int_equal(a->quiet, b->quiet);
        assert_string_equal(a->unit, b->unit);
}

static void round_trip(const struct mark *mark) {
        char text[MARK_SIZE_MAX];
        struct mark back;

        mark_format(mark, text);
        assert_int_equal(mark_parse(&back, text), 0);
        assert_same(mark, &back);
}

static void test_mark_round_trip(void **state) {
        struct mark largest;

        round_trip(&full);
        round_trip(&(struct mark){});
        round_trip(&(struct mark){.away = true});
        round_trip(&(struct mark){.adopted = true, .bytes = 5});
        round_trip(&(struct mark){.seq = 1, .kind = 1, .begun = true});
        round_trip(&(struct mark){.quiet = true, .unit = " quiet=1"});
        round_trip(&(struct mark){.away = true, .adopted = true, .unit = " adopted=1"});
        round_trip(&(struct mark){.unit = " away=1 unit="});
        memset(&largest, 0xff, sizeof(largest));
        largest.away = largest.adopted = largest.begun = largest.quiet = true;
        memset(largest.unit, 'u', sizeof(largest.unit) - 1);
        largest.unit[sizeof(largest.unit) - 1] = '\0';
        round_trip(&largest);
}

/* What daemons of this and of earlier versions wrote when nobody had been sent away. */
static void test_mark_of_old(void **state) {
        static const char text[] =
                "done=1 job=2 kind=3 bytes=4 queued=5 granted=6 cpu=7 unit= away=1 unit=x";
        char again[MARK_SIZE_MAX];
        struct mark back;

        assert_int_equal(mark_parse(&back, text), 0);
        assert_false(back.away);
        assert_false(back.adopted);
        assert_string_equal(back.unit, " away=1 unit=x");
        mark_format(&back, again);
        assert_string_equal(again, text);
}

/* A text that is cut anywhere before the unit is no mark. */
static void test_mark_cut(void **state) {
        struct mark back = {.done = 99};
        char text[MARK_SIZE_MAX];
        size_t n;

        mark_format(&full, text);
        n = (size_t)(strstr(text, "unit=") - text) + strlen("unit=");
        while (n-- > 0) {
                text[n] = '\0';
                assert_int_equal(mark_parse(&back, text), -EBADMSG);
                assert_int_equal(back.done, 99);
        }
}

static void test_mark_foreign(void **state) {
        static const char *const texts[] = {
                "",
                "x",
                "done=a job=1 kind=1 bytes=1 queued=1 granted=1 cpu=1 unit=",
                "job=1 done=1 kind=1 bytes=1 queued=1 granted=1 cpu=1 unit=",
                "done=1 job=1 kind=1 bytes=1 queued=1 granted=1 cpu=1 away=2 unit=",
                "done=1 job=1 kind=1 bytes=1 queued=1 granted=1 cpu=1 away=1",
                "done=1 job=1 kind=1 bytes=1 queued=1 granted=1 cpu=1unit=",
                "done=1 job=1 kind=1 bytes=1 queued=2 granted=1 cpu=1 unit=", /* time runs back */
        };
        struct mark back = {.done = 99};

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                assert_int_equal(mark_parse(&back, texts[i]), -EBADMSG);
                assert_int_equal(back.done, 99);
        }
}

static void test_mark_long_unit(void **state) {
        struct mark back = {.done = 99};
        char text[MARK_SIZE_MAX];
        int n;

        n = snprintf(text, sizeof(text),
                     "done=1 job=1 kind=1 bytes=1 queued=1 granted=1 cpu=1 unit=");
        memset(text + n, 'u', sizeof(back.unit));
        text[n + (int)sizeof(back.unit)] = '\0';
        assert_int_equal(mark_parse(&back, text), -EBADMSG);
        text[n + (int)sizeof(back.unit) - 1] = '\0';
        assert_int_equal(mark_parse(&back, text), 0);
}

/* ---- the card ---- */

static void test_card_round_trip(void **state) {
        struct card cards[] = {
                {},
                {.vmm_pid = INT_MAX, .vmm_starttime = UINT64_MAX, .uuid = {1, 2, 3}},
                {.vmm_pid = 1, .cpus = "0-3,8", .name = " a name=b uuid="},
                {.vmm_pid = 1},
        };

        memset(cards[3].name, 'n', sizeof(cards[3].name) - 1);
        memset(cards[3].uuid, 0xff, sizeof(cards[3].uuid));
        memset(cards[3].cpus, '7', sizeof(cards[3].cpus) - 1);
        for (size_t i = 0; i < ARRAY_SIZE(cards); i++) {
                char text[CARD_SIZE_MAX];
                struct card back;

                card_format(&cards[i], text);
                assert_int_equal(card_parse(&back, text), 0);
                assert_int_equal(back.vmm_pid, cards[i].vmm_pid);
                assert_int_equal(back.vmm_starttime, cards[i].vmm_starttime);
                assert_memory_equal(back.uuid, cards[i].uuid, sizeof(back.uuid));
                assert_string_equal(back.cpus, cards[i].cpus);
                assert_string_equal(back.name, cards[i].name);
        }
}

static void test_card_foreign(void **state) {
        static const char *const texts[] = {
                "",
                "vmm=1 start=2 uuid=- cpus=-",
                "vmm=1 start=2 uuid=- name=x",
                "vmm=-1 start=2 uuid=- cpus=- name=x",
                "vmm=1 start=2 uuid=12 cpus=- name=x",
                "start=1 vmm=2 uuid=- cpus=- name=x",
                ("vmm=1 start=2 uuid=- cpus=- name="
                 "0123456789012345678901234567890123456789012345678901234567890123456789"),
        };
        struct card back = {.vmm_pid = 99};

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                assert_int_equal(card_parse(&back, texts[i]), -EBADMSG);
                assert_int_equal(back.vmm_pid, 99);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_mark_round_trip), checked_test(test_mark_of_old),
                checked_test(test_mark_cut),        checked_test(test_mark_foreign),
                checked_test(test_mark_long_unit),  checked_test(test_card_round_trip),
                checked_test(test_card_foreign),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
