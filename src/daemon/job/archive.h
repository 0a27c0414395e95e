/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The last jobs that ended, and the next job's number, in memory that outlives the daemon if
 * somebody (systemd's fd store) keeps the fd for the next one. Nothing is lost by kill -9, and all
 * of it by a reboot.
 */

#include "daemon/job/job.h"

#define ARCHIVE_JOBS_MAX 1000

struct archive;

/*
 * *fd: of an earlier daemon, or -1; taken over. If it is no archive, or one of another version, a
 * new one is made. Blocks for no longer than it takes to make a memfd.
 */
int archive_new(struct archive **ret, int *fd);
struct archive *archive_free(struct archive *archive);

/* To be kept for the next daemon; borrowed, until archive_free(). -1: an earlier one's is in use.
 */
int archive_get_new_fd(const struct archive *archive);

/* From 1, and one more each time. */
uint64_t archive_next_id(struct archive *archive);

/*
 * Copies a job that has ended, and notes in it where. Names that are too long are cut. Of more than
 * ARCHIVE_JOBS_MAX there is no copy.
 */
void archive_add(struct archive *archive, struct job *job);

/* It is not remembered any more. No-op if there is no copy. */
void archive_drop(struct archive *archive, struct job *job);

/* Each of them, oldest first: found owns the job. Negative: out of memory. */
int archive_each(const struct archive *archive, void (*found)(void *userdata, struct job *job),
                 void *userdata);
