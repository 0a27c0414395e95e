/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What workers do: when they count, what their packets ask for, and how their jobs end. Every
 * change of worker.job or worker.found is followed by worker_recount(), so that nobody keeps a slot
 * who does not run.
 *
 * The mark on a worker's cgroup tells the next daemon what only this one knows: which outcome was
 * reported last, and, while a job runs, what it is and what the bill said when it began. Without a
 * mark (--cgroup none, closers, Linux < 5.7) the next daemon says "unknown" where it would need it.
 */

#include "daemon/worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cpu/cap.h"
#include "daemon/manager.h"
#include "daemon/runtime/log.h"
#include "daemon/worker/mark.h"
#include "daemon/worker/quiet.h"

/* What one worker may claim to have ended while nobody was there to be told. */
#define UNREPORTED_MAX 1000

/* ---- counting ---- */

static bool is_running(const struct worker *w) {
        return w->found || (w->job && w->job->state == JOB_RUNNING);
}

bool worker_is_overdue(const struct worker *w) {
        return w->slot.state == SLOT_STANDING || w->slot.state == SLOT_OVERDUE;
}

void worker_recount(struct worker *w) {
        if (!is_running(w)) {
                slot_give(&w->slot);
                cap_remove(w);
        }
        manager_changed(w->manager);
}

static bool observe(struct worker *w) {
        uint64_t cpu;

        if (worker_cpu_usec(w, &cpu) < 0)
                cpu = USEC_INFINITY;
        return slot_observe(&w->slot, manager_now(w->manager), cpu);
}

/* An earlier daemon granted it; since when, its mark may know. */
void worker_begin_counting(struct worker *w) {
        uint64_t since = w->job && w->job->granted_at != 0 ? w->job->granted_at : USEC_INFINITY;

        if (w->sent_away) {
                w->away_since = manager_now(w->manager);
                (void)worker_cpu_usec(w, &w->away_cpu);
                return;
        }
        slot_take_found(&w->slot, &w->manager->governor, manager_now(w->manager), w->unit, since);
        (void)observe(w);
        cap_add(w->manager->cap, w);
}

static void log_overdue(const struct worker *w, int level, const char *id, const char *what) {
        (void)log_event(LOG_EVENT(level, id, 0, LOG_TEXT("PV_VM", w->name),
                                  LOG_TEXT("PV_UNIT", w->unit),
                                  LOG_NUMBER("PV_PID", (uint64_t)w->pid)),
                        "worker %d of %s %s", (int)w->pid, w->name, what);
}

/* There may be thousands of them: a look now and then. */
static void check_away(struct worker *w) {
        uint64_t now = manager_now(w->manager), cpu;

        if (now - w->away_since < GOVERNOR_STANDSTILL_USEC)
                return;
        w->away_since = now;
        if (worker_cpu_usec(w, &cpu) < 0 || cpu == w->away_cpu)
                return;
        w->sent_away = false;
        if (is_running(w))
                worker_begin_counting(w);
        manager_changed(w->manager);
}

/* Model: daemon_overdue. It is never killed, and counts again when it moves. */
void worker_check_overdue(struct worker *w) {
        if (w->sent_away)
                check_away(w);
        if (w->slot.state == SLOT_FREE || !observe(w))
                return;
        if (w->slot.state == SLOT_COUNTED)
                log_overdue(w, LOG_INFO, MESSAGE_WORKER_MOVES, "moves again: it counts");
        else if (w->slot.state == SLOT_STANDING)
                log_overdue(w, LOG_WARNING, MESSAGE_WORKER_OVERDUE,
                            "is overdue: no CPU time for 10 s, it no longer counts");
        else
                log_overdue(w, LOG_WARNING, MESSAGE_WORKER_OVERDUE,
                            "is overdue: it runs for too long, it no longer counts");
        manager_changed(w->manager);
}

void worker_drop_job(struct worker *w) {
        if (!w->job)
                return;
        queue_remove(&w->manager->governor.queue, w->job);
        w->job = job_free(w->job);
        worker_recount(w);
}

/* ---- the mark ---- */

