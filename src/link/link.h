/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A worker's end of the protocol in wire.h, for keepers and closers: one job at a time, one
 * connection at a time, which comes and goes. The worker says which job it has, and does the job
 * when link_read() or link_must_go_ahead() says so.
 *
 * Fail-open (G5): a worker that got no WELCOME within the grace time goes ahead ungoverned. The
 * time counts from the job's start or the link's loss. If there never was a WELCOME and nobody
 * listens, the worker goes ahead at once. A successful connect() proves nothing: systemd's socket
 * accepts for a dead daemon. With a daemon that is there, and does not grant, it goes ahead when
 * the grant's grace time is over. That one counts from the job's start, whatever the link does.
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
        LINK_WELCOMED,  /* the daemon answered: it accounts this worker and will grant */
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
        uint32_t flags;       /* enum wire_flags; link_quiet() adds to it */
        uint64_t grant_grace; /* µs that any job waits for its GRANT; USEC_INFINITY: for ever */

        /* owned */
        int fd; /* to poll for POLLIN, or -1 */

        /* state: the job; kind is enum wire_kind, NONE between two jobs */
        uint32_t kind;
        bool requested; /* this job, on this connection */
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

/* For a zeroed struct; the rest of the identity is the caller's to fill in. No grant_grace. */
void link_init(struct link *link);

/*
 * A job begins: its kind (enum wire_kind), its bytes to clear, and its grace time in µs: so long
 * the job waits for a daemon.
 */
void link_job_begin(struct link *link, uint32_t kind, uint64_t bytes, uint64_t grace);

/* The job is gone without an end: nothing is told. A GRANT for it goes back. */
void link_job_drop(struct link *link);

/* The job begins now, without a GRANT. Tells the daemon if that understands it. */
void link_begun(struct link *link);

/* The VMM's native AIO has ended. Tells the daemon now, and in each REGISTER from now on. */
void link_quiet(struct link *link);

/* Tells how much of the job is left, in bytes, if there is a connection with room; else nothing. */
void link_progress(const struct link *link, uint64_t bytes_left);

/* The job is over: keeps its outcome until it is acknowledged, and tells it now if it can. */
void link_job_end(struct link *link, const struct wire_outcome *outcome);

/*
 * Connects and asks, as far as it is time for that. now: CLOCK_MONOTONIC in µs. wanted: the worker
 * wants a connection also without a job.
 */
void link_step(struct link *link, uint64_t now, bool wanted);

/* When to call link_step() and link_must_go_ahead() again, in µs; USEC_INFINITY: no such time. */
uint64_t link_wakeup(const struct link *link, bool wanted);

/* A grace time is over: nobody is there to govern the job, or nobody does. */
bool link_must_go_ahead(const struct link *link, uint64_t now);

/*
 * Reads the daemon's messages, up to the next event. A GRANT that nobody needs goes back. Call this
 * until it returns LINK_NOTHING: it reads to EOF before the connection counts as lost.
 */
enum link_event link_read(struct link *link);

/* Ends the connection. */
void link_down(struct link *link);
