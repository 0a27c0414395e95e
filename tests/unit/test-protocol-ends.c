/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What REGISTER, QUIET and PROGRESS say, and how a worker is sent away. What is left of its job
 * when its connection or its process ends. As in test-protocol.c, each message is told to
 * protocol.c directly, and the clock stands still between the steps.
 */

#include "fds.h"

#include <string.h>
#include <sys/socket.h>

#include "capture.h"
#include "crew.h"
#include "daemon/runtime/loop.h"
#include "daemon/worker/protocol.h"
#include "loop.h"

#define GIB (UINT64_C(1) << 30)
#define SEC USEC_PER_SEC

/* ---- REGISTER ---- */

static struct wire_register registration(uint64_t last_seq, uint64_t unreported) {
        struct wire_register reg = {
                .header = {.version = 2},
                .name = "a\tb\x80",
                .mem = GIB,
                .last = {.seq = last_seq, .kind = last_seq ? WIRE_KIND_REBOOT : WIRE_KIND_NONE},
                .unreported = unreported,
                .flags = WIRE_FLAG_DRAINS};

        memset(reg.uuid, 0xab, sizeof(reg.uuid));
        return reg;
}

static void test_register_says_who_it_is(void **state) {
        const struct wire_register reg = registration(0, 0);
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        worker_set_state(h.worker, WORKER_SENT_AWAY);
        assert_int_equal(worker_on_register(h.worker, &reg), 0);
        assert_string_equal(h.worker->name, "a?b?");
        assert_memory_equal(h.worker->uuid, reg.uuid, sizeof(reg.uuid));
        assert_int_equal(h.worker->mem, GIB);
        assert_int_equal(h.worker->version, 2);
        assert_true(h.worker->drains);
        assert_false(h.worker->says_quiet);
        assert_int_equal(h.worker->state, WORKER_IDLE);
        assert_int_equal(crew.n_quiet, 1);
        assert_true(crew.n_marks > 0);
        hand_expect(&h, 0, 0); /* WELCOME is peer.c's */
        hand_free(&h);
        crew_end(&crew);
}

/* By a flag to a daemon that was not told before. It cannot be taken back. */
static void test_register_says_that_it_is_quiet(void **state) {
        struct wire_register reg = registration(0, 0);
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        reg.flags = WIRE_FLAG_QUIET;
        assert_int_equal(worker_on_register(h.worker, &reg), 0);
        assert_true(h.worker->says_quiet);
        assert_false(h.worker->drains);
        reg.flags = 0;
        assert_int_equal(worker_on_register(h.worker, &reg), 0);
        assert_true(h.worker->says_quiet);
        hand_free(&h);
        crew_end(&crew);
}

static void test_register_repeats_an_outcome(void **state) {
        const struct wire_register reg = registration(7, 3), much = registration(8, 1000000);
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_int_equal(worker_on_register(h.worker, &reg), 0);
        hand_expect(&h, WIRE_DONE_ACK, 7);
        assert_int_equal(crew.n_ended, 1);
        assert_int_equal(crew.workers.n_unreported, 3);
        /* it connects again before it heard that */
        assert_int_equal(worker_on_register(h.worker, &reg), 0);
        hand_expect(&h, WIRE_DONE_ACK, 7);
        assert_int_equal(crew.n_ended, 1);
        assert_int_equal(crew.workers.n_unreported, 3);
        /* a claim has a limit */
        assert_int_equal(worker_on_register(h.worker, &much), 0);
        assert_int_equal(crew.workers.n_unreported, 1003);
        hand_free(&h);
        crew_end(&crew);
}

/* Whoever registers does not run: the grant was lost. */
static void test_register_gives_a_slot_back(void **state) {
        const struct wire_register reg = registration(0, 0);
        struct crew crew;
        struct hand h;

        crew_begin_granted(&crew, &h);
        assert_int_equal(worker_on_register(h.worker, &reg), 0);
        assert_null(h.worker->job);
        assert_int_equal(crew.governor.n_counted, 0);
        assert_int_equal(crew_n_capped(&crew), 0);
        assert_int_equal(crew.n_ended, 0);
        assert_true(crew.n_changed > 0);
        hand_free(&h);
        crew_end(&crew);
}

/* Found after a restart, it counted; now it is known not to run. */
static void test_register_of_one_that_was_found(void **state) {
        const struct wire_register reg = registration(0, 0);
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        worker_set_state(h.worker, WORKER_FOUND);
        assert_int_equal(crew.governor.n_counted, 1);
        assert_int_equal(worker_on_register(h.worker, &reg), 0);
        assert_false(worker_is_found(h.worker));
        assert_int_equal(crew.governor.n_counted, 0);
        hand_free(&h);
        crew_end(&crew);
}

