/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One datagram socket, which never waits. It is not connected: PID 1 may make its end anew, under
 * the same name. Nothing is kept here: the caller repeats a message that does not get through. An
 * fd that goes along stays the caller's.
 */

#include "daemon/service/notify-socket.h"

#include <stdlib.h>
#include <string.h>

int notify_socket_open(struct notify_socket *ret) {
        struct notify_socket s = {.fd = -1, .address.sun_family = AF_UNIX};
        const char *name = getenv("NOTIFY_SOCKET");
        size_t n = name ? strlen(name) : 0;

        if (n > 1 && n < sizeof(s.address.sun_path) && (name[0] == '/' || name[0] == '@')) {
                s.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                if (s.fd < 0)
                        return negative_errno();
                memcpy(s.address.sun_path, name, n);
                if (name[0] == '@')
                        s.address.sun_path[0] = '\0';
                s.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
        }
        *ret = s;
        return 0;
}

void notify_socket_close(struct notify_socket *s) {
        close_fd(&s->fd);
}

int notify_socket_send(const struct notify_socket *s, const char *message, int fd) {
        union {
                char buffer[CMSG_SPACE(sizeof(int))];
                struct cmsghdr header;
        } control = {};
        struct iovec iov = {.iov_len = strlen(message)};
        struct sockaddr_un address = s->address;
        struct msghdr m = {
                .msg_name = &address, .msg_namelen = s->length, .msg_iov = &iov, .msg_iovlen = 1};

        if (s->fd < 0)
                return 0;
        memcpy(&iov.iov_base, &message, sizeof(message)); /* sendmsg() does not write to it */
        if (fd >= 0) {
                control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                                  .cmsg_type = SCM_RIGHTS,
                                                  .cmsg_len = CMSG_LEN(sizeof(int))};
                memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
                m.msg_control = &control;
                m.msg_controllen = sizeof(control.buffer);
        }
        return sendmsg(s->fd, &m, MSG_NOSIGNAL) < 0 ? negative_errno() : 0;
}
