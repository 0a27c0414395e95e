/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the packets of keepers and closers ask for, and how the jobs of all workers end. A packet
 * that comes here is well-formed (peer.c); what it says is a claim, and is checked against what the
 * worker is and does. A job that ended is handed over to the owner of the workers (job_ended).
 */

#include "daemon/worker/protocol.h"

#include <string.h>

#include "daemon/runtime/log.h"
#include "daemon/runtime/loop.h"

/* What one worker may claim to have ended while nobody was there to be told. */
#define UNREPORTED_MAX 1000

/* ---- how jobs end ---- */

/* Each outcome without a grant costs the worker a packet, and us a line of the log. */
static bool may_be_told(struct worker *w, const struct job *job, uint64_t now) {
        struct unit *unit;
        bool tells;

        if (job_was_granted(job))
                return true;
        unit = unit_get(&w->workers->governor->units, now, job->unit);
        tells = unit_tells(unit, now);
        unit_unref(unit);
        return tells;
}

/* seen: it ended now; else nobody knows since when it does not run any more. */
static void job_end(struct worker *w, enum job_state state, bool seen) {
        uint64_t now = loop_now(w->workers->event), cpu;
        struct job *job = worker_take_job(w);

        if (seen && job->granted_at != 0)
                job->ran_usec = now - job->granted_at;
        if (worker_cpu_usec(w, &cpu) >= 0 && cpu >= job->cpu_base)
                job->cpu_usec = cpu - job->cpu_base;
        job->state = state;
        job->worker = NULL;
        job->untold = !may_be_told(w, job, now);
        /*
         * The mark before the report: if we die in between, the next daemon takes the repeat for
         * reported, and a line is missing; the other way round it would be there twice.
         */
        worker_mark(w);
        w->workers->job_ended(w->workers->userdata, job);
}

/*
 * The job that an outcome belongs to: the one in the slot, whatever number it had; the one that
 * waits, if it was begun without us; else one of which we hear only now.
 */
static int job_for_outcome(struct worker *w, const struct wire_outcome *o) {
        struct wire_request request = {.kind = o->kind, .seq = o->seq, .mem = w->mem};

        if (worker_running_job(w))
                w->job->seq = o->seq;
        if (w->job && w->job->seq == o->seq)
                return 0;
        worker_drop_job(w);
        return worker_new_job(w, &request);
}

static int report_outcome(struct worker *w, const struct wire_outcome *o) {
        bool governed;
        int r;

        if (o->seq <= w->last_seq)
                return 0; /* a repeat: our acknowledgement did not arrive */
        governed = worker_running_job(w) && !w->job->ungoverned;
        /* Without a mark nothing tells what an earlier daemon granted: take the worker's word. */
        if (!w->job && (!w->cgroup || w->sort == WORKER_CLOSER))
                governed = !o->ungoverned;
        r = job_for_outcome(w, o);
        if (r < 0)
                return r;
        w->job->error = o->error;
        w->job->rc = o->rc;
        w->job->rrc = o->rrc;
        w->job->ungoverned = !governed;
        w->last_seq = o->seq;
        job_end(w, job_state_of_outcome(o, governed), true);
        return 0;
}

static void acknowledge(struct worker *w, uint64_t seq) {
        if (w->channel)
                (void)channel_send_seq(w->channel, WIRE_DONE_ACK, seq);
}

/*
 * If its VMM is gone, too, then exit_mmap() was the job of a shutdown, with our grant or without;
 * what else it was doing, or would have done, nobody knows.
 */
static enum job_state end_of_lost(struct worker *w) {
        if (w->job->kind != JOB_KIND_ADOPTED &&
            (w->job->kind != WIRE_KIND_SHUTDOWN || worker_vmm_alive(w)))
                return JOB_LOST;
        w->job->bytes_left = 0; /* nobody has this address space any more */
        w->job->ungoverned = w->job->ungoverned || w->job->state != JOB_RUNNING;
        return w->job->ungoverned ? JOB_UNGOVERNED : JOB_DONE;
}

void worker_end(struct worker *w) {
        if (w->job)
                job_end(w, end_of_lost(w), true);
        w->workers->n_gone++;
        worker_free(w);
}

void worker_end_unseen(struct worker *w) {
        enum job_state state;

        if (!w->job) {
                worker_free(w);
                return;
        }
        state = w->vmm.pid > 0 ? end_of_lost(w) : JOB_LOST;
        job_end(w, state, false);
        worker_free(w);
}

static int on_exit_of_process(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct worker *w = userdata;

        if (w->sort == WORKER_CLOSER && worker_is_found(w))
                log_warning("closer %d in %s, found at start, ended without a report; it is "
                            "unknown whether it had a VM to close",
                            (int)w->pid, w->cgroup->path);
        worker_end(w);
        return 0;
}

int worker_serve(struct worker *w) {
        return worker_watch(w, on_exit_of_process);
}

/* ---- its packets ---- */

