/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * When a worker counts, and how it is told from others: standstill and its end, overdue, those that
 * were sent away or found after a restart; the mark that the next daemon reads; the words for what
 * it does. The mark goes through doors in here (the linker's --wrap) in place of a cgroup's.
 */

#include "fds.h"

#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "crew.h"
#include "daemon/runtime/loop.h"
#include "daemon/worker/mark.h"
#include "daemon/worker/protocol.h"
#include "loop.h"

#define GIB (UINT64_C(1) << 30)
#define SEC USEC_PER_SEC

static char mark[MARK_SIZE_MAX];

int __wrap_cgroup_leaf_set_mark(struct cgroup_leaf *leaf, const char *text);
int __wrap_cgroup_leaf_get_mark(struct cgroup_leaf *leaf, char *buffer, size_t size);

int __wrap_cgroup_leaf_set_mark(struct cgroup_leaf *leaf, const char *text) {
        assert_true(strlen(text) < sizeof(mark));
        strcpy(mark, text);
        return 0;
}

int __wrap_cgroup_leaf_get_mark(struct cgroup_leaf *leaf, char *buffer, size_t size) {
        if (!*mark)
                return -ENODATA;
        assert_true(strlen(mark) < size);
        strcpy(buffer, mark);
        return 0;
}

/* A cgroup that is there in name only. */
static struct cgroup_leaf *leaf_new(void) {
        struct cgroup_leaf *leaf = calloc(1, sizeof(*leaf));

        *leaf = (struct cgroup_leaf){.path = strdup("/jobs/vm"), .dir = -1, .foreign = true};
        return leaf;
}

/* Looks at it once, as each second. Returns what the log said. */
static const char *look(struct hand *h) {
        capture_begin();
        worker_check_overdue(h->worker);
        return capture_end();
}

/* ---- counting ---- */

static void test_one_that_stands_still_does_not_count(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin_granted(&crew, &h);
        fake_time_pass(crew.event, 10 * SEC - 1);
        assert_string_equal(look(&h), "");
        assert_int_equal(crew.governor.n_counted, 1);
        assert_int_equal(crew.n_changed, 0);
        fake_time_pass(crew.event, 1);
        assert_non_null(strstr(look(&h), "is overdue: hardly any CPU time for 10 s"));
        assert_int_equal(crew.governor.n_counted, 0);
        assert_true(crew.n_changed > 0);
        assert_string_equal(worker_state_to_string(h.worker), "overdue");
        assert_string_equal(look(&h), ""); /* told once */
        h.bill += GOVERNOR_MOVE_USEC;
        assert_non_null(strstr(look(&h), "moves again and counts as running"));
        assert_int_equal(crew.governor.n_counted, 1);
        assert_string_equal(worker_state_to_string(h.worker), "running");
        hand_free(&h);
        crew_end(&crew);
}

static void test_one_that_runs_for_too_long_does_not_count(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin_granted(&crew, &h);
        for (unsigned i = 0; i < 59; i++) {
                fake_time_pass(crew.event, SEC);
                h.bill += GOVERNOR_MOVE_USEC;
                assert_string_equal(look(&h), "");
        }
        fake_time_pass(crew.event, SEC + 1);
        h.bill += GOVERNOR_MOVE_USEC;
        assert_non_null(strstr(look(&h), "is overdue: it runs for too long"));
        assert_int_equal(crew.governor.n_counted, 0);
        h.bill += GOVERNOR_MOVE_USEC;
        assert_string_equal(look(&h), ""); /* whatever it does */
        assert_int_equal(crew_n_capped(&crew), 1);
        hand_free(&h);
        crew_end(&crew);
}

static void test_an_idle_worker_is_not_looked_at(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 1);
        hand_new(&h, &crew);
        fake_time_pass(crew.event, 100 * SEC);
        assert_string_equal(look(&h), "");
        assert_false(worker_check_overdue(h.worker));
        assert_false(worker_is_overdue(h.worker));
        assert_int_equal(crew.n_changed, 0);
        hand_free(&h);
        crew_end(&crew);
}

