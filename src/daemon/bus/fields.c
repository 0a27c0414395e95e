/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the control interface shows: one table per dictionary, of which src/ctl/verbs.c has the
 * counterparts, and pv-reaperctl(1) the words. A getter reads and changes nothing. What is not
 * known is left out, never made up (G8): no outcome of a job that did not end or was lost, no time
 * that began under an earlier daemon.
 */

#include "daemon/bus/fields.h"

#include "daemon/cpu/cap.h"
#include "daemon/forecast.h"
#include "daemon/manager.h"
#include "daemon/memory/memory.h"
#include "daemon/policy.h"
#include "daemon/service/service.h"
#include "daemon/worker/quiet.h"

static bool format_uuid(const uint8_t uuid[16], struct bus_value *ret) {
        ret->s = job_uuid_to_string(uuid, ret->buffer);
        return ret->s;
}

static uint64_t since(struct manager *manager, uint64_t then) {
        uint64_t now = loop_now(manager->event);

        return then == USEC_INFINITY || then > now ? USEC_INFINITY : now - then;
}

/* ---- GetStatus ---- */

static bool get_version(void *object, struct bus_value *ret) {
        ret->s = PVR_VERSION_TEXT;
        return true;
}

static bool get_pid(void *object, struct bus_value *ret) {
        ret->u = (uint32_t)getpid();
        return true;
}

static bool get_uptime(void *object, struct bus_value *ret) {
        struct manager *manager = object;

        ret->t = since(manager, manager->started_at);
        return true;
}

static bool get_state(void *object, struct bus_value *ret) {
        struct manager *manager = object;

        ret->s = governor_mode(&manager->governor) == GOVERNOR_DRAINING ? "draining" : "running";
        return true;
}

static bool get_found(void *object, struct bus_value *ret) {
        struct manager *manager = object;
        struct worker *worker;

        TAILQ_FOREACH (worker, &manager->workers, link) {
                ret->u += worker->found;
        }
        return true;
}

static bool get_overdue(void *object, struct bus_value *ret) {
        struct manager *manager = object;
        struct worker *worker;

        TAILQ_FOREACH (worker, &manager->workers, link) {
                ret->u += worker_is_overdue(worker);
        }
        return true;
}

static bool get_bytes_to_clear(void *object, struct bus_value *ret) {
        ret->t = manager_bytes_to_clear(object);
        return true;
}

static bool get_eta(void *object, struct bus_value *ret) {
        ret->t = forecast_left_in_all(object);
        return true;
}

static bool get_drain_reason(void *object, struct bus_value *ret) {
        ret->s = service_drain_reason(object);
        return true;
}

static bool get_mode(void *object, struct bus_value *ret) {
        static const char *const modes[] = {[GOVERNOR_NORMAL] = "normal",
                                            [GOVERNOR_BOOST] = "boost",
                                            [GOVERNOR_DRAINING] = "draining"};
        struct manager *manager = object;

        ret->s = modes[governor_mode(&manager->governor)];
        return true;
}

static bool get_start_rate(void *object, struct bus_value *ret) {
        struct manager *manager = object;

        ret->t = manager->governor.effective.start_rate;
        return ret->t > 0;
}

static bool get_cpu_quota(void *object, struct bus_value *ret) {
        ret->t = policy_cpu_quota(object);
        return ret->t != USEC_INFINITY;
}

static bool get_cpu_backend(void *object, struct bus_value *ret) {
        struct manager *manager = object;

        ret->s = enforce_get_backend(cap_get_enforce(manager->cap));
        return true;
}

static bool get_cpu_reason(void *object, struct bus_value *ret) {
        struct manager *manager = object;

        ret->s = enforce_get_reason(cap_get_enforce(manager->cap));
        return true;
}

static bool get_unenforced(void *object, struct bus_value *ret) {
        struct manager *manager = object;

        ret->u = enforce_get_counts(cap_get_enforce(manager->cap)).n_unenforced;
        return true;
}

