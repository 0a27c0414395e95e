/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One decision, decide(), says who enforces; one loop, apply_all(), brings every task there. Both
 * run again whenever something changed: a worker starts or ends, the quota, the probe's result.
 *
 * Shares are equal and their sum is at most the quota. Tasks are changed in the order in which they
 * came, so a new one is added when the others have already shrunk, and what the kernel admits is
 * never exceeded on the way.
 *
 * cpu.max stands behind SCHED_DEADLINE, for those who escape it. The kernel does not charge the
 * time of deadline tasks to it, so workers that are held run up no debt there, and it need not be
 * larger than the quota on their account. An escaped one does run up a debt: since 6.18 it is not
 * stopped inside a system call, and then the whole cgroup, every idle keeper that wants to report
 * included, would stand still for up to debt / quota. Writing cpu.max anew forgives the debt, and
 * refills the quota. So it is written anew when a tick finds a worker that is not held, and when
 * such a worker is done: nobody waits longer than a tick. Otherwise it is written when it changes,
 * or else an administrator who changes limits often would lift it.
 */

#include "daemon/cpu/enforce.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/runtime/log.h"

#define CPU_MAX "cpu.max"

/* What idle keepers need to register and report, even if the quota is less. */
#define BEHIND_MIN_USEC (100 * USEC_PER_MSEC)

TAILQ_HEAD(task_list, enforce_task);

enum backend {
        BACKEND_NONE,
        BACKEND_OFF,
        BACKEND_CGROUP,
        BACKEND_DEADLINE,
};

struct enforce {
        struct enforce_cgroup cgroup;
        struct share_host host;
        struct enforce_policy policy;
        enum probe_result probe;
        const char *probe_why;

        /* state */
        struct task_list tasks;
        unsigned n_tasks;
        bool held; /* between enforce_hold() and enforce_settle() */
        enum backend backend;
        char reason[256];
        bool limited; /* cpu.max, as written last */
        char cpu_max[SHARE_CPU_MAX_SIZE];
        bool failed;                   /* to write it: told once */
        uint64_t n_refused, n_escaped; /* of tasks that have left */
};

const char *const enforce_words[] = {"auto", "cgroup", "deadline", "off", NULL};

static const char *const backend_names[] = {
        [BACKEND_NONE] = "none",
        [BACKEND_OFF] = "off",
        [BACKEND_CGROUP] = "cgroup",
        [BACKEND_DEADLINE] = "deadline",
};

/* ---- all of them ---- */

static enum share_kind get_share(const struct enforce *e, struct share *ret) {
        return share_compute(ret, &e->host, e->policy.quota, e->policy.period_usec, e->n_tasks);
}

/* Those that had a share before us, first: in the order of the list the others find no room. */
static void shrink(struct enforce *e, const struct share *share) {
        struct enforce_task *t;

        TAILQ_FOREACH (t, &e->tasks, link)
                if (t->state == TASK_CAPPED)
                        enforce_task_cap(t, share);
}

static void apply_all(struct enforce *e) {
        enum share_kind kind = SHARE_FREE;
        struct enforce_task *t;
        struct share share;

        if (e->held)
                return;
        if (e->backend == BACKEND_DEADLINE)
                kind = get_share(e, &share);
        TAILQ_FOREACH (t, &e->tasks, link)
                if (kind == SHARE_DEADLINE)
                        enforce_task_cap(t, &share);
                else if (kind == SHARE_TOO_TINY)
                        enforce_task_fall_back(t, -EINVAL);
                else
                        enforce_task_release(t);
}

void enforce_hold(struct enforce *e) {
        e->held = true;
}

void enforce_settle(struct enforce *e) {
        struct share share;

        e->held = false;
        if (e->backend == BACKEND_DEADLINE && get_share(e, &share) == SHARE_DEADLINE)
                shrink(e, &share);
        apply_all(e);
}

/* ---- who enforces ---- */

static const char *decide_auto(struct enforce *e) {
        static const struct {
                enum backend backend;
                const char *reason;
        } rows[] = {
                [PROBE_PENDING] = {BACKEND_DEADLINE, "the test of cpu.max has not ended"},
                [PROBE_HOLDS] = {BACKEND_CGROUP, "cpu.max acts inside system calls on this kernel"},
                [PROBE_DOES_NOT_HOLD] = {BACKEND_DEADLINE, "cpu.max does not act inside system"
                                                           " calls on this kernel"},
                [PROBE_UNKNOWN] = {BACKEND_DEADLINE, "cannot test cpu.max"},
        };

        e->backend = rows[e->probe].backend;
        return rows[e->probe].reason;
}