static void test_a_found_worker_counts(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 1);
        hand_new(&h, &crew);
        worker_set_state(h.worker, WORKER_FOUND);
        assert_int_equal(crew.governor.n_counted, 1);
        assert_true(crew.n_changed > 0);
        worker_set_state(h.worker, WORKER_FOUND);
        assert_int_equal(crew.governor.n_counted, 1);
        worker_set_state(h.worker, WORKER_IDLE);
        assert_int_equal(crew.governor.n_counted, 0);
        assert_int_equal(crew_n_capped(&crew), 0);
        hand_free(&h);
        crew_end(&crew);
}

/* An earlier daemon sent it away idle. It counts once it moves, which is looked at each 10 s. */
static void test_one_that_was_sent_away(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 1);
        hand_new(&h, &crew);
        h.bill = 500;
        worker_set_state(h.worker, WORKER_FOUND_AWAY);
        assert_int_equal(crew.governor.n_counted, 0);
        fake_time_pass(crew.event, 10 * SEC);
        look(&h);
        assert_int_equal(h.worker->state, WORKER_FOUND_AWAY); /* the bill has not changed */
        h.bill += GOVERNOR_MOVE_USEC;
        fake_time_pass(crew.event, 10 * SEC - 1);
        look(&h);
        assert_int_equal(h.worker->state, WORKER_FOUND_AWAY); /* it is not looked at yet */
        fake_time_pass(crew.event, 1);
        crew_forget(&crew);
        look(&h);
        assert_int_equal(h.worker->state, WORKER_FOUND);
        assert_int_equal(crew.governor.n_counted, 1);
        assert_true(crew.n_changed > 0);
        hand_free(&h);
        crew_end(&crew);
}

/* This daemon sent it away. It may work without a slot until it registers. */
static void test_one_that_moves_without_us(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 1);
        hand_new(&h, &crew);
        h.bill = 500; /* since then, not since its birth */
        assert_int_equal(worker_send_away(h.worker), 0);
        fake_time_pass(crew.event, 10 * SEC);
        look(&h);
        assert_int_equal(h.worker->state, WORKER_SENT_AWAY);
        h.bill += GOVERNOR_MOVE_USEC;
        fake_time_pass(crew.event, 10 * SEC);
        look(&h);
        assert_int_equal(h.worker->state, WORKER_AWAY);
        assert_int_equal(crew.governor.n_counted, 0);
        hand_free(&h);
        crew_end(&crew);
}

/* ---- the mark ---- */

static void test_the_next_daemon_knows_what_runs(void **state) {
        struct hand h, next;
        struct crew crew;
        uint64_t began;

        crew_begin(&crew, 2);
        *mark = '\0';
        hand_new(&h, &crew);
        h.worker->cgroup = leaf_new();
        h.worker->unit = strdup("machine-qemu.scope");
        h.worker->last_seq = 6;
        h.worker->says_quiet = true;
        h.bill = 77;
        assert_int_equal(hand_request(&h, WIRE_KIND_SHUTDOWN, 7), 0);
        fake_time_pass(crew.event, 3 * SEC);
        crew_dispatch(&crew);
        began = h.worker->job->granted_at;
        fake_time_pass(crew.event, 5 * SEC);

        hand_new(&next, &crew);
        next.worker->cgroup = leaf_new();
        assert_false(worker_restore(next.worker));
        assert_int_equal(next.worker->last_seq, 6);
        assert_true(next.worker->says_quiet);
        assert_int_equal(next.worker->sort, WORKER_KEEPER);
        assert_string_equal(next.worker->unit, "machine-qemu.scope");
        assert_int_equal(next.worker->job->state, JOB_RUNNING);
        assert_int_equal(next.worker->job->seq, 7);
        assert_int_equal(next.worker->job->kind, WIRE_KIND_SHUTDOWN);
        assert_int_equal(next.worker->job->bytes, 4 * GIB);
        assert_int_equal(next.worker->job->granted_at, began);
        assert_int_equal(next.worker->job->queued_at, began - 3 * SEC);
        assert_int_equal(next.worker->job->waited_usec, 3 * SEC);
        assert_int_equal(next.worker->job->cpu_base, 77);
        assert_false(next.worker->job->ungoverned);
        /* the slot is as old as the grant */
        worker_set_state(next.worker, WORKER_FOUND);
        assert_int_equal(next.worker->slot.taken_at, began);
        hand_free(&next);
        hand_free(&h);
        crew_end(&crew);
}

