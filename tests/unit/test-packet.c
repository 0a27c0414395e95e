/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * packet.h on real socket pairs. The point of it all: never block, and never let an fd into the
 * process that nobody asked for. So each test that hands fds over counts what is open in between,
 * and puts them where they are hard to find: behind empty packets, behind a peer that has gone.
 */

#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/packet.h"
#include "base/util.h"

struct pair {
        int a, b;
};

static struct pair pair_new(void) {
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        return (struct pair){fds[0], fds[1]};
}

static void pair_close(struct pair *p) {
        close_fd(&p->a);
        close_fd(&p->b);
}

static int null_fd(void) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

/* Any number of fds in one packet, by libc's own means. */
static void send_fds(int socket, size_t size, int fd, size_t n) {
        union {
                struct cmsghdr header;
                char buffer[CMSG_SPACE(8 * sizeof(int))];
        } control = {};
        char data[16] = "data";
        struct iovec iov = {.iov_base = data, .iov_len = size};
        struct msghdr mh = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.buffer,
                .msg_controllen = CMSG_SPACE(n * sizeof(int)),
        };
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&mh);

        assert_true(n <= 8);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
        for (size_t i = 0; i < n; i++)
                memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &fd, sizeof(int));
        assert_int_equal(sendmsg(socket, &mh, MSG_NOSIGNAL), size);
}

/* ---- sending and receiving ---- */

static void test_packet_round_trip(void **state) {
        struct pair p = pair_new();
        char buffer[16];

        assert_int_equal(packet_send(p.a, "one", 3), 0);
        assert_int_equal(packet_send(p.a, "three", 5), 0);
        assert_int_equal(packet_send(p.b, "back", 4), 0);
        assert_int_equal(packet_recv(p.b, buffer, sizeof(buffer)), 3);
        assert_memory_equal(buffer, "one", 3);
        assert_int_equal(packet_recv(p.b, buffer, sizeof(buffer)), 5);
        assert_memory_equal(buffer, "three", 5);
        assert_int_equal(packet_recv(p.a, buffer, sizeof(buffer)), 4);
        assert_memory_equal(buffer, "back", 4);
        pair_close(&p);
}

/* The sockets are blocking ones: it is the call that does not wait. */
static void test_packet_never_blocks(void **state) {
        struct pair p = pair_new();
        char buffer[4096] = {};
        unsigned n_sent = 0, n_read = 0;
        int fd = 1234, r;

        assert_int_equal(packet_recv(p.b, buffer, sizeof(buffer)), -EAGAIN);
        assert_int_equal(packet_recv_fd(p.b, buffer, sizeof(buffer), &fd, NULL), -EAGAIN);
        assert_int_equal(fd, 1234);
        while ((r = packet_send(p.a, buffer, sizeof(buffer))) == 0)
                n_sent++;
        assert_int_equal(r, -EAGAIN);
        assert_int_equal(packet_send_fd(p.a, buffer, sizeof(buffer), p.a), -EAGAIN);
        while (packet_recv(p.b, buffer, sizeof(buffer)) == sizeof(buffer))
                n_read++;
        assert_int_equal(n_read, n_sent);
        assert_int_equal(packet_send(p.a, buffer, sizeof(buffer)), 0);
        pair_close(&p);
}

static void test_packet_end(void **state) {
        struct pair p = pair_new();
        char buffer[16];
        int fd = 1234;

        assert_int_equal(packet_send(p.a, "last", 4), 0);
        close_fd(&p.a);
        assert_int_equal(packet_recv(p.b, buffer, sizeof(buffer)), 4);
        assert_int_equal(packet_recv(p.b, buffer, sizeof(buffer)), 0);
        assert_int_equal(packet_recv(p.b, buffer, sizeof(buffer)), 0);
        assert_int_equal(packet_recv_fd(p.b, buffer, sizeof(buffer), &fd, NULL), 0);
        assert_int_equal(fd, -1);
        pair_close(&p);
}

/*
 * SIGPIPE has its default action here: one would end the test program. The kernel sends it on
 * SOCK_STREAM only, but who knows what an fd of somebody else is.
 */
static void test_packet_no_sigpipe(void **state) {
        int fds[2];

        assert_ptr_equal(signal(SIGPIPE, SIG_DFL), SIG_DFL);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        close_fd(&fds[1]);
        assert_int_equal(packet_send(fds[0], "x", 1), -EPIPE);
        assert_int_equal(packet_send_fd(fds[0], "x", 1, STDERR_FILENO), -EPIPE);
        close_fd(&fds[0]);
}

