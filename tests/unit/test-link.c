/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A worker's end of the protocol, with this test as the daemon at the other end of a real socket,
 * and a clock that the test sets: what is said and when, what is said again after a loss, when a
 * worker goes ahead alone, and what becomes of a GRANT that nobody waits for.
 */

#include "daemon.h"
#include "fds.h"

#include <string.h>

#include "base/util.h"
#include "link/link.h"

#define START (1000 * USEC_PER_SEC)
#define GRACE (15 * USEC_PER_SEC)
#define MSEC  USEC_PER_MSEC

static uint64_t now; /* of the clock */
static struct link l;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret) {
        assert_int_equal(clock, CLOCK_MONOTONIC);
        ret->tv_sec = (time_t)(now / USEC_PER_SEC);
        ret->tv_nsec = (long)(now % USEC_PER_SEC * NSEC_PER_USEC);
        return 0;
}

/* A send that fails. */
static int send_error;

int __real_packet_send(int fd, const void *packet, size_t size);
int __wrap_packet_send(int fd, const void *packet, size_t size);

int __wrap_packet_send(int fd, const void *packet, size_t size) {
        return send_error < 0 ? send_error : __real_packet_send(fd, packet, size);
}

/* ---- the worker ---- */

static void set_up(void) {
        now = START;
        send_error = 0;
        l = (struct link){.mem = 1 << 30, .flags = WIRE_FLAG_DRAINS};
        daemon_address(&l.address);
        strcpy(l.name, "guest");
        memset(l.uuid, 7, sizeof(l.uuid));
        link_init(&l);
}

static void tear_down(void) {
        link_down(&l);
        daemon_hang_up();
        daemon_deaf();
}

static void expect_read(enum link_event event, enum link_state state) {
        assert_int_equal(link_read(&l), event);
        assert_int_equal(l.state, state);
        assert_int_equal(l.fd < 0, state == LINK_DOWN);
}

/* From LINK_DOWN to LINK_WELCOMED. */
static struct wire_register welcome(void) {
        struct wire_register reg;

        link_step(&l, now, true);
        assert_int_equal(l.state, LINK_CONNECTED);
        daemon_accept();
        reg = daemon_hear_register();
        daemon_say(WIRE_VERSION, WIRE_WELCOME, 0);
        expect_read(LINK_NOTHING, LINK_WELCOMED);
        return reg;
}

static void set_up_welcomed(void) {
        set_up();
        daemon_listen(&l.address, 1);
        (void)welcome();
}

/* A welcomed link loses its daemon, and time passes until it may connect again. */
static void lose(void) {
        daemon_hang_up();
        expect_read(LINK_NOTHING, LINK_DOWN);
        now += USEC_PER_SEC;
}

static void begin(void) {
        link_job_begin(&l, WIRE_KIND_SHUTDOWN, 4096, GRACE);
}

static struct wire_outcome outcome_of(uint64_t seq) {
        return (struct wire_outcome){.seq = seq, .kind = WIRE_KIND_SHUTDOWN, .rc = 1, .rrc = 2};
}

/* ---- connecting ---- */

