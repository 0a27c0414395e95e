/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One datagram at a time. packet_recv() peeks first, without a control buffer: the kernel then
 * installs no fd, and says MSG_CTRUNC if there were any (measured on 6.1 and 6.18). Only the reader
 * of a socket takes packets off it, so it takes the packet that it looked at.
 *
 * The system calls are raw. libc's wrappers are cancellation points: they touch the state of a
 * thread, and the keeper only borrows that state (see src/lib/keeper.c).
 */

#include "base/packet.h"

#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/util.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* asm-generic/socket.h of Linux 6.16; the same on x86 and s390x */
#endif

/*
 * A peer that died before it had read all that we sent is announced once, by ECONNRESET, ahead of
 * its own last words, which are still there: they count.
 */
static ssize_t raw_recvmsg(int fd, struct msghdr *mh, int flags) {
        bool reset = false;
        ssize_t n;

        for (;;) {
                n = syscall(SYS_recvmsg, fd, mh, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
                if (n >= 0)
                        return n;
                if (errno == ECONNRESET && !reset)
                        reset = true;
                else if (errno != EINTR)
                        return negative_errno();
        }
}

static int raw_sendmsg(int fd, const struct msghdr *mh) {
        ssize_t n;

        do
                n = syscall(SYS_sendmsg, fd, mh, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? negative_errno() : 0;
}

int packet_send(int fd, const void *packet, size_t size) {
        ssize_t n;

        do
                n = syscall(SYS_sendto, fd, packet, size, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
        while (n < 0 && errno == EINTR);
        return n < 0 ? negative_errno() : 0;
}

int packet_send_fd(int fd, const void *packet, size_t size, int fd_to_pass) {
        union {
                struct cmsghdr header;
                char buffer[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov;
        struct msghdr mh = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.buffer,
                .msg_controllen = sizeof(control.buffer),
        };
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&mh);

        memcpy(&iov.iov_base, &packet, sizeof(packet)); /* sendmsg() does not write to it */
        iov.iov_len = size;
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd_to_pass, sizeof(int));
        return raw_sendmsg(fd, &mh);
}

ssize_t packet_recv(int fd, void *buffer, size_t size) {
        struct iovec iov = {.iov_base = buffer, .iov_len = size};
        struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n;

        n = raw_recvmsg(fd, &mh, MSG_PEEK);
        if (n < 0)
                return n;
        if (mh.msg_flags & MSG_CTRUNC)
                return -EPERM;
        mh = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1};
        return raw_recvmsg(fd, &mh, MSG_TRUNC);
}

int packet_discard(int fd) {
        int one = 1;

        /* Then each packet brings credentials: what tells an empty one from the end. */
        (void)setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one));
        for (;;) {
                union {
                        struct cmsghdr header;
                        char buffer[CMSG_SPACE(sizeof(struct ucred))]; /* no room for an fd */
                } control;
                struct msghdr mh = {
                        .msg_control = control.buffer,
                        .msg_controllen = sizeof(control.buffer),
                };
                ssize_t n;

                n = raw_recvmsg(fd, &mh, MSG_PEEK | MSG_TRUNC);
                if (n < 0)
                        return (int)n;
                if (mh.msg_flags & MSG_CTRUNC)
                        return -EPERM;
                if (n == 0 && mh.msg_controllen == 0)
                        return 0;
                mh = (struct msghdr){};
                (void)raw_recvmsg(fd, &mh, 0);
        }
}

/* CMSG_NXTHDR() is a call of libc, which a compiler may make through the dynamic linker. */
static struct cmsghdr *next_cmsg(const struct msghdr *mh, struct cmsghdr *c) {
        size_t end = (size_t)((char *)c - (char *)mh->msg_control) + CMSG_ALIGN(c->cmsg_len);

        return end + sizeof(*c) <= mh->msg_controllen
                       ? (struct cmsghdr *)(void *)((char *)mh->msg_control + end)
                       : NULL;
}

static int take_cmsgs(struct msghdr *mh, int *ret_fd, struct ucred *ret_sender) {
        _cleanup_(close_fd) int fd = -1;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = next_cmsg(mh, c)) {
                if (c->cmsg_level != SOL_SOCKET)
                        continue;
                if (c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
                        memcpy(&fd, CMSG_DATA(c), sizeof(int));
                if (c->cmsg_type == SCM_CREDENTIALS && ret_sender)
                        memcpy(ret_sender, CMSG_DATA(c), sizeof(*ret_sender));
        }
        if (mh->msg_flags & MSG_CTRUNC)
                return -EPROTO;
        *ret_fd = take_fd(&fd);
        return 0;
}

ssize_t packet_recv_fd(int fd, void *buffer, size_t size, int *ret_fd, struct ucred *ret_sender) {
        union {
                struct cmsghdr header;
                char buffer[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
        } control;
        size_t with_sender = ret_sender ? CMSG_SPACE(sizeof(struct ucred)) : 0;
        struct iovec iov = {.iov_base = buffer, .iov_len = size};
        struct msghdr mh = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.buffer,
                /* CMSG_LEN, not CMSG_SPACE: its padding would have room for a second fd. */
                .msg_controllen = with_sender + CMSG_LEN(sizeof(int)),
        };
        ssize_t n;
        int r;

        if (ret_sender)
                *ret_sender = (struct ucred){-1, (uid_t)-1, (gid_t)-1};
        n = raw_recvmsg(fd, &mh, MSG_TRUNC);
        if (n < 0)
                return n;
        r = take_cmsgs(&mh, ret_fd, ret_sender);
        return r < 0 ? r : n;
}

int packet_await(int fd, uint64_t deadline) {
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};
        uint64_t now;
        int r;

        do {
                now = now_usec();
                if (now >= deadline)
                        return -ETIMEDOUT;
                r = poll(&pollfd, 1, (int)min_u64((deadline - now) / USEC_PER_MSEC + 1, INT_MAX));
        } while (r == 0 || (r < 0 && errno == EINTR));
        return r < 0 ? negative_errno() : 0;
}

int packet_refuse_fds(int fd) {
        int zero = 0;

        return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &zero, sizeof(zero)) < 0 ? negative_errno()
                                                                                  : 0;
}