void worker_mark(struct worker *w) {
        const struct job *j = w->job && w->job->state == JOB_RUNNING ? w->job : NULL;
        struct mark mark = {.done = w->last_seq,
                            .away = w->sent_away,
                            .adopted = w->adopted,
                            .quiet = w->says_quiet};
        char text[MARK_SIZE_MAX];
        int r;

        if (!w->cgroup)
                return;
        if (w->adopted)
                mark.bytes = w->mem;
        if (j) {
                mark.seq = j->seq;
                mark.kind = j->kind;
                mark.bytes = j->bytes;
                mark.queued_at = j->queued_at;
                mark.granted_at = j->granted_at;
                mark.cpu_base = j->cpu_base;
                mark.begun = j->ungoverned;
        }
        (void)snprintf(mark.unit, sizeof(mark.unit), "%s", w->unit ? w->unit : "");
        mark_format(&mark, text);
        r = cgroup_leaf_set_mark(w->cgroup, text);
        if (r < 0 && r != -EOPNOTSUPP)
                (void)log_warning_errno(r, "cannot mark %s", w->cgroup->path);
}

/* What an earlier daemon knew of this worker; nothing, if there is no mark. */
void worker_restore(struct worker *w) {
        struct wire_request request;
        char text[MARK_SIZE_MAX];
        struct mark mark;

        if (!w->cgroup || cgroup_leaf_get_mark(w->cgroup, text, sizeof(text)) < 0 ||
            mark_parse(&mark, text) < 0)
                return;
        w->last_seq = mark.done;
        w->sent_away = mark.away;
        w->adopted = mark.adopted;
        w->says_quiet = mark.quiet;
        if (mark.adopted)
                w->mem = mark.bytes;
        if (mark.unit[0] && !w->unit)
                w->unit = strdup(mark.unit);
        request = (struct wire_request){.seq = mark.seq, .kind = mark.kind, .mem = mark.bytes};
        if (mark.seq == 0 || job_new(&w->job, w, w->manager->next_job_id++, &request) < 0)
                return;
        w->job->state = JOB_RUNNING;
        w->job->queued_at = mark.queued_at;
        w->job->granted_at = mark.granted_at;
        w->job->waited_usec = mark.granted_at - mark.queued_at;
        w->job->cpu_base = mark.cpu_base;
        w->job->ungoverned = mark.begun;
}

/* ---- how jobs end ---- */

static void job_end(struct worker *w, enum job_state state) {
        struct job *job = w->job;
        uint64_t now = manager_now(w->manager), cpu;

        queue_remove(&w->manager->governor.queue, job);
        if (job->granted_at != 0)
                job->ran_usec = now - job->granted_at;
        if (worker_cpu_usec(w, &cpu) >= 0 && cpu >= job->cpu_base)
                job->cpu_usec = cpu - job->cpu_base;
        job->state = state;
        job->worker = NULL;
        w->job = NULL;
        worker_recount(w);
        /*
         * The mark before the report: if we die in between, the next daemon takes the repeat for
         * reported, and a line is missing; the other way round it would be there twice.
         */
        worker_mark(w);
        manager_job_ended(w->manager, job);
}

/*
 * The job that an outcome belongs to: the one in the slot, whatever number it had; the one that
 * waits, if it was begun without us; else one of which we hear only now.
 */
static int job_for_outcome(struct worker *w, const struct wire_outcome *o) {
        struct wire_request request = {.kind = o->kind, .seq = o->seq, .mem = w->mem};

        if (w->job && w->job->state == JOB_RUNNING)
                w->job->seq = o->seq;
        if (w->job && w->job->seq == o->seq)
                return 0;
        worker_drop_job(w);
        return job_new(&w->job, w, w->manager->next_job_id++, &request);
}

static int report_outcome(struct worker *w, const struct wire_outcome *o) {
        bool governed;
        int r;

        if (o->seq <= w->last_seq)
                return 0; /* a repeat: our acknowledgement did not arrive */
        governed = w->job && w->job->state == JOB_RUNNING && !w->job->ungoverned;
        /* Without a mark nothing tells what an earlier daemon granted: take the worker's word. */
        if (!w->job && (!w->cgroup || w->closer))
                governed = !o->ungoverned;
        r = job_for_outcome(w, o);
        if (r < 0)
                return r;
        w->job->error = o->error;
        w->job->rc = o->rc;
        w->job->rrc = o->rrc;
        w->job->ungoverned = !governed;
        w->last_seq = o->seq;
        job_end(w, job_state_of_outcome(o, governed));
        return 0;
}

static void acknowledge(struct worker *w, uint64_t seq) {
        if (w->peer)
                (void)peer_send_seq(w->peer, WIRE_DONE_ACK, seq);
}

/*
 * Its process is gone. If its VMM is gone, too, then exit_mmap() was the job of a shutdown, with
 * our grant or without; what else it was doing, or would have done, nobody knows.
 */
