/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Workers: who may be one, where they live in the cgroup tree, when they count, and how their jobs
 * end. Every change of worker.job or worker.found is followed by worker_recount(), the only place
 * that writes worker.counted and queue.n_counted, so the two cannot drift apart.
 *
 * The mark on a worker's cgroup tells the next daemon what only this one knows: which outcome was
 * reported last, and, while a job runs, what it is and what the bill said when it began. Without a
 * mark (--cgroup none, Linux < 5.7) the next daemon says "unknown" where it would need it.
 */

#include "daemon/worker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/process.h"

#define OVERDUE_USEC                                                                               \
        (10 * USEC_PER_SEC) /* a counted worker whose CPU time stands still that long */

/* ---- counting ---- */

static bool should_count(const struct worker *w) {
        bool running = w->found || (w->job && w->job->state == JOB_RUNNING);

        return running && !w->overdue;
}

static void worker_recount(struct worker *w) {
        bool counts = should_count(w);

        if (counts != w->counted)
                w->manager->queue.n_counted += counts ? 1U : -1U;
        w->counted = counts;
        manager_changed(w->manager);
}

/* It begins to count: from here on it must move. */
static void worker_begin_counting(struct worker *w) {
        w->overdue = false;
        w->moved_at = manager_now(w->manager);
        (void)worker_cpu_usec(w, &w->cpu_seen);
        worker_recount(w);
}

/* Model: daemon_overdue. It is never killed, and counts again when it moves. */
void worker_check_overdue(struct worker *w, uint64_t now) {
        uint64_t cpu;

        if (!w->counted && !w->overdue)
                return;
        if (worker_cpu_usec(w, &cpu) >= 0 && cpu != w->cpu_seen) {
                w->cpu_seen = cpu;
                w->moved_at = now;
                if (w->overdue)
                        log_info("worker %d of %s moves again: it counts", (int)w->pid, w->name);
                w->overdue = false;
        } else if (!w->overdue && now - w->moved_at >= OVERDUE_USEC) {
                log_warning("worker %d of %s is overdue: no CPU time for %u s, it no longer counts",
                            (int)w->pid, w->name, (unsigned)(OVERDUE_USEC / USEC_PER_SEC));
                w->overdue = true;
        }
        worker_recount(w);
}

int worker_cpu_usec(const struct worker *w, uint64_t *ret) {
        return w->cgroup ? cgroup_leaf_cpu_usec(w->cgroup, ret) : process_cpu_usec(w->pid, ret);
}

/* ---- the mark ---- */

static void mark_write(struct worker *w) {
        const struct job *j = w->job && w->job->state == JOB_RUNNING ? w->job : NULL;
        char text[256];
        int r;

        if (!w->cgroup)
                return;
        (void)snprintf(text, sizeof(text),
                       "done=%" PRIu64 " job=%" PRIu64 " kind=%" PRIu32 " queued=%" PRIu64
                       " granted=%" PRIu64 " cpu=%" PRIu64 " bytes=%" PRIu64 " unit=%.100s",
                       w->last_seq, j ? j->seq : 0, j ? j->kind : 0, j ? j->queued_at : 0,
                       j ? j->granted_at : 0, j ? j->cpu_base : 0, j ? j->bytes : 0,
                       w->unit ? w->unit : "");
        r = cgroup_leaf_set_mark(w->cgroup, text);
        if (r < 0 && r != -EOPNOTSUPP)
                (void)log_warning_errno(r, "cannot mark %s", w->cgroup->path);
}

/* What an earlier daemon knew of this worker; nothing, if there is no mark. */
static void mark_read(struct worker *w) {
        struct wire_request request = {};
        struct job job = {};
        char text[256], *unit;

        if (!w->cgroup || cgroup_leaf_get_mark(w->cgroup, text, sizeof(text)) < 0 ||
            sscanf(text,
                   "done=%" SCNu64 " job=%" SCNu64 " kind=%" SCNu32 " queued=%" SCNu64
                   " granted=%" SCNu64 " cpu=%" SCNu64 " bytes=%" SCNu64,
                   &w->last_seq, &request.seq, &request.kind, &job.queued_at, &job.granted_at,
                   &job.cpu_base, &request.mem) != 7)
                return;
        unit = strstr(text, " unit=");
        if (unit && unit[6] && !w->unit)
                w->unit = strdup(unit + 6);
        if (request.seq == 0 || job_new(&w->job, w, w->manager->next_job_id++, &request) < 0)
                return;
        w->job->state = JOB_RUNNING;
        w->job->queued_at = job.queued_at;
        w->job->granted_at = job.granted_at;
        w->job->waited_usec = job.granted_at - min_u64(job.queued_at, job.granted_at);
        w->job->cpu_base = job.cpu_base;
}