static void test_packet_nobody_there(void **state) {
        struct pair p = pair_new();
        int null = null_fd(), single;

        close_fd(&p.b);
        assert_int_equal(packet_send(p.a, "x", 1), -EPIPE);
        assert_int_equal(packet_send_fd(p.a, "x", 1, null), -EPIPE);
        pair_close(&p);

        single = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_int_equal(packet_send(single, "x", 1), -ENOTCONN);
        close_fd(&single);
        close_fd(&null);
}

/* The last words of somebody who goes without having read everything come through, then EOF. */
static void test_packet_reset(void **state) {
        struct pair p = pair_new();
        char buffer[16];

        assert_int_equal(packet_send(p.a, "unread", 6), 0);
        assert_int_equal(packet_send(p.b, "last", 4), 0);
        close_fd(&p.b);
        assert_int_equal(packet_recv(p.a, buffer, sizeof(buffer)), 4);
        assert_memory_equal(buffer, "last", 4);
        assert_int_equal(packet_recv(p.a, buffer, sizeof(buffer)), 0);
        pair_close(&p);
}

static void test_packet_bad_arguments(void **state) {
        struct pair p = pair_new();
        char buffer[16];
        int fd = 1234;

        assert_int_equal(packet_send(-1, "x", 1), -EBADF);
        assert_int_equal(packet_send_fd(-1, "x", 1, p.a), -EBADF);
        assert_int_equal(packet_send_fd(p.a, "x", 1, -1), -EBADF);
        assert_int_equal(packet_recv(-1, buffer, sizeof(buffer)), -EBADF);
        assert_int_equal(packet_recv_fd(-1, buffer, sizeof(buffer), &fd, NULL), -EBADF);
        assert_int_equal(fd, 1234);
        pair_close(&p);
}

static void test_packet_oversize(void **state) {
        struct pair p = pair_new();
        char big[300], buffer[16];
        int fd = 1234;

        memset(big, 'b', sizeof(big));
        memset(buffer, '.', sizeof(buffer));
        assert_int_equal(packet_send(p.a, big, sizeof(big)), 0);
        assert_int_equal(packet_send(p.a, big, sizeof(big)), 0);
        assert_int_equal(packet_send(p.a, "next", 4), 0);
        assert_int_equal(packet_recv(p.b, buffer, 8), sizeof(big));
        assert_memory_equal(buffer, "bbbbbbbb........", 16);
        assert_int_equal(packet_recv_fd(p.b, buffer, 8, &fd, NULL), sizeof(big));
        assert_memory_equal(buffer, "bbbbbbbb........", 16);
        assert_int_equal(fd, -1);
        assert_int_equal(packet_recv(p.b, buffer, 8), 4);
        pair_close(&p);
}

/* ---- fds that nobody wants ---- */

static void test_packet_refuses_fds(void **state) {
        struct pair p = pair_new();
        int null = null_fd(), taken = 1234;
        unsigned n_open = fds_count_changed();
        char buffer[16];

        assert_int_equal(packet_send(p.a, "before", 6), 0);
        assert_int_equal(packet_send_fd(p.a, "data", 4, null), 0);
        assert_int_equal(packet_send(p.a, "behind", 6), 0);
        assert_int_equal(packet_recv(p.b, buffer, sizeof(buffer)), 6);
        for (int i = 0; i < 3; i++)
                assert_int_equal(packet_recv(p.b, buffer, sizeof(buffer)), -EPERM);
        assert_int_equal(fds_count_changed(), n_open);

        /* it is still there, for whoever wants it */
        assert_int_equal(packet_recv_fd(p.b, buffer, sizeof(buffer), &taken, NULL), 4);
        assert_int_equal(packet_recv(p.b, buffer, sizeof(buffer)), 6);
        assert_int_equal(fds_count_changed(), n_open + 1);
        close_fd(&taken);
        close_fd(&null);
        pair_close(&p);
}

static void test_packet_refuses_many_fds(void **state) {
        struct pair p = pair_new();
        int null = null_fd();
        char buffer[16];

        send_fds(p.a, 4, null, 8);
        close_fd(&null);
        assert_int_equal(packet_recv(p.b, buffer, sizeof(buffer)), -EPERM);
        assert_int_equal(packet_recv(p.b, buffer, 0), -EPERM);
        pair_close(&p);
}

/* A packet may be empty and yet carry fds. */
static void test_packet_refuses_fds_without_data(void **state) {
        struct pair p = pair_new();
        int null = null_fd();
        char buffer[16];

        send_fds(p.a, 0, null, 1);
        close_fd(&null);
        assert_int_equal(packet_recv(p.b, buffer, sizeof(buffer)), -EPERM);
        pair_close(&p);
}

/* ---- parting ---- */

