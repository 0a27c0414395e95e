/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What REQUEST, BEGUN and DONE do to a worker's job and to its slot, and what GRANT does. Each
 * message is told to protocol.c directly. The clock stands still between the steps. The answers are
 * read from the worker's end of the connection.
 */

#include "fds.h"

#include <string.h>
#include <sys/socket.h>

#include "crew.h"
#include "daemon/runtime/loop.h"
#include "daemon/worker/protocol.h"
#include "loop.h"

#define GIB (UINT64_C(1) << 30)
#define SEC USEC_PER_SEC

static int done(struct hand *h, uint32_t kind, uint64_t seq, int error) {
        const struct wire_outcome o = {.kind = kind, .seq = seq, .error = error, .rc = 1};

        return worker_on_done(h->worker, &o);
}

static int begun(struct hand *h, uint64_t seq) {
        const struct wire_begun b = {.seq = seq};

        return worker_on_begun(h->worker, &b);
}

/* ---- REQUEST and GRANT ---- */

static void test_a_request_waits(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 5), 0);
        assert_int_equal(h.worker->job->state, JOB_QUEUED);
        assert_int_equal(h.worker->job->seq, 5);
        assert_int_equal(h.worker->job->bytes, 4 * GIB);
        assert_int_equal(h.worker->job->queued_at, loop_now(crew.event));
        assert_false(h.worker->job->frees_memory);
        assert_int_equal(crew.governor.queue.n_waiting, 1);
        assert_int_equal(crew.governor.n_counted, 0);
        assert_int_equal(crew.n_moved, 1);
        assert_true(crew.n_changed > 0);
        hand_expect(&h, 0, 0);
        hand_free(&h);
        crew_end(&crew);
}

static void test_a_grant_takes_a_slot(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 5), 0);
        fake_time_pass(crew.event, 3 * SEC);
        h.bill = 70;
        crew_dispatch(&crew);
        hand_expect(&h, WIRE_GRANT, 5);
        hand_expect(&h, 0, 0);
        assert_int_equal(h.worker->job->state, JOB_RUNNING);
        assert_int_equal(h.worker->job->waited_usec, 3 * SEC);
        assert_int_equal(h.worker->job->granted_at, loop_now(crew.event));
        assert_int_equal(h.worker->job->cpu_base, 70);
        assert_int_equal(crew.governor.queue.n_waiting, 0);
        assert_int_equal(crew.governor.n_counted, 1);
        assert_int_equal(crew_n_capped(&crew), 1);
        assert_int_equal(crew.n_moved, 2);
        hand_free(&h);
        crew_end(&crew);
}

static void test_a_new_request_replaces_one_that_waits(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 5), 0);
        assert_int_equal(hand_request(&h, WIRE_KIND_SHUTDOWN, 6), 0);
        assert_int_equal(crew.governor.queue.n_waiting, 1);
        crew_dispatch(&crew);
        hand_expect(&h, WIRE_GRANT, 6);
        hand_expect(&h, 0, 0);
        assert_int_equal(h.worker->job->kind, WIRE_KIND_SHUTDOWN);
        assert_int_equal(crew.n_ended, 0);
        hand_free(&h);
        crew_end(&crew);
}

/* A claim of its kind is not enough. */
static void test_what_frees_memory(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_int_equal(hand_request(&h, WIRE_KIND_SHUTDOWN, 1), 0);
        assert_false(h.worker->job->frees_memory);
        hand_lose_vmm(&h);
        assert_int_equal(hand_request(&h, WIRE_KIND_SHUTDOWN, 2), 0);
        assert_true(h.worker->job->frees_memory);
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 3), 0);
        assert_false(h.worker->job->frees_memory);
        h.worker->sort = WORKER_CLOSER;
        assert_int_equal(hand_request(&h, WIRE_KIND_CLOSE, 4), 0);
        assert_true(h.worker->job->frees_memory);
        hand_free(&h);
        crew_end(&crew);
}

