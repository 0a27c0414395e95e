/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Jobs that ended, many of them: which have a place in the history, and what is told one by one. A
 * worker can report ends without a grant as fast as it can send, and must push nobody out. The
 * ledger alone, then a manager on a loop whose clock is the test's.
 */

#include "fds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "daemon/runtime/loop.h"
#include "daemon/worker/protocol.h"
#include "stage.h"

#define SEC     USEC_PER_SEC
#define MINUTES (60 * SEC)

int __wrap_worker_cpu_usec(const struct worker *worker, uint64_t *ret);

int __wrap_worker_cpu_usec(const struct worker *worker, uint64_t *ret) {
        return -ENODATA;
}

/* ---- the history ---- */

static struct ledger ledger;

/* Whether it is remembered. What the log says is not looked at. */
static bool add(const char *unit, bool granted) {
        const struct job_owner owner = {
                .uuid = (const uint8_t[16]){}, .name = "vm", .unit = unit, .pid = 1};
        const struct wire_request request = {.kind = WIRE_KIND_REBOOT, .seq = 1};
        static uint64_t id;
        struct job *job;

        assert_int_equal(job_new(&job, &owner, ++id, &request), 0);
        job->granted_at = granted;
        job->ungoverned = !granted;
        job->state = granted ? JOB_DONE : JOB_UNGOVERNED;
        capture_begin();
        job = ledger_add(&ledger, job);
        (void)capture_end();
        return job;
}

static unsigned n_of(const char *unit) {
        const struct job *job;
        unsigned n = 0;

        TAILQ_FOREACH (job, &ledger.history, link)
                n += strcmp(job->unit ? job->unit : "", unit) == 0;
        return n;
}

static void fill(const char *unit, bool granted, unsigned n) {
        while (n-- > 0)
                assert_true(add(unit, granted));
}

static void test_the_oldest_goes(void **state) {
        ledger_init(&ledger);
        fill("old.scope", true, HISTORY_MAX);
        fill("new.scope", true, 10);
        assert_int_equal(n_of("old.scope"), HISTORY_MAX - 10);
        assert_int_equal(n_of("new.scope"), 10);
        assert_int_equal(ledger.n_history, HISTORY_MAX);
        assert_int_equal(ledger.totals[JOB_DONE], HISTORY_MAX + 10);
        ledger_deinit(&ledger);
}

/* Not one of the bystander's goes, whether it was granted or not. */
static void test_a_flood_pushes_nobody_out(void **state) {
        ledger_init(&ledger);
        fill("bystander.scope", true, 1);
        fill("bystander.scope", false, 2);
        fill("evil.scope", false, 5 * HISTORY_MAX);
        assert_int_equal(n_of("bystander.scope"), 3);
        assert_int_equal(n_of("evil.scope"), HISTORY_UNGRANTED_MAX);
        assert_int_equal(ledger.totals[JOB_UNGOVERNED], 5 * HISTORY_MAX + 2);
        fill("good.scope", true, HISTORY_MAX - HISTORY_UNGRANTED_MAX - 3);
        fill("evil.scope", false, 10); /* it is full: the newest in the place of the oldest */
        assert_int_equal(n_of("bystander.scope"), 3);
        assert_int_equal(n_of("evil.scope"), HISTORY_UNGRANTED_MAX);
        assert_int_equal(ledger.n_history, HISTORY_MAX);
        ledger_deinit(&ledger);
}

static void test_grants_alone_are_pushed_out_by_grants(void **state) {
        ledger_init(&ledger);
        fill("good.scope", true, HISTORY_MAX);
        for (unsigned i = 0; i < 10; i++)
                assert_false(add(NULL, false));
        assert_int_equal(n_of("good.scope"), HISTORY_MAX);
        assert_int_equal(ledger.totals[JOB_UNGOVERNED], 10); /* counted all the same */
        ledger_deinit(&ledger);
}

/* ---- the log ---- */

static unsigned count(const char *text, const char *what) {
        unsigned n = 0;

        for (; (text = strstr(text, what)); text++)
                n++;
        return n;
}

static uint64_t seq;

/* n outcomes that nobody granted, and a second. How many of them were told. */
static unsigned report(struct stage *stage, struct worker *w, unsigned n, const char **ret_said) {
        capture_begin();
        while (n-- > 0) {
                const struct wire_outcome o = {
                        .kind = WIRE_KIND_REBOOT, .seq = ++seq, .ungoverned = 1};

                assert_int_equal(worker_on_done(w, &o), 0);
        }
        fake_time_pass(stage->manager->event, SEC);
        *ret_said = capture_end();
        return count(*ret_said, "ungoverned: waited");
}

/* 1000 at once, one a second, and the others in one line a minute. */
static void test_a_flood_is_told_in_sums(void **state) {
        struct worker *w, *bystander;
        unsigned n_told, n_sums = 0;
        struct stage stage;
        const char *said;

        seq = 0;
        stage_begin(&stage);
        w = stage_add_running(&stage);
        bystander = stage_add_running(&stage);
        w->unit = strdup("evil.scope");
        bystander->unit = strdup("bystander.scope");
        worker_set_state(w, WORKER_IDLE);
        worker_set_state(bystander, WORKER_IDLE);
        for (unsigned i = 0, n = 0; n < 1000; i++, n += 100)
                assert_int_equal(report(&stage, w, 100, &said), 100);
        n_told = report(&stage, w, 500, &said);
        assert_in_range(n_told, 0, 15); /* what came in meanwhile */
        assert_int_equal(count(said, "jobs of unit evil.scope ended without a grant"), 1);
        n_told = 0;
        for (unsigned i = 0; i < 120; i++) {
                n_told += report(&stage, w, 10, &said);
                n_sums += count(said, "jobs of unit evil.scope ended without a grant");
                if (strstr(said, "jobs of unit"))
                        assert_non_null(strstr(said, "540 jobs of unit evil.scope"));
        }
        assert_in_range(n_told, 119, 121);
        assert_int_equal(n_sums, 2);
        assert_int_equal(report(&stage, bystander, 5, &said), 5);
        capture_begin();
        fake_time_pass(stage.manager->event, 2 * MINUTES);
        said = capture_end();
        assert_int_equal(count(said, "jobs of unit"), 0);
        assert_int_equal(stage.manager->ledger.totals[JOB_UNGOVERNED], 1000 + 500 + 1200 + 5);
        stage_end(&stage);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_the_oldest_goes),
                checked_test(test_a_flood_pushes_nobody_out),
                checked_test(test_grants_alone_are_pushed_out_by_grants),
                checked_test(test_a_flood_is_told_in_sums),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
