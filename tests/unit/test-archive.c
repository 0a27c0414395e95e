/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The history of one daemon as the next one finds it: the newest jobs in their order, every number
 * and text of them, and the next job's number. What is no archive, or another version's, is not
 * read.
 */

#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "capture.h"
#include "daemon/job/ledger.h"

static const uint8_t uuid[16] = {1, 2, 3};

static struct job *make_job(uint64_t id, const char *unit, const char *cgroup) {
        const struct wire_request request = {.seq = 7, .kind = WIRE_KIND_REBOOT, .mem = 4096};
        const struct job_owner owner = {
                .pid = 42, .uuid = uuid, .name = "guest 1", .unit = unit, .cgroup = cgroup};
        struct job *job;

        assert_int_equal(job_new(&job, &owner, id, &request), 0);
        job->state = JOB_INTERRUPTED;
        job->bytes_left = 5;
        job->ended_at = 40;
        job->queued_at = 10;
        job->granted_at = 20;
        job->waited_usec = 10;
        job->ran_usec = USEC_INFINITY;
        job->cpu_usec = 30;
        job->error = -EIO;
        job->rc = 1;
        job->rrc = 42;
        return job;
}

static void add(struct ledger *l, struct job *job) {
        capture_begin();
        ledger_add(l, job);
        (void)capture_end();
}

/* The daemon ends; systemd has its fd, and gives it to the next one. */
static void restart(struct ledger *l) {
        int fd = fcntl(archive_get_new_fd(l->archive), F_DUPFD_CLOEXEC, 3);

        assert_true(fd >= 0);
        ledger_deinit(l);
        ledger_init(l);
        assert_int_equal(ledger_open_archive(l, &fd), 0);
        assert_int_equal(fd, -1);
        assert_int_equal(archive_get_new_fd(l->archive), -1);
}

static void begin(struct ledger *l) {
        int fd = -1;

        ledger_init(l);
        assert_int_equal(ledger_next_id(l), 1);
        assert_int_equal(ledger_open_archive(l, &fd), 0);
        assert_int_equal(l->n_history, 0);
}

static void test_archive_is_the_same_job(void **state) {
        struct job *wanted = make_job(3, "machine-1.scope", NULL);
        const struct job *job;
        struct ledger l;

        begin(&l);
        add(&l, make_job(3, "machine-1.scope", NULL));
        restart(&l);
        assert_int_equal(l.n_history, 1);
        job = TAILQ_FIRST(&l.history);
        assert_int_equal(job->id, wanted->id);
        assert_int_equal(job->seq, wanted->seq);
        assert_int_equal(job->kind, wanted->kind);
        assert_int_equal(job->state, wanted->state);
        assert_int_equal(job->pid, wanted->pid);
        assert_int_equal(job->bytes, wanted->bytes);
        assert_int_equal(job->bytes_left, wanted->bytes_left);
        assert_int_equal(job->queued_at, wanted->queued_at);
        assert_int_equal(job->granted_at, wanted->granted_at);
        assert_int_equal(job->ended_at, wanted->ended_at);
        assert_int_equal(job->waited_usec, wanted->waited_usec);
        assert_true(job->ran_usec == USEC_INFINITY);
        assert_int_equal(job->cpu_usec, wanted->cpu_usec);
        assert_int_equal(job->error, wanted->error);
        assert_int_equal(job->rc, wanted->rc);
        assert_int_equal(job->rrc, wanted->rrc);
        assert_false(job->ungoverned);
        assert_memory_equal(job->uuid, uuid, sizeof(uuid));
        assert_string_equal(job->name, wanted->name);
        assert_string_equal(job->unit, wanted->unit);
        assert_null(job->cgroup);
        assert_int_equal(l.totals[JOB_INTERRUPTED], 0); /* sums begin anew */
        job_free(wanted);
        ledger_deinit(&l);
}

static void test_archive_of_more_than_it_holds(void **state) {
        const struct job *job;
        struct ledger l;
        uint64_t id = 301;

        begin(&l);
        for (unsigned i = 0; i < 1300; i++)
                add(&l, make_job(ledger_next_id(&l), NULL, "/sys/fs/cgroup"));
        restart(&l);
        assert_int_equal(l.n_history, 1000);
        TAILQ_FOREACH (job, &l.history, link) {
                assert_int_equal(job->id, id++);
                assert_string_equal(job->cgroup, "/sys/fs/cgroup");
                assert_null(job->unit);
        }
        assert_int_equal(ledger_next_id(&l), 1301);
        ledger_deinit(&l);
}

/* What the ledger forgets out of its turn, the next one does not remember either. */
static void test_archive_of_what_nobody_granted(void **state) {
        const struct job *job;
        struct ledger l;

        begin(&l);
        add(&l, make_job(1, "machine-1.scope", NULL));
        for (uint64_t id = 2; id < 2 + HISTORY_UNGRANTED_MAX + 3; id++) {
                struct job *begun = make_job(id, "machine-1.scope", NULL);

                begun->ungoverned = true;
                add(&l, begun);
        }
        restart(&l);
        assert_int_equal(l.n_history, 1 + HISTORY_UNGRANTED_MAX);
        job = TAILQ_FIRST(&l.history);
        assert_int_equal(job->id, 1);
        job = TAILQ_NEXT(job, link);
        assert_int_equal(job->id, 5); /* 2 to 4 made room */
        assert_true(job->ungoverned);
        ledger_deinit(&l);
}

static void test_archive_cuts_texts(void **state) {
        char text[1000];
        const struct job *job;
        struct ledger l;

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        begin(&l);
        add(&l, make_job(1, text, text));
        restart(&l);
        job = TAILQ_FIRST(&l.history);
        assert_int_equal(strlen(job->unit), 256);
        assert_in_range(strlen(job->cgroup), 255, 998);
        ledger_deinit(&l);
}

/* How large an archive is. */
static off_t archive_size(void) {
        struct ledger l;
        off_t size;

        begin(&l);
        size = lseek(archive_get_new_fd(l.archive), 0, SEEK_END);
        ledger_deinit(&l);
        return size;
}

static void test_archive_of_somebody_else(void **state) {
        for (unsigned i = 0; i < 5; i++) {
                int fd = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);
                struct ledger l;

                if (i == 0) { /* one that cannot be sealed */
                        close_fd(&fd);
                        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
                }
                if (i > 1)
                        assert_int_equal(ftruncate(fd, archive_size()), 0);
                if (i == 4)
                        assert_int_equal(pwrite(fd, "pv-reaper jobs 0", 17, 0), 17);
                if (i > 2)
                        assert_int_equal(
                                fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW),
                                0);
                ledger_init(&l);
                assert_int_equal(ledger_open_archive(&l, &fd), 0);
                assert_int_equal(fd, -1);
                assert_true(archive_get_new_fd(l.archive) >= 0); /* another one */
                assert_int_equal(ledger_next_id(&l), 1);
                ledger_deinit(&l);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_archive_is_the_same_job),
                checked_test(test_archive_of_more_than_it_holds),
                checked_test(test_archive_of_what_nobody_granted),
                checked_test(test_archive_cuts_texts),
                checked_test(test_archive_of_somebody_else),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