static void test_requests_against_the_rules(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin_granted(&crew, &h);
        assert_int_equal(done(&h, WIRE_KIND_REBOOT, 1, 0), 0);
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 1), -EPROTO); /* an old one */
        assert_int_equal(hand_request(&h, WIRE_KIND_CLOSE, 2), -EPROTO);  /* it is no closer */
        h.worker->sort = WORKER_CLOSER;
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 2), -EPROTO);
        assert_null(h.worker->job);
        assert_int_equal(crew.governor.queue.n_waiting, 0);
        hand_free(&h);
        crew_end(&crew);
}

/* The slot is for its current job, and both ends know which that is. */
static void test_a_grant_that_crossed_a_new_request(void **state) {
        const struct wire_request next = {.kind = WIRE_KIND_SHUTDOWN, .seq = 2, .mem = GIB};
        struct crew crew;
        struct hand h;

        crew_begin_granted(&crew, &h);
        worker_on_progress(h.worker, GIB);
        assert_int_equal(worker_on_request(h.worker, &next), 0);
        assert_int_equal(h.worker->job->seq, 2);
        assert_int_equal(h.worker->job->kind, WIRE_KIND_SHUTDOWN);
        assert_int_equal(h.worker->job->bytes, GIB);
        assert_true(h.worker->job->bytes_left == USEC_INFINITY);
        assert_int_equal(h.worker->job->state, JOB_RUNNING);
        assert_int_equal(crew.governor.n_counted, 1);
        assert_int_equal(crew.governor.queue.n_waiting, 0);
        assert_int_equal(progress_rate(&h.worker->job->progress), USEC_INFINITY);
        assert_int_equal(crew.n_marks, 1);
        hand_expect(&h, 0, 0);
        hand_free(&h);
        crew_end(&crew);
}

static void test_a_grant_that_does_not_arrive(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 5), 0);
        crew_forget(&crew);
        close_fd(&h.end);
        crew_dispatch(&crew);
        assert_int_equal(h.channel.fd, -1);
        assert_null(h.worker->channel);
        assert_int_equal(h.worker->job->state, JOB_QUEUED);
        assert_int_equal(h.worker->job->granted_at, 0);
        assert_true(h.worker->job->cpu_base == USEC_INFINITY);
        assert_int_equal(crew.governor.n_counted, 0);
        assert_int_equal(crew.governor.queue.n_waiting, 0); /* it asks again */
        assert_int_equal(crew_n_capped(&crew), 0);
        assert_int_equal(crew.n_moved, 0);
        assert_int_equal(crew.n_ended, 0);
        assert_int_equal(crew.n_marks, 1); /* of worker_start_job() it is not counted */
        hand_free(&h);
        crew_end(&crew);
}

/* ---- BEGUN ---- */

static void test_begun_takes_a_slot_beyond_the_limit(void **state) {
        struct hand h, other;
        struct crew crew;

        crew_begin(&crew, 1);
        hand_new(&other, &crew);
        hand_new(&h, &crew);
        assert_int_equal(hand_request(&other, WIRE_KIND_REBOOT, 1), 0);
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 7), 0);
        crew_dispatch(&crew);
        hand_expect(&h, 0, 0);
        crew_forget(&crew);
        assert_int_equal(begun(&h, 7), 0);
        assert_true(crew.n_changed > 0);
        assert_int_equal(h.worker->job->state, JOB_RUNNING);
        assert_true(h.worker->job->ungoverned);
        assert_int_equal(crew.governor.n_counted, 2);
        assert_int_equal(crew.governor.queue.n_waiting, 0);
        assert_int_equal(crew.n_moved, 1);
        hand_expect(&h, 0, 0);
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 8), -EPROTO); /* it has not ended */
        assert_int_equal(begun(&h, 7), -EPROTO);
        assert_int_equal(done(&h, WIRE_KIND_REBOOT, 7, 0), 0);
        assert_int_equal(crew_last(&crew)->state, JOB_UNGOVERNED);
        hand_free(&other);
        hand_free(&h);
        crew_end(&crew);
}

static void test_begun_after_a_grant_changes_nothing(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin_granted(&crew, &h);
        assert_int_equal(begun(&h, 1), 0);
        assert_false(h.worker->job->ungoverned);
        assert_int_equal(crew.governor.n_counted, 1);
        assert_int_equal(crew.n_moved, 0);
        hand_free(&h);
        crew_end(&crew);
}