/* ---- life and death ---- */

static int on_process_exit(sd_event_source *source, int fd, uint32_t revents, void *userdata);

static void worker_freep(struct worker **w) {
        worker_free(*w);
}

static int worker_alloc(struct worker **ret, struct manager *m, pid_t pid, uint64_t starttime) {
        struct worker *w = calloc(1, sizeof(*w));

        if (!w)
                return -ENOMEM;
        w->manager = m;
        w->pid = pid;
        w->starttime = starttime;
        w->pidfd = -1;
        w->name = strdup("?");
        if (!w->name) {
                free(w);
                return -ENOMEM;
        }
        TAILQ_INSERT_TAIL(&m->workers, w, link);
        m->n_workers++;
        *ret = w;
        return 0;
}

/* Its end is looked at after all that it still said: a DONE that waits to be read is no loss. */
static int worker_watch(struct worker *w) {
        int r;

        r = sd_event_add_io(w->manager->event, &w->exit_source, w->pidfd, EPOLLIN, on_process_exit,
                            w);
        if (r < 0)
                return r;
        return sd_event_source_set_priority(w->exit_source, SD_EVENT_PRIORITY_NORMAL + 1);
}

static void job_drop(struct worker *w) {
        if (!w->job)
                return;
        queue_remove(&w->manager->queue, w->job);
        w->job = job_free(w->job);
        worker_recount(w);
}

struct worker *worker_free(struct worker *w) {
        if (!w)
                return NULL;
        w->exit_source = sd_event_source_disable_unref(w->exit_source);
        w->found = false;
        job_drop(w);
        worker_recount(w);
        if (w->peer)
                w->peer->worker = NULL;
        TAILQ_REMOVE(&w->manager->workers, w, link);
        w->manager->n_workers--;
        if (w->cgroup)
                w->manager->purge |= cgroup_leaf_remove(w->cgroup, w->manager->cgroup) == -EBUSY;
        cgroup_leaf_free(w->cgroup);
        close_fd(&w->pidfd);
        free(w->name);
        free(w->unit);
        free(w);
        return NULL;
}

struct worker *worker_find(struct manager *m, pid_t pid, uint64_t starttime) {
        struct worker *w;

        TAILQ_FOREACH(w, &m->workers, link)
        if (w->pid == pid && w->starttime == starttime)
                return w;
        return NULL;
}

/* ---- who may be one ---- */

/* One worker per address space. The VMM's pid alone does not tell: it may have been re-used since.
 */
static bool vmm_has_worker(struct manager *m, pid_t vmm_pid) {
        struct worker *w;

        TAILQ_FOREACH(w, &m->workers, link)
        if (w->vmm_pid == vmm_pid && process_same_mm(w->pid, vmm_pid) > 0 &&
            process_alive(w->pidfd) > 0)
                return true;
        return false;
}

/*
 * A worker shares its address space with its parent, the VMM. That is settled while the VMM lives;
 * afterwards a worker's place in our cgroups is its identity, and a stranger has none.
 */
static int verify(struct worker *w, pid_t ppid) {
        int r;

        r = process_same_mm(w->pid, ppid);
        if (r < 0)
                return r;
        if (r == 0)
                return -EPERM;
        if (vmm_has_worker(w->manager, ppid))
                return -EEXIST;
        w->vmm_pid = ppid;
        return process_unit(ppid, &w->unit);
}

/* Model: daemon_move. */
static int enter_cgroup(struct worker *w) {
        int r;

        if (!w->manager->cgroup)
                return 0;
        r = cgroup_leaf_new(&w->cgroup, w->manager->cgroup, w->pid, w->starttime);
        if (r < 0)
                return r;
        r = cgroup_leaf_attach(w->cgroup, w->pid);
        if (r < 0)
                return r;
        r = cgroup_leaf_contains(w->cgroup, w->pid);
        return r < 0 ? r : r == 0 ? -ESRCH : 0;
}