void worker_on_exit(struct worker *w) {
        bool released;

        if (w->found && w->closer)
                log_warning("closer %d in %s, found at start, ended without a word: whether it had "
                            "a VM to close is not known",
                            (int)w->pid, w->cgroup->path);
        if (w->adopted && worker_vmm_alive(w))
                log_info("helper %d ended before its QEMU %d, which will release its memory itself",
                         (int)w->pid, (int)w->vmm_pid);
        if (w->adopted && !w->overtaken && !w->job && !worker_vmm_alive(w))
                (void)worker_begin_adopted(w, 0); /* there was no memory for it when it began */
        if (!w->job)
                return;
        released = w->job->kind == JOB_KIND_ADOPTED ||
                   (w->job->kind == WIRE_KIND_SHUTDOWN && !worker_vmm_alive(w));
        if (!released) {
                job_end(w, JOB_LOST);
                return;
        }
        w->job->bytes_left = 0; /* nobody has this address space any more */
        w->job->ungoverned = w->job->ungoverned || w->job->state != JOB_RUNNING;
        job_end(w, w->job->ungoverned ? JOB_UNGOVERNED : JOB_DONE);
}

/* ---- its packets ---- */

/* A claim from a client, made printable once and for all. */
char *worker_escape_name(const char *name, size_t size) {
        char buffer[WIRE_NAME_MAX + 1];
        size_t i;

        for (i = 0; i < size && i < WIRE_NAME_MAX && name[i]; i++) {
                buffer[i] = '?';
                if (name[i] >= ' ' && name[i] <= '~')
                        buffer[i] = name[i];
        }
        buffer[i] = '\0';
        return strdup(i > 0 ? buffer : "?");
}

/* A closer has no guest to reboot, and a keeper no VM fd of somebody else's. */
static bool kind_fits(const struct worker *w, uint32_t kind) {
        return (kind == WIRE_KIND_CLOSE) == w->closer;
}

int worker_on_register(struct worker *w, const struct wire_register *reg) {
        char *name;
        bool news;
        int r = 0;

        if (w->adopted || (reg->last.seq != 0 && !kind_fits(w, reg->last.kind)))
                return -EPROTO;
        name = worker_escape_name(reg->name, sizeof(reg->name));
        if (!name)
                return -ENOMEM;
        free(w->name);
        w->name = name;
        memcpy(w->uuid, reg->uuid, sizeof(w->uuid));
        w->mem = reg->mem;
        w->version = reg->header.version;
        w->drains = reg->flags & WIRE_FLAG_DRAINS;
        w->says_quiet = w->says_quiet || (reg->flags & WIRE_FLAG_QUIET);
        /* One that was found, and its job with it, had no name so far. */
        if (w->job)
                r = job_rename(w->job, w);
        if (r < 0)
                return r;
        w->found = w->sent_away = false;
        news = reg->last.seq > w->last_seq;
        if (reg->last.seq != 0)
                r = report_outcome(w, &reg->last);
        if (r < 0)
                return r;
        if (news)
                w->manager->n_unreported += min_u64(reg->unreported, UNREPORTED_MAX);
        /* Whoever registers is not running: a grant it had was lost, and it asks again. */
        worker_drop_job(w);
        worker_recount(w);
        worker_mark(w);
        quiet_changed(w->manager->quiet);
        if (reg->last.seq != 0)
                acknowledge(w, reg->last.seq);
        return 0;
}

/* Said too early it is no error: after execve(2) a VMM's pidfd says that it lives. See quiet.h. */
int worker_on_quiet(struct worker *w) {
        if (w->closer)
                return -EPROTO;
        if (w->says_quiet)
                return 0;
        w->says_quiet = true;
        worker_mark(w);
        quiet_changed(w->manager->quiet);
        return 0;
}

int worker_on_request(struct worker *w, const struct wire_request *request) {
        struct job *job = w->job;
        int r;

        if (request->seq <= w->last_seq || !kind_fits(w, request->kind))
                return -EPROTO;
        /*
         * Our GRANT crossed its new request: the slot is for the worker's current job, and that is
         * this one now. Model: daemon_relabel.
         */
        if (job && job->state == JOB_RUNNING) {
                if (job->ungoverned)
                        return -EPROTO; /* no GRANT could cross it: what runs has not ended */
                job->seq = request->seq;
                job->kind = request->kind;
                job->bytes = request->mem;
                job->bytes_left = USEC_INFINITY;
                progress_begin(&job->progress, manager_now(w->manager), job->bytes);
                worker_mark(w);
                return 0;
        }
        worker_drop_job(w);
        r = job_new(&w->job, w, w->manager->next_job_id++, request);
        if (r < 0)
                return r;
        w->job->queued_at = manager_now(w->manager);
        /* A kind is a claim; a dead VMM is none, nor what a closer is. */
        w->job->frees_memory =
                w->closer || (request->kind == WIRE_KIND_SHUTDOWN && !worker_vmm_alive(w));
        r = queue_push(&w->manager->governor.queue, w->job->queued_at, w->job);
        if (r < 0)
                return r;
        manager_job_moved(w->manager, w->job);
        manager_changed(w->manager);
        return 0;
}

