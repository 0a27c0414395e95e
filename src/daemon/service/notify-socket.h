/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * systemd's end of NOTIFY_SOCKET. sd_notify(3) waits as long as PID 1 does not read, and a PID 1
 * that has crashed reads nothing ever again: so messages are sent from here, and nothing waits.
 */

#include <sys/socket.h>
#include <sys/un.h>

#include "base/util.h"

struct notify_socket {
        int fd; /* owned; -1: nobody listens */
        struct sockaddr_un address;
        socklen_t length;
};

/* Without NOTIFY_SOCKET, or with one that is no path and no abstract name, nobody listens. */
int notify_socket_open(struct notify_socket *ret);
void notify_socket_close(struct notify_socket *socket);

/* fd: goes with it, and stays the caller's; -1: none. 0 if nobody listens. -EAGAIN: not now. */
int notify_socket_send(const struct notify_socket *socket, const char *message, int fd);
