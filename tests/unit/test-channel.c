/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The sending end of a connection, and how it is closed: an fd that was sent and never read must
 * not be closed by this process, for that could take minutes; test-parting.c has the rest. The
 * kernel is one that passes fds, as all do before 6.16.
 */

#include "fds.h"

#include <sys/socket.h>

#include "base/packet.h"
#include "daemon/worker/channel.h"

/* fds[0] is the daemon's end. */
static void connection(int fds[2]) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
                         0);
}

static int type_of_next(int fd, union wire_message *ret) {
        char packet[WIRE_SIZE_MAX];
        ssize_t n = packet_recv(fd, packet, sizeof(packet));

        return n <= 0 ? (int)n : wire_decode(ret, WIRE_TO_WORKER, packet, (size_t)n);
}

static const char *no_bare_recvmsg(void) {
        return is_emulated() ? "recvmsg(2) without a buffer returns 0 unasked (qemu-user)" : NULL;
}

static void test_a_closed_connection_ends(void **state) {
        char packet[16];
        int fds[2];

        connection(fds);
        assert_int_equal(packet_send(fds[1], "unread", 6), 0);
        assert_int_equal(channel_close(&fds[0]), 0);
        assert_int_equal(fds[0], -1);
        assert_int_equal(packet_recv(fds[1], packet, sizeof(packet)), 0);
        assert_true(packet_send(fds[1], "x", 1) < 0);
        close_fd(&fds[1]);
}

/* It is the caller's then: to close it could take minutes. */
static void test_fds_are_left_to_the_caller(void **state) {
        char packet[16];
        int fds[2];

        connection(fds);
        assert_int_equal(packet_send(fds[1], "unread", 6), 0);
        assert_int_equal(packet_send_fd(fds[1], "x", 1, STDIN_FILENO), 0);
        assert_int_equal(channel_close(&fds[0]), -EPERM);
        assert_true(fds[0] >= 0);
        assert_int_equal(packet_recv(fds[1], packet, sizeof(packet)), 0);
        close_fd(&fds[0]);
        close_fd(&fds[1]);
}

/* In the version of the other end, or in the newest. */
static void test_versions(void **state) {
        union wire_message m = {};
        struct channel channel;
        int fds[2];

        connection(fds);
        channel = (struct channel){.fd = fds[0]};
        assert_int_equal(channel_send(&channel, &m, WIRE_UNGOVERNED), 0);
        assert_int_equal(type_of_next(fds[1], &m), WIRE_UNGOVERNED);
        assert_int_equal(m.header.version, WIRE_VERSION);
        channel.version = 1;
        assert_int_equal(channel_send_seq(&channel, WIRE_GRANT, 7), 0);
        assert_int_equal(type_of_next(fds[1], &m), WIRE_GRANT);
        assert_int_equal(m.header.version, 1);
        assert_int_equal(m.grant.seq, 7);
        assert_int_equal(channel_send_seq(&channel, WIRE_DONE_ACK, 8), 0);
        assert_int_equal(type_of_next(fds[1], &m), WIRE_DONE_ACK);
        assert_int_equal(m.done_ack.seq, 8);
        close_fd(&fds[1]);
        assert_int_equal(channel_send_seq(&channel, WIRE_GRANT, 9), -EPIPE);
        close_fd(&channel.fd);
}

int main(void) {
        const char *why = no_bare_recvmsg();
        const struct CMUnitTest tests[] = {
                checked_test_unless(why, test_a_closed_connection_ends),
                checked_test_unless(why, test_fds_are_left_to_the_caller),
                checked_test(test_versions),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
