/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * When the daemon accepts, and when it stops for a while: it is full, or out of fds. The listener
 * and those that connect are real, the clock is ours. peer_new(), accept4(2), calloc(3) and the
 * limit of fds go through doors in here (the linker's --wrap).
 */

#include "fds.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "capture.h"
#include "daemon/worker/accept.h"
#include "loop.h"

#define SEC       USEC_PER_SEC
#define CALLS_MAX 40

static struct {
        int accept_error, peer_error, limit_error;
        bool no_memory;
        struct rlimit limit, set;
        unsigned n_accepts;
        int connections[CALLS_MAX]; /* taken over from accept.c */
        unsigned n;
} door;

int __real_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
int __wrap_peer_new(struct peer **ret, struct peers *peers, int *fd);
int __wrap_getrlimit64(int what, struct rlimit *ret);
int __wrap_setrlimit64(int what, const struct rlimit *limit);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size) {
        return door.no_memory ? NULL : __real_calloc(n, size);
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags) {
        door.n_accepts++;
        assert_int_equal(flags, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (door.accept_error != 0) {
                errno = door.accept_error;
                return -1;
        }
        return __real_accept4(fd, address, size, flags);
}

int __wrap_peer_new(struct peer **ret, struct peers *peers, int *fd) {
        if (door.peer_error < 0) {
                close_fd(fd);
                return door.peer_error;
        }
        assert_true(door.n < CALLS_MAX);
        door.connections[door.n++] = take_fd(fd);
        peers->n++;
        return 0;
}

int __wrap_getrlimit64(int what, struct rlimit *ret) {
        assert_int_equal(what, RLIMIT_NOFILE);
        *ret = door.limit;
        return door.limit_error;
}

int __wrap_setrlimit64(int what, const struct rlimit *limit) {
        assert_int_equal(what, RLIMIT_NOFILE);
        door.set = *limit;
        return 0;
}

struct house {
        sd_event *event;
        struct peers peers;
        struct acceptor *acceptor;
        struct sockaddr_un address; /* abstract */
        int clients[CALLS_MAX];
        unsigned n_clients;
};

static void begin(struct house *h, unsigned max) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        *h = (struct house){.address.sun_family = AF_UNIX};
        memset(&door, 0, sizeof(door));
        (void)snprintf(h->address.sun_path + 1, sizeof(h->address.sun_path) - 1, "test-accept-%d",
                       (int)getpid());
        assert_int_equal(bind(fd, (void *)&h->address, sizeof(h->address)), 0);
        assert_int_equal(listen(fd, CALLS_MAX), 0);
        fake_time_begin();
        assert_int_equal(sd_event_new(&h->event), 0);
        h->peers = (struct peers){.event = h->event, .max = max};
        assert_int_equal(acceptor_new(&h->acceptor, &h->peers, &fd), 0);
        assert_int_equal(fd, -1);
        fake_time_pass(h->event, 0);
}

static void end(struct house *h) {
        h->acceptor = acceptor_free(h->acceptor);
        h->event = sd_event_unref(h->event);
        fake_time_end();
        for (unsigned i = 0; i < h->n_clients; i++)
                close_fd(&h->clients[i]);
        for (unsigned i = 0; i < door.n; i++)
                close_fd(&door.connections[i]);
}

static void connect_some(struct house *h, unsigned n) {
        while (n-- > 0) {
                int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

                assert_int_equal(connect(fd, (void *)&h->address, sizeof(h->address)), 0);
                h->clients[h->n_clients++] = fd;
        }
}

/* How many are accepted by then, and what is said about it. */
static const char *pass(struct house *h, uint64_t usec) {
        capture_begin();
        fake_time_pass(h->event, usec);
        return capture_end();
}

static void test_all_are_accepted(void **state) {
        struct house h;

        begin(&h, 100);
        connect_some(&h, 1);
        assert_string_equal(pass(&h, 0), "");
        assert_int_equal(door.n, 1);
        connect_some(&h, 30);
        assert_string_equal(pass(&h, 0), "");
        assert_int_equal(door.n, 31);
        end(&h);
}

/* A flood does not hold the loop: others have their turn. */
static void test_a_few_at_a_time(void **state) {
        struct house h;

        begin(&h, 100);
        connect_some(&h, 30);
        assert_true(sd_event_run(h.event, 0) > 0);
        assert_int_equal(door.n, 16);
        assert_true(sd_event_run(h.event, 0) > 0);
        assert_int_equal(door.n, 30);
        end(&h);
}

static void test_it_is_full(void **state) {
        struct house h;

        begin(&h, 2);
        connect_some(&h, 3);
        assert_non_null(
                strstr(pass(&h, 0), "2 connections, the most that fit: accepting no more for now"));
        assert_int_equal(door.n, 2);
        acceptor_look_again(h.acceptor); /* nobody has gone */
        pass(&h, 0);
        assert_int_equal(door.n_accepts, 2);
        h.peers.n--;
        acceptor_look_again(h.acceptor);
        pass(&h, 0);
        assert_int_equal(door.n, 3);
        end(&h);
}

