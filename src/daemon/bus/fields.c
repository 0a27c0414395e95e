/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the control interface shows: one table per dictionary, of which src/ctl/columns.c has the
 * counterparts, and pv-reaperctl(1) the words. A getter reads and changes nothing. What is not
 * known is left out, never made up (G8): no outcome of a job that did not end or was lost, no time
 * that began under an earlier daemon.
 */

#include "daemon/bus/fields.h"

#include "daemon/cpu/cap.h"
#include "daemon/forecast.h"
#include "daemon/governor/turns.h"
#include "daemon/manager.h"
#include "daemon/memory/memory.h"
#include "daemon/metrics/text.h"
#include "daemon/service/service.h"
#include "daemon/worker/quiet.h"

static uint64_t since(sd_event *event, uint64_t then) {
        uint64_t now = loop_now(event);

        return then > now ? USEC_INFINITY : now - then; /* USEC_INFINITY: it did not happen */
}

/*
 * A getter of a struct type, which is o in what follows: the value goes to a member of struct
 * bus_value, and is known if the condition holds. A text that is NULL, or a time or size that is
 * USEC_INFINITY, is not known either (dict.h).
 */
#define GET_IF(name, type, member, value, condition)                                               \
        static bool get_##name(void *object, struct bus_value *ret) {                              \
                const struct type *o __attribute__((unused)) = object;                             \
                                                                                                   \
                ret->member = (value);                                                             \
                return (condition);                                                                \
        }
#define GET(name, type, member, value) GET_IF(name, type, member, value, true)

/* How many workers a condition on w holds for. */
#define COUNT(name, condition)                                                                     \
        static bool get_##name(void *object, struct bus_value *ret) {                              \
                const struct manager *o = object;                                                  \
                const struct worker *w;                                                            \
                                                                                                   \
                TAILQ_FOREACH (w, &o->workers.list, link)                                          \
                        ret->u += (condition);                                                     \
                return true;                                                                       \
        }

/* ---- GetStatus ---- */

static uint64_t next_start(const struct manager *m) {
        uint64_t now = loop_now(m->event);

        return m->governor.queue.n_waiting > 0 ? turns_start_at(&m->governor, now, 1) - now
                                               : USEC_INFINITY;
}

GET(version, manager, s, PVR_VERSION_TEXT)
GET(pid, manager, u, (uint32_t)getpid())
GET(uptime, manager, t, since(o->event, o->started_at))
GET(state, manager, s, governor_mode(&o->governor) == GOVERNOR_DRAINING ? "draining" : "running")
GET(mode, manager, s, metrics_modes[governor_mode(&o->governor)])
GET(bytes_to_clear, manager, t, workers_bytes_to_clear(&o->workers))
GET(eta, manager, t, forecast_all(object))
GET(handoff_socket, manager, s, o->handoff_path)
GET(started_at, manager, t, o->ledger.tally.started_at)
GET(next_why, manager, s, forecast_why(o))
GET(next_start, manager, t, next_start(o))
GET(oldest_wait, manager, t, forecast_oldest_wait(o))
GET_IF(memory_available, manager, t, 0, memory_read_available(o->memory, &ret->t) >= 0)
GET_IF(memory_pressure, manager, u, 0, memory_read_pressure(&ret->u) >= 0)
GET_IF(start_rate, manager, t, o->governor.effective.start_rate, ret->t > 0)
GET(cpu_quota, manager, t, manager_cpu_quota(o))
GET(cpu_backend, manager, s, enforce_get_backend(cap_get_enforce(o->cap)))
GET(cpu_reason, manager, s, enforce_get_reason(cap_get_enforce(o->cap)))
GET(unenforced, manager, u, enforce_get_counts(cap_get_enforce(o->cap)).n_unenforced)
GET(waiters, manager, u, memory_n_waiters(o->memory))
GET(accounting, manager, s, o->cgroup ? "cgroup" : "schedstat")
GET(root_cgroup, manager, s, o->cgroup ? o->cgroup->path : NULL)
COUNT(found, worker_is_found(w))
COUNT(overdue, worker_is_overdue(w))
COUNT(unmoved, worker_stays(w))

