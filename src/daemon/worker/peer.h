/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A connection on handoff.sock. It belongs to one process, which may register as one worker. What
 * goes wrong with a peer costs the peer its connection and nobody else anything.
 */

#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "base/util.h"
#include "base/wire.h"
#include "daemon/governor/unit.h"

struct manager;
struct worker;

struct peer {
        struct manager *manager;

        /* owned */
        int fd;
        struct charge charge; /* of its unit's connections */

        /* state */
        pid_t pid;
        uint16_t version; /* what its HELLO said, and all that follows must say; 0: no HELLO yet */
        struct worker *worker; /* once registered; not owned */

        sd_event_source *io_source;
        sd_event_source *timeout_source; /* until it registered */
        sd_event_source *pause_source;   /* it, or others of its unit, say too much */

        TAILQ_ENTRY(peer) link; /* in manager.peers */
};

TAILQ_HEAD(peer_list, peer);

/* Takes *fd over in any case. -ECONNREFUSED: was refused, and told. */
int peer_new(struct peer **ret, struct manager *manager, int *fd);

/* Disconnects. Never blocks on fds that came with unread packets: a child closes those. */
struct peer *peer_free(struct peer *peer);

/* Fills in the header and sends. Negative: the peer is gone or does not read; free it. */
int peer_send(struct peer *peer, union wire_message *message, uint16_t type);

/* Tells it to go ahead without us; the connection is the caller's to end. */
int peer_send_away(struct peer *peer);

int peer_send_seq(struct peer *peer, uint16_t type, uint64_t seq);