/* Connections that are on their way out have their fds still. */
static void test_it_is_full_of_those_that_leave(void **state) {
        struct house h;

        begin(&h, 2);
        h.peers.partings.n = 1;
        connect_some(&h, 2);
        assert_non_null(strstr(pass(&h, 0), "2 connections, the most that fit"));
        assert_int_equal(door.n, 1);
        h.peers.partings.n = 0;
        pass(&h, SEC); /* it looks again by itself */
        assert_int_equal(door.n, 2);
        end(&h);
}

/* Full at the end of a pause: it waits until somebody goes. */
static void test_it_stays_full(void **state) {
        struct house h;

        begin(&h, 1);
        connect_some(&h, 2);
        pass(&h, 30 * SEC);
        assert_int_equal(door.n_accepts, 1);
        h.peers.n--;
        acceptor_look_again(h.acceptor);
        pass(&h, 0);
        assert_int_equal(door.n, 2);
        end(&h);
}

/* Going on would spin. */
static void test_it_is_out_of_fds(void **state) {
        struct house h;

        begin(&h, 100);
        door.accept_error = EMFILE;
        connect_some(&h, 2);
        assert_non_null(strstr(pass(&h, 0), "cannot accept a connection: Too many open files"));
        pass(&h, SEC - 1);
        assert_int_equal(door.n_accepts, 1);
        pass(&h, 1);
        assert_int_equal(door.n_accepts, 2);
        pass(&h, 3 * SEC);
        assert_int_equal(door.n_accepts, 5);
        door.accept_error = 0;
        pass(&h, SEC);
        assert_int_equal(door.n, 2);
        end(&h);
}

static void test_a_refused_one_holds_up_nobody(void **state) {
        struct house h;

        begin(&h, 100);
        door.peer_error = -ECONNREFUSED; /* peer.c has logged it */
        connect_some(&h, 2);
        assert_string_equal(pass(&h, 0), "");
        door.peer_error = -ENOMEM;
        connect_some(&h, 1);
        assert_non_null(strstr(pass(&h, 0), "cannot serve a connection: Cannot allocate memory"));
        door.peer_error = 0;
        connect_some(&h, 1);
        assert_string_equal(pass(&h, 0), "");
        assert_int_equal(door.n, 1);
        end(&h);
}

static void test_as_many_as_there_are_fds(void **state) {
        static const struct {
                rlim_t hard;
                unsigned peers;
        } rows[] = {{0, 1},   {131, 1},         {132, 1},
                    {136, 2}, {524288, 131040}, {RLIM_INFINITY, 249968}};

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                memset(&door, 0, sizeof(door));
                door.limit = (struct rlimit){.rlim_cur = 1, .rlim_max = rows[i].hard};
                assert_int_equal(acceptor_max_peers(), rows[i].peers);
                assert_true(door.set.rlim_cur == rows[i].hard);
                assert_true(door.set.rlim_max == rows[i].hard);
        }
        door.limit_error = -1;
        assert_int_equal(acceptor_max_peers(), 256);
}

static void test_without_an_acceptor(void **state) {
        acceptor_look_again(NULL);
        assert_null(acceptor_free(NULL));
}

/* The listener is closed all the same. */
static void test_without_memory(void **state) {
        struct acceptor *acceptor = NULL;
        struct peers peers = {};
        int fd = eventfd(0, EFD_CLOEXEC);

        memset(&door, 0, sizeof(door));
        door.no_memory = true;
        assert_int_equal(acceptor_new(&acceptor, &peers, &fd), -ENOMEM);
        door.no_memory = false;
        assert_int_equal(fd, -1);
        assert_null(acceptor);
}

static int on_other(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        *(unsigned *)userdata = door.n;
        return sd_event_source_set_enabled(source, SD_EVENT_OFF);
}

/* In a flood an end of a worker, or a client of the bus, is not behind those that connect. */
static void test_others_come_first(void **state) {
        const int64_t priorities[] = {0, 1, 10};
        struct house h;

        begin(&h, 100);
        for (size_t i = 0; i < ARRAY_SIZE(priorities); i++) {
                _cleanup_(close_fd) int fd = eventfd(1, EFD_CLOEXEC);
                unsigned n_before = door.n, n_accepted = UINT32_MAX;
                sd_event_source *source = NULL;

                assert_int_equal(
                        sd_event_add_io(h.event, &source, fd, EPOLLIN, on_other, &n_accepted), 0);
                assert_int_equal(sd_event_source_set_priority(source, priorities[i]), 0);
                connect_some(&h, 10);
                (void)pass(&h, 0);
                assert_int_equal(n_accepted, n_before);
                assert_int_equal(door.n, n_before + 10);
                sd_event_source_disable_unref(source);
        }
        end(&h);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_all_are_accepted),
                checked_test(test_a_few_at_a_time),
                checked_test(test_others_come_first),
                checked_test(test_it_is_full),
                checked_test(test_it_is_full_of_those_that_leave),
                checked_test(test_it_stays_full),
                checked_test(test_it_is_out_of_fds),
                checked_test(test_a_refused_one_holds_up_nobody),
                checked_test(test_as_many_as_there_are_fds),
                checked_test(test_without_an_acceptor),
                checked_test(test_without_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