static void test_the_next_daemon_knows_what_was_begun(void **state) {
        const struct wire_begun begun = {.seq = 7};
        struct hand h, next;
        struct crew crew;

        crew_begin(&crew, 0);
        *mark = '\0';
        hand_new(&h, &crew);
        h.worker->cgroup = leaf_new();
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 7), 0);
        assert_int_equal(worker_on_begun(h.worker, &begun), 0);
        hand_new(&next, &crew);
        next.worker->cgroup = leaf_new();
        worker_restore(next.worker);
        assert_true(next.worker->job->ungoverned);
        hand_free(&next);
        hand_free(&h);
        crew_end(&crew);
}

static void test_the_next_daemon_knows_who_was_idle(void **state) {
        struct hand h, next;
        struct crew crew;

        crew_begin(&crew, 2);
        *mark = '\0';
        hand_new(&h, &crew);
        h.worker->cgroup = leaf_new();
        h.worker->last_seq = 9;
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 10), 0); /* what waits is not in it */
        worker_drop_job(h.worker);
        assert_int_equal(worker_send_away(h.worker), 0);
        hand_new(&next, &crew);
        next.worker->cgroup = leaf_new();
        assert_true(worker_restore(next.worker)); /* it was sent away */
        assert_int_equal(next.worker->last_seq, 9);
        assert_null(next.worker->job);
        assert_null(next.worker->unit);
        hand_free(&next);
        hand_free(&h);
        crew_end(&crew);
}

static void test_the_next_daemon_knows_who_was_adopted(void **state) {
        struct hand h, next;
        struct crew crew;

        crew_begin(&crew, 2);
        *mark = '\0';
        hand_new(&h, &crew);
        h.worker->cgroup = leaf_new();
        h.worker->sort = WORKER_HELPER;
        h.worker->mem = 3 * GIB;
        worker_mark(h.worker);
        hand_new(&next, &crew);
        next.worker->cgroup = leaf_new();
        worker_restore(next.worker);
        assert_int_equal(next.worker->sort, WORKER_HELPER);
        assert_int_equal(next.worker->mem, 3 * GIB);
        assert_null(next.worker->job);
        hand_free(&next);
        hand_free(&h);
        crew_end(&crew);
}

static void test_without_a_mark_nothing_is_known(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        *mark = '\0';
        worker_restore(h.worker); /* it has no cgroup */
        h.worker->cgroup = leaf_new();
        worker_restore(h.worker);
        strcpy(mark, "no mark");
        worker_restore(h.worker);
        assert_int_equal(h.worker->last_seq, 0);
        assert_null(h.worker->job);
        hand_free(&h);
        crew_end(&crew);
}

/* ---- who is who ---- */

static void test_workers_are_found_by_pid_and_start_time(void **state) {
        struct hand a, b;
        struct crew crew;

        crew_begin(&crew, 2);
        hand_new(&a, &crew);
        hand_new(&b, &crew);
        b.worker->starttime = 9;
        assert_ptr_equal(worker_find(&crew.workers, a.worker->pid, 1), a.worker);
        assert_ptr_equal(worker_find(&crew.workers, b.worker->pid, 9), b.worker);
        assert_null(worker_find(&crew.workers, b.worker->pid, 1));
        assert_null(worker_find(&crew.workers, a.worker->pid, 9));
        hand_free(&b);
        hand_free(&a);
        crew_end(&crew);
}

static void test_a_keeper_is_found_by_its_vmm(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        h.worker->pid = h.worker->vmm_pid = getpid(); /* shares its memory with itself */
        assert_ptr_equal(worker_find_keeper(&crew.workers, getpid()), h.worker);
        assert_null(worker_find_keeper(&crew.workers, getppid()));
        h.worker->sort = WORKER_HELPER;
        assert_null(worker_find_keeper(&crew.workers, getpid()));
        h.worker->sort = WORKER_KEEPER;
        h.worker->vmm_pid = getppid(); /* its number is another's now */
        assert_null(worker_find_keeper(&crew.workers, getppid()));
        h.worker->vmm_pid = getpid();
        hand_die(&h);
        assert_null(worker_find_keeper(&crew.workers, getpid()));
        hand_free(&h);
        crew_end(&crew);
}

