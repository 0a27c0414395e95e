/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Connections of workers: the order of messages, what a breach of it costs, and whom: a peer loses
 * its connection, and its unit what it says too much. The clock stands still between the steps.
 * Who is at the other end goes through doors in here (the linker's --wrap): a process of which this
 * test says pid, start time and unit, and whether it may be a worker.
 */

#include "fds.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/packet.h"
#include "capture.h"
#include "crew.h"
#include "daemon/runtime/loop.h"
#include "daemon/runtime/process.h"
#include "daemon/worker/admit.h"
#include "daemon/worker/peer.h"
#include "loop.h"

#define SEC USEC_PER_SEC

/* ---- who is at the other end ---- */

static struct {
        pid_t pid;
        uint64_t starttime;
        const char *unit;
        enum worker_sort sort;
        int error; /* why it may not be a worker */
        bool gone; /* it ended after it was looked at */
} who;

int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_process_of_peer(int socket, int *ret_pidfd, pid_t *ret_pid);
int __wrap_process_read_stat(pid_t pid, struct task_stat *ret);
int __wrap_process_unit(pid_t pid, char **ret);
int __wrap_worker_new(struct worker **ret, struct workers *workers, pid_t pid,
                      const struct task_stat *stat, int *pidfd);

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
        int r = __real_getsockopt(fd, level, name, value, size);

        if (level == SOL_SOCKET && name == SO_PEERCRED)
                ((struct ucred *)value)->pid = who.pid;
        return r;
}

int __wrap_process_of_peer(int socket, int *ret_pidfd, pid_t *ret_pid) {
        *ret_pidfd = eventfd(who.gone, EFD_CLOEXEC);
        *ret_pid = who.pid;
        return 0;
}

int __wrap_process_read_stat(pid_t pid, struct task_stat *ret) {
        assert_int_equal(pid, who.pid);
        *ret = (struct task_stat){.starttime = who.starttime, .n_threads = 1};
        return 0;
}

int __wrap_process_unit(pid_t pid, char **ret) {
        *ret = strdup(who.unit);
        return 0;
}

int __wrap_worker_new(struct worker **ret, struct workers *workers, pid_t pid,
                      const struct task_stat *stat, int *pidfd) {
        int r = who.error;

        if (r < 0)
                return r;
        r = worker_alloc(ret, workers, pid, stat->starttime);
        (*ret)->pidfd = take_fd(pidfd);
        (*ret)->unit = strdup(who.unit);
        (*ret)->sort = who.sort;
        return r;
}

int __wrap_packet_discard(int fd);
int __wrap_packet_refuse_fds(int fd);

/* Not the real one, for qemu-user's recvmsg(2) cannot do that; see test-packet.c. */
int __wrap_packet_discard(int fd) {
        char packet[WIRE_SIZE_MAX];
        ssize_t n;

        while ((n = packet_recv(fd, packet, sizeof(packet))) > 0)
                continue;
        return (int)n;
}

int __wrap_packet_refuse_fds(int fd) {
        return -ENOPROTOOPT;
}

/* ---- a door for peers ---- */

struct door {
        struct crew crew;
        struct tally tally;
        struct peers peers;
        unsigned n_gone;
};

static void on_gone(void *userdata) {
        ((struct door *)userdata)->n_gone++;
}

static void open_door(struct door *d) {
        *d = (struct door){};
        crew_begin(&d->crew, 1);
        d->peers = (struct peers){.event = d->crew.event,
                                  .workers = &d->crew.workers,
                                  .tally = &d->tally,
                                  .gone = on_gone,
                                  .userdata = d,
                                  .max = 100};
        TAILQ_INIT(&d->peers.list);
        who = (typeof(who)){.pid = 0x400001, .starttime = 1, .unit = "machine-one.scope"};
}

static void shut_door(struct door *d) {
        struct peer *peer;

        while ((peer = TAILQ_FIRST(&d->peers.list)))
                peer_free(peer);
        assert_int_equal(d->peers.n, 0);
        crew_end(&d->crew);
}

static void set_unit_limits(struct door *d, const struct unit_limits *limits) {
        unit_table_set_limits(&d->crew.governor.units, loop_now(d->crew.event), limits);
}

static void pass(struct door *d, uint64_t usec) {
        fake_time_pass(d->crew.event, usec);
}

/* The other end of a connection; *ret: what peer_new() said. */
static int try_to_connect(struct door *d, int *ret) {
        struct peer *peer;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
                         0);
        *ret = peer_new(&peer, &d->peers, &fds[0]);
        assert_int_equal(fds[0], -1);
        return fds[1];
}

static int knock(struct door *d) {
        int r, fd = try_to_connect(d, &r);

        assert_int_equal(r, 0);
        return fd;
}

static void say(int fd, uint16_t version, uint16_t type, uint64_t seq) {
        union wire_message m = {};
        int size;

        if (type == WIRE_REQUEST) {
                m.request.kind = WIRE_KIND_REBOOT;
                m.request.seq = seq;
                m.request.mem = 4096;
        } else if (type == WIRE_BEGUN) {
                m.begun.seq = seq;
        } else if (type == WIRE_PROGRESS) {
                m.progress.bytes_left = seq;
        } else if (type == WIRE_DONE) {
                m.done.outcome = (struct wire_outcome){.seq = seq, .kind = WIRE_KIND_REBOOT};
        }
        size = wire_encode(&m, version, type);
        assert_true(size > 0);
        assert_int_equal(packet_send(fd, &m, (size_t)size), 0);
}

/* The type of the next message; 0: none; -1: the connection has ended. */
static int hear(int fd) {
        char packet[WIRE_SIZE_MAX];
        union wire_message m;
        ssize_t n = packet_recv(fd, packet, sizeof(packet));

        if (n == -EAGAIN)
                return 0;
        return n <= 0 ? -1 : wire_decode(&m, WIRE_TO_WORKER, packet, (size_t)n);
}

static void say_hello(struct door *d, int fd) {
        say(fd, WIRE_VERSION, WIRE_HELLO, 0);
        say(fd, WIRE_VERSION, WIRE_REGISTER, 0);
        pass(d, 0);
}

static int enter(struct door *d) {
        int fd = knock(d);

        say_hello(d, fd);
        assert_int_equal(hear(fd), WIRE_WELCOME);
        return fd;
}

/* It is disconnected, and this is why. */
static void expect_out(struct door *d, int *fd, const char *why) {
        unsigned n_gone = d->n_gone;
        const char *said;

        capture_begin();
        pass(d, 0);
        said = capture_end();
        if (why)
                assert_non_null(strstr(said, why));
        else
                assert_string_equal(said, "");
        assert_int_equal(hear(*fd), -1);
        assert_int_equal(d->n_gone, n_gone + 1);
        close_fd(fd);
}

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

/* ---- fds ---- */

/* On a kernel before 6.16, which passes them. Who closes them is test-channel.c's. */
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
                checked_test(test_who_sends_fds),
                checked_test(test_a_unit_that_connects_too_often),
                checked_test(test_a_unit_with_too_many_connections),
                checked_test(test_a_unit_that_says_too_much),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
