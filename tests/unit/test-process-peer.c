/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The part of process.h that says who somebody is: the process at the other end of a socket, and
 * whether two share an address space. getsockopt(2) goes through a door in here (the linker's
 * --wrap), for kernels without SO_PEERPIDFD, and for kernels that have it and say no.
 */

#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "children.h"
#include "daemon/runtime/process.h"

#define PEERPIDFD 77

static int peerpidfd_error; /* what SO_PEERPIDFD says instead of working */

int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
        if (level == SOL_SOCKET && name == PEERPIDFD && peerpidfd_error != 0) {
                errno = peerpidfd_error;
                return -1;
        }
        return __real_getsockopt(fd, level, name, value, size);
}

/* ---- who is at the other end ---- */

struct server {
        struct sockaddr_un address; /* abstract */
        int fd;
};

static struct server server_new(void) {
        struct server s = {.address.sun_family = AF_UNIX};

        (void)snprintf(s.address.sun_path + 1, sizeof(s.address.sun_path) - 1, "test-process-%d",
                       (int)getpid());
        s.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(s.fd, (void *)&s.address, sizeof(s.address)), 0);
        assert_int_equal(listen(s.fd, 1), 0);
        return s;
}

static const char *no_pidfd(void) {
        socklen_t size = sizeof(int);
        int fds[2], pidfd = -1;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return "no sockets";
        (void)getsockopt(fds[0], SOL_SOCKET, PEERPIDFD, &pidfd, &size);
        (void)close(fds[0]);
        (void)close(fds[1]);
        if (pidfd < 0)
                return no_pidfd_open();
        (void)close(pidfd);
        return NULL;
}

static void check_peer(void) {
        struct server server = server_new();
        struct child child = child_new("peer", &server.address);
        int fd = accept4(server.fd, NULL, NULL, SOCK_CLOEXEC), pidfd = -1;
        pid_t pid = 0;

        assert_true(fd >= 0);
        assert_int_equal(process_of_peer(fd, &pidfd, &pid), 0);
        assert_int_equal(pid, child.pid);
        assert_int_equal(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(process_alive(pidfd), 1);
        child_make_zombie(&child);
        assert_int_equal(process_alive(pidfd), 0);
        child_end(&child);
        assert_int_equal(process_alive(pidfd), 0);
        close_fd(&pidfd);
        /* it is gone: nobody may be taken for it */
        pid = 0;
        assert_int_equal(process_of_peer(fd, &pidfd, &pid), -ESRCH);
        assert_int_equal(pidfd, -1);
        assert_int_equal(pid, 0);
        close_fd(&fd);
        close_fd(&server.fd);
}

static void test_process_of_peer(void **state) {
        check_peer();
}

static void test_process_of_peer_before_peerpidfd(void **state) {
        peerpidfd_error = ENOPROTOOPT;
        check_peer();
        peerpidfd_error = 0;
}

/*
 * A kernel that has SO_PEERPIDFD and says that the peer is gone (before 6.16: whenever it was
 * reaped) has the last word: its number in SO_PEERCRED may be somebody else's by now. The peer here
 * is alive, in the part of that somebody else.
 */
static void test_process_of_peer_no_second_guess(void **state) {
        static const int errors[] = {ESRCH, EINVAL, ENODATA, EMFILE};
        int fds[2], r[ARRAY_SIZE(errors)], pidfd[ARRAY_SIZE(errors)];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
                pid_t pid = 0;

                pidfd[i] = -1;
                peerpidfd_error = errors[i];
                r[i] = process_of_peer(fds[0], &pidfd[i], &pid);
                peerpidfd_error = 0;
                close_fd(&pidfd[i]);
        }
        close_fd(&fds[0]);
        close_fd(&fds[1]);
        for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
                assert_true(r[i] < 0);
}

static void test_process_of_peer_errors(void **state) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC), pidfd = -1;
        pid_t pid = 0;

        assert_int_equal(process_of_peer(-1, &pidfd, &pid), -EBADF);
        assert_int_equal(process_of_peer(null, &pidfd, &pid), -ENOTSOCK);
        assert_int_equal(pidfd, -1);
        close_fd(&null);
}

static void test_process_alive_on_nonsense(void **state) {
        int pipes[2];

        assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
        assert_int_equal(process_alive(pipes[0]),
                         1); /* nothing to read: as a pidfd of the living */
        close_fd(&pipes[0]);
        close_fd(&pipes[1]);
}

/* ---- address spaces ---- */

static const char *no_kcmp(void) {
        int r = process_same_mm(getpid(), getpid());

        return r == -ENOSYS || r == -EPERM ? "kcmp(2) does not work here" : NULL;
}

/* A thread with fds of its own: it is the memory that counts. */
static void *thread_main(void *userdata) {
        int *r = userdata;

        *r = unshare(CLONE_FILES) < 0 ? negative_errno() : process_same_mm(getpid(), gettid());
        return NULL;
}

static void test_process_same_mm(void **state) {
        struct child child;
        pthread_t thread;
        int r = -1;

        assert_int_equal(process_same_mm(getpid(), getpid()), 1);
        assert_int_equal(pthread_create(&thread, NULL, thread_main, &r), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(r, 1);

        child = child_new("child", NULL);
        assert_int_equal(process_same_mm(getpid(), child.pid), 0);
        assert_int_equal(process_same_mm(child.pid, getpid()), 0);
        assert_int_equal(process_same_mm(child.pid, child.pid), 1);
        child_end(&child);
}

/* Who has no address space shares none, with nobody. */
static void test_process_same_mm_of_zombies(void **state) {
        struct child a, b;
        int with_self, with_each_other;

        a = child_new("a", NULL);
        child_make_zombie(&a); /* now, or b would inherit its gate */
        b = child_new("b", NULL);
        child_make_zombie(&b);
        with_self = process_same_mm(getpid(), a.pid);
        with_each_other = process_same_mm(a.pid, b.pid);
        child_end(&a);
        child_end(&b);
        assert_int_equal(with_self, 0);
        assert_int_equal(with_each_other, 0);
}

/* Without memory of its own is also who is gone altogether. */
static void test_process_same_mm_of_nobody(void **state) {
        struct child child = child_new("child", NULL);

        child_end(&child);
        assert_int_equal(process_same_mm(child.pid, getpid()), -ESRCH);
        assert_int_equal(process_same_mm(getpid(), child.pid), -ESRCH);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test_unless(no_pidfd(), test_process_of_peer),
                checked_test_unless(no_pidfd_open(), test_process_of_peer_before_peerpidfd),
                checked_test_unless(no_pidfd_open(), test_process_of_peer_no_second_guess),
                checked_test(test_process_of_peer_errors),
                checked_test(test_process_alive_on_nonsense),
                checked_test_unless(no_kcmp(), test_process_same_mm),
                checked_test_unless(no_kcmp(), test_process_same_mm_of_zombies),
                checked_test_unless(no_kcmp(), test_process_same_mm_of_nobody),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
