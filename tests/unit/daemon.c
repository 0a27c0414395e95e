/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The daemon's end of the socket. Each answer that is not the expected one fails the test. It keeps
 * the listening socket and one connection in variables of this file. It waits by poll(2) alone,
 * since a test may have a clock of its own.
 */

#include "daemon.h"

#include "fds.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/packet.h"
#include "base/util.h"

#define WAIT_MSEC 10000

static int listener = -1, at = -1;
static struct sockaddr_un bound; /* the listener's */

static void await(int fd) {
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};

        assert_int_equal(poll(&pollfd, 1, WAIT_MSEC), 1);
}

void daemon_address(struct sockaddr_un *ret) {
        *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
        (void)snprintf(ret->sun_path, sizeof(ret->sun_path), "/tmp/pvr-unit-%d", (int)getpid());
}

void daemon_listen(const struct sockaddr_un *address, int backlog) {
        bound = *address;
        (void)unlink(bound.sun_path); /* of a test that failed */
        listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_true(listener >= 0);
        assert_int_equal(bind(listener, (const struct sockaddr *)address, sizeof(*address)), 0);
        assert_int_equal(listen(listener, backlog), 0);
}

void daemon_deaf(void) {
        if (listener >= 0)
                (void)unlink(bound.sun_path);
        close_fd(&listener);
}

void daemon_accept(void) {
        close_fd(&at);
        await(listener);
        at = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        assert_true(at >= 0);
}

void daemon_hang_up(void) {
        close_fd(&at);
}

void daemon_send(const void *packet, size_t size) {
        assert_int_equal(packet_send(at, packet, size), 0);
}

void daemon_say(uint16_t version, uint16_t type, uint64_t seq) {
        union wire_message m = {.grant.seq = seq}; /* DONE_ACK's is in the same place */
        int size = wire_encode(&m, version, type);

        assert_true(size > 0);
        daemon_send(&m, (size_t)size);
}

union wire_message daemon_hear_version(uint16_t version, uint16_t type) {
        union wire_message packet, m;
        ssize_t n;

        await(at);
        n = packet_recv(at, &packet, sizeof(packet));
        assert_true(n > 0);
        assert_int_equal(wire_decode(&m, WIRE_TO_DAEMON, &packet, (size_t)n), type);
        assert_int_equal(m.header.version, version);
        return m;
}

union wire_message daemon_hear(uint16_t type) {
        return daemon_hear_version(WIRE_VERSION, type);
}

struct wire_register daemon_hear_register(void) {
        (void)daemon_hear(WIRE_HELLO);
        return daemon_hear(WIRE_REGISTER).reg;
}

void daemon_hear_nothing(void) {
        union wire_message packet;

        assert_int_equal(packet_recv(at, &packet, sizeof(packet)), -EAGAIN);
}

void daemon_hear_end(void) {
        union wire_message packet;
        ssize_t n;

        do {
                await(at);
                n = packet_recv(at, &packet, sizeof(packet));
                if (n > 0)
                        assert_int_equal(packet.header.type, WIRE_PROGRESS);
        } while (n > 0);
        assert_true(n == 0 || n == -ECONNRESET);
}
