/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Mark and card of a worker's cgroup: what the next daemon needs to know of its job, and of itself,
 * and could not find out. Each is a line of text in an extended attribute; it goes with the cgroup.
 * These functions are pure; cgroup.h reads and writes the attributes.
 */

#include <sys/types.h>

#include "base/util.h"
#include "base/wire.h"

#define MARK_SIZE_MAX 512

struct mark {
        uint64_t done; /* seq of the newest outcome that was reported */

        /* the running job; seq 0: none */
        uint64_t seq;
        uint32_t kind;
        uint64_t bytes;
        uint64_t queued_at; /* CLOCK_MONOTONIC, µs; granted_at, too */
        uint64_t granted_at;
        uint64_t cpu_base; /* what the bill said at GRANT, µs */

        bool away; /* it was idle, and was sent away: it does not come back before it has a job */
        bool adopted;   /* it never registers; bytes: what it held when it was last looked at */
        bool begun;     /* the running job: without our grant */
        bool quiet;     /* it said so: see quiet.h */
        char unit[128]; /* of the VMM, or "" */
};

void mark_format(const struct mark *mark, char buffer[static MARK_SIZE_MAX]);

/* -EBADMSG: it is no mark; *ret is left alone. */
int mark_parse(struct mark *ret, const char *text);

#define CARD_CPUS_MAX 1024
#define CARD_SIZE_MAX (256 + CARD_CPUS_MAX)

struct card {
        pid_t vmm_pid; /* 0: not known */
        uint64_t vmm_starttime;
        uint8_t uuid[16];             /* all zero: none */
        char cpus[CARD_CPUS_MAX];     /* where it might run before it was capped; "": anywhere */
        char name[WIRE_NAME_MAX + 1]; /* as worker.name is */
};

void card_format(const struct card *card, char buffer[static CARD_SIZE_MAX]);

/* -EBADMSG: it is no card; *ret is left alone. */
int card_parse(struct card *ret, const char *text);