static void test_begun_against_the_rules(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_int_equal(begun(&h, 1), -EPROTO); /* nothing waits */
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 1), 0);
        assert_int_equal(begun(&h, 2), -EPROTO);
        assert_int_equal(hand_request(&h, WIRE_KIND_SHUTDOWN, 3), 0);
        assert_int_equal(begun(&h, 3), -EPROTO);
        assert_int_equal(h.worker->job->state, JOB_QUEUED);
        assert_int_equal(crew.governor.n_counted, 0);
        hand_free(&h);
        crew_end(&crew);
}

/* ---- DONE ---- */

static void test_done_ends_the_job(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin_granted(&crew, &h);
        fake_time_pass(crew.event, 20 * SEC);
        h.bill = 12 * SEC;
        assert_int_equal(done(&h, WIRE_KIND_REBOOT, 1, 0), 0);
        hand_expect(&h, WIRE_DONE_ACK, 1);
        assert_null(h.worker->job);
        assert_int_equal(crew.n_ended, 1);
        assert_int_equal(crew_last(&crew)->state, JOB_DONE);
        assert_int_equal(crew_last(&crew)->seq, 1);
        assert_int_equal(crew_last(&crew)->rc, 1);
        assert_int_equal(crew_last(&crew)->ran_usec, 20 * SEC);
        assert_int_equal(crew_last(&crew)->cpu_usec, 12 * SEC);
        assert_int_equal(crew.governor.n_counted, 0);
        assert_int_equal(crew_n_capped(&crew), 0);
        assert_int_equal(h.worker->last_seq, 1);
        assert_true(crew.n_changed > 0);
        hand_free(&h);
        crew_end(&crew);
}

static void test_every_outcome(void **state) {
        static const struct {
                int error;
                uint16_t rc, rrc;
                enum job_state state;
        } rows[] = {
                {0, 0, 0, JOB_DONE},
                {0, 1, 42, JOB_INTERRUPTED},
                {-EINVAL, 0, 0, JOB_SUPERSEDED},
                {-EIO, 0, 0, JOB_FOREIGN},
                {-EPERM, 3, 4, JOB_FAILED},
        };
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 1);
        hand_new(&h, &crew);
        for (uint64_t i = 0; i < ARRAY_SIZE(rows); i++) {
                const struct wire_outcome o = {.kind = WIRE_KIND_REBOOT,
                                               .seq = i + 1,
                                               .error = rows[i].error,
                                               .rc = rows[i].rc,
                                               .rrc = rows[i].rrc};

                assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, i + 1), 0);
                crew_dispatch(&crew);
                hand_expect(&h, WIRE_GRANT, i + 1);
                assert_int_equal(worker_on_done(h.worker, &o), 0);
                hand_expect(&h, WIRE_DONE_ACK, i + 1);
                assert_int_equal(crew_last(&crew)->state, rows[i].state);
                assert_int_equal(crew_last(&crew)->error, rows[i].error);
                assert_int_equal(crew_last(&crew)->rc, rows[i].rc);
                assert_int_equal(crew_last(&crew)->rrc, rows[i].rrc);
        }
        assert_int_equal(crew.n_ended, ARRAY_SIZE(rows));
        hand_free(&h);
        crew_end(&crew);
}

/* Our acknowledgement did not arrive. */
static void test_a_repeat_is_acknowledged_only(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin_granted(&crew, &h);
        assert_int_equal(done(&h, WIRE_KIND_REBOOT, 1, 0), 0);
        hand_expect(&h, WIRE_DONE_ACK, 1);
        assert_int_equal(done(&h, WIRE_KIND_REBOOT, 1, 0), 0);
        hand_expect(&h, WIRE_DONE_ACK, 1);
        assert_int_equal(crew.n_ended, 1);
        hand_free(&h);
        crew_end(&crew);
}

static void test_done_without_a_grant(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 4), 0);
        assert_int_equal(done(&h, WIRE_KIND_REBOOT, 4, 0), 0);
        assert_int_equal(crew_last(&crew)->state, JOB_UNGOVERNED);
        assert_true(crew_last(&crew)->ungoverned);
        assert_true(crew_last(&crew)->ran_usec == USEC_INFINITY);
        assert_true(crew_last(&crew)->cpu_usec == USEC_INFINITY);
        assert_int_equal(crew.governor.queue.n_waiting, 0);
        hand_free(&h);
        crew_end(&crew);
}