static void test_packet_discard(void **state) {
        static const size_t sizes[] = {1, 0, 0, 300, 0, 4096, 0};
        struct pair p = pair_new();
        char data[4096] = {};

        for (int round = 0; round < 2; round++) {
                for (size_t i = 0; round == 1 && i < ARRAY_SIZE(sizes); i++)
                        assert_int_equal(packet_send(p.a, data, sizes[i]), 0);
                assert_int_equal(packet_discard(p.b), -EAGAIN); /* more could come */
                assert_int_equal(packet_recv(p.b, data, sizeof(data)), -EAGAIN);
        }
        assert_int_equal(packet_send(p.a, data, 0), 0);
        assert_int_equal(shutdown(p.b, SHUT_RDWR), 0);
        assert_int_equal(packet_discard(p.b), 0);
        assert_int_equal(packet_discard(p.b), 0);
        pair_close(&p);
}

/* An fd must be found wherever it is, or it is closed with the socket: behind packets that look
 * like the end, and behind a peer that left without having read what we said. */
static void check_discard_finds_fds(const char *sizes, size_t n_fds, bool unread) {
        struct pair p = pair_new();
        int null = null_fd(), n_open = (int)fds_count_changed();
        char data[300] = {};

        if (unread)
                assert_int_equal(packet_send(p.b, data, 1), 0);
        for (const char *size = sizes; *size; size++)
                assert_int_equal(packet_send(p.a, data, *size == 'x' ? sizeof(data) : 0), 0);
        send_fds(p.a, 0, null, n_fds);
        if (unread)
                close_fd(&p.a);
        assert_int_equal(shutdown(p.b, SHUT_RDWR), 0);
        for (int i = 0; i < 3; i++) /* it stays */
                assert_int_equal(packet_discard(p.b), -EPERM);
        assert_int_equal(fds_count_changed(), n_open - (unread ? 1 : 0));
        close_fd(&null);
        pair_close(&p);
}

static void test_packet_discard_finds_fds(void **state) {
        static const char *const sizes[] = {"", "x", "0", "00", "0000", "x0x", "0x0"};

        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
                for (size_t n_fds = 1; n_fds <= 8; n_fds++) {
                        check_discard_finds_fds(sizes[i], n_fds, false);
                        check_discard_finds_fds(sizes[i], n_fds, true);
                }
}

/* ---- one fd that somebody wants ---- */

static void test_packet_recv_fd_without(void **state) {
        struct pair p = pair_new();
        char buffer[16];
        int fd = 1234;

        assert_int_equal(packet_send(p.a, "data", 4), 0);
        assert_int_equal(packet_recv_fd(p.b, buffer, sizeof(buffer), &fd, NULL), 4);
        assert_int_equal(fd, -1);
        pair_close(&p);
}

static void test_packet_recv_fd_one(void **state) {
        struct pair p = pair_new();
        struct stat sent, received;
        int null = null_fd(), fd = 1234;
        char buffer[16];

        assert_int_equal(packet_send_fd(p.a, "data", 4, null), 0);
        assert_int_equal(fstat(null, &sent), 0); /* it stayed ours */
        assert_int_equal(packet_recv_fd(p.b, buffer, sizeof(buffer), &fd, NULL), 4);
        assert_memory_equal(buffer, "data", 4);
        assert_true(fd >= 0 && fd != null);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(fstat(fd, &received), 0);
        assert_int_equal(sent.st_rdev, received.st_rdev);
        close_fd(&fd);
        close_fd(&null);
        pair_close(&p);
}

static void test_packet_recv_fd_more(void **state) {
        for (size_t n = 2; n <= 8; n++) {
                struct pair p = pair_new();
                int null = null_fd(), fd = 1234;
                char buffer[16];

                send_fds(p.a, 4, null, n);
                assert_int_equal(packet_recv_fd(p.b, buffer, sizeof(buffer), &fd, NULL), -EPROTO);
                assert_int_equal(fd, 1234);
                assert_int_equal(packet_recv_fd(p.b, buffer, sizeof(buffer), &fd, NULL), -EAGAIN);
                close_fd(&null);
                pair_close(&p);
                assert_int_equal(fds_changed(), 0);
        }
}

/* Who sent it, as the kernel says; with an fd or without; nobody, on a socket that does not ask. */
static void test_packet_recv_fd_sender(void **state) {
        struct pair p = pair_new();
        int null = null_fd(), fd = 1234, yes = 1;
        struct ucred sender;
        char buffer[16];

        assert_int_equal(packet_send(p.a, "data", 4), 0);
        assert_int_equal(packet_recv_fd(p.b, buffer, sizeof(buffer), &fd, &sender), 4);
        assert_int_equal(fd, -1);
        assert_int_equal(sender.pid, -1);
        assert_int_equal(sender.uid, (uid_t)-1);
        assert_int_equal(sender.gid, (gid_t)-1);

        assert_int_equal(setsockopt(p.b, SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes)), 0);
        assert_int_equal(packet_send(p.a, "data", 4), 0);
        assert_int_equal(packet_send_fd(p.a, "data", 4, null), 0);
        for (unsigned i = 0; i < 2; i++) {
                sender.pid = 0;
                assert_int_equal(packet_recv_fd(p.b, buffer, sizeof(buffer), &fd, &sender), 4);
                assert_int_equal(sender.pid, getpid());
                assert_int_equal(sender.uid, getuid());
                assert_int_equal(sender.gid, getgid());
                assert_int_equal(fd >= 0, i == 1);
        }
        close_fd(&fd);
        assert_int_equal(packet_recv_fd(p.b, buffer, sizeof(buffer), &fd, &sender), -EAGAIN);
        close_fd(&null);
        pair_close(&p);
}

