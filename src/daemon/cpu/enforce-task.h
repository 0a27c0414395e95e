/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One running worker under the CPU cap. Only enforce.c calls these functions; the owner of the
 * worker embeds the struct and reads it. None of them blocks, and none fails: what the kernel
 * refuses is logged, counted and replaced by the next best.
 */

#include <sys/queue.h>
#include <sys/types.h>

#include "daemon/cpu/scheduling.h"

struct enforce;

enum task_state {
        TASK_FREE,     /* nothing to enforce but cpu.max */
        TASK_CAPPED,   /* SCHED_DEADLINE with its share */
        TASK_SHORT,    /* with less than its share: more was not admitted */
        TASK_IDLE,     /* SCHED_DEADLINE was refused: SCHED_IDLE, without a cap */
        TASK_UNCAPPED, /* and that, too */
        TASK_GONE,
};

/* All zero: not under enforcement. */
struct enforce_task {
        struct enforce *enforce; /* NULL: not in its list */

        /* identity */
        pid_t pid;
        int pidfd;  /* borrowed */
        int policy; /* what it is to go back to */

        /* owned */
        struct sched_cpus *cpus; /* where it was allowed to run; NULL: nobody changed it */

        /* state */
        enum task_state state;
        struct share share; /* TASK_CAPPED, TASK_SHORT: what it has */
        unsigned n_refused; /* times that it got less than it should */
        unsigned n_escaped; /* times that it was found without the policy we gave it */

        TAILQ_ENTRY(enforce_task) link; /* in enforce.tasks */
};

/*
 * Starts from what it is: an earlier daemon may have left it as it ran. If there is no cap on it,
 * nobody has changed its CPUs.
 */
void enforce_task_adopt(struct enforce_task *task);

/* SCHED_DEADLINE with that share; or less, or SCHED_IDLE. No-op if it has that already. */
void enforce_task_cap(struct enforce_task *task, const struct share *share);

/* SCHED_IDLE, where no share can be had; error says why, see sched_why(). */
void enforce_task_fall_back(struct enforce_task *task, int error);

/* Back to what it had before; whatever it owes is forgotten with it. */
void enforce_task_release(struct enforce_task *task);

/* Looks whether it still has what we gave it; if not, it is TASK_FREE from now on. */
void enforce_task_verify(struct enforce_task *task);
