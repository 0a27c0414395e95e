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
#include "daemon/job/tally.h"
#include "daemon/worker/channel.h"
#include "daemon/worker/parting.h"
#include "daemon/worker/worker.h"

TAILQ_HEAD(peer_list, peer);

/* All connections, and what they use. The owner sets the first part, then calls the rest. */
struct peers {
        /* borrowed */
        sd_event *event;
        struct workers *workers;
        struct tally *tally; /* n_threaded alone */

        /* A connection ended: there may be room for another one, or work for the queue. */
        void (*gone)(void *userdata);
        void *userdata;

        unsigned max;

        /* owned: connections that are no peers any more */
        struct partings partings;

        /* state; read-only to others */
        struct peer_list list;
        unsigned n;
};

struct peer {
        struct peers *peers;

        /* owned */
        struct channel channel;
        struct charge charge; /* of its unit's connections */

        /* state */
        pid_t pid;
        struct worker *worker; /* once registered; not owned */

        sd_event_source *io_source;
        sd_event_source *timeout;     /* until it registered */
        sd_event_source *pause_timer; /* it, or others of its unit, say too much */

        TAILQ_ENTRY(peer) link; /* in peers.list */
};

/* Takes *fd over in any case. -ECONNREFUSED: was refused, and told. */
int peer_new(struct peer **ret, struct peers *peers, int *fd);

/* Disconnects; see parting.h. */
struct peer *peer_free(struct peer *peer);

/* Tells it to go ahead without us; the connection is the caller's to end. */
int peer_send_away(struct peer *peer);