/* It is one that we never heard of. The one that waits never ran. */
static void test_done_of_another_job(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 4), 0);
        assert_int_equal(done(&h, WIRE_KIND_REBOOT, 5, 0), 0);
        assert_int_equal(crew.n_ended, 1);
        assert_int_equal(crew_last(&crew)->seq, 5);
        assert_int_equal(crew_last(&crew)->id, 2); /* a job of its own */
        assert_null(h.worker->job);
        assert_int_equal(crew.governor.queue.n_waiting, 0);
        hand_free(&h);
        crew_end(&crew);
}

/* Whatever number the job in the slot had. */
static void test_done_of_the_job_in_the_slot(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin_granted(&crew, &h);
        assert_int_equal(done(&h, WIRE_KIND_REBOOT, 9, 0), 0);
        assert_int_equal(crew.n_ended, 1);
        assert_int_equal(crew_last(&crew)->seq, 9);
        assert_int_equal(crew_last(&crew)->state, JOB_DONE);
        assert_int_equal(crew.governor.n_counted, 0);
        hand_free(&h);
        crew_end(&crew);
}

/* No cgroup has a mark, so it is the worker that knows what an earlier daemon granted. */
static void test_done_that_an_earlier_daemon_granted(void **state) {
        struct wire_outcome o = {.kind = WIRE_KIND_REBOOT, .seq = 1};
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 2);
        hand_new(&h, &crew);
        assert_int_equal(worker_on_done(h.worker, &o), 0);
        assert_int_equal(crew_last(&crew)->state, JOB_DONE);
        o.seq = 2;
        o.ungoverned = 1;
        assert_int_equal(worker_on_done(h.worker, &o), 0);
        assert_int_equal(crew_last(&crew)->state, JOB_UNGOVERNED);
        hand_free(&h);
        crew_end(&crew);
}

static void test_a_slot_without_use(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin_granted(&crew, &h);
        assert_int_equal(done(&h, WIRE_KIND_NONE, 0, -ECANCELED), 0);
        assert_null(h.worker->job);
        assert_int_equal(crew.governor.n_counted, 0);
        assert_int_equal(crew.n_ended, 0);
        assert_int_equal(crew.n_marks, 1);
        hand_expect(&h, 0, 0);
        /* what waits has no slot to give back */
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 2), 0);
        assert_int_equal(done(&h, WIRE_KIND_NONE, 0, -ECANCELED), 0);
        assert_non_null(h.worker->job);
        hand_free(&h);
        crew_end(&crew);
}

static void test_done_against_the_rules(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin_granted(&crew, &h);
        assert_int_equal(done(&h, WIRE_KIND_CLOSE, 1, 0), -EPROTO);
        assert_int_equal(done(&h, WIRE_KIND_REBOOT, 1, 0), 0);
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 2), 0);
        crew_dispatch(&crew);
        assert_int_equal(done(&h, WIRE_KIND_REBOOT, 1, 0), -EPROTO); /* 2 runs */
        assert_int_equal(h.worker->job->state, JOB_RUNNING);
        assert_int_equal(crew.n_ended, 1);
        hand_free(&h);
        crew_end(&crew);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_a_request_waits),
                checked_test(test_a_grant_takes_a_slot),
                checked_test(test_a_new_request_replaces_one_that_waits),
                checked_test(test_what_frees_memory),
                checked_test(test_requests_against_the_rules),
                checked_test(test_a_grant_that_crossed_a_new_request),
                checked_test(test_a_grant_that_does_not_arrive),
                checked_test(test_begun_takes_a_slot_beyond_the_limit),
                checked_test(test_begun_after_a_grant_changes_nothing),
                checked_test(test_begun_against_the_rules),
                checked_test(test_done_ends_the_job),
                checked_test(test_every_outcome),
                checked_test(test_a_repeat_is_acknowledged_only),
                checked_test(test_done_without_a_grant),
                checked_test(test_done_of_another_job),
                checked_test(test_done_of_the_job_in_the_slot),
                checked_test(test_done_that_an_earlier_daemon_granted),
                checked_test(test_a_slot_without_use),
                checked_test(test_done_against_the_rules),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
