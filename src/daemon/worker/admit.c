/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who may be a worker.
 *
 * Without cgroups there is nothing to know a closer by: then a process that shares no memory
 * with its parent is taken for one. All that it gets by this is its turn.
 *
 * Identity goes by pid and start time, and is believed only if the pidfd says afterwards that the
 * process still lives: a number alone may have found a new owner meanwhile.
 */

#include "daemon/worker/admit.h"

#include <string.h>

#include "daemon/runtime/process.h"
#include "daemon/worker/adopted.h"
#include "daemon/worker/protocol.h"

#define ASK_MAX 64 /* 2 us each */

/* A helper that was adopted before its VMM's keeper came now releases nothing: the keeper does. */
static void overtake_helper(const struct worker *keeper) {
        struct worker *w;

        if (keeper->workers->n_adopted == 0)
                return;
        TAILQ_FOREACH (w, &keeper->workers->list, link)
                if (w->state == WORKER_ADOPTED && w->vmm_pid == keeper->vmm_pid &&
                    worker_vmm_alive(w)) {
                        worker_set_state(w, WORKER_OVERTAKEN);
                        worker_mark(w);
                }
}

/*
 * One keeper per address space. A second one may be anybody's child, so neither pid tells.
 * The kernel is asked about those of the same unit only: all who share an address space were
 * started in one, and there is no way out of it but into ours. And about the last few of them only,
 * or a unit's n VMs would cost n questions each: what a second worker takes is its own unit's.
 */
static bool has_worker(struct workers *ws, const struct worker *claimant) {
        unsigned n_asked = 0;
        struct worker *w;

        TAILQ_FOREACH_REVERSE(w, &ws->list, worker_list, link) {
                bool same_vmm = w->vmm_pid == claimant->vmm_pid;

                if (w == claimant || w->sort == WORKER_HELPER)
                        continue;
                if (!same_vmm &&
                    (n_asked >= ASK_MAX || strcmp(w->unit ?: "", claimant->unit ?: "") != 0))
                        continue;
                n_asked += !same_vmm;
                if (process_same_mm(w->pid, claimant->pid) > 0 && process_alive(w->pidfd) > 0)
                        return true;
        }
        return false;
}

/* Who is in a worker's cgroup is that worker, or of its making before it could make no more. */
static bool is_worker(struct workers *ws, pid_t pid) {
        _cleanup_(freep) char *path = NULL;
        struct worker *w;

        if (!ws->cgroup || process_cgroup(pid, &path) < 0)
                return false;
        TAILQ_FOREACH (w, &ws->list, link)
                if (w->cgroup && strcmp(w->cgroup->name, strrchr(path, '/') + 1) == 0 &&
                    cgroup_leaf_contains(w->cgroup, pid) > 0)
                        return true;
        return false;
}

/*
 * The VMM by pidfd, and its unit, if it is the one whose address space the worker shares. Of one
 * that was found mark and card know the unit and who the VMM is: four reads less, for each of
 * thousands.
 */
static int find_vmm(struct worker *w, pid_t ppid) {
        _cleanup_(close_fd) int pidfd = process_open(ppid);
        _cleanup_(freep) char *unit = NULL;
        struct task_stat stat = {.starttime = w->vmm.starttime};
        int r = 0;

        if (pidfd < 0)
                return pidfd;
        if (!w->unit)
                r = process_unit(ppid, &unit);
        if (r >= 0 && w->vmm.pid != ppid)
                r = process_read_stat(ppid, &stat);
        if (r < 0)
                return r;
        /* Last, and then is it still alive: what was read by number before was about this one. */
        r = process_same_mm(w->pid, ppid);
        if (r < 0)
                return r;
        if (r == 0)
                return -EPERM;
        r = process_alive(pidfd);
        if (r <= 0)
                return r < 0 ? r : -ESRCH;
        w->vmm_pid = ppid;
        w->vmm = (struct process_id){ppid, stat.starttime};
        w->vmm_pidfd = take_fd(&pidfd);
        if (unit)
                w->unit = take_ptr(&unit);
        return 0;
}

/*
 * A worker shares its address space with its parent, the VMM. That is settled while the VMM lives;
 * afterwards a worker's place in our cgroups is its identity, and a stranger has none.
 */
static int verify(struct worker *w, pid_t ppid) {
        int r;

        if (is_worker(w->workers, ppid))
                return -EEXIST;
        r = find_vmm(w, ppid);
        if (r < 0)
                return r;
        return has_worker(w->workers, w) ? -EEXIST : 0;
}

/* TasksMax= lets only one process be there; for two, one bill would have to do. */
static bool cgroup_has_worker(struct workers *ws, const char *path) {
        struct worker *w;

        TAILQ_FOREACH (w, &ws->list, link)
                if (w->sort == WORKER_CLOSER && w->cgroup && strcmp(w->cgroup->path, path) == 0 &&
                    process_alive(w->pidfd) > 0)
                        return true;
        return false;
}

/* 1: it is a closer; 0: it is none. */
static int find_closer(struct worker *w, pid_t ppid) {
        _cleanup_(cgroup_leaf_freep) struct cgroup_leaf *leaf = NULL;
        int r;

        if (w->workers->cgroup) {
                r = cgroup_leaf_open_closer(&leaf, w->workers->cgroup, w->pid);
                if (r < 0)
                        return r == -ENOENT ? 0 : r;
                if (cgroup_has_worker(w->workers, leaf->path))
                        return -EEXIST;
        } else if (process_same_mm(w->pid, ppid) != 0) {
                return 0; /* a keeper, or whether it is one cannot be told */
        }
        r = process_unit(w->pid, &w->unit);
        if (r < 0)
                return r;
        w->sort = WORKER_CLOSER;
        w->cgroup = take_ptr(&leaf);
        return 1;
}

