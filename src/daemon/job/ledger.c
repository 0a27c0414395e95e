/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where jobs go when they end. History, numbers and what was learnt outlive a restart if somebody
 * keeps the archive; every sum begins at 0 again. What there is to know of a job is in it when it
 * comes here, and does not change any more.
 */

#include "daemon/job/ledger.h"

#include <stdio.h>
#include <string.h>

#include "base/uuid.h"
#include "daemon/runtime/log.h"

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
                LOG_TEXT("PV_VM", job->name), LOG_TEXT("PV_UUID", uuid_format(job->uuid, uuid)),
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

/* ---- the rest ---- */

void ledger_init(struct ledger *l) {
        *l = (struct ledger){.next_id = 1};
        TAILQ_INIT(&l->history);
        tally_init(&l->tally);
}

static void drop(struct ledger *l, struct job *job) {
        if (l->archive)
                archive_drop(l->archive, job);
        TAILQ_REMOVE(&l->history, job, link);
        l->n_history--;
        job_free(job);
}

/* The archive keeps them. */
void ledger_deinit(struct ledger *l) {
        struct archive *archive = l->archive;

        l->archive = NULL;
        while (l->n_history > 0)
                drop(l, TAILQ_FIRST(&l->history));
        (void)archive_free(archive);
}

uint64_t ledger_next_id(struct ledger *l) {
        return l->archive ? archive_next_id(l->archive) : l->next_id++;
}

/* Only from what we granted: one that went ahead by itself was under no limit. */
static void learn(struct ledger *l, const struct job *job) {
        const struct estimate_sample sample = {job->bytes, job->cpu_usec, job->ran_usec};

        if (job->state == JOB_DONE)
                estimate_learn(&l->estimate, job->kind, &sample);
}

static bool same_unit(const struct job *a, const struct job *b) {
        return strcmp(a->unit ? a->unit : "", b->unit ? b->unit : "") == 0;
}

/*
 * Makes room for one that was not granted: in the place of the oldest of that sort of its unit, if
 * that has its share, or there is no other place.
 */
static bool make_room(struct ledger *l, const struct job *newest) {
        struct job *oldest = NULL, *job;
        unsigned n = 0;

        TAILQ_FOREACH (job, &l->history, link) {
                if (job_was_granted(job) || !same_unit(job, newest))
                        continue;
                oldest = oldest ? oldest : job;
                n++;
        }
        if (n < HISTORY_UNGRANTED_MAX && l->n_history < HISTORY_MAX)
                return true;
        if (oldest)
                drop(l, oldest);
        return oldest;
}

static void remember(void *userdata, struct job *job) {
        struct ledger *l = userdata;

        TAILQ_INSERT_TAIL(&l->history, job, link);
        l->n_history++;
}

static void restore(void *userdata, struct job *job) {
        learn(userdata, job);
        remember(userdata, job);
}

int ledger_open_archive(struct ledger *l, int *fd) {
        int r;

        r = archive_new(&l->archive, fd);
        return r < 0 ? r : archive_each(l->archive, restore, l);
}

struct job *ledger_add(struct ledger *l, struct job *job) {
        if (job->ended_at == 0)
                job->ended_at = realtime_usec();
        if (!job->untold)
                job_log(job);
        l->totals[job->state]++;
        learn(l, job);
        tally_job(&l->tally, job);
        if (job->untold || (!job_was_granted(job) && !make_room(l, job)))
                return job_free(job);
        if (l->n_history >= HISTORY_MAX)
                drop(l, TAILQ_FIRST(&l->history));
        remember(l, job);
        if (l->archive)
                archive_add(l->archive, job);
        return job;
}
