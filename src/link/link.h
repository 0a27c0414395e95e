/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A worker's end of the protocol in wire.h, for keepers and closers: one job at a time, one
 * connection at a time, which comes and goes. The worker tells what it has to do, and does it when
 * link_read() or link_must_go_ahead() says so.
 *
 * Fail-open: whoever was not WELCOMEd within the grace time since the job's start or the link's
 * loss goes ahead ungoverned; at once, if there never was a WELCOME and nobody listens.
 * A successful connect() proves nothing: systemd's socket accepts for a dead daemon.
 *
 * Nothing here blocks. System calls and arithmetic only, no allocation, no lock: a keeper may use
 * all of it.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "base/wire.h"

enum link_state {
        LINK_DOWN = 0,
        LINK_CONNECTED, /* connect() returned, which proves nothing */
        LINK_WELCOMED,  /* the daemon answered: it accounts us and will grant */
};

enum link_event {
        LINK_NOTHING = 0, /* all was read */
        LINK_GRANT,       /* begin the job, governed */
        LINK_UNGOVERNED,  /* if there is a job begin it, ungoverned */
};

struct link {
        /* identity: written before the first link_step(); mem may change at any time */
        struct sockaddr_un address;
        char name[WIRE_NAME_MAX];
        uint8_t uuid[16];
        _Atomic uint64_t mem;
        uint32_t flags; /* enum wire_flags; link_quiet() adds to it */

        /* owned */
        int fd; /* to poll for POLLIN, or -1 */

        /* state: the job; kind is enum wire_kind, NONE between two jobs */
        uint32_t kind;
        bool requested; /* on this connection */
        uint64_t seq;   /* of the current or else the last job */
        uint64_t begun; /* of the last job that was begun without waiting for its GRANT, or 0 */
        uint64_t bytes; /* to clear, as far as the worker knows */
        uint64_t grace; /* µs */
        uint64_t job_since;

        /* state: the connection */
        enum link_state state;
        uint16_t version; /* spoken on this connection or the next */
        bool ever_welcomed;
        bool nobody;          /* the last try found nobody who listens */
        bool stay_away;       /* UNGOVERNED: no connection before the next job */
        uint64_t clock_since; /* when the fail-open clock last began: the job's start or the link's
                                 loss */
        uint64_t tried_at;    /* the last try to connect; 0: none */
        uint64_t retry_at;
        uint64_t retry_delay;
        struct wire_outcome unacked; /* seq 0: none */
        uint64_t unreported;
};

/* For a zeroed struct; the rest of the identity is the caller's to fill in. */
void link_init(struct link *link);

/*
 * There is something to do, of this kind, about so many bytes, for which a daemon may be waited for
 * that long (µs).
 */
void link_job_begin(struct link *link, uint32_t kind, uint64_t bytes, uint64_t grace);

/* There is no job any more, and it did not end: nothing is told. A GRANT for it goes back. */
void link_job_drop(struct link *link);

/* The job is begun now, without a GRANT: told, if there is somebody who understands it. */
void link_begun(struct link *link);

/* The VMM's native AIO has ended: told now, and with each REGISTER from now on. */
void link_quiet(struct link *link);

/* How much of the job is left. Told if there is a connection and room in it, else forgotten. */
void link_progress(const struct link *link, uint64_t bytes_left);

/* The job is over: keeps its outcome until it is acknowledged, and says it now if it can. */
void link_job_end(struct link *link, const struct wire_outcome *outcome);

/*
 * Connects and asks, as far as it is time for that. wanted: there is reason to be connected (a job
 * is one by itself).
 */
void link_step(struct link *link, uint64_t now, bool wanted);

/* When link_step() or link_must_go_ahead() will have an answer; USEC_INFINITY: not by itself. */
uint64_t link_wakeup(const struct link *link, bool wanted);

/* The grace time is over: nobody is there to govern the job. */
bool link_must_go_ahead(const struct link *link, uint64_t now);

/*
 * Reads what the daemon said, up to the next event. A GRANT that nobody needs is given back. Call
 * it until it says LINK_NOTHING: it reads to EOF before the connection counts as lost.
 */
enum link_event link_read(struct link *link);

/* Ends the connection. */
void link_down(struct link *link);