int worker_on_done(struct worker *w, const struct wire_outcome *o) {
        bool running = w->job && w->job->state == JOB_RUNNING;
        int r;

        if (o->error == -ECANCELED) {
                /* It had nothing to do with the slot: no job ended, the slot is free. */
                if (running)
                        worker_drop_job(w);
                worker_mark(w);
                return 0;
        }
        if (!kind_fits(w, o->kind))
                return -EPROTO;
        if (running && o->seq <= w->last_seq)
                return -EPROTO; /* neither a repeat nor the end of what runs */
        r = report_outcome(w, o);
        if (r < 0)
                return log_error_errno(r, "cannot record the outcome of worker %d", (int)w->pid);
        acknowledge(w, o->seq);
        return 0;
}

void worker_on_progress(struct worker *w, uint64_t bytes_left) {
        uint64_t now = manager_now(w->manager);

        if (!w->job || w->job->state != JOB_RUNNING)
                return;
        w->job->bytes_left = min_u64(bytes_left, w->job->bytes);
        if (progress_tell(&w->job->progress, now, w->job->bytes_left))
                slot_moved(&w->slot, now);
}

void worker_on_disconnect(struct worker *w) {
        w->peer = NULL;
        if (w->job)
                queue_remove(&w->manager->governor.queue, w->job);
}

/* The mark first: if we die in between, it comes back, and the mark is written anew. */
int worker_send_away(struct worker *w) {
        union wire_message ungoverned = {};

        w->sent_away = !w->job && !w->found;
        if (w->sent_away)
                worker_mark(w);
        return peer_send(w->peer, &ungoverned, WIRE_UNGOVERNED);
}

/* Its job has a slot. The mark is for the next daemon: it must count this one. */
static void start(struct worker *w) {
        struct job *job = w->job;

        job->state = JOB_RUNNING;
        job->granted_at = manager_now(w->manager);
        job->waited_usec = job->granted_at - job->queued_at;
        progress_begin(&job->progress, job->granted_at, job->bytes);
        if (worker_cpu_usec(w, &job->cpu_base) < 0)
                job->cpu_base = USEC_INFINITY;
        worker_mark(w);
        (void)observe(w);
        cap_add(w->manager->cap, w); /* soon: a system call may be all that it does */
}

/*
 * Model: daemon_begun. A reboot only: for nothing else can a living VMM need the kernel's slot. If
 * our GRANT crossed it, that was a slot for the same job.
 */
int worker_on_begun(struct worker *w, const struct wire_begun *begun) {
        struct job *job = w->job;
        int r;

        if (!job || job->seq != begun->seq || job->kind != WIRE_KIND_REBOOT)
                return -EPROTO;
        if (job->state == JOB_RUNNING)
                return job->ungoverned ? -EPROTO : 0;
        r = slot_begin(&w->slot, &w->manager->governor, manager_now(w->manager), job);
        if (r < 0)
                return r;
        job->ungoverned = true;
        start(w);
        w->manager->tally.n_begun++;
        manager_job_moved(w->manager, job);
        manager_changed(w->manager);
        return 0;
}

/* Model: daemon_grant. The mark first: if we die in between, the next daemon counts it. */
int worker_grant(struct worker *w) {
        struct job *job = w->job;
        int r;

        r = slot_grant(&w->slot, &w->manager->governor, manager_now(w->manager), job);
        if (r < 0)
                return r;
        start(w);
        r = peer_send_seq(w->peer, WIRE_GRANT, job->seq);
        if (r < 0) {
                job->state = JOB_QUEUED; /* it never left: as after any lost connection */
                job->granted_at = 0;
                job->cpu_base = USEC_INFINITY;
                slot_revoke(&w->slot);
                cap_remove(w);
                return r;
        }
        manager_job_moved(w->manager, job);
        return 0;
}