/* A closer has no guest to reboot, and a keeper no VM fd of somebody else's. */
static bool kind_fits(const struct worker *w, uint32_t kind) {
        return (kind == WIRE_KIND_CLOSE) == (w->sort == WORKER_CLOSER);
}

int worker_on_register(struct worker *w, const struct wire_register *reg) {
        char *name;
        bool news;
        int r = 0;

        if (w->sort == WORKER_HELPER || (reg->last.seq != 0 && !kind_fits(w, reg->last.kind)))
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
        /* Its job has the name of the last REGISTER, or, if it was found, that of its card. */
        if (w->job)
                r = job_rename(w->job, w->name, w->uuid);
        if (r < 0)
                return r;
        news = reg->last.seq > w->last_seq;
        if (reg->last.seq != 0)
                r = report_outcome(w, &reg->last);
        if (r < 0)
                return r;
        if (news)
                w->workers->n_unreported += min_u64(reg->unreported, UNREPORTED_MAX);
        /* A worker that registers does not run: a grant it had was lost, and it asks again. */
        worker_drop_job(w);
        worker_set_state(w, WORKER_IDLE);
        worker_sign(w);
        worker_mark(w);
        workers_quiet_changed(w->workers);
        if (reg->last.seq != 0)
                acknowledge(w, reg->last.seq);
        return 0;
}

/* Said too early it is no error: after execve(2) a VMM's pidfd says that it lives. See quiet.h. */
int worker_on_quiet(struct worker *w) {
        if (w->sort == WORKER_CLOSER)
                return -EPROTO;
        if (w->says_quiet)
                return 0;
        w->says_quiet = true;
        worker_mark(w);
        workers_quiet_changed(w->workers);
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
        if (worker_running_job(w)) {
                if (job->ungoverned)
                        return -EPROTO; /* no GRANT could cross it: what runs has not ended */
                job->seq = request->seq;
                job->kind = request->kind;
                job->bytes = request->mem;
                job->bytes_left = USEC_INFINITY;
                progress_begin(&job->progress, loop_now(w->workers->event), job->bytes);
                worker_mark(w);
                return 0;
        }
        worker_drop_job(w);
        r = worker_new_job(w, request);
        if (r < 0)
                return r;
        w->job->queued_at = loop_now(w->workers->event);
        /* A kind is a claim; a dead VMM is none, nor what a closer is. */
        w->job->frees_memory = w->sort == WORKER_CLOSER ||
                               (request->kind == WIRE_KIND_SHUTDOWN && !worker_vmm_alive(w));
        r = queue_push(&w->workers->governor->queue, w->job->queued_at, w->job);
        if (r < 0)
                return r;
        worker_set_state(w, WORKER_WAITING);
        w->workers->job_moved(w->workers->userdata, w->job);
        return 0;
}

int worker_on_done(struct worker *w, const struct wire_outcome *o) {
        bool running = worker_running_job(w);
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
        uint64_t now = loop_now(w->workers->event);

        if (!worker_running_job(w))
                return;
        w->job->bytes_left = min_u64(bytes_left, w->job->bytes);
        progress_tell(&w->job->progress, now, w->job->bytes_left);
}

void worker_on_disconnect(struct worker *w) {
        w->channel = NULL;
        if (w->job)
                queue_remove(&w->workers->governor->queue, w->job);
        if (w->state == WORKER_IDLE || w->state == WORKER_WAITING)
                worker_set_state(w, WORKER_AWAY);
}

/* The mark first: if we die in between, it comes back, and the mark is written anew. */
int worker_send_away(struct worker *w) {
        union wire_message ungoverned = {};

        if (w->state == WORKER_IDLE) {
                worker_set_state(w, WORKER_SENT_AWAY);
                worker_mark(w);
        }
        return channel_send(w->channel, &ungoverned, WIRE_UNGOVERNED);
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
        r = slot_begin(&w->slot, w->workers->governor, loop_now(w->workers->event), job);
        if (r < 0)
                return r;
        job->ungoverned = true;
        w->hurries = false; /* the job of which hurry.h speaks has begun */
        worker_start_job(w);
        w->workers->job_moved(w->workers->userdata, job);
        return 0;
}

/* Its grant never left: as after any lost connection, which this is. */
static void take_back(struct worker *w) {
        w->job->state = JOB_QUEUED;
        w->job->granted_at = 0;
        w->job->cpu_base = USEC_INFINITY;
        slot_revoke(&w->slot);
        worker_set_state(w, WORKER_WAITING);
        worker_mark(w); /* else the next daemon would take it for running */
        w->channel->end(w->channel);
}

/* Model: daemon_grant. The mark first: if we die in between, the next daemon counts it. */
void worker_grant(struct worker *w) {
        struct job *job = w->job;

        if (slot_grant(&w->slot, w->workers->governor, loop_now(w->workers->event), job) < 0) {
                w->channel->end(w->channel); /* it has one: its request broke the rules */
                return;
        }
        worker_start_job(w);
        if (channel_send_seq(w->channel, WIRE_GRANT, job->seq) < 0)
                take_back(w);
        else
                w->workers->job_moved(w->workers->userdata, job);
}