static bool get_unmoved(void *object, struct bus_value *ret) {
        struct manager *manager = object;
        struct worker *worker;

        TAILQ_FOREACH (worker, &manager->workers, link) {
                ret->u += worker_stays(worker);
        }
        return true;
}

static bool get_waiters(void *object, struct bus_value *ret) {
        struct manager *manager = object;

        ret->u = memory_n_waiters(manager->memory);
        return true;
}

static bool get_accounting(void *object, struct bus_value *ret) {
        struct manager *manager = object;

        ret->s = manager->cgroup ? "cgroup" : "schedstat";
        return true;
}

static bool get_root_cgroup(void *object, struct bus_value *ret) {
        struct manager *manager = object;

        ret->s = manager->cgroup ? manager->cgroup->path : NULL;
        return true;
}

const struct bus_field bus_status_fields[] = {
        BUS_GETTER("Version", 's', get_version),
        BUS_GETTER("PID", 'u', get_pid),
        BUS_GETTER("UptimeUSec", 't', get_uptime),
        BUS_GETTER("State", 's', get_state),
        BUS_GETTER("Mode", 's', get_mode),
        BUS_MEMBER("MaxConcurrent", struct manager, governor.effective.max_concurrent),
        BUS_MEMBER("Running", struct manager, governor.n_counted),
        BUS_GETTER("Found", 'u', get_found),
        BUS_GETTER("Overdue", 'u', get_overdue),
        BUS_MEMBER("Queued", struct manager, governor.queue.n_waiting),
        BUS_MEMBER("VMs", struct manager, n_workers),
        BUS_MEMBER("Connections", struct manager, n_peers),
        BUS_GETTER("BytesToClear", 't', get_bytes_to_clear),
        BUS_GETTER("ETAUSec", 't', get_eta),
        BUS_MEMBER("Done", struct manager, totals[JOB_DONE]),
        BUS_MEMBER("Ungoverned", struct manager, totals[JOB_UNGOVERNED]),
        BUS_MEMBER("Interrupted", struct manager, totals[JOB_INTERRUPTED]),
        BUS_MEMBER("Superseded", struct manager, totals[JOB_SUPERSEDED]),
        BUS_MEMBER("Failed", struct manager, totals[JOB_FAILED]),
        BUS_MEMBER("Foreign", struct manager, totals[JOB_FOREIGN]),
        BUS_MEMBER("Lost", struct manager, totals[JOB_LOST]),
        BUS_MEMBER("Unreported", struct manager, n_unreported),
        BUS_MEMBER("Begun", struct manager, tally.n_begun),
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

const struct bus_field bus_service_fields[] = {
        BUS_GETTER("DrainReason", 's', get_drain_reason),
        {},
};

/* ---- ListVMs ---- */

static bool get_vm_uuid(void *object, struct bus_value *ret) {
        struct worker *worker = object;

        return format_uuid(worker->uuid, ret);
}

static bool get_vmm_pid(void *object, struct bus_value *ret) {
        struct worker *worker = object;

        ret->u = (uint32_t)worker->vmm_pid;
        return worker->vmm_pid > 0;
}

static bool get_vm_sort(void *object, struct bus_value *ret) {
        ret->s = worker_sort(object);
        return true;
}

static bool get_vm_state(void *object, struct bus_value *ret) {
        ret->s = worker_state(object);
        return true;
}

static bool get_vm_mem(void *object, struct bus_value *ret) {
        struct worker *worker = object;

        ret->t = worker->mem;
        return worker->mem > 0; /* 0: it did not say */
}

static bool get_vm_cpu(void *object, struct bus_value *ret) {
        return worker_cpu_usec(object, &ret->t) >= 0;
}

static bool get_vm_cgroup(void *object, struct bus_value *ret) {
        struct worker *worker = object;

        ret->s = worker->cgroup ? worker->cgroup->path : NULL;
        return true;
}

static bool get_connected(void *object, struct bus_value *ret) {
        struct worker *worker = object;

        ret->b = worker->peer != NULL;
        return true;
}

static bool get_quiet(void *object, struct bus_value *ret) {
        ret->b = worker_is_quiet(object);
        return true;
}

static bool get_fencing(void *object, struct bus_value *ret) {
        ret->s = worker_fencing(object);
        return true;
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

static bool get_job_uuid(void *object, struct bus_value *ret) {
        struct job *job = object;

        return format_uuid(job->uuid, ret);
}

static bool get_kind(void *object, struct bus_value *ret) {
        struct job *job = object;

        ret->s = job_kind_to_string(job->kind);
        return true;
}

static bool get_job_state(void *object, struct bus_value *ret) {
        struct job *job = object;

        ret->s = job_state_to_string(job->state);
        return true;
}

static bool get_waited(void *object, struct bus_value *ret) {
        struct job *job = object;

        ret->t = job->state == JOB_QUEUED ? since(job->worker->manager, job->queued_at)
                                          : job->waited_usec;
        return true;
}

static bool get_ran(void *object, struct bus_value *ret) {
        struct job *job = object;

        if (job->state == JOB_QUEUED || (job->state == JOB_RUNNING && job->granted_at == 0))
                return false;
        ret->t = job->state == JOB_RUNNING ? since(job->worker->manager, job->granted_at)
                                           : job->ran_usec;
        return true;
}

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

/* Only what this job itself has shown. */
static bool get_rate(void *object, struct bus_value *ret) {
        struct job *job = object;

        ret->t = progress_rate(&job->progress);
        return job->state == JOB_RUNNING;
}

static bool get_progress(void *object, struct bus_value *ret) {
        return forecast_percent(object, &ret->u);
}

/* What the job itself has shown is worth more than what others needed. */
static bool get_job_eta(void *object, struct bus_value *ret) {
        struct job *job = object;

        if (job->state != JOB_RUNNING)
                return false;
        ret->t = progress_eta(&job->progress, loop_now(job->worker->manager->event));
        if (ret->t == USEC_INFINITY)
                ret->t = forecast_left(job);
        return true;
}

static bool get_error(void *object, struct bus_value *ret) {
        struct job *job = object;

        ret->i = job->error;
        return job_has_outcome(job);
}

static bool get_rc(void *object, struct bus_value *ret) {
        struct job *job = object;

        ret->q = job->rc;
        return job_has_outcome(job);
}

static bool get_rrc(void *object, struct bus_value *ret) {
        struct job *job = object;

        ret->q = job->rrc;
        return job_has_outcome(job);
}

const struct bus_field bus_job_fields[] = {
        BUS_MEMBER("Id", struct job, id),
        BUS_MEMBER("VM", struct job, name),
        BUS_GETTER("UUID", 's', get_job_uuid),
        BUS_MEMBER("Unit", struct job, unit),
        BUS_MEMBER_PID("PID", struct job, pid),
        BUS_GETTER("Kind", 's', get_kind),
        BUS_GETTER("State", 's', get_job_state),
        BUS_MEMBER("Seq", struct job, seq),
        BUS_MEMBER("Bytes", struct job, bytes),
        BUS_MEMBER("BytesLeft", struct job, bytes_left),
        BUS_GETTER("Rate", 't', get_rate),
        BUS_GETTER("Progress", 'u', get_progress),
        BUS_GETTER("ETAUSec", 't', get_job_eta),
        BUS_GETTER("WaitedUSec", 't', get_waited),
        BUS_GETTER("RanUSec", 't', get_ran),
        BUS_GETTER("CPUUSec", 't', get_job_cpu),
        BUS_GETTER("Error", 'i', get_error),
        BUS_GETTER("RC", 'q', get_rc),
        BUS_GETTER("RRC", 'q', get_rrc),
        BUS_MEMBER("CGroup", struct job, cgroup),
        {},
};
