/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Jobs that an administrator hurries: who is meant, that such a job starts whatever the limits say
 * and counts as any other, that a VM may be hurried before it asks, and that it can be taken back.
 * Time stands still.
 */

#include "fds.h"

#include <stdio.h>
#include <string.h>

#include "crew.h"
#include "daemon/worker/hurry.h"
#include "daemon/worker/protocol.h"

/* Two workers that wait, "one" before "two", and nobody may start. */
static void begin(struct crew *crew, struct hand *hands) {
        static const char *const names[] = {"one", "two"};

        crew_begin(crew, 1);
        crew->governor.effective.max_concurrent = 0;
        for (unsigned i = 0; i < 2; i++) {
                hand_new(&hands[i], crew);
                free(hands[i].worker->name);
                hands[i].worker->name = strdup(names[i]);
                assert_int_equal(hand_request(&hands[i], WIRE_KIND_REBOOT, 1), 0);
        }
        crew_dispatch(crew);
        hand_expect(&hands[0], 0, 0);
}

/* How many jobs began. */
static unsigned grants(struct crew *crew) {
        crew_forget(crew);
        hurry_grant(&crew->workers);
        return crew->n_moved;
}

static void end(struct crew *crew, struct hand *hands) {
        hand_free(&hands[0]);
        hand_free(&hands[1]);
        crew_end(crew);
}

static void test_hurry_a_vm(void **state) {
        struct hand hands[2];
        struct crew crew;

        begin(&crew, hands);
        assert_int_equal(hurry_workers(&crew.workers, "two", true), 1);
        assert_int_equal(grants(&crew), 1);
        hand_expect(&hands[1], WIRE_GRANT, 1);
        hand_expect(&hands[0], 0, 0);
        assert_int_equal(crew.governor.n_counted, 1); /* above the limit, and counted */
        assert_int_equal(grants(&crew), 0);
        end(&crew, hands);
}

static void test_hurry_who_is_meant(void **state) {
        struct hand hands[2];
        struct crew crew;
        char text[64];

        begin(&crew, hands);
        assert_int_equal(hurry_workers(&crew.workers, "three", true), 0);
        assert_int_equal(hurry_workers(&crew.workers, "pid=1x", true), 0);
        assert_int_equal(hurry_workers(&crew.workers, "999999", true), 0);
        assert_int_equal(grants(&crew), 0);
        (void)snprintf(text, sizeof(text), "pid=%d", (int)hands[1].worker->pid);
        assert_int_equal(hurry_workers(&crew.workers, text, true), 1);
        assert_true(hands[1].worker->hurries);
        (void)snprintf(text, sizeof(text), "%d", (int)hands[0].worker->job->id);
        assert_int_equal(hurry_workers(&crew.workers, text, true), 1);
        assert_int_equal(grants(&crew), 2);
        end(&crew, hands);
}

/* A name is a claim: nobody else can tell which of them is meant. */
static void test_hurry_all_that_claim_the_name(void **state) {
        struct hand hands[2];
        struct crew crew;

        begin(&crew, hands);
        free(hands[0].worker->name);
        hands[0].worker->name = strdup("two");
        assert_int_equal(hurry_workers(&crew.workers, "two", true), 2);
        assert_int_equal(grants(&crew), 2);
        end(&crew, hands);
}

/* It runs already: to hurry it would hurry the VM's next job. */
static void test_hurry_not_a_job_that_runs(void **state) {
        struct hand hands[2];
        struct crew crew;
        char text[64];

        begin(&crew, hands);
        (void)snprintf(text, sizeof(text), "%d", (int)hands[1].worker->job->id);
        assert_int_equal(hurry_workers(&crew.workers, text, true), 1);
        assert_int_equal(grants(&crew), 1);
        assert_int_equal(hurry_workers(&crew.workers, text, true), 0);
        assert_int_equal(hurry_workers(&crew.workers, text, false), 0);
        assert_false(hands[1].worker->hurries);
        end(&crew, hands);
}

/* All workers that claim no UUID have it. */
static void test_hurry_not_the_nil_uuid(void **state) {
        static const char nil[] = "00000000-0000-0000-0000-000000000000";
        static const char one[] = "00000000-0000-0000-0000-000000000001";
        struct hand hands[2];
        struct crew crew;

        begin(&crew, hands);
        assert_int_equal(hurry_workers(&crew.workers, nil, true), 0);
        hands[1].worker->uuid[15] = 1;
        assert_int_equal(hurry_workers(&crew.workers, one, true), 1);
        assert_true(hands[1].worker->hurries);
        end(&crew, hands);
}

/* BEGUN: the job that was meant has begun, and its VM's next one is not. */
static void test_hurry_ends_when_it_begins(void **state) {
        const struct wire_begun begun = {.seq = 1};
        struct hand hands[2];
        struct crew crew;

        begin(&crew, hands);
        assert_int_equal(hurry_workers(&crew.workers, "two", true), 1);
        assert_int_equal(worker_on_begun(hands[1].worker, &begun), 0);
        assert_false(hands[1].worker->hurries);
        end(&crew, hands);
}

static void test_hurry_before_it_asks(void **state) {
        struct hand hands[2];
        struct crew crew;

        begin(&crew, hands);
        worker_drop_job(hands[1].worker);
        assert_int_equal(hurry_workers(&crew.workers, "two", true), 1);
        assert_int_equal(grants(&crew), 0);
        assert_int_equal(hand_request(&hands[1], WIRE_KIND_REBOOT, 2), 0);
        assert_int_equal(grants(&crew), 1);
        hand_expect(&hands[1], WIRE_GRANT, 2);
        end(&crew, hands);
}

static void test_hurry_is_taken_back(void **state) {
        struct hand hands[2];
        struct crew crew;

        begin(&crew, hands);
        assert_int_equal(hurry_workers(&crew.workers, "two", true), 1);
        assert_int_equal(hurry_workers(&crew.workers, "two", false), 1);
        assert_int_equal(grants(&crew), 0);
        end(&crew, hands);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_hurry_a_vm),
                checked_test(test_hurry_who_is_meant),
                checked_test(test_hurry_all_that_claim_the_name),
                checked_test(test_hurry_not_a_job_that_runs),
                checked_test(test_hurry_not_the_nil_uuid),
                checked_test(test_hurry_ends_when_it_begins),
                checked_test(test_hurry_before_it_asks),
                checked_test(test_hurry_is_taken_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
