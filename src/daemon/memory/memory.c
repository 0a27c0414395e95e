/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * /proc/meminfo is read once a second while there is work and memory-low is set, ten times a second
 * while somebody waits, and not at all otherwise. Owns its timer; waiters are their owners' and
 * take themselves out. What holds: the governor is in GOVERNOR_BOOST, and its queue puts first what
 * gives memory back, if and only if memory is low or somebody waits; update() is the only place
 * that says so.
 *
 * PVREAPER_MEMINFO names another file, for tests.
 */

#include "daemon/memory/memory.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/size.h"
#include "daemon/manager.h"
#include "daemon/policy.h"
#include "daemon/runtime/log.h"
#include "daemon/runtime/process.h"

#define LOOK_USEC    (1 * USEC_PER_SEC)
#define WAITING_USEC (100 * USEC_PER_MSEC)

struct memory {
        struct manager *manager;

        /* state */
        TAILQ_HEAD(, memory_waiter) waiters;
        unsigned n_waiters;
        bool low;
        bool boost; /* what the governor was told last */
        uint64_t available;
        const char *path;

        sd_event_source *look_source;
};

/* ---- the boost ---- */

static void tell(const struct memory *m) {
        char available[32];

        format_size(available, sizeof(available), m->available);
        if (m->boost)
                (void)log_event(LOG_EVENT(LOG_INFO, MESSAGE_MEMORY_SHORT, 0,
                                          LOG_NUMBER("PV_AVAILABLE", m->available),
                                          LOG_NUMBER("PV_WAITERS", m->n_waiters)),
                                "memory is short (%s available, %u wait for more): at most %u at "
                                "once now",
                                available, m->n_waiters,
                                m->manager->governor.effective.max_concurrent);
        else
                (void)log_event(LOG_EVENT(LOG_INFO, MESSAGE_MEMORY_ENOUGH, 0,
                                          LOG_NUMBER("PV_AVAILABLE", m->available)),
                                "memory is short no longer (%s available): at most %u at once",
                                available, m->manager->governor.effective.max_concurrent);
}

static void update(struct memory *m) {
        bool boost = m->low || m->n_waiters > 0;

        if (boost == m->boost)
                return;
        m->boost = boost;
        m->manager->tally.n_boosts += boost;
        queue_set_memory_short(&m->manager->governor.queue, boost);
        policy_set_mode(m->manager, GOVERNOR_BOOST, boost);
        tell(m);
}

/* ---- looking ---- */

static int read_available(const struct memory *m, uint64_t *ret) {
        char text[8192];
        ssize_t n;

        n = read_file_at(AT_FDCWD, m->path, text, sizeof(text));
        return n < 0 ? (int)n : memory_parse_available(text, ret);
}

static bool is_wanted(const struct memory *m) {
        if (m->n_waiters > 0 || m->boost)
                return true;
        return m->manager->config->memory_low > 0 && manager_n_left(m->manager) > 0;
}

static void look_later(struct memory *m) {
        uint64_t later = m->n_waiters > 0 ? WAITING_USEC : LOOK_USEC;

        (void)sd_event_source_set_time_relative(m->look_source, later);
        (void)sd_event_source_set_enabled(m->look_source, SD_EVENT_ONESHOT);
}

/* Whoever is told may leave, and come back: at the end of the list. */
static void serve_waiters(struct memory *m, int error) {
        uint64_t now = manager_now(m->manager);
        struct memory_waiter *w, *next;

        for (w = TAILQ_FIRST(&m->waiters); w; w = next) {
                int r = error;

                next = TAILQ_NEXT(w, link);
                if (r >= 0 && m->available < w->bytes)
                        r = now >= w->deadline ? -ETIMEDOUT : -EAGAIN;
                if (r == -EAGAIN)
                        continue;
                memory_leave(w);
                w->done(w, r, m->available);
        }
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        static struct log_limit limit;
        struct memory *m = userdata;
        struct config *config = m->manager->config;
        int r;

        if (!is_wanted(m))
                return 0; /* the work has ended meanwhile */
        r = read_available(m, &m->available);
        if (r < 0)
                log_warning_limited(&limit, r, "cannot find out how much memory is available");
        m->low = r >= 0 && memory_is_low(m->low, m->available, config->memory_low,
                                         config_memory_high(config));
        serve_waiters(m, r);
        update(m);
        if (is_wanted(m))
                look_later(m);
        return 0;
}

void memory_changed(struct memory *m) {
        int enabled = SD_EVENT_OFF;

        if (!m || !is_wanted(m))
                return;
        (void)sd_event_source_get_enabled(m->look_source, &enabled);
        if (enabled == SD_EVENT_OFF) {
                (void)sd_event_source_set_time(m->look_source, 0); /* at once, then now and then */
                (void)sd_event_source_set_enabled(m->look_source, SD_EVENT_ONESHOT);
        }
}

/* ---- who waits ---- */

int memory_wait(struct memory *m, struct memory_waiter *w) {
        if (m->n_waiters >= MEMORY_WAITERS_MAX)
                return -EBUSY;
        w->memory = m;
        TAILQ_INSERT_TAIL(&m->waiters, w, link);
        m->n_waiters++;
        (void)sd_event_source_set_time(m->look_source, 0);
        (void)sd_event_source_set_enabled(m->look_source, SD_EVENT_ONESHOT);
        return 0;
}

void memory_leave(struct memory_waiter *w) {
        struct memory *m = w->memory;

        if (!m)
                return;
        TAILQ_REMOVE(&m->waiters, w, link);
        m->n_waiters--;
        w->memory = NULL;
        memory_changed(m);
}

bool memory_short(const struct memory *m) {
        return m->boost;
}

unsigned memory_n_waiters(const struct memory *m) {
        return m->n_waiters;
}

/* ---- life and death ---- */

int memory_new(struct memory **ret, struct manager *manager) {
        struct memory *m = calloc(1, sizeof(*m));
        int r;

        if (!m)
                return -ENOMEM;
        m->manager = manager;
        m->path = getenv("PVREAPER_MEMINFO");
        if (!m->path)
                m->path = "/proc/meminfo";
        TAILQ_INIT(&m->waiters);
        r = sd_event_add_time(manager->event, &m->look_source, CLOCK_MONOTONIC, 0,
                              10 * USEC_PER_MSEC, on_look, m);
        if (r >= 0)
                r = sd_event_source_set_enabled(m->look_source, SD_EVENT_OFF);
        if (r < 0) {
                memory_free(m);
                return r;
        }
        *ret = m;
        return 0;
}

struct memory *memory_free(struct memory *m) {
        if (!m)
                return NULL;
        m->look_source = sd_event_source_disable_unref(m->look_source);
        free(m);
        return NULL;
}
