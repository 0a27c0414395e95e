/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One teardown and what is said of it. A job belongs to its worker until it ended, then to the
 * manager's history. It never claims more than is known: its end is one of the words of job_state,
 * and a time or bill that began under an earlier daemon, which left no mark, is "unknown".
 */

#include "daemon/job/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/runtime/log.h"
#include "daemon/worker/worker.h"

static int copy_string(char **ret, const char *s) {
        *ret = s ? strdup(s) : NULL;
        return s && !*ret ? -ENOMEM : 0;
}

static void job_freep(struct job **job) {
        job_free(*job);
}

int job_new(struct job **ret, struct worker *worker, uint64_t id,
            const struct wire_request *request) {
        _cleanup_(job_freep) struct job *job = calloc(1, sizeof(*job));

        if (!job || copy_string(&job->name, worker->name) < 0 ||
            copy_string(&job->unit, worker->unit) < 0 ||
            copy_string(&job->cgroup, worker->cgroup ? worker->cgroup->path : NULL) < 0)
                return -ENOMEM;
        job->worker = worker;
        job->id = id;
        job->seq = request->seq;
        job->kind = request->kind;
        job->pid = worker->pid;
        memcpy(job->uuid, worker->uuid, sizeof(job->uuid));
        job->state = JOB_QUEUED;
        job->bytes = request->mem;
        job->bytes_left = USEC_INFINITY;
        job->waited_usec = job->ran_usec = job->cpu_usec = job->cpu_base = USEC_INFINITY;
        *ret = job;
        job = NULL;
        return 0;
}

int job_rename(struct job *job, const struct worker *worker) {
        char *name = strdup(worker->name);

        if (!name)
                return -ENOMEM;
        free(job->name);
        job->name = name;
        memcpy(job->uuid, worker->uuid, sizeof(job->uuid));
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

const char *job_uuid_to_string(const uint8_t uuid[16], char buffer[UUID_TEXT_SIZE]) {
        static const char hex[] = "0123456789abcdef";
        char *p = buffer;
        unsigned bits = 0;

        for (unsigned i = 0; i < 16; i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        *p++ = '-';
                *p++ = hex[uuid[i] >> 4];
                *p++ = hex[uuid[i] & 15];
                bits |= uuid[i];
        }
        *p = '\0';
        return bits != 0 ? buffer : NULL;
}

static int hex_digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool job_uuid_from_string(const char *text, uint8_t ret[16]) {
        uint8_t uuid[16] = {};

        for (unsigned i = 0; i < 16; i++) {
                if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
                        return false;
                for (unsigned j = 0; j < 2; j++, text++) {
                        if (hex_digit(*text) < 0)
                                return false;
                        uuid[i] = (uint8_t)(uuid[i] << 4 | hex_digit(*text));
                }
        }
        if (*text != '\0')
                return false;
        memcpy(ret, uuid, sizeof(uuid));
        return true;
}

bool job_has_outcome(const struct job *job) {
        return job->state >= JOB_DONE && job->state != JOB_LOST;
}

/* ---- the log ---- */

static const char *job_message_id(enum job_state state) {
        static const char *const table[_JOB_STATE_MAX] = {
                [JOB_DONE] = MESSAGE_JOB_DONE,
                [JOB_UNGOVERNED] = MESSAGE_JOB_UNGOVERNED,
                [JOB_INTERRUPTED] = MESSAGE_JOB_INTERRUPTED,
                [JOB_SUPERSEDED] = MESSAGE_JOB_SUPERSEDED,
                [JOB_FAILED] = MESSAGE_JOB_FAILED,
                [JOB_FOREIGN] = MESSAGE_JOB_FOREIGN,
                [JOB_LOST] = MESSAGE_JOB_LOST,
        };

        return state < _JOB_STATE_MAX ? table[state] : NULL;
}

static const char *format_usec(char *buffer, size_t size, uint64_t usec) {
        if (usec == USEC_INFINITY)
                (void)snprintf(buffer, size, "unknown");
        else
                (void)snprintf(buffer, size, "%llu.%06llu s",
                               (unsigned long long)(usec / USEC_PER_SEC),
                               (unsigned long long)(usec % USEC_PER_SEC));
        return buffer;
}

/* To a closer the kernel says -EIO as a rule, and the close was the job. */
bool job_went_well(const struct job *job) {
        return job->state == JOB_DONE || job->state == JOB_SUPERSEDED ||
               (job->state == JOB_FOREIGN && job->kind == WIRE_KIND_CLOSE);
}

void job_log(const struct job *job) {
        char waited[32], ran[32], cpu[32], uuid[UUID_TEXT_SIZE];
        bool known = job_has_outcome(job);
        const struct log_event *event = LOG_EVENT(
                job_went_well(job) ? LOG_INFO : LOG_WARNING, job_message_id(job->state), job->error,
                LOG_TEXT("PV_VM", job->name),
                LOG_TEXT("PV_UUID", job_uuid_to_string(job->uuid, uuid)),
                LOG_TEXT("PV_UNIT", job->unit), LOG_NUMBER("PV_JOB", job->id),
                LOG_TEXT("PV_KIND", job_kind_to_string(job->kind)),
                LOG_TEXT("PV_RESULT", job_state_to_string(job->state)),
                LOG_NUMBER("PV_CPU_USEC", job->cpu_usec),
                LOG_NUMBER("PV_WAIT_USEC", job->waited_usec),
                LOG_NUMBER("PV_RUN_USEC", job->ran_usec), LOG_NUMBER("PV_BYTES", job->bytes),
                LOG_NUMBER("PV_RC", known ? job->rc : USEC_INFINITY),
                LOG_NUMBER("PV_RRC", known ? job->rrc : USEC_INFINITY),
                LOG_NUMBER("PV_PID", (uint64_t)job->pid), LOG_TEXT("PV_CGROUP", job->cgroup));

        (void)log_event(event,
                        "job %llu: %s of %s (pid %d, unit %s) %s: waited %s, ran %s, CPU %s, "
                        "%llu MiB, rc 0x%x, rrc 0x%x",
                        (unsigned long long)job->id, job_kind_to_string(job->kind), job->name,
                        (int)job->pid, job->unit ? job->unit : "unknown",
                        job_state_to_string(job->state),
                        format_usec(waited, sizeof(waited), job->waited_usec),
                        format_usec(ran, sizeof(ran), job->ran_usec),
                        format_usec(cpu, sizeof(cpu), job->cpu_usec),
                        (unsigned long long)(job->bytes >> 20), job->rc, job->rrc);
}
