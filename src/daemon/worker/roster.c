/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * All workers at once: who is who, and what they add up to. After a restart each of thousands comes
 * back and is looked up twice. So the list, which keeps the order of arrival, has libc's balanced
 * tree beside it, by pid and start time: both have the same workers, and own none.
 */

#include "daemon/worker/worker.h"

#include <search.h>

#include "daemon/runtime/process.h"

static int compare(const void *a, const void *b) {
        const struct worker *one = a, *other = b;

        if (one->pid != other->pid)
                return one->pid < other->pid ? -1 : 1;
        if (one->starttime != other->starttime)
                return one->starttime < other->starttime ? -1 : 1;
        return 0;
}

int workers_add(struct workers *ws, struct worker *w) {
        struct worker *const *node = tsearch(w, &ws->tree, compare);

        if (!node)
                return -ENOMEM;
        if (*node != w)
                return -EEXIST;
        TAILQ_INSERT_TAIL(&ws->list, w, link);
        ws->n++;
        return 0;
}

void workers_remove(struct workers *ws, struct worker *w) {
        (void)tdelete(w, &ws->tree, compare);
        TAILQ_REMOVE(&ws->list, w, link);
        ws->n--;
}

struct worker *worker_find(struct workers *ws, pid_t pid, uint64_t starttime) {
        const struct worker key = {.pid = pid, .starttime = starttime};
        struct worker *const *node = tfind(&key, &ws->tree, compare);

        return node ? *node : NULL;
}

/* The keeper of a VMM. Its pid alone does not tell: it may have been re-used. */
struct worker *worker_find_keeper(struct workers *ws, pid_t vmm_pid) {
        struct worker *w;

        TAILQ_FOREACH (w, &ws->list, link)
                if (w->sort != WORKER_HELPER && w->vmm_pid == vmm_pid &&
                    process_same_mm(w->pid, vmm_pid) > 0 && process_alive(w->pidfd) > 0)
                        return w;
        return NULL;
}

uint64_t workers_bytes_to_clear(const struct workers *ws) {
        uint64_t sum = 0;
        struct worker *w;

        TAILQ_FOREACH (w, &ws->list, link) {
                uint64_t bytes = 0;

                if (w->job)
                        bytes = w->job->bytes_left == USEC_INFINITY ? w->job->bytes
                                                                    : w->job->bytes_left;
                /* Claims: a sum of lies must not wrap around to look small. */
                sum = bytes > UINT64_MAX - sum ? UINT64_MAX : sum + bytes;
        }
        return sum;
}
