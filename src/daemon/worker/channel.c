/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sending, and closing. The danger in a disconnection is close(2) itself: packets that were sent to
 * us and never read may carry VM fds, and the last close of a VM runs its teardown right there, for
 * minutes. So the socket is shut down (nobody can send any more), what is queued is looked at, and
 * if there is an fd among it a child does the closing. Linux 6.16 lets us refuse fds in the first
 * place.
 */

#include "daemon/worker/channel.h"

#include <sys/socket.h>

#include "base/packet.h"
#include "daemon/runtime/log.h"

/* Lines that any peer can cause. */
static struct log_limit close_limit;

/*
 * A child closes the socket: it waits until we closed our copy, so that the last reference, and
 * with it whatever close(2) has to do, is its own. SIGCHLD is ignored (main.c), so nobody waits for
 * it.
 */
static void close_elsewhere(int *fd) {
        int gate[2];
        pid_t pid;

        if (pipe2(gate, O_CLOEXEC) < 0) {
                log_warning_limited(&close_limit, negative_errno(),
                                    "cannot close a connection that carries fds");
                *fd = -1; /* rather leak one fd than hang */
                return;
        }
        pid = fork();
        if (pid == 0) {
                char c;

                (void)dup3(*fd, 0, O_CLOEXEC);
                (void)dup3(gate[0], 1, O_CLOEXEC);
                (void)syscall(SYS_close_range, 2U, ~0U, 0U);
                (void)!read(1, &c, 1);
                _exit(EXIT_SUCCESS);
        }
        if (pid < 0) {
                log_warning_limited(&close_limit, negative_errno(),
                                    "cannot close a connection that carries fds");
                *fd = -1;
        }
        close_fd(fd);
        close_fd(&gate[0]);
        close_fd(&gate[1]);
}

void channel_close(int *fd) {
        (void)shutdown(*fd, SHUT_RDWR);
        if (packet_discard(*fd) == -EPERM)
                close_elsewhere(fd);
        else
                close_fd(fd);
}

int channel_send(struct channel *channel, union wire_message *message, uint16_t type) {
        uint16_t version = channel->version ? channel->version : WIRE_VERSION;
        int size = wire_encode(message, version, type);

        return packet_send(channel->fd, message, (size_t)size);
}

int channel_send_seq(struct channel *channel, uint16_t type, uint64_t seq) {
        union wire_message m = {};

        if (type == WIRE_GRANT)
                m.grant.seq = seq;
        else
                m.done_ack.seq = seq;
        return channel_send(channel, &m, type);
}
