/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where workers live in the cgroup tree, and what a worker may have there. A worker comes out of
 * its VM's cgroup, whose limits hold it no longer, so ours has limits instead: one thread, which
 * stays one (pids.max), and hardly any memory of its own (leaf.c). A process with more
 * threads is refused as a worker: pids.max stops no thread that is there already.
 *
 * A worker's address space is its VMM's, and others may share it as well. A move must not change
 * the memory policies in it and must not migrate its pages, see nodes.c. Where it would, the
 * worker stays in its VM's cgroup and is served there: without a cgroup of its own, as with
 * --cgroup none. Once the VMM is dead nobody needs the policies any more. Then the worker is moved
 * if no page moves with it, else it stays: moving the pages would take as long as copying the
 * guest, and up to Linux 6.17 all that is done to cgroups on the host would wait as long.
 */

#include "daemon/worker/worker.h"

#include <string.h>

#include "daemon/runtime/log.h"
#include "daemon/runtime/process.h"

/* Lines that a VMM can cause as often as it likes. */
static struct log_limit place_limit;

int worker_cpu_usec(const struct worker *w, uint64_t *ret) {
        return w->cgroup ? cgroup_leaf_cpu_usec(w->cgroup, ret) : process_cpu_usec(w->pid, ret);
}

bool worker_vmm_alive(const struct worker *w) {
        return w->vmm_pidfd >= 0 && process_alive(w->vmm_pidfd) > 0;
}

/* ---- its memory ---- */

static void limit_memory(struct worker *w) {
        int r;

        if (!(w->workers->cgroup->leaf_controllers & CGROUP_MEMORY))
                return;
        r = cgroup_leaf_limit_memory(w->cgroup);
        if (r < 0 && r != -ENODEV) /* it is gone, and its cgroup with it */
                log_warning_limited(&place_limit, r, "cannot limit the memory of worker %d",
                                    (int)w->pid);
}

/*
 * -EXDEV: a move would do harm. The worker and its VMM were in one cgroup when the worker was made.
 * If one of them has been moved since, nobody can know to whose nodes the policies are bound.
 */
static int take_nodes(struct worker *w, char own[static NODES_TEXT_MAX]) {
        char vmm[NODES_TEXT_MAX];
        bool alive;
        int r;

        r = process_nodes(w->pid, own, NODES_TEXT_MAX);
        if (r < 0)
                return r == -ENODATA ? 0 : r;
        r = process_nodes(w->vmm_pid, vmm, sizeof(vmm));
        alive = worker_vmm_alive(w); /* after the look by number */
        if (alive && r < 0)
                return r;
        if (alive && strcmp(own, vmm) != 0)
                return -EXDEV;
        return cgroup_leaf_take_nodes(w->cgroup, w->workers->cgroup, own,
                                      alive ? CGROUP_FIT_EXACT : CGROUP_FIT_MORE);
}

/* ---- the move ---- */

static int count_threads(const struct worker *w) {
        struct task_stat stat;
        int r;

        r = process_read_stat(w->pid, &stat);
        return r < 0 ? r : (int)stat.n_threads;
}

/*
 * It had one thread before the move, and has more after it, where pids.max lets it make none: so it
 * made them during the move, to have them where its VM's limits do not hold. It is no worker, and
 * must not stay there. Before Linux 5.14, which has no cgroup.kill, it does.
 */
int worker_check_threads(struct worker *w) {
        int r;

        r = count_threads(w);
        if (r < 0)
                return r;
        if (r <= 1)
                return 0;
        r = cgroup_leaf_kill(w->cgroup);
        log_warning_limited(&place_limit, r, "process %d made threads while it was moved: %s",
                            (int)w->pid, r < 0 ? "it cannot be killed" : "it is killed");
        return -EUSERS;
}

/* Model: daemon_move. */
static int move(struct worker *w) {
        int r;

        r = cgroup_leaf_attach(w->cgroup, w->pid);
        if (r < 0)
                return r;
        r = cgroup_leaf_contains(w->cgroup, w->pid);
        if (r <= 0)
                return r < 0 ? r : -ESRCH;
        r = process_alive(w->pidfd);
        if (r == 0)
                log_error("worker %d ended while it was moved; the process in %s now is another",
                          (int)w->pid, w->cgroup->path);
        return r < 0 ? r : r == 0 ? -ESRCH : 0;
}

static void leave_cgroup(struct worker *w) {
        w->workers->purge |= cgroup_leaf_remove(w->cgroup, w->workers->cgroup) < 0;
        w->cgroup = cgroup_leaf_free(w->cgroup);
}

/* Told once: not again when its VMM is dead. */
static int stay(struct worker *w, const char *nodes) {
        leave_cgroup(w);
        if (worker_vmm_alive(w))
                log_event_limited(&place_limit,
                                  LOG_EVENT(LOG_WARNING, MESSAGE_WORKER_STAYS, 0,
                                            LOG_TEXT("PV_UNIT", w->unit),
                                            LOG_NUMBER("PV_PID", (uint64_t)w->pid)),
                                  "worker %d (unit %s) stays in its VM's cgroup: to move it would "
                                  "take the guest's memory away from the nodes %s",
                                  (int)w->pid, w->unit ? w->unit : "unknown", nodes);
        return 0;
}

int worker_enter_cgroup(struct worker *w) {
        char nodes[NODES_TEXT_MAX];
        int r;

        if (!w->workers->cgroup)
                return 0;
        r = cgroup_leaf_new(&w->cgroup, w->workers->cgroup, w->pid, w->starttime);
        if (r < 0)
                return r;
        r = cgroup_leaf_contains(w->cgroup, w->pid); /* an earlier daemon may have moved it */
        if (r == 0)
                r = take_nodes(w, nodes);
        if (r == -EXDEV)
                return stay(w, nodes);
        if (r >= 0)
                r = count_threads(w);
        if (r > 1)
                return -EUSERS;
        if (r >= 0)
                r = move(w);
        if (r >= 0)
                r = worker_check_threads(w);
        if (r >= 0 && !worker_vmm_alive(w))
                limit_memory(w);
        return r;
}

bool worker_stays(const struct worker *w) {
        return w->workers->cgroup && !w->cgroup;
}

/*
 * A job that runs is billed where it began. A worker that is moved here has no job, or one that was
 * not granted yet.
 */
void worker_place_again(struct worker *w) {
        int r;

        if (w->cgroup) {
                limit_memory(w);
                return;
        }
        if (worker_running_job(w))
                return;
        r = worker_enter_cgroup(w);
        if (r < 0 && w->cgroup)
                leave_cgroup(w);
        if (r < 0 && r != -ESRCH)
                log_warning_limited(&place_limit, r, "cannot move worker %d", (int)w->pid);
}
