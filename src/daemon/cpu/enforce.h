/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The CPU cap: who enforces it (cpu.max, or SCHED_DEADLINE where cpu.max does not act inside a
 * system call), and how much each running worker gets. Owns nothing but its numbers: the tasks are
 * part of their workers, the cgroup is written through a callback. Nothing here fails for good:
 * what the kernel refuses is logged, counted, replaced by the next best, and tried again each tick.
 */

#include "daemon/cpu/enforce-task.h"
#include "daemon/cpu/probe.h"

enum enforce_mode {
        ENFORCE_AUTO,
        ENFORCE_CGROUP,
        ENFORCE_DEADLINE,
        ENFORCE_OFF,
};

/* The words for it, in its order, NULL at the end. */
extern const char *const enforce_words[];

struct enforce_policy {
        enum enforce_mode mode;
        uint64_t quota; /* µs per s, of all workers together; SHARE_UNLIMITED */
        uint64_t period_usec;
};

/* The cgroup of all jobs. write: a value into one of its files; -ENOENT: no such controller. */
struct enforce_cgroup {
        int (*write)(void *userdata, const char *file, const char *value);
        void *userdata;
};

struct enforce_counts {
        unsigned n_tasks;
        unsigned n_unenforced; /* of them TASK_IDLE, TASK_UNCAPPED */
        uint64_t n_refused;    /* ever: times that a task got less than it should */
        uint64_t n_escaped;    /* ever: times that one was found without the policy we gave it */
};

struct enforce;

/* With no quota, and the probe pending. */
int enforce_new(struct enforce **ret, const struct enforce_cgroup *cgroup);

/* What it gave stays in force: workers outlive us, and the next daemon takes it over. Takes NULL.
 */
struct enforce *enforce_free(struct enforce *enforce);

/* All of these take effect at once, on running workers, too. */
void enforce_set_policy(struct enforce *enforce, const struct enforce_policy *policy);
void enforce_set_probe(struct enforce *enforce, enum probe_result result, const char *why);

/*
 * A worker runs from now on. Before GRANT, so that none of its work is without a cap. policy:
 * SCHED_BATCH for a keeper, SCHED_OTHER for a closer. pidfd: borrowed until it is removed.
 * task->cpus: NULL, or where it was allowed to run before an earlier daemon capped it; taken over.
 */
void enforce_add(struct enforce *enforce, struct enforce_task *task, pid_t pid, int pidfd,
                 int policy);

/* No more under enforcement, and keeps what it was given. No-op if not added. */
void enforce_leave(struct enforce_task *task);

/*
 * Between the two calls many workers are added or removed: shares are set at the second, once, the
 * cap of an added one, too. It blocks as long as it takes to set them all.
 */
void enforce_hold(struct enforce *enforce);
void enforce_settle(struct enforce *enforce);

/* It is done, or gone: takes back what it was given, gives it to the others. No-op if not added. */
void enforce_remove(struct enforce_task *task);

/* About once a second, while there is a task: looks whether all have what they should. */
void enforce_tick(struct enforce *enforce);

/* Whether a cap is on a process that is not under enforcement: an earlier daemon left it. */
bool enforce_has_cap(pid_t pid);

struct enforce_counts enforce_get_counts(const struct enforce *enforce);

/* "none", "off", "cgroup", "deadline", and in a sentence why. Valid until the next change. */
const char *enforce_get_backend(const struct enforce *enforce);
const char *enforce_get_reason(const struct enforce *enforce);