static const char *decide_backend(struct enforce *e) {
        if (e->policy.mode == ENFORCE_OFF) {
                e->backend = BACKEND_OFF;
                return "as configured";
        }
        if (e->policy.quota == SHARE_UNLIMITED) {
                e->backend = BACKEND_NONE;
                return "there is no quota";
        }
        if (e->policy.mode == ENFORCE_AUTO)
                return decide_auto(e);
        e->backend = e->policy.mode == ENFORCE_CGROUP ? BACKEND_CGROUP : BACKEND_DEADLINE;
        return "as configured";
}

/*
 * More than the kernel admits would be refused for the tasks that come last: then none gets
 * it. How many there are now does not matter for that: a quota is not to act now and then.
 */
static const char *reconsider(struct enforce *e, const char *why) {
        if (e->backend != BACKEND_DEADLINE)
                return why;
        if (e->policy.quota >= e->host.n_cpus * USEC_PER_SEC) {
                e->backend = BACKEND_NONE;
                return "the quota is all CPUs";
        }
        if (e->policy.quota > e->host.admissible) {
                e->backend = BACKEND_CGROUP;
                return "the quota is more than SCHED_DEADLINE admits";
        }
        return why;
}

static void decide(struct enforce *e) {
        const char *why = decide_backend(e), *detail = NULL;

        if (e->backend == BACKEND_DEADLINE && e->policy.mode == ENFORCE_AUTO)
                detail = e->probe == PROBE_UNKNOWN ? e->probe_why : NULL;
        why = reconsider(e, why);
        if (detail && e->backend == BACKEND_DEADLINE)
                (void)snprintf(e->reason, sizeof(e->reason), "%s: %s: %s; using SCHED_DEADLINE",
                               backend_names[e->backend], why, detail);
        else
                (void)snprintf(e->reason, sizeof(e->reason), "%s: %s%s%s%s",
                               backend_names[e->backend], why, detail ? " (" : "",
                               detail ? detail : "", detail ? ")" : "");
}

/* ---- the cgroup ---- */

static void append(char *text, size_t size, const char *more) {
        size_t n = strlen(text);

        (void)snprintf(text + n, size - n, "%s", more);
}

static void write_value(struct enforce *e, const char *value) {
        int r = -ENOENT;

        if (e->cgroup.write)
                r = e->cgroup.write(e->cgroup.userdata, CPU_MAX, value);
        if (r < 0 && !e->failed && e->cgroup.write)
                (void)log_warning_errno(r, "cannot set " CPU_MAX " of the workers' cgroup");
        e->failed = r < 0;
}

/* anew: even if it is that already, see above. */
static void write_cpu_max(struct enforce *e, bool anew) {
        char value[SHARE_CPU_MAX_SIZE];
        uint64_t quota = SHARE_UNLIMITED;

        if (e->backend == BACKEND_CGROUP)
                quota = e->policy.quota;
        else if (e->backend == BACKEND_DEADLINE)
                quota = max_u64(e->policy.quota, BEHIND_MIN_USEC);
        share_cpu_max(value, quota, e->policy.period_usec);
        if (quota == SHARE_UNLIMITED && !e->limited)
                return;
        if (!anew && !e->failed && strcmp(value, e->cpu_max) == 0)
                return;
        write_value(e, value);
        memcpy(e->cpu_max, value, sizeof(value));
        e->limited = quota != SHARE_UNLIMITED || e->failed; /* then it may still be */
}

/* Held first, then limited; unlimited first, then let go: no debts in between. */
static void update(struct enforce *e, bool anew) {
        char reason[sizeof(e->reason)];

        memcpy(reason, e->reason, sizeof(reason));
        decide(e);
        if (e->backend != BACKEND_DEADLINE)
                write_cpu_max(e, anew);
        apply_all(e);
        if (e->backend == BACKEND_DEADLINE)
                write_cpu_max(e, anew);
        if (e->backend == BACKEND_CGROUP && e->failed)
                append(e->reason, sizeof(e->reason), "; but cpu.max cannot be set");
        if (strcmp(reason, e->reason) != 0)
                (void)log_event(LOG_EVENT(LOG_INFO, MESSAGE_CPU_CAP, 0,
                                          LOG_TEXT("PV_BACKEND", backend_names[e->backend]),
                                          LOG_TEXT("PV_REASON", e->reason)),
                                "CPU cap by %s", e->reason);
}

void enforce_set_policy(struct enforce *e, const struct enforce_policy *policy) {
        e->policy = *policy;
        update(e, false);
}

