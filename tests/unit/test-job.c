/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Jobs never say more than is known: what an outcome amounts to (each branch), the words for it,
 * and the one line of the log. A job outlives its worker, so it must hold copies, and what began
 * under an earlier daemon is "unknown", never zero.
 */

#include "fds.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/kvm-pv.h"
#include "base/uuid.h"
#include "capture.h"
#include "daemon/job/job.h"
#include "daemon/job/ledger.h"
#include "daemon/worker/worker.h"

/* ---- what an outcome amounts to ---- */

struct row {
        int error;
        uint16_t rc, rrc;
        enum job_state governed, ungoverned;
};

static const struct row rows[] = {
        {0, 0, 0, JOB_DONE, JOB_UNGOVERNED},
        {0, 1, 42, JOB_INTERRUPTED, JOB_INTERRUPTED},
        {0, 1, 0, JOB_DONE, JOB_UNGOVERNED},
        {0, 0, 42, JOB_DONE, JOB_UNGOVERNED},
        {0, 42, 1, JOB_DONE, JOB_UNGOVERNED},
        {-EINVAL, 0, 0, JOB_SUPERSEDED, JOB_SUPERSEDED},
        {-EINVAL, 1, 42, JOB_SUPERSEDED, JOB_SUPERSEDED},
        {-EIO, 0, 0, JOB_FOREIGN, JOB_FOREIGN},
        {-ENOTTY, 0, 0, JOB_FAILED, JOB_FAILED},
        {-EPERM, 0, 0, JOB_FAILED, JOB_FAILED},
        {-ECANCELED, 0, 0, JOB_FAILED, JOB_FAILED},
        {-ENOMEM, 1, 42, JOB_FAILED, JOB_FAILED},
        {-4095, 0, 0, JOB_FAILED, JOB_FAILED},
};

static void test_job_state_of_outcome(void **state) {
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                const struct wire_outcome outcome = {
                        .seq = 1, .error = rows[i].error, .rc = rows[i].rc, .rrc = rows[i].rrc};

                assert_int_equal(job_state_of_outcome(&outcome, true), rows[i].governed);
                assert_int_equal(job_state_of_outcome(&outcome, false), rows[i].ungoverned);
        }
}

/* ---- words ---- */

static void test_job_words(void **state) {
        static const char *const states[] = {"queued",     "running",     "done",
                                             "ungoverned", "interrupted", "superseded",
                                             "failed",     "foreign",     "lost"};
        static const char *const kinds[] = {"?", "reboot", "shutdown", "close"};

        assert_int_equal(ARRAY_SIZE(states), _JOB_STATE_MAX);
        for (unsigned i = 0; i < _JOB_STATE_MAX; i++)
                assert_string_equal(job_state_to_string((enum job_state)i), states[i]);
        assert_string_equal(job_state_to_string(_JOB_STATE_MAX), "?");
        assert_string_equal(job_state_to_string((enum job_state)12345), "?");
        for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
                assert_string_equal(job_kind_to_string(i), kinds[i]);
        assert_string_equal(job_kind_to_string(4), "?");
        assert_string_equal(job_kind_to_string(JOB_KIND_ADOPTED), "adopted");
        assert_string_equal(job_kind_to_string(UINT32_MAX), "?");
}

/* ---- a job and its worker ---- */

static const struct wire_request request = {
        .kind = WIRE_KIND_REBOOT,
        .seq = 7,
        .mem = 3ULL << 30,
};

static void test_job_holds_copies(void **state) {
        char name[] = "guest", unit[] = "machine-guest.scope", path[] = "/sys/fs/cgroup/x";
        struct worker worker = {.pid = 42};
        struct job *job = NULL;

        memset(worker.uuid, 0xab, sizeof(worker.uuid));
        assert_int_equal(job_new(&job,
                                 &(struct job_owner){.worker = &worker,
                                                     .pid = worker.pid,
                                                     .uuid = worker.uuid,
                                                     .name = name,
                                                     .unit = unit,
                                                     .cgroup = path},
                                 99, &request),
                         0);
        memset(name, 'x', sizeof(name) - 1);
        memset(unit, 'x', sizeof(unit) - 1);
        memset(path, 'x', sizeof(path) - 1);
        assert_ptr_equal(job->worker, &worker);
        assert_int_equal(job->id, 99);
        assert_int_equal(job->seq, 7);
        assert_int_equal(job->kind, WIRE_KIND_REBOOT);
        assert_int_equal(job->pid, 42);
        assert_int_equal(job->state, JOB_QUEUED);
        assert_int_equal(job->bytes, 3ULL << 30);
        assert_string_equal(job->name, "guest");
        assert_string_equal(job->unit, "machine-guest.scope");
        assert_string_equal(job->cgroup, "/sys/fs/cgroup/x");
        assert_memory_equal(job->uuid, worker.uuid, sizeof(job->uuid));
        assert_null(job_free(job));
}

