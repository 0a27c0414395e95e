/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where workers live in the cgroup tree, and what a worker may have there. A worker comes out of
 * its VM's cgroup, whose limits hold it no longer, so ours has limits instead: one thread, which
 * stays one (pids.max), and hardly any memory of its own (cgroup-leaf.c). Who has more threads is
 * no worker: pids.max stops none that there are.
 */

#include "daemon/worker.h"

#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/process.h"

/* Lines that a VMM can cause as often as it likes. */
static struct log_limit place_limit;

/* ---- its memory ---- */

static void limit_memory(struct worker *w) {
        int r;

        if (!(w->manager->cgroup->leaf_controllers & CGROUP_MEMORY))
                return;
        r = cgroup_leaf_limit_memory(w->cgroup);
        if (r < 0 && r != -ENODEV) /* it is gone, and its cgroup with it */
                log_warning_limited(&place_limit, r, "cannot limit the memory of worker %d",
                                    (int)w->pid);
}

/* ---- the move ---- */

static int count_threads(const struct worker *w) {
        struct process_stat stat;
        int r;

        r = process_read_stat(w->pid, &stat);
        return r < 0 ? r : (int)stat.n_threads;
}

/*
 * It had one thread before the move, and has more behind it, where pids.max lets it make none: it
 * made them on the way, to have them where its VM's limits are not. That is no worker, and it must
 * not stay there.
 */
static int check_threads(struct worker *w) {
        int r;

        r = count_threads(w);
        if (r < 0)
                return r;
        if (r <= 1)
                return 0;
        r = cgroup_leaf_kill(w->cgroup);
        log_warning_limited(&place_limit, r, "process %d made threads while it was moved: %s",
                            (int)w->pid, r < 0 ? "it could not be killed" : "it is killed");
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
                log_error("worker %d ended while it was moved: whoever is in %s now is a stranger",
                          (int)w->pid, w->cgroup->path);
        return r < 0 ? r : r == 0 ? -ESRCH : 0;
}

int worker_enter_cgroup(struct worker *w) {
        int r;

        if (!w->manager->cgroup)
                return 0;
        r = cgroup_leaf_new(&w->cgroup, w->manager->cgroup, w->pid, w->starttime);
        if (r < 0)
                return r;
        r = count_threads(w);
        if (r > 1)
                return -EUSERS;
        if (r >= 0)
                r = move(w);
        if (r >= 0)
                r = check_threads(w);
        if (r >= 0 && !worker_vmm_alive(w))
                limit_memory(w);
        return r;
}

/* ---- the end of its VMM ---- */

void worker_on_vmm_end(struct worker *w) {
        if (w->cgroup)
                limit_memory(w);
}

static int on_vmm_end(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct worker *w = userdata;

        w->vmm_source = sd_event_source_disable_unref(w->vmm_source);
        worker_on_vmm_end(w);
        return 0;
}

/* Before its packets, for it asks for something at that moment. */
int worker_watch_vmm(struct worker *w) {
        int r;

        r = sd_event_add_io(w->manager->event, &w->vmm_source, w->vmm_pidfd, EPOLLIN | EPOLLET,
                            on_vmm_end, w);
        if (r < 0)
                return r;
        return sd_event_source_set_priority(w->vmm_source, SD_EVENT_PRIORITY_NORMAL - 1);
}
