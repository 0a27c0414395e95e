/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One task under the CPU cap: it gets its share, or the next best, or back what it had before. No
 * call here is believed: a state is written down only after the kernel took the change.
 *
 * A task is changed only while its pidfd says that it lives. That is for the sake of its pid, and
 * for another reason: the kernel takes a zombie for a task, too, and bandwidth that one is given
 * does not come back until the CPUs' scheduling domains are made anew. (Setting it back does not
 * help. What is left is the moment between the look and the call.)
 */

#include "daemon/cpu/enforce.h"

#include <sched.h>
#include <stdlib.h>

#include "daemon/runtime/log.h"
#include "daemon/runtime/process.h"

/* Lines that a worker can cause as often as it likes. */
static struct log_limit refused_limit, escaped_limit;

static bool same_share(const struct share *a, const struct share *b) {
        return a->runtime_nsec == b->runtime_nsec && a->period_nsec == b->period_nsec;
}

static bool is_held(const struct enforce_task *t) {
        return t->state == TASK_CAPPED || t->state == TASK_SHORT;
}

static bool lives(struct enforce_task *t) {
        if (process_alive(t->pidfd) > 0)
                return true;
        t->state = TASK_GONE;
        return false;
}

/* A change of state is told, not each failure again. */
static void refuse(struct enforce_task *t, enum task_state state, const char *why,
                   const char *instead) {
        if (t->state == state)
                return;
        t->state = state;
        t->n_refused++;
        log_event_limited(&refused_limit,
                          LOG_EVENT(LOG_WARNING, MESSAGE_CPU_UNENFORCED, 0,
                                    LOG_NUMBER("PV_PID", (uint64_t)t->pid)),
                          "cannot cap the CPU of worker %d as configured (%s): %s", (int)t->pid,
                          why, instead);
}

void enforce_task_fall_back(struct enforce_task *t, int error) {
        const char *why = sched_why(t->pid, error);
        int r;

        r = sched_set_fair(t->pid, SCHED_IDLE);
        if (r < 0)
                refuse(t, TASK_UNCAPPED, why, "only cpu.max caps it");
        else
                refuse(t, TASK_IDLE, why, "it runs as SCHED_IDLE");
}

/* The largest part of its share that the kernel admits. A refused change changes nothing. */
static int set_admissible(struct enforce_task *t, const struct share *whole) {
        unsigned least_refused = SHARE_PARTS, admitted = 0;
        struct share part;

        while (least_refused - admitted > 1) {
                unsigned middle = (admitted + least_refused) / 2;
                int r = -EBUSY;

                if (share_part(&part, whole, middle))
                        r = sched_set_deadline(t->pid, &part);
                if (r < 0 && r != -EBUSY)
                        return r;
                *(r < 0 ? &least_refused : &admitted) = middle;
                if (r >= 0)
                        t->share = part;
        }
        return admitted > 0 ? 0 : -EBUSY;
}

static int set_share(struct enforce_task *t, const struct share *share) {
        int r;

        r = sched_free_cpus(t->pid, t->cpus ? NULL : &t->cpus);
        if (r < 0)
                return r;
        r = sched_set_deadline(t->pid, share);
        if (r < 0)
                return r;
        t->share = *share;
        t->state = TASK_CAPPED;
        return 0;
}

void enforce_task_cap(struct enforce_task *t, const struct share *share) {
        int r;

        if ((t->state == TASK_CAPPED && same_share(&t->share, share)) || !lives(t))
                return;
        r = set_share(t, share);
        if (r == -EBUSY) {
                r = set_admissible(t, share);
                if (r >= 0)
                        refuse(t, TASK_SHORT, sched_why(t->pid, -EBUSY), "it gets a smaller share");
        }
        if (!lives(t) || r >= 0)
                return;
        enforce_task_fall_back(t, r);
}

void enforce_task_release(struct enforce_task *t) {
        int r = 0;

        if (t->state != TASK_FREE && lives(t)) {
                r = sched_set_fair(t->pid, t->policy);
                if (r >= 0 && t->cpus)
                        r = sched_set_cpus(t->pid, t->cpus);
                if (r < 0 && t->state != TASK_UNCAPPED && lives(t))
                        log_warning_limited(&refused_limit, 0,
                                            "cannot remove the CPU cap of worker %d: %s",
                                            (int)t->pid, sched_why(t->pid, r));
        }
        free(t->cpus);
        t->cpus = NULL;
        if (t->state != TASK_GONE)
                t->state = TASK_FREE;
}

void enforce_task_adopt(struct enforce_task *t) {
        struct sched_state state = {};

        if (lives(t) && sched_look(t->pid, &state) >= 0) {
                if (state.sort == SCHED_SORT_DEADLINE) {
                        t->state = TASK_CAPPED;
                        t->share = state.share;
                } else if (state.sort == SCHED_SORT_IDLE) {
                        t->state = TASK_IDLE;
                }
        }
        if (t->state == TASK_FREE) {
                free(t->cpus);
                t->cpus = NULL;
        }
}

void enforce_task_verify(struct enforce_task *t) {
        struct sched_state state;

        if (!is_held(t) || sched_look(t->pid, &state) < 0 || !lives(t))
                return;
        if (state.sort == SCHED_SORT_DEADLINE && same_share(&state.share, &t->share))
                return;
        t->n_escaped++;
        t->state = TASK_FREE;
        log_warning_limited(&escaped_limit, 0,
                            "worker %d has left its CPU cap (%u times so far); setting it again",
                            (int)t->pid, t->n_escaped);
}
