/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a peer may put into a socket: packets of any length with 0 to 3 fds each. The input is a
 * sequence of them: a byte for the number of fds and for who receives it, one for the length. No
 * fd may be received where none is wanted, and none may stay.
 */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/packet.h"
#include "base/util.h"
#include "fuzz.h"

static int next_fd(void) {
        int fd = dup(STDERR_FILENO);

        check(fd >= 0);
        (void)close(fd);
        return fd;
}

static void send_one(int fd, const uint8_t *data, size_t size, unsigned n_fds) {
        const int fds[3] = {STDERR_FILENO, STDERR_FILENO, STDERR_FILENO};
        union {
                struct cmsghdr header;
                char buffer[CMSG_SPACE(sizeof(fds))];
        } control = {.header = {CMSG_LEN(n_fds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
        struct iovec iov = {.iov_len = size};
        struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

        memcpy(&iov.iov_base, &data, sizeof(data));
        memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
        if (n_fds > 0) {
                mh.msg_control = &control;
                mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        }
        check(sendmsg(fd, &mh, MSG_NOSIGNAL) == (ssize_t)size);
}

static void receive_one(int fd, unsigned n_fds, size_t size, bool wants_fd) {
        uint8_t buffer[64];
        int received = -1, first = next_fd();
        ssize_t n;

        if (wants_fd) {
                n = packet_recv_fd(fd, buffer, sizeof(buffer), &received, NULL);
                check(n_fds > 1 ? n == -EPROTO : n == (ssize_t)size);
                check((received >= 0) == (n_fds == 1));
                close_fd(&received);
        } else {
                n = packet_recv(fd, buffer, sizeof(buffer));
                check(n == (n_fds > 0 ? -EPERM : (ssize_t)size));
                if (n == -EPERM) /* it stays */
                        check(recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) >= 0);
        }
        check(next_fd() == first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        unsigned n_fds = 0;
        int ends[2];

        check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
        while (size >= 2) {
                size_t length = min_u64(data[1], size - 2);

                n_fds = data[0] % 4;
                send_one(ends[0], data + 2, length, n_fds);
                /* The last one nobody takes. */
                if (size > 2 + length)
                        receive_one(ends[1], n_fds, length, data[0] / 4 % 2);
                data += 2 + length;
                size -= 2 + length;
        }
        check(shutdown(ends[1], SHUT_RDWR) == 0);
        check(size > 0 || packet_discard(ends[1]) == (n_fds > 0 ? -EPERM : 0));
        (void)close(ends[0]);
        (void)close(ends[1]);
        return 0;
}