void enforce_set_probe(struct enforce *e, enum probe_result result, const char *why) {
        e->probe = result;
        e->probe_why = why;
        update(e, false);
}

/* ---- tasks come and go ---- */

/* Not held by a share, so its time is charged to cpu.max. */
static bool is_loose(const struct enforce_task *t) {
        return t->state == TASK_FREE || t->state == TASK_IDLE || t->state == TASK_UNCAPPED;
}

void enforce_add(struct enforce *e, struct enforce_task *t, pid_t pid, int pidfd, int policy) {
        if (t->enforce)
                return;
        *t = (struct enforce_task){
                .enforce = e, .pid = pid, .pidfd = pidfd, .policy = policy, .cpus = t->cpus};
        enforce_task_adopt(t);
        TAILQ_INSERT_TAIL(&e->tasks, t, link);
        e->n_tasks++;
        apply_all(e);
}

void enforce_remove(struct enforce_task *t) {
        struct enforce *e = t->enforce;
        bool loose;

        if (!e)
                return;
        TAILQ_REMOVE(&e->tasks, t, link);
        e->n_tasks--;
        e->n_refused += t->n_refused;
        e->n_escaped += t->n_escaped;
        loose = is_loose(t);
        enforce_task_release(t);
        t->enforce = NULL;
        apply_all(e);
        if (loose && e->backend == BACKEND_DEADLINE)
                write_cpu_max(e, true);
}

void enforce_leave(struct enforce_task *t) {
        if (!t->enforce)
                return;
        TAILQ_REMOVE(&t->enforce->tasks, t, link);
        t->enforce->n_tasks--;
        free(t->cpus);
        *t = (struct enforce_task){};
}

void enforce_tick(struct enforce *e) {
        struct enforce_task *t;
        bool loose = false;

        if (e->backend != BACKEND_DEADLINE)
                return;
        TAILQ_FOREACH (t, &e->tasks, link) {
                enforce_task_verify(t);
                loose |= is_loose(t);
        }
        /*
         * CPUs come and go, and with them what is admitted. Not without need: a read of
         * sched_rt_runtime_us or sched_rt_period_us makes Linux 6.18 count anew what is admitted,
         * and forget deadline tasks that run; a share of theirs that changes later is refused
         * (EBUSY), until somebody reads it again. Then we do.
         */
        if (loose || sched_count_cpus() != e->host.n_cpus)
                sched_read_host(&e->host);
        update(e, loose);
}

bool enforce_has_cap(pid_t pid) {
        struct sched_state state;

        return sched_look(pid, &state) >= 0 &&
               (state.sort == SCHED_SORT_DEADLINE || state.sort == SCHED_SORT_IDLE);
}

struct enforce_counts enforce_get_counts(const struct enforce *e) {
        struct enforce_counts counts = {
                .n_tasks = e->n_tasks, .n_refused = e->n_refused, .n_escaped = e->n_escaped};
        const struct enforce_task *t;

        TAILQ_FOREACH (t, &e->tasks, link) {
                counts.n_unenforced += t->state == TASK_IDLE || t->state == TASK_UNCAPPED;
                counts.n_refused += t->n_refused;
                counts.n_escaped += t->n_escaped;
        }
        return counts;
}

const char *enforce_get_backend(const struct enforce *e) {
        return backend_names[e->backend];
}

const char *enforce_get_reason(const struct enforce *e) {
        return e->reason;
}

/* ---- the whole ---- */

/*
 * A daemon before us may have set limits that we have not: a quota that was taken out of the
 * configuration before a restart would hold for ever.
 */
static void forget_limits(struct enforce *e) {
        if (!e->cgroup.write)
                return;
        e->limited = e->cgroup.write(e->cgroup.userdata, CPU_MAX, "max") < 0;
}

int enforce_new(struct enforce **ret, const struct enforce_cgroup *cgroup) {
        struct enforce *e = calloc(1, sizeof(*e));

        if (!e)
                return -ENOMEM;
        if (cgroup)
                e->cgroup = *cgroup;
        TAILQ_INIT(&e->tasks);
        sched_read_host(&e->host);
        e->policy = (struct enforce_policy){.quota = SHARE_UNLIMITED,
                                            .period_usec = 10 * USEC_PER_MSEC};
        decide(e);
        forget_limits(e);
        *ret = e;
        return 0;
}

struct enforce *enforce_free(struct enforce *e) {
        struct enforce_task *t;

        if (!e)
                return NULL;
        while ((t = TAILQ_FIRST(&e->tasks)) != NULL)
                enforce_leave(t);
        free(e);
        return NULL;
}
