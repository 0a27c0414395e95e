/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Does cpu.max hold a task inside one long system call? Up to Linux 6.17 it does; since 6.18 a task
 * is stopped on its way back to user mode only. Nothing tells but trying, once per start.
 */

#include <systemd/sd-event.h>

#include "base/util.h"

enum probe_result {
        PROBE_PENDING,
        PROBE_HOLDS,
        PROBE_DOES_NOT_HOLD,
        PROBE_UNKNOWN,
};

/* One try, in ns. */
struct probe_try {
        uint64_t cpu;  /* what the call takes of a CPU */
        uint64_t free; /* how long it lasted without a quota, before or after: the longer */

        /* under the quota */
        uint64_t begin, end; /* when it began, and when its caller went on */
        uint64_t complete;   /* when its output was complete, seen from outside; 0: not seen */
};

/* What one try shows. Pure. PROBE_UNKNOWN: the host is too busy, or the quota did not act. */
enum probe_result probe_judge(const struct probe_try *t);

/* The quota that is tried: a tenth of a CPU. */
#define PROBE_QUOTA_USEC  10000U
#define PROBE_PERIOD_USEC 100000U

/* Writes the quota, or none, into the cgroup; runs in a child. NULL: cgroup v2's cpu.max. */
typedef int (*probe_limit_fn)(int cgroup, bool limited);

struct probe_config {
        int cgroup; /* directory of a cgroup made for this, empty, with a cpu controller; borrowed
                     */
        probe_limit_fn limit;
        uint64_t limit_usec; /* for all of it; 0: PROBE_LIMIT_USEC */
        void (*done)(void *userdata, enum probe_result result, const char *why);
        void *userdata;
};

#define PROBE_LIMIT_USEC (20 * USEC_PER_SEC)

struct probe;

/*
 * Starts it in children, and returns at once; the loop is never blocked. done is called from the
 * loop, once, when no process of it is left in the cgroup but one that is being killed; why is
 * static text. It may free the probe.
 */
int probe_new(struct probe **ret, sd_event *event, const struct probe_config *config);

/* Kills what still runs; done is not called any more. Takes NULL. */
struct probe *probe_free(struct probe *probe);

/* ---- between probe.c and probe-judge.c ---- */

/* The judge's exit status. */
enum probe_verdict {
        PROBE_VERDICT_HOLDS,
        PROBE_VERDICT_DOES_NOT_HOLD,
        PROBE_VERDICT_BUSY,
        PROBE_VERDICT_NO_ENTRY,
        PROBE_VERDICT_NO_QUOTA,
        PROBE_VERDICT_NO_MEMORY,
        _PROBE_VERDICT_MAX,
};

/* All that the judge does, in a process of its own: it ends with one of these. */
_Noreturn void probe_judge_run(struct probe_config config);