int worker_new(struct worker **ret, struct workers *ws, pid_t pid, const struct task_stat *stat,
               int *pidfd) {
        _cleanup_(worker_freep) struct worker *w = NULL;
        int r;

        if (ws->n >= ws->max)
                return -EMFILE; /* it costs fds as long as it lives, connected or not */
        r = worker_alloc(&w, ws, pid, stat->starttime);
        if (r < 0)
                return r;
        w->pidfd = take_fd(pidfd);
        r = find_closer(w, stat->ppid);
        if (r == 0)
                r = verify(w, stat->ppid);
        if (r >= 0 && stat->n_threads > 1)
                r = -EUSERS;
        if (r < 0)
                return r;
        /* Everything above went by number; if its owner still lives, it was its owner's. */
        r = process_alive(w->pidfd);
        if (r <= 0)
                return r < 0 ? r : -ESRCH;
        r = worker_charge_unit(w);
        if (r < 0)
                return r;
        r = w->sort == WORKER_CLOSER ? 0 : worker_enter_cgroup(w);
        if (r < 0)
                return r;
        (void)worker_restore(
                w); /* there is one if an earlier daemon knew it and we failed to count it */
        r = worker_serve(w);
        if (r >= 0 && w->sort != WORKER_CLOSER)
                r = worker_watch_vmm(w);
        if (r < 0)
                return r;
        overtake_helper(w);
        *ret = take_ptr(&w);
        return 0;
}

/* It may be a zombie, and stay one as long as its parent likes. */
static bool is_dead(const struct task_stat *stat) {
        return stat->state == 'Z' || stat->state == 'X';
}

/* Who and where it is. An earlier daemon may have ended between its move and the look at it. */
static int find_again(struct worker *w, bool *ret_away) {
        struct task_stat stat;
        int r;

        w->pidfd = process_open(w->pid);
        if (w->pidfd < 0)
                return w->pidfd;
        r = process_read_stat(w->pid, &stat);
        if (r < 0)
                return r;
        if (stat.starttime != w->starttime || is_dead(&stat))
                return -ESRCH;
        r = find_closer(w, stat.ppid);
        if (r != 0)
                return r;
        r = cgroup_leaf_new(&w->cgroup, w->workers->cgroup, w->pid, w->starttime);
        if (r >= 0)
                r = worker_check_threads(w);
        if (r < 0)
                return r;
        *ret_away = worker_restore(w);
        (void)find_vmm(w, stat.ppid); /* it may be gone */
        return 0;
}

static int resume(struct worker *w, enum worker_state state) {
        int r;

        r = worker_serve(w);
        if (r >= 0 && w->vmm_pidfd >= 0)
                r = worker_watch_vmm(w);
        if (r < 0)
                return r;
        overtake_helper(w);
        worker_set_state(w, state);
        return 0;
}

/* Model: daemon_recount. */
int worker_new_found(struct worker **ret, struct workers *ws, pid_t pid, uint64_t starttime) {
        _cleanup_(worker_freep) struct worker *w = NULL;
        bool away = false;
        int r;

        r = worker_alloc(&w, ws, pid, starttime);
        if (r < 0)
                return r;
        r = find_again(w, &away);
        if (r < 0)
                return r;
        if (w->sort != WORKER_CLOSER && w->vmm_pidfd < 0)
                worker_on_vmm_end(w);
        r = w->sort == WORKER_HELPER ? worker_resume_adopted(w)
                                     : resume(w, away ? WORKER_FOUND_AWAY : WORKER_FOUND);
        if (r < 0)
                return r;
        *ret = take_ptr(&w);
        return 0;
}

/* ---- who ended unseen ---- */

static bool lives(const struct process_id *id) {
        struct task_stat stat;

        return process_read_stat(id->pid, &stat) >= 0 && stat.starttime == id->starttime &&
               !is_dead(&stat);
}

/* Its VMM, if that is alive. By number first, then by a pidfd that says so. */
static void find_vmm_left(struct worker *w) {
        if (w->vmm.pid > 0)
                w->vmm_pidfd = process_open(w->vmm.pid);
        if (w->vmm_pidfd >= 0 && !lives(&w->vmm))
                close_fd(&w->vmm_pidfd);
        if (w->vmm_pidfd < 0)
                w->vmm_pidfd = -1;
}

int worker_new_left(struct workers *ws, pid_t pid, uint64_t starttime) {
        _cleanup_(worker_freep) struct worker *w = NULL;
        const struct process_id id = {pid, starttime};
        bool away;
        int r;

        if (lives(&id))
                return -EBUSY;
        r = worker_alloc(&w, ws, pid, starttime);
        if (r >= 0)
                r = cgroup_leaf_open(&w->cgroup, ws->cgroup, pid, starttime);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        away = worker_restore(w);
        find_vmm_left(w);
        if (w->sort == WORKER_HELPER && !w->job && !away && !worker_vmm_alive(w))
                r = worker_begin_unseen(w);
        if (r < 0)
                return r;
        worker_end_unseen(take_ptr(&w));
        return 0;
}