/* ---- waiting ---- */

static void test_packet_await(void **state) {
        struct pair p = pair_new();
        uint64_t begin = now_usec();

        assert_int_equal(packet_await(p.b, begin), -ETIMEDOUT);
        assert_int_equal(packet_await(p.b, begin + 20 * USEC_PER_MSEC), -ETIMEDOUT);
        assert_in_range(now_usec() - begin, 20 * USEC_PER_MSEC, 5 * USEC_PER_SEC);
        begin = now_usec(); /* less than poll(2) can say is no "for ever" */
        assert_int_equal(packet_await(p.b, begin + 500), -ETIMEDOUT);
        assert_in_range(now_usec() - begin, 500, 5 * USEC_PER_SEC);
        assert_int_equal(packet_send(p.a, "", 1), 0);
        assert_int_equal(packet_await(p.b, now_usec() + 5 * USEC_PER_SEC), 0);
        assert_int_equal(packet_await(p.b, now_usec() - 1), -ETIMEDOUT); /* the deadline first */
        pair_close(&p);
}

/* ---- where the kernel is an emulator's ---- */

static const char *no_bare_recvmsg(void) {
        return is_emulated() ? "recvmsg(2) without a buffer returns 0 unasked (qemu-user)" : NULL;
}

static const char *no_ctrunc(void) {
        return is_emulated() ? "fds without room come without MSG_CTRUNC (qemu-user)" : NULL;
}

static const char *no_options(void) {
        return is_emulated() ? "unknown socket options never reach the kernel (qemu-user)" : NULL;
}

/* ---- asking the kernel to refuse them ---- */

static const char *no_refusal(void) {
        struct pair p = pair_new();
        int r = packet_refuse_fds(p.b);

        pair_close(&p);
        if (no_options())
                return no_options();
        return r == -ENOPROTOOPT ? "no SO_PASSRIGHTS (Linux before 6.16)" : NULL;
}

static void test_packet_kernel_refuses_fds(void **state) {
        struct pair p = pair_new();
        int null = null_fd();
        char buffer[16];

        assert_int_equal(packet_refuse_fds(p.b), 0);
        assert_int_equal(packet_send_fd(p.a, "data", 4, null), -EPERM);
        assert_int_equal(packet_recv(p.b, buffer, sizeof(buffer)), -EAGAIN);
        assert_int_equal(packet_send(p.a, "data", 4), 0);
        assert_int_equal(packet_recv(p.b, buffer, sizeof(buffer)), 4);
        assert_int_equal(packet_send_fd(p.b, "data", 4, null), 0); /* that way is open */
        close_fd(&null);
        pair_close(&p);
}

static void test_packet_refuse_fds_elsewhere(void **state) {
        int null = null_fd();

        assert_int_equal(packet_refuse_fds(-1), -EBADF);
        assert_int_equal(packet_refuse_fds(null), -ENOTSOCK);
        close_fd(&null);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_packet_round_trip),
                checked_test(test_packet_never_blocks),
                checked_test(test_packet_end),
                checked_test(test_packet_no_sigpipe),
                checked_test(test_packet_nobody_there),
                checked_test(test_packet_reset),
                checked_test(test_packet_bad_arguments),
                checked_test(test_packet_oversize),
                checked_test(test_packet_refuses_fds),
                checked_test(test_packet_refuses_many_fds),
                checked_test(test_packet_refuses_fds_without_data),
                checked_test_unless(no_bare_recvmsg(), test_packet_discard),
                checked_test_unless(no_bare_recvmsg(), test_packet_discard_finds_fds),
                checked_test(test_packet_recv_fd_without),
                checked_test(test_packet_recv_fd_one),
                checked_test_unless(no_ctrunc(), test_packet_recv_fd_more),
                checked_test(test_packet_recv_fd_sender),
                checked_test(test_packet_await),
                checked_test_unless(no_refusal(), test_packet_kernel_refuses_fds),
                checked_test_unless(no_options(), test_packet_refuse_fds_elsewhere),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
