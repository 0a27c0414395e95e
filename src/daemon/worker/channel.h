/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The sending end of a connection on handoff.sock: all that a worker knows of its connection. A
 * channel is part of its owner (peer.h), which sets end; nothing here blocks.
 */

#include "base/util.h"
#include "base/wire.h"

struct channel {
        int fd;           /* owned; -1: closed */
        uint16_t version; /* of the other end's HELLO; 0: it said none, and hears our newest */

        /* Ends the connection at once: the channel is gone afterwards. */
        void (*end)(struct channel *channel);
};

/* Fills in the header and sends. Negative: the other end is gone or does not read; end it. */
int channel_send(struct channel *channel, union wire_message *message, uint16_t type);

/* The same for a message that carries a seq and nothing else: WIRE_GRANT, WIRE_DONE_ACK. */
int channel_send_seq(struct channel *channel, uint16_t type, uint64_t seq);

/*
 * Closes *fd, a connection. -EPERM: fds came with packets that were not read, and to close it might
 * block on those: it is shut down, and the rest is the caller's (parting.h).
 */
int channel_close(int *fd);
