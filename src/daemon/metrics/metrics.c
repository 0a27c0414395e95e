/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where the metrics' numbers come from, each from the one place that knows it. Owns nothing, and
 * keeps nothing: a snapshot is taken when somebody asks.
 * A walk through the queue and the workers each time, which even ten thousand of them bear.
 */

#include "daemon/metrics/metrics.h"

#include <stdlib.h>

#include "daemon/cpu/cap.h"
#include "daemon/forecast.h"
#include "daemon/manager.h"
#include "daemon/memory/memory.h"

static void count_queue(struct metrics *metrics, const struct queue *queue) {
        const struct job *job;

        TAILQ_FOREACH (job, &queue->waiting, link) {
                metrics->queued[tally_kind(job->kind)]++;
                if (job->kind != WIRE_KIND_SHUTDOWN || !job->frees_memory)
                        continue;
                metrics->held = job->bytes > UINT64_MAX - metrics->held
                                        ? UINT64_MAX
                                        : metrics->held + job->bytes;
        }
}

static void collect(struct metrics *ret, struct manager *m) {
        const struct enforce_counts cap = enforce_get_counts(cap_get_enforce(m->cap));
        const struct worker *w;

        *ret = (struct metrics){
                .tally = &m->ledger.tally,
                .version = PVR_VERSION_TEXT,
                .mode = metrics_modes[governor_mode(&m->governor)],
                .to_clear = workers_bytes_to_clear(&m->workers),
                .running = m->governor.n_counted,
                .workers = m->workers.n,
                .connections = m->peers.n,
                .max_concurrent = m->governor.effective.max_concurrent,
                .waiters = memory_n_waiters(m->memory),
                .unreported = m->workers.n_unreported,
                .unenforced = cap.n_unenforced,
                .refused = cap.n_refused,
                .escaped = cap.n_escaped,
        };
        ret->why = forecast_why(m);
        ret->oldest_wait = forecast_oldest_wait(m);
        count_queue(ret, &m->governor.queue);
        TAILQ_FOREACH (w, &m->workers.list, link) {
                ret->overdue += worker_is_overdue(w);
                ret->stay += worker_stays(w);
        }
}

int metrics_text(char **ret, struct manager *manager, enum metrics_format format) {
        struct metrics metrics;
        size_t size = 0;
        char *text = NULL;
        FILE *out;

        out = open_memstream(&text, &size);
        if (!out)
                return -ENOMEM;
        collect(&metrics, manager);
        metrics_print(out, &metrics, format);
        if (fclose(out) != 0) {
                free(text);
                return -ENOMEM;
        }
        *ret = text;
        return 0;
}