static void test_the_unit_pays(void **state) {
        const struct unit_limits limits = {.pool = {1000, 1000}, .most = {1000, 1}};
        struct hand a, b;
        struct crew crew;

        crew_begin(&crew, 2);
        unit_table_set_limits(&crew.governor.units, loop_now(crew.event), &limits);
        hand_new(&a, &crew);
        hand_new(&b, &crew);
        a.worker->unit = strdup("u");
        b.worker->unit = strdup("u");
        assert_int_equal(worker_charge_unit(a.worker), 0);
        assert_int_equal(worker_charge_unit(b.worker), -EDQUOT);
        worker_free(a.worker);
        assert_int_equal(worker_charge_unit(b.worker), 0);
        hand_free(&b);
        hand_free(&a);
        crew_end(&crew);
}

static void test_bytes_to_clear(void **state) {
        struct hand a, b;
        struct crew crew;

        crew_begin(&crew, 1);
        hand_new(&a, &crew);
        hand_new(&b, &crew);
        assert_int_equal(workers_bytes_to_clear(&crew.workers), 0);
        assert_int_equal(hand_request(&a, WIRE_KIND_REBOOT, 1), 0);
        assert_int_equal(hand_request(&b, WIRE_KIND_REBOOT, 1), 0);
        assert_int_equal(workers_bytes_to_clear(&crew.workers), 8 * GIB);
        crew_dispatch(&crew);
        worker_on_progress(a.worker, GIB);
        assert_int_equal(workers_bytes_to_clear(&crew.workers), 5 * GIB);
        b.worker->job->bytes = UINT64_MAX; /* a lie */
        assert_true(workers_bytes_to_clear(&crew.workers) == UINT64_MAX);
        hand_free(&b);
        hand_free(&a);
        crew_end(&crew);
}

/* ---- words ---- */

static void test_what_it_does(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_string_equal(worker_state_to_string(h.worker), "idle");
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 1), 0);
        assert_string_equal(worker_state_to_string(h.worker), "waiting");
        crew_dispatch(&crew);
        assert_string_equal(worker_state_to_string(h.worker), "running");
        h.channel.end(&h.channel);
        assert_string_equal(worker_state_to_string(h.worker), "running");
        worker_drop_job(h.worker);
        assert_string_equal(worker_state_to_string(h.worker), "away");
        worker_set_state(h.worker, WORKER_FOUND);
        assert_string_equal(worker_state_to_string(h.worker), "found");
        worker_set_state(h.worker, WORKER_FOUND_AWAY);
        assert_string_equal(worker_state_to_string(h.worker), "away");
        worker_set_state(h.worker, WORKER_SENT_AWAY);
        assert_string_equal(worker_state_to_string(h.worker), "away");
        worker_set_state(h.worker, WORKER_ADOPTED);
        assert_string_equal(worker_state_to_string(h.worker), "adopted");
        worker_set_state(h.worker, WORKER_OVERTAKEN);
        assert_string_equal(worker_state_to_string(h.worker), "adopted");
        hand_free(&h);
        crew_end(&crew);
}

static void test_what_sort_it_is(void **state) {
        struct cgroup_leaf leaf = {};

        assert_string_equal(worker_sort_to_string(&(struct worker){.sort = WORKER_CLOSER}),
                            "closer");
        assert_string_equal(worker_sort_to_string(&(struct worker){.sort = WORKER_HELPER}),
                            "adopted");
        assert_string_equal(worker_sort_to_string(&(struct worker){}), "keeper");
        assert_string_equal(worker_fencing(&(struct worker){.version = 1}), "unknown");
        assert_string_equal(worker_fencing(&(struct worker){.version = 2}), "none");
        assert_string_equal(worker_fencing(&(struct worker){.version = 2, .drains = true}),
                            "drain");
        assert_string_equal(worker_fencing(&(struct worker){.version = 2, .sort = WORKER_HELPER}),
                            "unknown");
        assert_string_equal(worker_fencing(&(struct worker){.version = 2, .sort = WORKER_CLOSER}),
                            "unknown");
        assert_string_equal(
                worker_fencing(&(struct worker){.sort = WORKER_CLOSER, .cgroup = &leaf}), "none");
        assert_true(worker_is_quiet(&(struct worker){.sort = WORKER_CLOSER, .cgroup = &leaf}));
        assert_false(worker_is_quiet(&(struct worker){.sort = WORKER_CLOSER}));
        assert_false(worker_is_quiet(&(struct worker){.vmm_pidfd = -1}));
        assert_false(worker_is_quiet(
                &(struct worker){.vmm_pidfd = -1, .says_quiet = true, .sort = WORKER_HELPER}));
        assert_true(worker_is_quiet(&(struct worker){.vmm_pidfd = -1, .says_quiet = true}));
}