static void test_register_against_the_rules(void **state) {
        const struct wire_register reg = registration(0, 0);
        struct wire_register closed = registration(1, 0);
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        closed.last.kind = WIRE_KIND_CLOSE;
        assert_int_equal(worker_on_register(h.worker, &closed), -EPROTO);
        h.worker->sort = WORKER_HELPER;
        assert_int_equal(worker_on_register(h.worker, &reg), -EPROTO);
        assert_string_equal(h.worker->name, "?");
        assert_int_equal(crew.n_ended, 0);
        hand_free(&h);
        crew_end(&crew);
}

/* ---- QUIET, PROGRESS, UNGOVERNED ---- */

static void test_quiet_is_told_once(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_int_equal(worker_on_quiet(h.worker), 0);
        assert_int_equal(worker_on_quiet(h.worker), 0);
        assert_int_equal(crew.n_quiet, 1);
        assert_int_equal(crew.n_marks, 1);
        assert_false(worker_is_quiet(h.worker)); /* its VMM lives */
        hand_lose_vmm(&h);
        assert_true(worker_is_quiet(h.worker));
        h.worker->sort = WORKER_CLOSER;
        assert_int_equal(worker_on_quiet(h.worker), -EPROTO);
        hand_free(&h);
        crew_end(&crew);
}

static void test_progress_is_of_what_runs(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        worker_on_progress(h.worker, GIB); /* of nothing */
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 1), 0);
        worker_on_progress(h.worker, GIB); /* it waits */
        assert_true(h.worker->job->bytes_left == USEC_INFINITY);
        crew_dispatch(&crew);
        worker_on_progress(h.worker, 5 * GIB); /* of 4 */
        assert_int_equal(h.worker->job->bytes_left, 4 * GIB);
        worker_on_progress(h.worker, GIB);
        assert_int_equal(h.worker->job->bytes_left, GIB);
        hand_free(&h);
        crew_end(&crew);
}

/* It is a claim: only CPU time, which nobody can lie about, keeps a slot. */
static void test_progress_is_no_sign_of_life(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin_granted(&crew, &h);
        for (uint64_t left = 4 * GIB; left > 0; left -= GIB / 4) {
                fake_time_pass(crew.event, SEC);
                worker_on_progress(h.worker, left - 1);
                worker_check_overdue(h.worker);
        }
        assert_true(worker_is_overdue(h.worker));
        hand_free(&h);
        crew_end(&crew);
}

static void test_an_idle_worker_is_sent_away(void **state) {
        union wire_message m;
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_int_equal(worker_send_away(h.worker), 0);
        assert_int_equal(h.worker->state, WORKER_SENT_AWAY);
        assert_int_equal(crew.n_marks, 1);
        assert_int_equal(hand_read(&h, &m), WIRE_UNGOVERNED);
        assert_int_equal(m.header.version, WIRE_VERSION);
        worker_set_state(h.worker, WORKER_FOUND);
        assert_int_equal(worker_send_away(h.worker), 0);
        assert_int_equal(h.worker->state, WORKER_FOUND);
        hand_free(&h);
        crew_end(&crew);
}

static void test_a_busy_worker_is_not_away(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin_granted(&crew, &h);
        assert_int_equal(worker_send_away(h.worker), 0);
        assert_int_equal(h.worker->state, WORKER_RUNNING);
        close_fd(&h.end);
        assert_true(worker_send_away(h.worker) < 0);
        hand_free(&h);
        crew_end(&crew);
}

/* ---- how it goes ---- */

static void test_a_connection_ends(void **state) {
        struct hand h, waits;
        struct crew crew;

        crew_begin_granted(&crew, &h);
        hand_new(&waits, &crew);
        assert_int_equal(hand_request(&waits, WIRE_KIND_REBOOT, 1), 0);
        waits.channel.end(&waits.channel);
        assert_null(waits.worker->channel);
        assert_int_equal(crew.governor.queue.n_waiting, 0);
        h.channel.end(&h.channel);
        assert_int_equal(h.worker->job->state, JOB_RUNNING);
        assert_int_equal(crew.governor.n_counted, 1);
        assert_int_equal(crew.n_ended, 0);
        hand_free(&waits);
        hand_free(&h);
        crew_end(&crew);
}