static void test_job_uuids(void **state) {
        static const char text[] = "0ad0e3a2-4b3c-4cf0-9a8e-0123456789ab";
        static const char *const wrong[] = {"",
                                            "0ad0e3a2-4b3c-4cf0-9a8e-0123456789a",
                                            "0ad0e3a2-4b3c-4cf0-9a8e-0123456789abc",
                                            "0ad0e3a24b3c-4cf0-9a8e-0123456789ab",
                                            "0ad0e3a2-4b3c-4cf0-9a8e-0123456789ag",
                                            "0ad0e3a2-4b3c-4cf0-9a8e 0123456789ab",
                                            "{ad0e3a2-4b3c-4cf0-9a8e-0123456789ab}"};
        uint8_t uuid[16], same[16];
        char buffer[UUID_TEXT_SIZE];

        assert_true(uuid_parse(text, uuid));
        assert_string_equal(uuid_format(uuid, buffer), text);
        assert_true(uuid_parse("0AD0E3A2-4B3C-4CF0-9A8E-0123456789AB", same));
        assert_memory_equal(uuid, same, sizeof(uuid));
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
                assert_false(uuid_parse(wrong[i], same));
        assert_memory_equal(uuid, same, sizeof(uuid));
}

/* Nothing is known yet: no time, no bill, no error. */
static void test_job_begins_unknown(void **state) {
        struct worker worker = {};
        struct job *job = NULL;

        assert_int_equal(job_new(&job,
                                 &(struct job_owner){
                                         .worker = &worker, .uuid = worker.uuid, .name = "guest"},
                                 1, &request),
                         0);
        assert_null(job->unit);
        assert_null(job->cgroup);
        assert_true(job->bytes_left == USEC_INFINITY);
        assert_true(job->waited_usec == USEC_INFINITY);
        assert_true(job->ran_usec == USEC_INFINITY);
        assert_true(job->cpu_usec == USEC_INFINITY);
        assert_true(job->cpu_base == USEC_INFINITY);
        assert_int_equal(job->granted_at, 0);
        assert_int_equal(job->error, 0);
        assert_null(job_free(job));
        assert_null(job_free(NULL));
}

/* ---- the line of the log ---- */

static const char *line_of(const struct job *job) {
        capture_begin();
        job_log(job);
        return capture_end();
}

static void test_job_log_of_a_good_end(void **state) {
        const struct job job = {
                .id = 5,
                .kind = WIRE_KIND_REBOOT,
                .pid = 42,
                .name = (char[]){"guest"},
                .unit = (char[]){"machine-guest.scope"},
                .state = JOB_DONE,
                .bytes = 3ULL << 30,
                .waited_usec = 1000001,
                .ran_usec = 61 * USEC_PER_SEC + 20,
                .cpu_usec = 0,
        };

        assert_string_equal(line_of(&job),
                            "pv-reaperd: job 5: reboot of guest (pid 42, unit machine-guest.scope) "
                            "done: waited 1.000001 s, ran 61.000020 s, CPU 0.000000 s, 3072 MiB, "
                            "rc 0x0, rrc 0x0\n");
}

static void test_job_log_of_a_bad_end(void **state) {
        const struct job job = {
                .id = 6,
                .kind = WIRE_KIND_SHUTDOWN,
                .pid = 43,
                .name = (char[]){"100%s %n"},
                .state = JOB_FAILED,
                .error = -ENOMEM,
                .rc = 0x102,
                .rrc = 0xffff,
                .waited_usec = USEC_INFINITY,
                .ran_usec = USEC_INFINITY,
                .cpu_usec = USEC_INFINITY,
        };

        assert_string_equal(
                line_of(&job),
                "pv-reaperd: job 6: shutdown of 100%s %n (pid 43, unit unknown) failed: "
                "waited unknown, ran unknown, CPU unknown, 0 MiB, rc 0x102, rrc 0xffff: "
                "Cannot allocate memory\n");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_job_state_of_outcome), checked_test(test_job_words),
                checked_test(test_job_holds_copies),     checked_test(test_job_uuids),
                checked_test(test_job_begins_unknown),   checked_test(test_job_log_of_a_good_end),
                checked_test(test_job_log_of_a_bad_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