static void test_claimed_names_are_printable(void **state) {
        static const struct {
                const char *name, *escaped;
        } rows[] = {{"guest", "guest"}, {"", "?"}, {"a b~", "a b~"}, {"\n\x7f\x1b\xff", "????"}};
        char longest[WIRE_NAME_MAX];

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                char *escaped = worker_escape_name(rows[i].name, strlen(rows[i].name) + 1);

                assert_string_equal(escaped, rows[i].escaped);
                free(escaped);
        }
        memset(longest, 'x', sizeof(longest)); /* not terminated */
        {
                char *escaped = worker_escape_name(longest, sizeof(longest));

                assert_int_equal(strlen(escaped), sizeof(longest));
                free(escaped);
        }
}

/* ---- the end of its VMM ---- */

static void test_the_end_of_its_vmm_is_noticed(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_int_equal(worker_watch_vmm(h.worker), 0);
        fake_time_pass(crew.event, SEC);
        crew_forget(&crew);
        assert_true(worker_vmm_alive(h.worker));
        hand_lose_vmm(&h);
        fake_time_pass(crew.event, 0);
        assert_false(worker_vmm_alive(h.worker));
        assert_int_equal(crew.n_quiet, 1);
        assert_null(h.worker->vmm_source);
        hand_free(&h);
        crew_end(&crew);
}

static void test_a_worker_leaves_nothing(void **state) {
        struct hand waits, runs;
        struct crew crew;

        crew_begin(&crew, 1);
        hand_new(&runs, &crew);
        hand_new(&waits, &crew);
        assert_int_equal(hand_request(&runs, WIRE_KIND_REBOOT, 1), 0);
        crew_dispatch(&crew);
        assert_int_equal(hand_request(&waits, WIRE_KIND_REBOOT, 1), 0);
        crew_forget(&crew);
        worker_free(waits.worker);
        assert_int_equal(crew.governor.queue.n_waiting, 0);
        assert_int_equal(waits.channel.fd, -1);
        worker_free(runs.worker);
        assert_int_equal(crew.governor.n_counted, 0);
        assert_int_equal(crew_n_capped(&crew), 0);
        assert_int_equal(crew.n_quiet, 2);
        assert_int_equal(crew.n_ended, 0);
        assert_true(TAILQ_EMPTY(&crew.workers.list));
        hand_free(&waits);
        hand_free(&runs);
        crew_end(&crew);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_one_that_stands_still_does_not_count),
                checked_test(test_one_that_runs_for_too_long_does_not_count),
                checked_test(test_an_idle_worker_is_not_looked_at),
                checked_test(test_a_found_worker_counts),
                checked_test(test_one_that_was_sent_away),
                checked_test(test_one_that_moves_without_us),
                checked_test(test_the_next_daemon_knows_what_runs),
                checked_test(test_the_next_daemon_knows_what_was_begun),
                checked_test(test_the_next_daemon_knows_who_was_idle),
                checked_test(test_the_next_daemon_knows_who_was_adopted),
                checked_test(test_without_a_mark_nothing_is_known),
                checked_test(test_workers_are_found_by_pid_and_start_time),
                checked_test(test_a_keeper_is_found_by_its_vmm),
                checked_test(test_the_unit_pays),
                checked_test(test_bytes_to_clear),
                checked_test(test_what_it_does),
                checked_test(test_what_sort_it_is),
                checked_test(test_claimed_names_are_printable),
                checked_test(test_the_end_of_its_vmm_is_noticed),
                checked_test(test_a_worker_leaves_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
