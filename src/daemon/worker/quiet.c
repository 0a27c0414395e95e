/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who waits until a VM is quiet. All workers are looked at for each of at most QUIET_WAITERS_MAX
 * waiters, when something changed, at a deadline, and once a second as long as somebody waits: what
 * a found worker shares is not watched. So what a waiter waits for is parsed once, and compared
 * often. Owns its timer; waiters are their owners' and take themselves out. What holds: a waiter is
 * told that a VM is quiet only if worker_is_quiet() said so of each worker that is meant, or could
 * be, in the same turn of the loop.
 */

#include "daemon/worker/quiet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"
#include "daemon/runtime/loop.h"
#include "daemon/worker/worker.h"

#define LOOK_USEC (1 * USEC_PER_SEC)

struct quiet {
        struct workers *workers;

        TAILQ_HEAD(, quiet_waiter) waiters;
        unsigned n_waiters;

        sd_event_source *look_timer;
};

/* ---- who is meant ---- */

enum meant { MEANT_NOT, MEANT_PERHAPS, MEANT };

static bool parse_pid(const char *what, uint64_t *ret) {
        uint64_t pid;
        char *end;

        if (strncmp(what, "pid=", 4) != 0 || what[4] < '0' || what[4] > '9')
                return false;
        errno = 0;
        pid = strtoull(what + 4, &end, 10);
        if (*end != '\0' || errno != 0)
                return false;
        *ret = pid;
        return true;
}

/* The claims of workers are escaped, so what is asked for must be, too. */
static int set_what(struct quiet_waiter *waiter, const char *what) {
        _cleanup_(freep) char *name = worker_escape_name(what, strlen(what) + 1);

        if (!name)
                return -ENOMEM;
        (void)snprintf(waiter->name, sizeof(waiter->name), "%s", name);
        memset(waiter->uuid, 0, sizeof(waiter->uuid));
        (void)uuid_parse(what, waiter->uuid);
        waiter->pid = 0;
        (void)parse_pid(what, &waiter->pid);
        return 0;
}

/* A helper may have another name than its guest, or a shortened one: adopted.h. */
static enum meant is_meant(const struct worker *w, const struct quiet_waiter *waiter) {
        if (waiter->pid != 0) {
                if (worker_has_pid(w, waiter->pid))
                        return MEANT;
                return w->vmm_pid == 0 && w->sort != WORKER_CLOSER ? MEANT_PERHAPS : MEANT_NOT;
        }
        if (worker_is_found(w))
                return MEANT_PERHAPS;
        if (strcmp(w->name, waiter->name) == 0 || worker_has_uuid(w, waiter->uuid))
                return MEANT;
        return w->sort == WORKER_HELPER ? MEANT_PERHAPS : MEANT_NOT;
}

/* One that could be meant, and whose VMM lives, is not waited for: that could take for ever. */
static bool holds_up(const struct worker *w, const struct quiet_waiter *waiter) {
        enum meant meant = is_meant(w, waiter);

        if (meant == MEANT_NOT || worker_is_quiet(w))
                return false;
        return meant == MEANT || !worker_vmm_alive(w);
}

static bool is_quiet(const struct quiet *q, const struct quiet_waiter *waiter) {
        const struct worker *w;

        TAILQ_FOREACH (w, &q->workers->list, link)
                if (holds_up(w, waiter))
                        return false;
        return true;
}

/* ---- looking ---- */

/* A waiter that is told may leave, and come back: at the end of the list. */
static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        struct quiet *q = userdata;
        uint64_t now = loop_now(q->workers->event), next_look = now + LOOK_USEC;
        struct quiet_waiter *w, *next;

        for (w = TAILQ_FIRST(&q->waiters); w; w = next) {
                bool quiet = is_quiet(q, w);

                next = TAILQ_NEXT(w, link);
                if (quiet || w->deadline <= now) {
                        quiet_leave(w);
                        w->done(w, quiet ? 0 : -ETIMEDOUT);
                } else {
                        next_look = min_u64(next_look, w->deadline);
                }
        }
        if (q->n_waiters > 0)
                loop_timer_at(q->look_timer, next_look);
        return 0;
}

void quiet_changed(struct quiet *q) {
        if (q && q->n_waiters > 0)
                loop_timer_at(q->look_timer, 0);
}

/* ---- who waits ---- */

int quiet_wait(struct quiet *q, struct quiet_waiter *w, const char *what) {
        const struct worker *worker;
        int r;

        if (q->n_waiters >= QUIET_WAITERS_MAX)
                return -EBUSY;
        r = set_what(w, what);
        if (r < 0)
                return r;
        w->n_known = 0;
        TAILQ_FOREACH (worker, &q->workers->list, link)
                w->n_known += is_meant(worker, w) == MEANT;
        w->quiet = q;
        TAILQ_INSERT_TAIL(&q->waiters, w, link);
        q->n_waiters++;
        quiet_changed(q);
        return 0;
}

void quiet_leave(struct quiet_waiter *w) {
        if (!w->quiet)
                return;
        TAILQ_REMOVE(&w->quiet->waiters, w, link);
        w->quiet->n_waiters--;
        w->quiet = NULL;
}

/* ---- life and death ---- */

int quiet_new(struct quiet **ret, struct workers *workers) {
        struct quiet *q = calloc(1, sizeof(*q));
        int r;

        if (!q)
                return -ENOMEM;
        q->workers = workers;
        TAILQ_INIT(&q->waiters);
        r = loop_add_timer(&q->look_timer, workers->event, on_look, q);
        if (r < 0) {
                quiet_free(q);
                return r;
        }
        *ret = q;
        return 0;
}

struct quiet *quiet_free(struct quiet *q) {
        if (!q)
                return NULL;
        q->look_timer = sd_event_source_disable_unref(q->look_timer);
        free(q);
        return NULL;
}
