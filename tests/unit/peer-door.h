/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * For tests of peers: a door at which they knock, with nobody but a crew behind it. Who is at the
 * other end is what the test says: a process with a pid, a start time and a unit, that may be a
 * worker or not (the linker's --wrap).
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

static inline void on_gone(void *userdata) {
        ((struct door *)userdata)->n_gone++;
}

static inline void open_door(struct door *d) {
        *d = (struct door){};
        crew_begin(&d->crew, 1);
        d->peers = (struct peers){.event = d->crew.event,
                                  .partings = {.event = d->crew.event},
                                  .workers = &d->crew.workers,
                                  .tally = &d->tally,
                                  .gone = on_gone,
                                  .userdata = d,
                                  .max = 100};
        TAILQ_INIT(&d->peers.list);
        who = (typeof(who)){.pid = 0x400001, .starttime = 1, .unit = "machine-one.scope"};
}

static inline void shut_door(struct door *d) {
        struct peer *peer;

        while ((peer = TAILQ_FIRST(&d->peers.list)))
                peer_free(peer);
        partings_deinit(&d->peers.partings);
        assert_int_equal(d->peers.n, 0);
        crew_end(&d->crew);
}

static inline void set_unit_limits(struct door *d, const struct unit_limits *limits) {
        unit_table_set_limits(&d->crew.governor.units, loop_now(d->crew.event), limits);
}

static inline void pass(struct door *d, uint64_t usec) {
        fake_time_pass(d->crew.event, usec);
}

/* The other end of a connection; *ret: what peer_new() said. */
static inline int try_to_connect(struct door *d, int *ret) {
        struct peer *peer;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
                         0);
        *ret = peer_new(&peer, &d->peers, &fds[0]);
        assert_int_equal(fds[0], -1);
        return fds[1];
}

static inline int knock(struct door *d) {
        int r, fd = try_to_connect(d, &r);

        assert_int_equal(r, 0);
        return fd;
}

static inline void say(int fd, uint16_t version, uint16_t type, uint64_t seq) {
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
static inline int hear(int fd) {
        char packet[WIRE_SIZE_MAX];
        union wire_message m;
        ssize_t n = packet_recv(fd, packet, sizeof(packet));

        if (n == -EAGAIN)
                return 0;
        return n <= 0 ? -1 : wire_decode(&m, WIRE_TO_WORKER, packet, (size_t)n);
}

static inline void say_hello(struct door *d, int fd) {
        say(fd, WIRE_VERSION, WIRE_HELLO, 0);
        say(fd, WIRE_VERSION, WIRE_REGISTER, 0);
        pass(d, 0);
}

static inline int enter(struct door *d) {
        int fd = knock(d);

        say_hello(d, fd);
        assert_int_equal(hear(fd), WIRE_WELCOME);
        return fd;
}

/* It is disconnected, and this is why. */
static inline void expect_out(struct door *d, int *fd, const char *why) {
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