static void test_link_registers(void **state) {
        struct wire_register reg;

        set_up();
        daemon_listen(&l.address, 1);
        link_step(&l, now, false); /* no reason to */
        assert_int_equal(l.fd, -1);
        reg = welcome();
        assert_int_equal(fcntl(l.fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(fcntl(l.fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
        assert_int_equal(reg.state, WIRE_STATE_IDLE);
        assert_string_equal(reg.name, "guest");
        assert_memory_equal(reg.uuid, l.uuid, sizeof(l.uuid));
        assert_int_equal(reg.mem, 1 << 30);
        assert_int_equal(reg.last.seq, 0);
        assert_int_equal(reg.unreported, 0);
        assert_int_equal(reg.flags, WIRE_FLAG_DRAINS);
        link_step(&l, now, true);
        daemon_hear_nothing();
        assert_int_equal(link_wakeup(&l, true), USEC_INFINITY);
        tear_down();
}

static void test_link_retries(void **state) {
        static const uint64_t idle[] = {100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000};
        static const uint64_t waiting[] = {100, 200, 400, 800, 1000, 1000};

        set_up();
        for (size_t i = 0; i < ARRAY_SIZE(idle); i++) {
                link_step(&l, now, true);
                assert_int_equal(l.state, LINK_DOWN);
                assert_int_equal(l.fd, -1);
                assert_int_equal(link_wakeup(&l, true), now + idle[i] * MSEC);
                assert_int_equal(link_wakeup(&l, false), USEC_INFINITY);
                link_step(&l, now + idle[i] * MSEC - 1, true); /* too early */
                assert_int_equal(l.tried_at, now);
                now = link_wakeup(&l, true);
        }
        begin();
        for (size_t i = 0; i < ARRAY_SIZE(waiting); i++) {
                link_step(&l, now, false); /* a job is reason enough */
                assert_int_equal(l.tried_at, now);
                assert_int_equal(l.retry_at, now + waiting[i] * MSEC);
                now = l.retry_at;
        }
        daemon_listen(&l.address, 1);
        (void)welcome();
        lose();
        daemon_deaf();
        link_step(&l, now, true); /* WELCOME made it quick again */
        assert_int_equal(l.retry_at, now + 100 * MSEC);
        tear_down();
}

/* A job does not wait for what an idle link had in mind, but the least pause holds. */
static void test_link_job_hurries(void **state) {
        set_up();
        for (unsigned i = 0; i < 5; i++, now = l.retry_at)
                link_step(&l, now, true);
        now = l.tried_at + 30 * MSEC;
        begin();
        assert_int_equal(l.retry_at, l.tried_at + 100 * MSEC);
        assert_true(l.nobody);
        now = l.tried_at + 700 * MSEC;
        l.retry_at = now + 900 * MSEC;
        begin();
        assert_int_equal(l.retry_at, now);
        assert_false(l.nobody);
        l.retry_at = now - MSEC; /* was due */
        begin();
        assert_int_equal(l.retry_at, now - MSEC);
        tear_down();
}

static void test_link_older_daemon(void **state) {
        struct wire_outcome outcome = outcome_of(1);
        struct wire_register reg;

        set_up();
        daemon_listen(&l.address, 1);
        link_step(&l, now, true);
        daemon_accept();
        (void)daemon_hear_register();
        daemon_say(1, WIRE_UNGOVERNED, 0);
        expect_read(LINK_NOTHING, LINK_DOWN);
        now = link_wakeup(&l, true);
        assert_int_equal(now, START + 100 * MSEC);
        link_step(&l, now, true);
        daemon_accept();
        (void)daemon_hear_version(1, WIRE_HELLO);
        reg = daemon_hear_version(1, WIRE_REGISTER).reg;
        assert_int_equal(reg.mem, 1 << 30);
        daemon_say(1, WIRE_WELCOME, 0);
        expect_read(LINK_NOTHING, LINK_WELCOMED);

        link_quiet(&l); /* none of it exists in version 1 */
        begin();
        link_begun(&l);
        daemon_hear_nothing();
        assert_int_equal(l.begun, 1);
        link_job_end(&l, &outcome);
        (void)daemon_hear_version(1, WIRE_DONE);
        lose(); /* the next may be a newer one */
        reg = welcome();
        assert_int_equal(reg.flags, WIRE_FLAG_DRAINS | WIRE_FLAG_QUIET);
        assert_int_equal(daemon_hear(WIRE_DONE).done.outcome.seq, 1);
        tear_down();
}

static void test_link_ungoverned(void **state) {
        set_up_welcomed();
        daemon_say(WIRE_VERSION, WIRE_UNGOVERNED, 0);
        expect_read(LINK_UNGOVERNED, LINK_DOWN);
        now += 60 * USEC_PER_SEC;
        link_step(&l, now, true);
        assert_int_equal(l.state, LINK_DOWN);
        assert_int_equal(link_wakeup(&l, true), USEC_INFINITY);
        begin();
        assert_int_equal(welcome().state, WIRE_STATE_WAITING);
        tear_down();
}

/* ---- requests and grants ---- */

static void test_link_asks_once_per_connection(void **state) {
        union wire_message m;

        set_up_welcomed();
        begin();
        for (unsigned i = 0; i < 2; i++) {
                link_step(&l, now, true);
                m = daemon_hear(WIRE_REQUEST);
                assert_int_equal(m.request.kind, WIRE_KIND_SHUTDOWN);
                assert_int_equal(m.request.seq, 1);
                assert_int_equal(m.request.mem, 4096);
                link_step(&l, now, true);
                daemon_hear_nothing();
                lose();
                assert_int_equal(welcome().state, WIRE_STATE_WAITING);
        }
        for (uint64_t seq = 2; seq < 4; seq++) { /* another job instead */
                begin();
                link_step(&l, now, true);
                assert_int_equal(daemon_hear(WIRE_REQUEST).request.seq, seq);
        }
        link_job_drop(&l);
        link_step(&l, now, true);
        daemon_hear_nothing();
        tear_down();
}

static void test_link_grant(void **state) {
        union wire_message m;

        set_up_welcomed();
        begin();
        daemon_say(WIRE_VERSION, WIRE_GRANT, 9); /* whatever its number */
        daemon_say(WIRE_VERSION, WIRE_GRANT, 10);
        expect_read(LINK_GRANT, LINK_WELCOMED);
        daemon_hear_nothing();
        link_job_drop(&l);
        expect_read(LINK_NOTHING, LINK_WELCOMED); /* no job: it goes back */
        m = daemon_hear(WIRE_DONE);
        assert_int_equal(m.done.outcome.seq, 10);
        assert_int_equal(m.done.outcome.kind, WIRE_KIND_REBOOT);
        assert_int_equal(m.done.outcome.error, -ECANCELED);
        daemon_hear_nothing();
        tear_down();
}

static void test_link_begun_without_grant(void **state) {
        struct wire_outcome outcome = outcome_of(1);

        set_up_welcomed();
        begin();
        link_begun(&l); /* before anything was asked */
        assert_int_equal(daemon_hear(WIRE_REQUEST).request.seq, 1);
        assert_int_equal(daemon_hear(WIRE_BEGUN).begun.seq, 1);
        daemon_say(WIRE_VERSION, WIRE_GRANT, 1); /* crossed it */
        expect_read(LINK_NOTHING, LINK_WELCOMED);
        link_job_end(&l, &outcome);
        (void)daemon_hear(WIRE_DONE);
        daemon_say(WIRE_VERSION, WIRE_GRANT, 1);
        expect_read(LINK_NOTHING, LINK_WELCOMED);
        daemon_hear_nothing();

        begin();
        link_step(&l, now, true);
        (void)daemon_hear(WIRE_REQUEST);
        link_begun(&l);
        assert_int_equal(daemon_hear(WIRE_BEGUN).begun.seq, 2);
        begin();
        daemon_say(WIRE_VERSION, WIRE_GRANT, 3);
        expect_read(LINK_GRANT, LINK_WELCOMED);
        lose();
        link_begun(&l); /* nobody to tell; the job's end will say it */
        assert_int_equal(l.begun, 3);
        tear_down();
}

/* A GRANT that was sent before the daemon died is valid. */
static void test_link_reads_to_the_end(void **state) {
        set_up_welcomed();
        begin();
        daemon_say(WIRE_VERSION, WIRE_GRANT, 1);
        daemon_hang_up();
        link_step(&l, now, true); /* cannot be sent: nothing is lost by that */
        expect_read(LINK_GRANT, LINK_WELCOMED);
        expect_read(LINK_NOTHING, LINK_DOWN);
        tear_down();
}

static void test_link_malformed(void **state) {
        static const char junk[sizeof(union wire_message) + 8] = {};

        set_up_welcomed();
        daemon_send("\1\0", 2);
        expect_read(LINK_NOTHING, LINK_DOWN);
        now += USEC_PER_SEC;
        (void)welcome();
        daemon_send(junk, sizeof(junk));
        expect_read(LINK_NOTHING, LINK_DOWN);
        tear_down();
}

/* A daemon that does not read is left, and told everything on the next connection. */
static void test_link_full_queue(void **state) {
        struct wire_outcome outcome = outcome_of(1);

        set_up_welcomed();
        begin();
        for (unsigned i = 0; i < 10000 && l.state == LINK_WELCOMED; i++)
                link_progress(&l, 1); /* which may get lost */
        assert_int_equal(l.state, LINK_WELCOMED);
        link_job_end(&l, &outcome);
        assert_int_equal(l.state, LINK_DOWN);
        now += USEC_PER_SEC;
        assert_int_equal(welcome().last.seq, 1);
        tear_down();
}

static void test_link_cannot_send(void **state) {
        set_up();
        daemon_listen(&l.address, 1);
        send_error = -EPIPE;
        link_step(&l, now, true); /* no connection without a REGISTER */
        assert_int_equal(l.state, LINK_DOWN);
        assert_int_equal(l.fd, -1);
        assert_false(l.nobody);
        daemon_accept();
        daemon_hear_end();
        now += USEC_PER_SEC;
        send_error = 0;
        (void)welcome();
        begin();
        send_error = -ECONNRESET;
        link_step(&l, now, true); /* its last words are still to be read */
        assert_int_equal(l.state, LINK_WELCOMED);
        assert_false(l.requested);
        send_error = -ENOMEM;
        link_step(&l, now, true);
        assert_int_equal(l.state, LINK_DOWN);
        tear_down();
}

/* ---- outcomes, progress, quiet ---- */

static void test_link_outcome_until_acknowledged(void **state) {
        struct wire_outcome first = outcome_of(1), second = outcome_of(2);
        struct wire_register reg;
        union wire_message m;

        set_up_welcomed();
        begin();
        link_job_end(&l, &first);
        m = daemon_hear(WIRE_DONE);
        assert_memory_equal(&m.done.outcome, &first, sizeof(first));
        link_step(&l, now, true); /* there is no job any more */
        daemon_hear_nothing();
        lose();
        begin();
        link_job_end(&l, &second);
        reg = welcome();
        assert_memory_equal(&reg.last, &second, sizeof(second));
        assert_int_equal(reg.unreported, 1);
        assert_int_equal(daemon_hear(WIRE_DONE).done.outcome.seq, 2);
        daemon_say(WIRE_VERSION, WIRE_DONE_ACK, 1); /* of another one */
        expect_read(LINK_NOTHING, LINK_WELCOMED);
        assert_int_equal(l.unacked.seq, 2);
        daemon_say(WIRE_VERSION, WIRE_DONE_ACK, 2);
        expect_read(LINK_NOTHING, LINK_WELCOMED);
        lose();
        reg = welcome();
        assert_int_equal(reg.last.seq, 0);
        assert_int_equal(reg.unreported, 0);
        daemon_hear_nothing();
        tear_down();
}

static void test_link_progress_and_quiet(void **state) {
        set_up();
        daemon_listen(&l.address, 1);
        link_progress(&l, 5); /* nobody there: forgotten */
        link_step(&l, now, true);
        link_progress(&l, 6);
        link_quiet(&l); /* not welcomed yet: the next REGISTER says it */
        daemon_accept();
        assert_int_equal(daemon_hear_register().flags, WIRE_FLAG_DRAINS);
        daemon_hear_nothing();
        daemon_say(WIRE_VERSION, WIRE_WELCOME, 0);
        expect_read(LINK_NOTHING, LINK_WELCOMED);
        link_progress(&l, 7);
        assert_int_equal(daemon_hear(WIRE_PROGRESS).progress.bytes_left, 7);
        link_quiet(&l);
        (void)daemon_hear(WIRE_QUIET);
        lose();
        assert_int_equal(welcome().flags, WIRE_FLAG_DRAINS | WIRE_FLAG_QUIET);
        daemon_hear_nothing();
        tear_down();
}

/* ---- going ahead alone ---- */

static void test_link_nobody_listens(void **state) {
        set_up();
        link_step(&l, now, true);
        now += 10 * USEC_PER_SEC;
        begin();
        assert_false(link_must_go_ahead(&l, now)); /* that was then: it asks once more */
        assert_int_equal(link_wakeup(&l, false), START + 100 * MSEC);
        link_step(&l, now, false);
        assert_true(link_must_go_ahead(&l, now));
        assert_int_equal(link_wakeup(&l, false), 0);
        link_job_drop(&l);
        assert_false(link_must_go_ahead(&l, now));
        tear_down();
}

/* Somebody listens and never answers: a dead daemon's socket. */
static void test_link_grace_from_the_start(void **state) {
        set_up();
        daemon_listen(&l.address, 0);
        begin();
        link_step(&l, now, false);
        assert_int_equal(l.state, LINK_CONNECTED);
        assert_int_equal(link_wakeup(&l, false), START + GRACE);
        assert_false(link_must_go_ahead(&l, START + GRACE - 1));
        assert_true(link_must_go_ahead(&l, START + GRACE));
        link_down(&l);
        now += USEC_PER_SEC;
        for (unsigned i = 0; i < 3; i++, now += USEC_PER_SEC) { /* the backlog is full */
                link_step(&l, now, false);
                link_down(&l);
        }
        assert_false(l.nobody);
        assert_false(link_must_go_ahead(&l, START + GRACE - 1));
        assert_true(link_must_go_ahead(&l, START + GRACE));
        tear_down();
}

static void test_link_grace_from_the_loss(void **state) {
        set_up_welcomed();
        begin();
        now += 60 * USEC_PER_SEC;
        assert_false(link_must_go_ahead(&l, now));
        daemon_hang_up();
        daemon_deaf();
        expect_read(LINK_NOTHING, LINK_DOWN);
        link_step(&l, now, false); /* nobody, but there was somebody once */
        assert_int_equal(l.state, LINK_DOWN);
        assert_false(link_must_go_ahead(&l, now + GRACE - 1));
        assert_true(link_must_go_ahead(&l, now + GRACE));
        assert_int_equal(link_wakeup(&l, false), now + 100 * MSEC);
        daemon_listen(&l.address, 1);
        now += USEC_PER_SEC;
        link_step(&l, now, false);
        assert_int_equal(l.state, LINK_CONNECTED);
        link_down(&l); /* without a WELCOME it is no new loss */
        assert_true(link_must_go_ahead(&l, now + GRACE - USEC_PER_SEC));
        tear_down();
}

/* A daemon that is there, and grants nothing. The clock is the job's, whatever the link does. */
static void test_link_grace_of_the_grant(void **state) {
        const uint64_t hour = 3600 * USEC_PER_SEC;

        set_up_welcomed();
        begin();
        link_step(&l, now, true);
        assert_true(l.requested);
        assert_false(link_must_go_ahead(&l, now + 1000000 * hour));
        l.grant_grace = hour;
        assert_int_equal(link_wakeup(&l, true), START + hour);
        assert_false(link_must_go_ahead(&l, START + hour - 1));
        assert_true(link_must_go_ahead(&l, START + hour));
        now += hour - USEC_PER_SEC;
        lose();
        assert_true(
                link_must_go_ahead(&l, now)); /* it was lost just now: the other one is not over */
        link_job_drop(&l);
        assert_false(link_must_go_ahead(&l, now));
        begin();
        assert_false(link_must_go_ahead(&l, now + GRACE - 1));
        assert_true(link_must_go_ahead(&l, now + GRACE));
        tear_down();
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_link_registers),
                checked_test(test_link_retries),
                checked_test(test_link_job_hurries),
                checked_test(test_link_older_daemon),
                checked_test(test_link_ungoverned),
                checked_test(test_link_asks_once_per_connection),
                checked_test(test_link_grant),
                checked_test(test_link_begun_without_grant),
                checked_test(test_link_reads_to_the_end),
                checked_test(test_link_malformed),
                checked_test(test_link_full_queue),
                checked_test(test_link_cannot_send),
                checked_test(test_link_outcome_until_acknowledged),
                checked_test(test_link_progress_and_quiet),
                checked_test(test_link_nobody_listens),
                checked_test(test_link_grace_from_the_start),
                checked_test(test_link_grace_from_the_loss),
                checked_test(test_link_grace_of_the_grant),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