static void expect_end(uint32_t kind, bool granted, bool vmm_lives, enum job_state expected) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, granted);
        hand_new(&h, &crew);
        if (!vmm_lives)
                hand_lose_vmm(&h);
        assert_int_equal(hand_request(&h, kind, 1), 0);
        if (granted)
                crew_dispatch(&crew);
        worker_end(h.worker);
        assert_int_equal(crew.n_ended, 1);
        assert_int_equal(crew_last(&crew)->state, expected);
        assert_int_equal(crew_last(&crew)->ungoverned, expected == JOB_UNGOVERNED);
        if (expected != JOB_LOST)
                assert_int_equal(crew_last(&crew)->bytes_left, 0);
        assert_int_equal(crew.workers.n, 0);
        assert_int_equal(crew.governor.n_counted, 0);
        hand_free(&h);
        crew_end(&crew);
}

/* exit_mmap() of a dead VMM was its job; of anything else nobody knows how it ended. */
static void test_a_process_ends(void **state) {
        expect_end(WIRE_KIND_REBOOT, true, true, JOB_LOST);
        expect_end(WIRE_KIND_REBOOT, true, false, JOB_LOST);
        expect_end(WIRE_KIND_REBOOT, false, true, JOB_LOST);
        expect_end(WIRE_KIND_SHUTDOWN, true, true, JOB_LOST);
        expect_end(WIRE_KIND_SHUTDOWN, true, false, JOB_DONE);
        expect_end(WIRE_KIND_SHUTDOWN, false, false, JOB_UNGOVERNED);
}

static void test_the_end_of_a_process_is_noticed(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_int_equal(worker_serve(h.worker), 0);
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 1), 0);
        fake_time_pass(crew.event, SEC);
        assert_int_equal(crew.workers.n, 1);
        hand_die(&h);
        capture_begin();
        fake_time_pass(crew.event, 0);
        assert_string_equal(capture_end(), "");
        assert_int_equal(crew.workers.n, 0);
        assert_int_equal(crew_last(&crew)->state, JOB_LOST);
        hand_free(&h);
        crew_end(&crew);
}

/* Whether it had a VM to close, its daemon died with. */
static void test_a_found_closer_ends_without_a_word(void **state) {
        struct cgroup_leaf *leaf = calloc(1, sizeof(*leaf));
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        *leaf = (struct cgroup_leaf){
                .path = strdup("/pvreaper.slice/closer"), .dir = -1, .foreign = true};
        h.worker->cgroup = leaf;
        h.worker->sort = WORKER_CLOSER;
        worker_set_state(h.worker, WORKER_FOUND);
        assert_int_equal(worker_serve(h.worker), 0);
        hand_die(&h);
        capture_begin();
        fake_time_pass(crew.event, 0);
        assert_non_null(strstr(capture_end(), "/pvreaper.slice/closer, found at start, ended"));
        assert_int_equal(crew.n_ended, 0);
        hand_free(&h);
        crew_end(&crew);
}

/* What was found was a keeper, or what ends is a closer that has registered: nothing is amiss. */
static void test_what_ends_without_a_word(void **state) {
        for (unsigned i = 0; i < 2; i++) {
                struct crew crew;
                struct hand h;

                crew_begin(&crew, 2);
                hand_new(&h, &crew);
                if (i == 0)
                        h.worker->sort = WORKER_CLOSER;
                else
                        worker_set_state(h.worker, WORKER_FOUND);
                assert_int_equal(worker_serve(h.worker), 0);
                hand_die(&h);
                capture_begin();
                fake_time_pass(crew.event, 0);
                assert_string_equal(capture_end(), "");
                assert_int_equal(crew.workers.n, 0);
                hand_free(&h);
                crew_end(&crew);
        }
}

static void test_an_idle_process_ends(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        worker_end(h.worker);
        assert_int_equal(crew.n_ended, 0);
        assert_int_equal(crew.workers.n, 0);
        assert_int_equal(h.channel.fd, -1);
        hand_free(&h);
        crew_end(&crew);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_register_says_who_it_is),
                checked_test(test_register_says_that_it_is_quiet),
                checked_test(test_register_repeats_an_outcome),
                checked_test(test_register_gives_a_slot_back),
                checked_test(test_register_of_one_that_was_found),
                checked_test(test_register_against_the_rules),
                checked_test(test_quiet_is_told_once),
                checked_test(test_progress_is_of_what_runs),
                checked_test(test_progress_is_no_sign_of_life),
                checked_test(test_an_idle_worker_is_sent_away),
                checked_test(test_a_busy_worker_is_not_away),
                checked_test(test_a_connection_ends),
                checked_test(test_a_process_ends),
                checked_test(test_the_end_of_a_process_is_noticed),
                checked_test(test_a_found_closer_ends_without_a_word),
                checked_test(test_what_ends_without_a_word),
                checked_test(test_an_idle_process_ends),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
