/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Connections of workers: what their unit pays. It pays for each connection, new ones and what they
 * say, and for one that brought fds until those are closed. The clock stands still between the
 * steps.
 */

#include "peer-door.h"

/* ---- fds ---- */

/* On a kernel before 6.16, which passes them. Who closes them is test-parting.c's. */
static void test_who_sends_fds(void **state) {
        struct wire_hello hello = {.header = {.version = WIRE_VERSION, .type = WIRE_HELLO}};
        int fd, passed[2];
        struct door d;
        char c;

        open_door(&d);
        fd = knock(&d);
        assert_int_equal(pipe2(passed, O_CLOEXEC), 0);
        assert_int_equal(packet_send_fd(fd, &hello, sizeof(hello), passed[1]), 0);
        close_fd(&passed[1]);
        expect_out(&d, &fd, "sent file descriptors: disconnected");
        assert_int_equal(read(passed[0], &c, 1), 0);
        close_fd(&passed[0]);
        while (waitpid(-1, NULL, 0) > 0)
                continue;
        shut_door(&d);
}

/* One that was refused at once, too, is its unit's until its fds are gone. */
static void test_who_is_refused_with_fds_pays(void **state) {
        const struct unit_limits limits = {.pool = {100, 100}, .most = {1, 100}};
        int r, pair[2], fd, passed[2];
        const struct unit *unit;
        struct peer *peer;
        struct door d;

        open_door(&d);
        set_unit_limits(&d, &limits);
        fd = knock(&d);
        unit = TAILQ_FIRST(&d.peers.list)->charge.unit;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(pipe2(passed, O_CLOEXEC), 0);
        assert_int_equal(packet_send_fd(pair[1], "x", 1, passed[1]), 0);
        capture_begin();
        r = peer_new(&peer, &d.peers, &pair[0]);
        (void)capture_end();
        assert_int_equal(r, -ECONNREFUSED);
        assert_int_equal(unit->used[UNIT_CONNECTIONS], 2);
        assert_true(waitpid(-1, NULL, 0) > 0);
        pass(&d, 0);
        assert_int_equal(unit->used[UNIT_CONNECTIONS], 1);
        for (unsigned i = 0; i < 2; i++)
                close_fd(&passed[i]);
        close_fd(&pair[1]);
        close_fd(&fd);
        shut_door(&d);
}

/* ---- what a unit may do ---- */

static void test_a_unit_that_connects_too_often(void **state) {
        const struct unit_limits limits = {
                .pool = {100, 100}, .most = {100, 100}, .arrivals_per_sec = 1, .arrivals_burst = 2};
        int r, fds[6];
        struct door d;

        open_door(&d);
        set_unit_limits(&d, &limits);
        fds[0] = enter(&d);
        fds[1] = knock(&d); /* it is known: that is not charged */
        who.starttime = 2;
        fds[2] = knock(&d);
        capture_begin();
        fds[3] = try_to_connect(&d, &r);
        assert_non_null(strstr(capture_end(), "its unit has too many connections or new ones"));
        assert_int_equal(r, -ECONNREFUSED);
        assert_int_equal(hear(fds[3]), WIRE_UNGOVERNED);
        assert_int_equal(hear(fds[3]), -1);
        who.unit = "machine-two.scope"; /* nobody else is held up */
        fds[4] = knock(&d);
        who.unit = "machine-one.scope";
        pass(&d, SEC);
        fds[5] = knock(&d);
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
                close_fd(&fds[i]);
        shut_door(&d);
}

static void test_a_unit_with_too_many_connections(void **state) {
        const struct unit_limits limits = {.pool = {100, 100}, .most = {2, 100}};
        int r, fds[4];
        struct door d;

        open_door(&d);
        set_unit_limits(&d, &limits);
        fds[0] = knock(&d);
        fds[1] = knock(&d);
        capture_begin();
        fds[2] = try_to_connect(&d, &r);
        assert_non_null(strstr(capture_end(), "its unit has too many connections or new ones"));
        assert_int_equal(r, -ECONNREFUSED);
        assert_int_equal(hear(fds[2]), WIRE_UNGOVERNED);
        close_fd(&fds[0]);
        pass(&d, 0);
        fds[3] = knock(&d);
        for (size_t i = 1; i < ARRAY_SIZE(fds); i++)
                close_fd(&fds[i]);
        shut_door(&d);
}

/* Nothing is lost: it waits in the socket. */
static void test_a_unit_that_says_too_much(void **state) {
        const struct unit_limits limits = {
                .pool = {100, 100}, .most = {100, 100}, .packets_per_sec = 1, .packets_burst = 2};
        struct worker *w;
        struct door d;
        int fd;

        open_door(&d);
        set_unit_limits(&d, &limits);
        fd = enter(&d);
        w = TAILQ_FIRST(&d.crew.workers.list);
        say(fd, WIRE_VERSION, WIRE_REQUEST, 1);
        say(fd, WIRE_VERSION, WIRE_REQUEST, 2);
        say(fd, WIRE_VERSION, WIRE_REQUEST, 3);
        pass(&d, 0);
        assert_int_equal(w->job->seq, 1);
        pass(&d, SEC);
        assert_int_equal(w->job->seq, 2);
        pass(&d, SEC);
        assert_int_equal(w->job->seq, 3);
        assert_int_equal(d.peers.n, 1);
        close_fd(&fd);
        shut_door(&d);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_who_sends_fds),
                checked_test_unless(no_pidfd_open(), test_who_is_refused_with_fds_pays),
                checked_test(test_a_unit_that_connects_too_often),
                checked_test(test_a_unit_with_too_many_connections),
                checked_test(test_a_unit_that_says_too_much),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
