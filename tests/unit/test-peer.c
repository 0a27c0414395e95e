/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Connections of workers: the order of messages, and who is refused. A breach of the order costs
 * the peer its connection, and nobody else anything. The clock stands still between the steps.
 * test-peer-unit.c has what a unit may do, and what fds cost.
 */

#include "peer-door.h"

/* It is told to go ahead without us, disconnected, and this is why. */
static void expect_refused(struct door *d, const char *why) {
        int fd = knock(d);
        const char *said;

        capture_begin();
        say_hello(d, fd);
        said = capture_end();
        assert_non_null(strstr(said, why));
        assert_int_equal(hear(fd), WIRE_UNGOVERNED);
        assert_int_equal(hear(fd), -1);
        close_fd(&fd);
}

/* ---- the order of messages ---- */

static void test_a_worker_is_welcome(void **state) {
        struct door d;
        int fd;

        open_door(&d);
        fd = enter(&d);
        assert_int_equal(d.peers.n, 1);
        assert_int_equal(d.crew.workers.n, 1);
        assert_ptr_equal(TAILQ_FIRST(&d.peers.list)->worker, TAILQ_FIRST(&d.crew.workers.list));
        pass(&d, 60 * SEC); /* it has registered in time */
        assert_int_equal(hear(fd), 0);
        close_fd(&fd);
        expect_out(&d, &fd, NULL);
        assert_int_equal(d.crew.workers.n, 1);
        assert_null(TAILQ_FIRST(&d.crew.workers.list)->channel);
        shut_door(&d);
}

static void test_who_does_not_register(void **state) {
        struct door d;
        int fd;

        open_door(&d);
        fd = knock(&d);
        say(fd, WIRE_VERSION, WIRE_HELLO, 0);
        pass(&d, 10 * SEC - 1);
        assert_int_equal(hear(fd), 0);
        capture_begin();
        pass(&d, 10 * USEC_PER_MSEC);
        assert_non_null(strstr(capture_end(), "connected and did not register in time"));
        assert_int_equal(hear(fd), -1);
        assert_int_equal(d.peers.n, 0);
        close_fd(&fd);
        shut_door(&d);
}

static void test_every_message_arrives(void **state) {
        struct worker *w;
        struct door d;
        int fd;

        open_door(&d);
        fd = enter(&d);
        w = TAILQ_FIRST(&d.crew.workers.list);
        say(fd, WIRE_VERSION, WIRE_REQUEST, 4);
        pass(&d, 0);
        assert_int_equal(w->job->seq, 4);
        say(fd, WIRE_VERSION, WIRE_BEGUN, 4);
        pass(&d, 0);
        assert_true(w->job->ungoverned);
        say(fd, WIRE_VERSION, WIRE_PROGRESS, 1000);
        pass(&d, 0);
        assert_int_equal(w->job->bytes_left, 1000);
        say(fd, WIRE_VERSION, WIRE_DONE, 4);
        pass(&d, 0);
        assert_int_equal(hear(fd), WIRE_DONE_ACK);
        assert_int_equal(d.crew.n_ended, 1);
        say(fd, WIRE_VERSION, WIRE_QUIET, 0);
        pass(&d, 0);
        assert_true(w->says_quiet);
        close_fd(&fd);
        shut_door(&d);
}

static void test_messages_out_of_order(void **state) {
        static const char broken[] = "sent an unknown or misplaced message";
        struct door d;
        int fd;

        open_door(&d);
        fd = knock(&d);
        say(fd, WIRE_VERSION, WIRE_REGISTER, 0);
        expect_out(&d, &fd, broken);
        fd = knock(&d);
        say(fd, WIRE_VERSION, WIRE_HELLO, 0);
        say(fd, WIRE_VERSION, WIRE_HELLO, 0);
        expect_out(&d, &fd, broken);
        fd = knock(&d);
        say(fd, WIRE_VERSION, WIRE_HELLO, 0);
        say(fd, WIRE_VERSION, WIRE_REQUEST, 1);
        expect_out(&d, &fd, broken);
        fd = knock(&d);
        say(fd, WIRE_VERSION, WIRE_HELLO, 0);
        say(fd, WIRE_VERSION - 1, WIRE_REGISTER, 0);
        expect_out(&d, &fd, broken);
        fd = enter(&d);
        say(fd, WIRE_VERSION, WIRE_REGISTER, 0);
        expect_out(&d, &fd, broken);
        fd = enter(&d);
        say(fd, WIRE_VERSION, WIRE_BEGUN, 1); /* of nothing: what protocol.c refuses */
        expect_out(&d, &fd, broken);
        shut_door(&d);
}

static void test_what_is_no_message(void **state) {
        struct door d;
        int fd;

        open_door(&d);
        fd = knock(&d);
        assert_int_equal(packet_send(fd, "nonsense", 8), 0);
        expect_out(&d, &fd, "unknown or misplaced message");
        shut_door(&d);
}

static void test_a_version_of_the_future(void **state) {
        struct wire_hello hello = {.header = {.version = 99, .type = WIRE_HELLO}};
        struct door d;
        int fd;

        open_door(&d);
        fd = knock(&d);
        assert_int_equal(packet_send(fd, &hello, sizeof(hello)), 0);
        capture_begin();
        pass(&d, 0);
        assert_non_null(strstr(capture_end(), "is not governed"));
        assert_int_equal(hear(fd), WIRE_UNGOVERNED);
        assert_int_equal(hear(fd), -1);
        close_fd(&fd);
        shut_door(&d);
}