const struct bus_field bus_status_fields[] = {
        BUS_GETTER("Version", 's', get_version),
        BUS_GETTER("PID", 'u', get_pid),
        BUS_GETTER("UptimeUSec", 't', get_uptime),
        BUS_GETTER("StartedAt", 't', get_started_at), /* µs since 1970 */
        BUS_GETTER("State", 's', get_state),
        BUS_GETTER("Mode", 's', get_mode),
        BUS_MEMBER("MaxConcurrent", struct manager, governor.effective.max_concurrent),
        BUS_MEMBER("Running", struct manager, governor.n_counted),
        BUS_GETTER("Found", 'u', get_found),
        BUS_GETTER("Overdue", 'u', get_overdue),
        BUS_MEMBER("Queued", struct manager, governor.queue.n_waiting),
        BUS_MEMBER("VMs", struct manager, workers.n),
        BUS_MEMBER("Connections", struct manager, peers.n),
        BUS_MEMBER("MaxVMs", struct manager, workers.max), /* as LimitNOFILE= allows */
        BUS_GETTER("HandoffSocket", 's', get_handoff_socket),
        BUS_GETTER("BytesToClear", 't', get_bytes_to_clear),
        BUS_GETTER("ETAUSec", 't', get_eta),
        BUS_GETTER("Why", 's', get_next_why),
        BUS_GETTER("NextStartUSec", 't', get_next_start),
        BUS_GETTER("OldestWaitUSec", 't', get_oldest_wait),
        BUS_GETTER("MemoryAvailable", 't', get_memory_available),
        BUS_GETTER("MemoryPressure", 'u', get_memory_pressure), /* 1/100 % */
        BUS_MEMBER("Done", struct manager, ledger.totals[JOB_DONE]),
        BUS_MEMBER("Ungoverned", struct manager, ledger.totals[JOB_UNGOVERNED]),
        BUS_MEMBER("Interrupted", struct manager, ledger.totals[JOB_INTERRUPTED]),
        BUS_MEMBER("Superseded", struct manager, ledger.totals[JOB_SUPERSEDED]),
        BUS_MEMBER("Failed", struct manager, ledger.totals[JOB_FAILED]),
        BUS_MEMBER("Foreign", struct manager, ledger.totals[JOB_FOREIGN]),
        BUS_MEMBER("Lost", struct manager, ledger.totals[JOB_LOST]),
        BUS_MEMBER("Unreported", struct manager, workers.n_unreported),
        BUS_MEMBER("Begun", struct manager, ledger.tally.n_begun),
        BUS_MEMBER("Hurried", struct manager, ledger.tally.n_hurried),
        BUS_MEMBER("Starved", struct manager, ledger.tally.n_starved),
        BUS_GETTER("StartRate", 't', get_start_rate),
        BUS_GETTER("CPUQuota", 't', get_cpu_quota),
        BUS_GETTER("CPUBackend", 's', get_cpu_backend),
        BUS_GETTER("CPUReason", 's', get_cpu_reason),
        BUS_GETTER("Unenforced", 'u', get_unenforced),
        BUS_GETTER("Unmoved", 'u', get_unmoved),
        BUS_GETTER("Waiters", 'u', get_waiters),
        BUS_GETTER("Accounting", 's', get_accounting),
        BUS_GETTER("CGroup", 's', get_root_cgroup),
        {},
};

GET(drain_reason, service, s, service_drain_reason(o))

const struct bus_field bus_service_fields[] = {
        BUS_GETTER("DrainReason", 's', get_drain_reason),
        {},
};

/* ---- ListVMs ---- */

GET(vm_uuid, worker, s, uuid_format(o->uuid, ret->buffer))
GET_IF(vmm_pid, worker, u, (uint32_t)o->vmm_pid, o->vmm_pid > 0)
GET(vm_sort, worker, s, worker_sort_to_string(o))
GET(vm_state, worker, s, worker_state_to_string(o))
GET_IF(vm_mem, worker, t, o->mem, o->mem > 0) /* 0: it did not say */
GET(vm_cgroup, worker, s, o->cgroup ? o->cgroup->path : NULL)
GET(connected, worker, b, o->channel != NULL)
GET(quiet, worker, b, worker_is_quiet(o))
GET(fencing, worker, s, worker_fencing(o))

static bool get_vm_cpu(void *object, struct bus_value *ret) {
        return worker_cpu_usec(object, &ret->t) >= 0;
}

const struct bus_field bus_vm_fields[] = {
        BUS_MEMBER("Name", struct worker, name),
        BUS_GETTER("UUID", 's', get_vm_uuid),
        BUS_MEMBER_PID("PID", struct worker, pid),
        BUS_GETTER("VMMPID", 'u', get_vmm_pid),
        BUS_MEMBER("Unit", struct worker, unit),
        BUS_GETTER("Worker", 's', get_vm_sort), /* keeper, closer, adopted */
        BUS_GETTER("State", 's', get_vm_state),
        BUS_GETTER("MemBytes", 't', get_vm_mem),
        BUS_GETTER("CPUUSec", 't', get_vm_cpu),
        BUS_GETTER("CGroup", 's', get_vm_cgroup),
        BUS_GETTER("Connected", 'b', get_connected),
        BUS_GETTER("Quiet", 'b', get_quiet),
        BUS_GETTER("Fencing", 's', get_fencing),
        {},
};

/* ---- ListJobs ---- */

GET(job_uuid, job, s, uuid_format(o->uuid, ret->buffer))
GET(kind, job, s, job_kind_to_string(o->kind))
GET(job_state, job, s, job_state_to_string(o->state))
GET_IF(error, job, i, o->error, job_has_outcome(o))
GET_IF(rc, job, q, o->rc, job_has_outcome(o))
GET_IF(rrc, job, q, o->rrc, job_has_outcome(o))

