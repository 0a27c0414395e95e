/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The jobs that ended: a line of the journal each, the last of them, and what they add up to. */

#include "daemon/job/archive.h"
#include "daemon/job/estimate.h"
#include "daemon/job/job.h"
#include "daemon/job/tally.h"

#define HISTORY_MAX           ARCHIVE_JOBS_MAX /* finished jobs we remember */
#define HISTORY_UNGRANTED_MAX 100              /* of them of one unit, not granted */

struct ledger {
        struct job_list history; /* oldest first; owned */
        unsigned n_history;
        uint64_t totals[_JOB_STATE_MAX]; /* by how they ended; JOB_QUEUED, JOB_RUNNING unused */
        struct estimate estimate;        /* what was learnt from them */
        struct tally tally;              /* for the metrics */
        struct archive *archive;         /* the history once more; owned; NULL: nobody keeps it */
        uint64_t next_id;                /* without an archive; from 1 */
};

void ledger_init(struct ledger *ledger);
void ledger_deinit(struct ledger *ledger);

/*
 * From now on history and numbers are kept for the next daemon; those of an earlier one come first.
 * fd: as of archive_new(). Negative: there is no archive, and all goes on without.
 */
int ledger_open_archive(struct ledger *ledger, int *fd);

/* A number for a new job. */
uint64_t ledger_next_id(struct ledger *ledger);

/*
 * A job ended, now if it has no time of its end. Takes it over. Returns it if it is remembered,
 * until HISTORY_MAX more are; NULL: it is only counted.
 *
 * One that was not granted pushes nobody else's out of the history: each worker can report as many
 * as it likes. Of its unit HISTORY_UNGRANTED_MAX of that sort are remembered.
 */
struct job *ledger_add(struct ledger *ledger, struct job *job);

/* The one line of the log for a finished job, with the fields of JOB_FIELDS in messages.h. */
void job_log(const struct job *job);