/* An older version is answered in itself. */
static void test_a_version_of_the_past(void **state) {
        struct door d;
        int fd;

        open_door(&d);
        fd = knock(&d);
        say(fd, 1, WIRE_HELLO, 0);
        say(fd, 1, WIRE_REGISTER, 0);
        pass(&d, 0);
        assert_int_equal(hear(fd), WIRE_WELCOME);
        assert_int_equal(TAILQ_FIRST(&d.crew.workers.list)->version, 1);
        assert_int_equal(TAILQ_FIRST(&d.crew.workers.list)->channel->version, 1);
        close_fd(&fd);
        shut_door(&d);
}

/* ---- who is refused ---- */

static void test_who_may_not_be_a_worker(void **state) {
        struct door d;

        open_door(&d);
        who.error = -EPERM;
        expect_refused(&d, "is not governed: Operation not permitted");
        who.error = -EDQUOT;
        expect_refused(&d, "is not governed: its unit has too many connections or new ones");
        assert_int_equal(d.tally.n_threaded, 0);
        who.error = -EUSERS;
        expect_refused(&d, "is not governed: it has more than one thread");
        assert_int_equal(d.tally.n_threaded, 1);
        who.error = 0;
        who.gone = true;
        expect_refused(&d, "is not governed: No such process");
        assert_int_equal(d.crew.workers.n, 0);
        assert_int_equal(d.peers.n, 0);
        shut_door(&d);
}

/* No new ones while the daemon drains; one that is known may come back, also if it was sent away.
 */
static void test_who_comes_while_it_drains(void **state) {
        struct door d;
        int fd;

        open_door(&d);
        fd = enter(&d);
        close_fd(&fd);
        pass(&d, 0);
        governor_set_mode(&d.crew.governor, loop_now(d.crew.event), GOVERNOR_DRAINING, true);
        fd = enter(&d);
        who.starttime = 2;
        expect_refused(&d, "is not governed: the daemon takes in no new VMs");
        close_fd(&fd);
        assert_int_equal(d.crew.workers.n, 2);
        assert_int_equal(TAILQ_LAST(&d.crew.workers.list, worker_list)->state, WORKER_SENT_AWAY);
        assert_int_equal(d.crew.n_marks, 4); /* twice each: it registered, it was sent away */
        governor_set_mode(&d.crew.governor, loop_now(d.crew.event), GOVERNOR_DRAINING, false);
        who.error = -EPERM;
        fd = enter(&d);
        assert_int_equal(d.crew.workers.n, 2);
        close_fd(&fd);
        shut_door(&d);
}

static void test_a_closer_that_comes_while_it_drains_is_forgotten(void **state) {
        struct door d;

        open_door(&d);
        governor_set_mode(&d.crew.governor, loop_now(d.crew.event), GOVERNOR_DRAINING, true);
        who.sort = WORKER_CLOSER;
        expect_refused(&d, "is not governed: the daemon takes in no new VMs");
        assert_int_equal(d.crew.workers.n, 0);
        shut_door(&d);
}

/* It came back before we saw its old connection end. */
static void test_a_worker_comes_back(void **state) {
        struct worker *w;
        int old, fd;
        struct door d;

        open_door(&d);
        old = enter(&d);
        w = TAILQ_FIRST(&d.crew.workers.list);
        fd = enter(&d);
        assert_int_equal(hear(old), -1);
        assert_int_equal(d.crew.workers.n, 1);
        assert_int_equal(d.peers.n, 1);
        assert_ptr_equal(w->channel, &TAILQ_FIRST(&d.peers.list)->channel);
        say(fd, WIRE_VERSION, WIRE_REQUEST, 1);
        pass(&d, 0);
        assert_int_equal(w->job->seq, 1);
        close_fd(&old);
        close_fd(&fd);
        shut_door(&d);
}

static void test_who_is_sent_away(void **state) {
        struct door d;
        int stranger, fd;

        open_door(&d);
        fd = enter(&d);
        assert_int_equal(peer_send_away(TAILQ_FIRST(&d.peers.list)), 0);
        assert_int_equal(hear(fd), WIRE_UNGOVERNED);
        assert_int_equal(TAILQ_FIRST(&d.crew.workers.list)->state, WORKER_SENT_AWAY);
        stranger = knock(&d);
        assert_int_equal(peer_send_away(TAILQ_LAST(&d.peers.list, peer_list)), 0);
        assert_int_equal(hear(stranger), WIRE_UNGOVERNED);
        close_fd(&stranger);
        close_fd(&fd);
        shut_door(&d);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_a_worker_is_welcome),
                checked_test(test_who_does_not_register),
                checked_test(test_every_message_arrives),
                checked_test(test_messages_out_of_order),
                checked_test(test_what_is_no_message),
                checked_test(test_a_version_of_the_future),
                checked_test(test_a_version_of_the_past),
                checked_test(test_who_may_not_be_a_worker),
                checked_test(test_who_comes_while_it_drains),
                checked_test(test_a_closer_that_comes_while_it_drains_is_forgotten),
                checked_test(test_a_worker_comes_back),
                checked_test(test_who_is_sent_away),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