int worker_new(struct worker **ret, struct manager *m, pid_t pid, int *pidfd) {
        _cleanup_(worker_freep) struct worker *w = NULL;
        struct process_stat stat;
        int r;

        r = process_read_stat(pid, &stat);
        if (r < 0)
                return r;
        r = worker_alloc(&w, m, pid, stat.starttime);
        if (r < 0)
                return r;
        w->pidfd = take_fd(pidfd);
        r = verify(w, stat.ppid);
        if (r < 0)
                return r;
        /* Everything above went by number; if its owner still lives, it was its owner's. */
        r = process_alive(w->pidfd);
        if (r <= 0)
                return r < 0 ? r : -ESRCH;
        r = enter_cgroup(w);
        if (r < 0)
                return r;
        mark_read(w); /* there is one if an earlier daemon knew it and we failed to count it */
        r = worker_watch(w);
        if (r < 0)
                return r;
        *ret = w;
        w = NULL;
        return 0;
}

/* Model: daemon_recount. */
int worker_new_found(struct worker **ret, struct manager *m, pid_t pid, uint64_t starttime) {
        _cleanup_(worker_freep) struct worker *w = NULL;
        struct process_stat stat;
        int r;

        r = worker_alloc(&w, m, pid, starttime);
        if (r < 0)
                return r;
        w->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (w->pidfd < 0)
                return negative_errno();
        r = process_read_stat(pid, &stat);
        if (r < 0)
                return r;
        if (stat.starttime != starttime)
                return -ESRCH;
        r = cgroup_leaf_new(&w->cgroup, m->cgroup, pid, starttime);
        if (r < 0)
                return r;
        r = worker_watch(w);
        if (r < 0)
                return r;
        if (process_same_mm(pid, stat.ppid) > 0 && process_unit(stat.ppid, &w->unit) >= 0)
                w->vmm_pid = stat.ppid;
        mark_read(w);
        w->found = true;
        worker_begin_counting(w);
        *ret = w;
        w = NULL;
        return 0;
}

/* ---- how jobs end ---- */

static void job_end(struct worker *w, enum job_state state) {
        struct job *job = w->job;
        uint64_t now = manager_now(w->manager), cpu;

        queue_remove(&w->manager->queue, job);
        if (job->granted_at != 0) {
                job->ran_usec = now - job->granted_at;
                if (worker_cpu_usec(w, &cpu) >= 0 && cpu >= job->cpu_base)
                        job->cpu_usec = cpu - job->cpu_base;
        }
        job->state = state;
        job->worker = NULL;
        w->job = NULL;
        worker_recount(w);
        /*
         * The mark before the report: if we die in between, the next daemon takes the repeat for
         * reported, and a line is missing; the other way round it would be there twice.
         */
        mark_write(w);
        manager_job_ended(w->manager, job);
}

/* Its process is gone. exit_mmap() was the job of a shutdown; what else it was doing, nobody knows.
 */
static int on_process_exit(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct worker *w = userdata;

        if (w->job && w->job->state == JOB_RUNNING)
                job_end(w, w->job->kind == WIRE_KIND_SHUTDOWN ? JOB_DONE : JOB_LOST);
        worker_free(w);
        return 0;
}

/*
 * The job that an outcome belongs to: the one in the slot, whatever number it had; the one that
 * waits, if it was begun without us; else one of which we hear only now.
 */
static int job_for_outcome(struct worker *w, const struct wire_outcome *o) {
        struct wire_request request = {.kind = o->kind, .seq = o->seq, .mem = w->mem};
        int r;

        if (w->job && w->job->state == JOB_RUNNING)
                w->job->seq = o->seq;
        if (w->job && w->job->seq == o->seq)
                return 0;
        job_drop(w);
        r = job_new(&w->job, w, w->manager->next_job_id++, &request);
        if (r < 0)
                return r;
        w->job->state = JOB_RUNNING; /* it never was in the queue */
        return 0;
}

static int report_outcome(struct worker *w, const struct wire_outcome *o) {
        bool governed;
        int r;

        if (o->seq <= w->last_seq)
                return 0; /* a repeat: our acknowledgement did not arrive */
        governed = w->job && w->job->state == JOB_RUNNING;
        /* Without a cgroup nothing tells what an earlier daemon granted: take the worker's word. */
        if (!w->job && !w->cgroup)
                governed = !o->ungoverned;
        r = job_for_outcome(w, o);
        if (r < 0)
                return r;
        w->job->error = o->error;
        w->job->rc = o->rc;
        w->job->rrc = o->rrc;
        w->last_seq = o->seq;
        job_end(w, job_state_of_outcome(o, governed));
        return 0;
}