/* Only what this job itself has shown. */
GET_IF(rate, job, t, progress_rate(&o->progress), o->state == JOB_RUNNING)

static bool get_waited(void *object, struct bus_value *ret) {
        struct job *job = object;

        ret->t = job->state == JOB_QUEUED ? since(job->worker->workers->event, job->queued_at)
                                          : job->waited_usec;
        return true;
}

static bool get_ran(void *object, struct bus_value *ret) {
        struct job *job = object;

        if (job->state == JOB_QUEUED || (job->state == JOB_RUNNING && job->granted_at == 0))
                return false;
        ret->t = job->state == JOB_RUNNING ? since(job->worker->workers->event, job->granted_at)
                                           : job->ran_usec;
        return true;
}

/* By the calendar, at some time of the loop's clock that is not long ago. */
static uint64_t date_of(const struct job *job, uint64_t then) {
        uint64_t ago = since(job->worker->workers->event, then);

        return ago == USEC_INFINITY ? ago : realtime_usec() - ago;
}

static uint64_t before(uint64_t date, uint64_t usec) {
        return date == USEC_INFINITY || usec == USEC_INFINITY ? USEC_INFINITY : date - usec;
}

static uint64_t date_of_start(const struct job *job) {
        if (job->state > JOB_RUNNING)
                return before(job->ended_at, job->ran_usec);
        return job->granted_at > 0 ? date_of(job, job->granted_at) : USEC_INFINITY;
}

static uint64_t date_of_request(const struct job *job) {
        if (job->state > JOB_RUNNING)
                return before(date_of_start(job), job->waited_usec);
        return job->queued_at > 0 ? date_of(job, job->queued_at) : USEC_INFINITY;
}

GET(queued_at, job, t, date_of_request(o))
GET(job_started_at, job, t, date_of_start(o))
GET_IF(ended_at, job, t, o->ended_at, o->ended_at > 0)

static bool get_job_cpu(void *object, struct bus_value *ret) {
        struct job *job = object;
        uint64_t cpu;

        if (job->state == JOB_QUEUED)
                return false;
        ret->t = job->cpu_usec;
        if (job->state != JOB_RUNNING)
                return true;
        if (worker_cpu_usec(job->worker, &cpu) < 0 || cpu < job->cpu_base)
                return false;
        ret->t = cpu - job->cpu_base;
        return true;
}

static bool get_progress(void *object, struct bus_value *ret) {
        return forecast_percent(object, &ret->u);
}

/* Of one that waits: as of the last forecast_all(), which object.c calls before it lists jobs. */
static bool get_job_eta(void *object, struct bus_value *ret) {
        struct job *job = object;

        ret->t = job->state == JOB_QUEUED ? job->eta : forecast_left(job);
        return job->state <= JOB_RUNNING;
}

static bool get_job_place(void *object, struct bus_value *ret) {
        struct job *job = object;

        ret->u = job->turn;
        return job->state == JOB_QUEUED && job->turn > 0;
}

static bool get_job_why(void *object, struct bus_value *ret) {
        struct job *job = object;

        if (job->state != JOB_QUEUED)
                return false;
        ret->s = turns_why(&manager_of(job->worker)->governor,
                           loop_now(job->worker->workers->event), job);
        return true;
}

const struct bus_field bus_job_fields[] = {
        BUS_MEMBER("Id", struct job, id),
        BUS_MEMBER("VM", struct job, name),
        BUS_GETTER("UUID", 's', get_job_uuid),
        BUS_MEMBER("Unit", struct job, unit),
        BUS_MEMBER_PID("PID", struct job, pid),
        BUS_GETTER("Kind", 's', get_kind),
        BUS_GETTER("State", 's', get_job_state),
        BUS_GETTER("Place", 'u', get_job_place), /* in the queue, from 1 */
        BUS_GETTER("Why", 's', get_job_why),     /* it waits */
        BUS_MEMBER("Seq", struct job, seq),
        BUS_MEMBER("Bytes", struct job, bytes),
        BUS_MEMBER("BytesLeft", struct job, bytes_left),
        BUS_GETTER("Rate", 't', get_rate),
        BUS_GETTER("Progress", 'u', get_progress),
        BUS_GETTER("ETAUSec", 't', get_job_eta),
        BUS_GETTER("QueuedAt", 't', get_queued_at), /* the three in µs since 1970 */
        BUS_GETTER("StartedAt", 't', get_job_started_at),
        BUS_GETTER("EndedAt", 't', get_ended_at),
        BUS_GETTER("WaitedUSec", 't', get_waited),
        BUS_GETTER("RanUSec", 't', get_ran),
        BUS_GETTER("CPUUSec", 't', get_job_cpu),
        BUS_GETTER("Error", 'i', get_error),
        BUS_GETTER("RC", 'q', get_rc),
        BUS_GETTER("RRC", 'q', get_rrc),
        BUS_MEMBER("CGroup", struct job, cgroup),
        {},
};
