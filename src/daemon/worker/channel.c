/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sending, and closing. The danger in a disconnection is close(2) itself: packets that were sent to
 * us and never read may carry VM fds, and the last close of a VM runs its teardown right there, for
 * minutes. So the socket is shut down (nobody can send any more), what is queued is looked at, and
 * if there is an fd among it the closing is left to a child (parting.c). Linux 6.16 lets us refuse
 * fds in the first place.
 */

#include "daemon/worker/channel.h"

#include <sys/socket.h>

#include "base/packet.h"

int channel_close(int *fd) {
        (void)shutdown(*fd, SHUT_RDWR);
        if (packet_discard(*fd) == -EPERM)
                return -EPERM;
        close_fd(fd);
        return 0;
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