static void acknowledge(struct worker *w, uint64_t seq) {
        if (w->peer)
                (void)peer_send_seq(w->peer, WIRE_DONE_ACK, seq);
}

/* ---- its packets ---- */

/* A claim from a client, made printable once and for all. */
static char *escape_name(const char *name, size_t size) {
        char buffer[WIRE_NAME_MAX + 1];
        size_t i;

        for (i = 0; i < size && i < WIRE_NAME_MAX && name[i]; i++)
                buffer[i] = name[i] < ' ' || name[i] > '~' ? '?' : name[i];
        buffer[i] = '\0';
        return strdup(i > 0 ? buffer : "?");
}

int worker_on_register(struct worker *w, const struct wire_register *reg) {
        char *name = escape_name(reg->name, sizeof(reg->name));
        int r = 0;

        if (!name)
                return -ENOMEM;
        free(w->name);
        w->name = name;
        memcpy(w->uuid, reg->uuid, sizeof(w->uuid));
        w->mem = reg->mem;
        /* One that was found, and its job with it, had no name so far. */
        if (w->job)
                r = job_rename(w->job, w);
        if (r < 0)
                return r;
        w->found = w->overdue = false;
        if (reg->last.seq > w->last_seq)
                w->manager->n_unreported += reg->unreported;
        if (reg->last.seq != 0)
                r = report_outcome(w, &reg->last);
        if (r < 0)
                return r;
        /* Whoever registers is not running: a grant that we gave it never arrived, and it asks
         * again. */
        job_drop(w);
        worker_recount(w);
        mark_write(w);
        if (reg->last.seq != 0)
                acknowledge(w, reg->last.seq);
        return 0;
}

int worker_on_request(struct worker *w, const struct wire_request *request) {
        struct job *job = w->job;
        int r;

        /*
         * Our GRANT crossed its new request: the slot is for the worker's current job, and that is
         * this one now. Model: daemon_relabel.
         */
        if (job && job->state == JOB_RUNNING) {
                job->seq = request->seq;
                job->kind = request->kind;
                job->bytes = request->mem;
                mark_write(w);
                return 0;
        }
        job_drop(w);
        r = job_new(&w->job, w, w->manager->next_job_id++, request);
        if (r < 0)
                return r;
        w->job->queued_at = manager_now(w->manager);
        queue_push(&w->manager->queue, w->job);
        manager_changed(w->manager);
        return 0;
}

void worker_on_done(struct worker *w, const struct wire_outcome *o) {
        int r;

        if (o->error == -ECANCELED) {
                /* It had nothing to do with the slot: no job ended, the slot is free. */
                if (w->job && w->job->state == JOB_RUNNING)
                        job_drop(w);
                mark_write(w);
                return;
        }
        r = report_outcome(w, o);
        if (r < 0)
                (void)log_error_errno(r, "cannot record the outcome of worker %d", (int)w->pid);
        else
                acknowledge(w, o->seq); /* else it repeats */
}

void worker_on_progress(struct worker *w, uint64_t bytes_left) {
        if (w->job && w->job->state == JOB_RUNNING)
                w->job->bytes_left = min_u64(bytes_left, w->job->bytes);
}

void worker_on_disconnect(struct worker *w) {
        w->peer = NULL;
        if (w->job && w->job->state == JOB_QUEUED)
                job_drop(w);
}

/* Model: daemon_grant. The mark first: if we die in between, the next daemon counts it. */
int worker_grant(struct worker *w) {
        struct job *job = w->job;
        int r;

        queue_remove(&w->manager->queue, job);
        job->state = JOB_RUNNING;
        job->granted_at = manager_now(w->manager);
        job->waited_usec = job->granted_at - job->queued_at;
        if (worker_cpu_usec(w, &job->cpu_base) < 0)
                job->cpu_base = USEC_INFINITY;
        mark_write(w);
        worker_begin_counting(w);
        r = peer_send_seq(w->peer, WIRE_GRANT, job->seq);
        if (r < 0)
                job_drop(w); /* it never left */
        return r;
}

const char *worker_state(const struct worker *w) {
        if (w->overdue)
                return "overdue";
        if (w->found)
                return "found";
        if (w->job)
                return w->job->state == JOB_RUNNING ? "running" : "waiting";
        return w->peer ? "idle" : "away";
}
