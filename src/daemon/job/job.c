/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One teardown and what is said of it. A job belongs to its worker until it ended, then to the
 * manager's history. It never claims more than is known: its end is one of the words of job_state,
 * and a time or bill that began under an earlier daemon, which left no mark, is "unknown".
 */

#include "daemon/job/job.h"

#include <stdlib.h>
#include <string.h>

static int copy_string(char **ret, const char *s) {
        *ret = s ? strdup(s) : NULL;
        return s && !*ret ? -ENOMEM : 0;
}

DEFINE_FREEP(job)

int job_new(struct job **ret, const struct job_owner *owner, uint64_t id,
            const struct wire_request *request) {
        _cleanup_(job_freep) struct job *job = calloc(1, sizeof(*job));

        if (!job || copy_string(&job->name, owner->name) < 0 ||
            copy_string(&job->unit, owner->unit) < 0 ||
            copy_string(&job->cgroup, owner->cgroup) < 0)
                return -ENOMEM;
        job->worker = owner->worker;
        job->id = id;
        job->seq = request->seq;
        job->kind = request->kind;
        job->pid = owner->pid;
        memcpy(job->uuid, owner->uuid, sizeof(job->uuid));
        job->state = JOB_QUEUED;
        job->bytes = request->mem;
        job->bytes_left = USEC_INFINITY;
        job->waited_usec = job->ran_usec = job->cpu_usec = job->cpu_base = USEC_INFINITY;
        job->eta = USEC_INFINITY;
        *ret = take_ptr(&job);
        return 0;
}

int job_rename(struct job *job, const char *name, const uint8_t uuid[16]) {
        char *copy = strdup(name);

        if (!copy)
                return -ENOMEM;
        free(job->name);
        job->name = copy;
        memcpy(job->uuid, uuid, sizeof(job->uuid));
        return 0;
}

struct job *job_free(struct job *job) {
        if (!job)
                return NULL;
        free(job->name);
        free(job->unit);
        free(job->cgroup);
        free(job);
        return NULL;
}

enum job_state job_state_of_outcome(const struct wire_outcome *outcome, bool governed) {
        return JOB_RUNNING + result_of_perform(outcome->error, outcome->rc, outcome->rrc, governed);
}

const char *job_state_to_string(enum job_state state) {
        const char *word = NULL;

        if (state == JOB_QUEUED)
                return "queued";
        if (state == JOB_RUNNING)
                return "running";
        if (state < _JOB_STATE_MAX)
                word = result_to_string(state - JOB_RUNNING);
        return word ? word : "?";
}

const char *job_kind_to_string(uint32_t kind) {
        switch (kind) {
        case WIRE_KIND_REBOOT:
                return "reboot";
        case WIRE_KIND_SHUTDOWN:
                return "shutdown";
        case WIRE_KIND_CLOSE:
                return "close";
        case JOB_KIND_ADOPTED:
                return "adopted";
        default:
                return "?";
        }
}

bool job_was_granted(const struct job *job) {
        return job->granted_at != 0 && !job->ungoverned;
}

bool job_has_outcome(const struct job *job) {
        return job->state >= JOB_DONE && job->state != JOB_LOST;
}
