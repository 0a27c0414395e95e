/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A job is one teardown, from its REQUEST to its end, and afterwards a line of history. It carries
 * copies of what names its worker, which it outlives. Times are CLOCK_MONOTONIC µs; what nobody can
 * know (a job that began under an earlier daemon) is USEC_INFINITY and shown as unknown.
 */

#include <sys/queue.h>
#include <sys/types.h>

#include "base/result.h"
#include "base/util.h"
#include "base/wire.h"
#include "daemon/job/progress.h"

struct unit;
struct worker;

/*
 * A kind beside those of the wire: the helper that a stock QEMU made for its own end releases its
 * memory. Nobody asked for it, and it waited for nobody; it counts while it runs.
 */
#define JOB_KIND_ADOPTED 64U

enum job_state {
        JOB_QUEUED,
        JOB_RUNNING,
        /* the ends, in the words of G8 */
        JOB_DONE = JOB_RUNNING + RESULT_DONE,
        JOB_UNGOVERNED = JOB_RUNNING + RESULT_UNGOVERNED,
        JOB_INTERRUPTED = JOB_RUNNING + RESULT_INTERRUPTED,
        JOB_SUPERSEDED = JOB_RUNNING + RESULT_SUPERSEDED,
        JOB_FAILED = JOB_RUNNING + RESULT_FAILED,
        JOB_FOREIGN = JOB_RUNNING + RESULT_FOREIGN,
        JOB_LOST = JOB_RUNNING + RESULT_LOST,
        _JOB_STATE_MAX,
};

struct job {
        struct worker *worker; /* NULL once ended */

        /* identity */
        uint64_t id;   /* ours */
        uint64_t seq;  /* the worker's: a label */
        uint32_t kind; /* enum wire_kind, or JOB_KIND_ADOPTED */
        pid_t pid;
        uint8_t uuid[16];
        char *name;   /* a claim, escaped; owned */
        char *unit;   /* verified; owned; may be NULL */
        char *cgroup; /* owned; NULL where there is none */

        /* state */
        enum job_state state;
        uint64_t bytes;           /* a claim; of an adopted one what was seen last */
        uint64_t bytes_left;      /* a claim; USEC_INFINITY: never told */
        struct progress progress; /* since GRANT */
        uint64_t queued_at;       /* CLOCK_MONOTONIC µs; granted_at, too */
        uint64_t granted_at;      /* 0: not yet */
        uint64_t ended_at;        /* CLOCK_REALTIME µs; 0: not yet */
        uint64_t waited_usec;     /* from queued_at to granted_at */
        uint64_t ran_usec;        /* from granted_at to its end; USEC_INFINITY: unknown */
        uint64_t cpu_base;        /* what the bill said at GRANT; USEC_INFINITY: unknown */
        uint64_t cpu_usec;
        int error;
        uint16_t rc, rrc;
        bool ungoverned; /* it began without our grant, as far as we know */
        bool untold;     /* it ended, and its unit has so many without a grant: only counted */

        /*
         * Verified, never claimed: granting it gives memory back, for its VMM is dead, or its
         * worker is a closer.
         */
        bool frees_memory;

        /* queue.c's, while it waits */
        struct unit *queued_for; /* a reference; NULL: not in the queue */
        bool queued_first;       /* frees_memory, when it was pushed */
        uint64_t place;          /* in the order in which jobs were queued */

        /* forecast.c's, of its last look, while it waits */
        unsigned turn; /* it is granted as the nth from then on; 0: it was not there yet */
        uint64_t eta;  /* how long until it has ended, µs; USEC_INFINITY: unknown */

        unsigned record; /* archive.c's: from 1; 0: it is in none */

        TAILQ_ENTRY(job) link;      /* in queue.waiting, or in ledger.history */
        TAILQ_ENTRY(job) unit_link; /* in unit.line.jobs */
};

TAILQ_HEAD(job_list, job);

/* Its worker, and how that is called. Of unit and cgroup each may be NULL. */
struct job_owner {
        struct worker *worker;
        pid_t pid;
        const uint8_t *uuid; /* 16 bytes */
        const char *name, *unit, *cgroup;
};

/* A job of owner, with copies of its names. */
int job_new(struct job **ret, const struct job_owner *owner, uint64_t id,
            const struct wire_request *request);

/* Copies what the worker claims to be called anew. Negative: nothing has changed. */
int job_rename(struct job *job, const char *name, const uint8_t uuid[16]);

/* Takes NULL. The job must be in no list. */
struct job *job_free(struct job *job);

/* What an outcome from the wire amounts to. governed: we had granted it. */
enum job_state job_state_of_outcome(const struct wire_outcome *outcome, bool governed);

const char *job_state_to_string(enum job_state state);
const char *job_kind_to_string(uint32_t kind);

/* Whether its worker said how it ended, so that error, rc and rrc mean something. */
bool job_has_outcome(const struct job *job);

/* Whether we granted it, as far as we know. */
bool job_was_granted(const struct job *job);

/* Whether it ended as it should: the log warns of others, and the status shows them. */
bool job_went_well(const struct job *job);
