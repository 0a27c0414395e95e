/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A worker in a hurry has a mark, worker.hurries, until a job of it begins: so a job that is asked
 * for later, or again after a lost connection, is in a hurry as well. A name is a claim: a worker
 * that claims another's name is hurried with it, as pv-reaperctl(1) says. Owns nothing.
 */

#include "daemon/worker/hurry.h"

#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"
#include "daemon/worker/protocol.h"

/* A number, and nothing else. */
static bool parse_number(const char *text, uint64_t *ret) {
        char *end;

        if (*text < '0' || *text > '9')
                return false;
        errno = 0;
        *ret = strtoull(text, &end, 10);
        return *end == '\0' && errno == 0;
}

static bool is_meant(const struct worker *w, const char *what) {
        uint8_t uuid[16];
        uint64_t n;

        if (strncmp(what, "pid=", 4) == 0 && parse_number(what + 4, &n))
                return worker_has_pid(w, n);
        if (parse_number(what, &n))
                return w->job && w->job->state == JOB_QUEUED && w->job->id == n;
        return (uuid_parse(what, uuid) && worker_has_uuid(w, uuid)) || strcmp(w->name, what) == 0;
}

unsigned hurry_workers(struct workers *ws, const char *what, bool on) {
        _cleanup_(freep) char *name = worker_escape_name(what, strlen(what) + 1);
        unsigned n = 0;
        struct worker *w;

        TAILQ_FOREACH (w, &ws->list, link) {
                if (!is_meant(w, name ? name : what))
                        continue;
                w->hurries = on;
                n++;
        }
        if (n > 0)
                workers_changed(ws);
        return n;
}

static struct worker *next(struct workers *ws) {
        struct job *job;

        TAILQ_FOREACH (job, &ws->governor->queue.waiting, link)
                if (job->worker->hurries)
                        return job->worker;
        return NULL;
}

void hurry_grant(struct workers *ws) {
        struct worker *w;

        while ((w = next(ws))) {
                worker_grant(w);
                w->hurries = false;
        }
}
