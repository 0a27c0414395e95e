/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The one place that issues PERFORM (link/perform.c), against a kernel that says what the test
 * wants: ioctl(2) goes through a door in here (the linker's --wrap). And the outcomes that nobody
 * reads: none may be lost uncounted.
 */

#include "fds.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/kvm-pv.h"
#include "base/packet.h"
#include "base/util.h"
#include "lib/teardown.h"

/* ---- a kernel of our own ---- */

static struct {
        int error; /* errno, or 0 */
        bool writes_rc;
        uint16_t rc, rrc;
        unsigned msec;

        /* what it was asked */
        int fd;
        unsigned n_calls;
        struct pv_cmd cmd;
} kernel;

int __wrap_ioctl(int fd, unsigned long request, void *argument);

int __wrap_ioctl(int fd, unsigned long request, void *argument) {
        const struct timespec ts = {.tv_nsec = kernel.msec * 1000000L};
        struct pv_cmd *cmd = argument;

        assert_int_equal(request, PV_COMMAND);
        kernel.fd = fd;
        kernel.n_calls++;
        kernel.cmd = *cmd;
        (void)nanosleep(&ts, NULL);
        if (kernel.writes_rc) {
                cmd->rc = kernel.rc;
                cmd->rrc = kernel.rrc;
        }
        errno = kernel.error;
        return kernel.error ? -1 : 0;
}

static struct pvr_outcome perform(bool governed) {
        struct wire_outcome wire = {.seq = 19, .kind = WIRE_KIND_REBOOT, .ungoverned = !governed};
        struct pvr_outcome outcome = {.job = 17, .waited_us = 18};

        kernel.n_calls = 0;
        teardown_perform(1234, &wire, &outcome);
        assert_int_equal(kernel.n_calls, 1);
        assert_int_equal(kernel.fd, 1234);
        assert_int_equal(kernel.cmd.cmd, 10);
        /* zeroed before: a machine with fast destroy does not write them */
        assert_int_equal(kernel.cmd.rc, 0);
        assert_int_equal(kernel.cmd.rrc, 0);
        assert_int_equal(kernel.cmd.flags, 0);
        /* not its business */
        assert_int_equal(outcome.job, 17);
        assert_int_equal(outcome.waited_us, 18);
        assert_int_equal(outcome.kind, PVR_KIND_REBOOT);
        assert_int_equal(wire.seq, 19);
        assert_int_equal(wire.ungoverned, !governed);
        /* both are told the same */
        assert_int_equal(wire.error, outcome.error);
        assert_int_equal(wire.rc, outcome.rc);
        assert_int_equal(wire.rrc, outcome.rrc);
        return outcome;
}

/* ---- what PERFORM's answer means ---- */

struct row {
        int error;
        bool writes_rc;
        uint16_t rc, rrc;
        enum pvr_result governed, ungoverned;
};

static const struct row rows[] = {
        {0, false, 0, 0, PVR_RESULT_DONE, PVR_RESULT_UNGOVERNED},
        {0, true, 1, 0, PVR_RESULT_DONE, PVR_RESULT_UNGOVERNED},
        {0, true, 0, 42, PVR_RESULT_DONE, PVR_RESULT_UNGOVERNED},
        {0, true, 1, 42, PVR_RESULT_INTERRUPTED, PVR_RESULT_INTERRUPTED},
        {EINVAL, false, 0, 0, PVR_RESULT_SUPERSEDED, PVR_RESULT_SUPERSEDED},
        {EIO, false, 0, 0, PVR_RESULT_FOREIGN, PVR_RESULT_FOREIGN},
        {ENOTTY, false, 0, 0, PVR_RESULT_FAILED, PVR_RESULT_FAILED},
        {EBADF, false, 0, 0, PVR_RESULT_FAILED, PVR_RESULT_FAILED},
        {ENOMEM, true, 0x102, 3, PVR_RESULT_FAILED, PVR_RESULT_FAILED},
};

static void test_teardown_results(void **state) {
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                for (int governed = 0; governed <= 1; governed++) {
                        struct pvr_outcome outcome;

                        memset(&kernel, 0, sizeof(kernel));
                        kernel.error = rows[i].error;
                        kernel.writes_rc = rows[i].writes_rc;
                        kernel.rc = rows[i].rc;
                        kernel.rrc = rows[i].rrc;
                        outcome = perform(governed);
                        assert_int_equal(outcome.result,
                                         governed ? rows[i].governed : rows[i].ungoverned);
                        assert_int_equal(outcome.error, -rows[i].error);
                        assert_int_equal(outcome.rc, rows[i].rc);
                        assert_int_equal(outcome.rrc, rows[i].rrc);
                }
}

static void test_teardown_time(void **state) {
        uint64_t before = now_usec(), after;
        struct pvr_outcome outcome;

        memset(&kernel, 0, sizeof(kernel));
        kernel.msec = 20;
        outcome = perform(true);
        after = now_usec();
        assert_true(outcome.ran_us >= 20 * USEC_PER_MSEC);
        assert_true(outcome.ran_us <= after - before);
}

/* ---- telling it ---- */

struct pair {
        int reader, sink;
};

static struct pair pair_new(void) {
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        return (struct pair){fds[0], fds[1]};
}

static void pair_close(struct pair *p) {
        close_fd(&p->reader);
        close_fd(&p->sink);
}

static void report(struct pair *p, _Atomic uint64_t *dropped, uint64_t job) {
        struct pvr_outcome outcome = {.job = job, .result = PVR_RESULT_DONE};

        teardown_report(p->sink, dropped, &outcome);
}

static void test_teardown_report(void **state) {
        struct pair p = pair_new();
        struct pvr_outcome outcome;
        _Atomic uint64_t dropped = 3;

        report(&p, &dropped, 1);
        assert_int_equal(dropped, 0);
        report(&p, &dropped, 2);
        assert_int_equal(packet_recv(p.reader, &outcome, sizeof(outcome)), sizeof(outcome));
        assert_int_equal(outcome.job, 1);
        assert_int_equal(outcome.dropped, 3);
        assert_int_equal(packet_recv(p.reader, &outcome, sizeof(outcome)), sizeof(outcome));
        assert_int_equal(outcome.job, 2);
        assert_int_equal(outcome.dropped, 0);
        pair_close(&p);
}

/* However many nobody reads: those that come and those that are said to be missing are all. */
static void test_teardown_report_counts_the_dropped(void **state) {
        const uint64_t n_sent = 1000;
        struct pair p = pair_new();
        struct pvr_outcome outcome;
        _Atomic uint64_t dropped = 0;
        uint64_t n_seen = 0;

        for (uint64_t job = 1; job <= n_sent; job++)
                report(&p, &dropped, job);
        assert_true(dropped > 0 && dropped < n_sent);
        while (packet_recv(p.reader, &outcome, sizeof(outcome)) == sizeof(outcome)) {
                assert_int_equal(outcome.job, ++n_seen);
                assert_int_equal(outcome.dropped, 0);
        }
        assert_int_equal(n_seen + dropped, n_sent);
        report(&p, &dropped, n_sent + 1);
        assert_int_equal(dropped, 0);
        assert_int_equal(packet_recv(p.reader, &outcome, sizeof(outcome)), sizeof(outcome));
        assert_int_equal(outcome.job, n_sent + 1);
        assert_int_equal(outcome.dropped, n_sent - n_seen);
        pair_close(&p);
}

static void test_teardown_report_to_nobody(void **state) {
        struct pair p = pair_new();
        _Atomic uint64_t dropped = 0;

        close_fd(&p.reader);
        report(&p, &dropped, 1);
        report(&p, &dropped, 2);
        assert_int_equal(dropped, 2);
        pair_close(&p);
}

/* ---- words ---- */

static void test_teardown_words(void **state) {
        static const char *const words[] = {NULL,         "done",   "ungoverned", "interrupted",
                                            "superseded", "failed", "foreign",    "lost"};

        assert_null(pvr_result_to_string(0));
        for (uint32_t i = 1; i < ARRAY_SIZE(words); i++)
                assert_string_equal(pvr_result_to_string(i), words[i]);
        assert_null(pvr_result_to_string(8));
        assert_null(pvr_result_to_string(UINT32_MAX));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_teardown_results),
                checked_test(test_teardown_time),
                checked_test(test_teardown_report),
                checked_test(test_teardown_report_counts_the_dropped),
                checked_test(test_teardown_report_to_nobody),
                checked_test(test_teardown_words),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
