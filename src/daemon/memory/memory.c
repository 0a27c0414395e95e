/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * /proc/meminfo is read once a second while there is work and memory-low is set, ten times a second
 * while somebody waits, and not at all otherwise. Owns its timer; waiters are their owners' and
 * take themselves out. What holds: on_short() was last told that memory is short if and only if it
 * is low or somebody waits and there is work; update() is the only place that says so.
 *
 * PVREAPER_MEMINFO names another file, for tests.
 */

#include "daemon/memory/memory.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/size.h"
#include "daemon/runtime/log.h"
#include "daemon/runtime/loop.h"
#include "daemon/runtime/process.h"

#define MEMINFO_MAX 8192

#define LOOK_USEC    (1 * USEC_PER_SEC)
#define WAITING_USEC (100 * USEC_PER_MSEC)
#define IDLE_USEC    (1 * USEC_PER_SEC) /* that long nothing is left: nobody waits on */

struct memory {
        struct memory_config config;

        /* state */
        TAILQ_HEAD(, memory_waiter) waiters;
        unsigned n_waiters;
        bool low;
        bool boost;                /* what was told last */
        uint64_t available, total; /* total: UINT64_MAX, unknown */
        uint64_t auto_low;         /* as memory_auto_low() */
        uint64_t idle_since;       /* nothing could free memory; 0: something can */
        const char *path;

        sd_event_source *look_timer;
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
                                m->config.governor->effective.max_concurrent);
        else
                (void)log_event(LOG_EVENT(LOG_INFO, MESSAGE_MEMORY_ENOUGH, 0,
                                          LOG_NUMBER("PV_AVAILABLE", m->available)),
                                "memory is no longer short (%s available): at most %u at once",
                                available, m->config.governor->effective.max_concurrent);
}

static void update(struct memory *m) {
        bool boost = m->low || (m->n_waiters > 0 && m->idle_since == 0);

        if (boost == m->boost)
                return;
        m->boost = boost;
        m->config.on_short(m->config.userdata, boost);
        tell(m);
}

/* ---- looking ---- */

static int read_text(const struct memory *m, char text[static MEMINFO_MAX]) {
        ssize_t n = read_file_at(AT_FDCWD, m->path, text, MEMINFO_MAX);

        return n < 0 ? (int)n : 0;
}

static int read_memory(struct memory *m) {
        char text[MEMINFO_MAX];
        int r;

        r = read_text(m, text);
        if (r < 0)
                return r;
        if (memory_parse_total(text, &m->total) < 0)
                m->total = UINT64_MAX;
        m->auto_low = memory_auto_low(text);
        return memory_parse_available(text, &m->available);
}

int memory_read_available(const struct memory *m, uint64_t *ret) {
        char text[MEMINFO_MAX];
        int r;

        r = read_text(m, text);
        return r < 0 ? r : memory_parse_available(text, ret);
}

int memory_read_pressure(uint32_t *ret) {
        char text[512];
        ssize_t n;

        n = read_file_at(AT_FDCWD, "/proc/pressure/memory", text, sizeof(text));
        return n < 0 ? (int)n : memory_parse_pressure(text, ret);
}

static bool is_wanted(const struct memory *m) {
        if (m->n_waiters > 0 || m->boost)
                return true;
        return m->config.config->memory_low > 0 && governor_n_left(m->config.governor) > 0;
}

static void look_later(struct memory *m) {
        loop_timer_in(m->look_timer, m->n_waiters > 0 ? WAITING_USEC : LOOK_USEC);
}

static bool may_free(const struct memory *m) {
        if (m->config.may_free)
                return m->config.may_free(m->config.userdata);
        return governor_n_left(m->config.governor) > 0;
}

/* A VMM without a keeper, or one whose keeper is about to ask, frees memory within that time. */
static void look_for_work(struct memory *m) {
        if (m->n_waiters == 0 || may_free(m))
                m->idle_since = 0;
        else if (m->idle_since == 0)
                m->idle_since = loop_now(m->config.event);
}

/* 0: it waits no more, for there is enough. -EAGAIN: it waits on. */
static int judge(const struct memory *m, const struct memory_waiter *w, uint64_t now) {
        if (m->available >= w->bytes)
                return 0;
        if (w->bytes > m->total)
                return -E2BIG;
        if (now >= w->deadline)
                return -ETIMEDOUT;
        return m->idle_since > 0 && now - m->idle_since >= IDLE_USEC ? -ENODATA : -EAGAIN;
}

/* A waiter that is told may leave, and come back: at the end of the list. */
static void serve_waiters(struct memory *m, int error) {
        uint64_t now = loop_now(m->config.event);
        struct memory_waiter *w, *next;

        for (w = TAILQ_FIRST(&m->waiters); w; w = next) {
                int r = error >= 0 ? judge(m, w, now) : error;

                next = TAILQ_NEXT(w, link);
                if (r == -EAGAIN)
                        continue;
                memory_leave(w);
                w->done(w, r, m->available);
        }
}

static bool is_low(const struct memory *m) {
        const struct config *config = m->config.config;
        uint64_t low = config->memory_low == CONFIG_AUTO_SIZE ? m->auto_low : config->memory_low;

        return memory_is_low(m->low, m->available, low, config_memory_high(config, low));
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        static struct log_limit limit;
        struct memory *m = userdata;
        int r;

        if (!is_wanted(m))
                return 0; /* the work has ended meanwhile */
        r = read_memory(m);
        if (r < 0)
                log_warning_limited(&limit, r, "cannot read how much memory is available");
        m->low = r >= 0 && is_low(m);
        look_for_work(m);
        serve_waiters(m, r);
        update(m);
        if (is_wanted(m))
                look_later(m);
        return 0;
}

void memory_changed(struct memory *m) {
        if (m && is_wanted(m))
                loop_timer_start(m->look_timer, 0); /* at once, then now and then */
}

/* ---- who waits ---- */

int memory_wait(struct memory *m, struct memory_waiter *w) {
        if (m->n_waiters >= MEMORY_WAITERS_MAX)
                return -EBUSY;
        w->memory = m;
        TAILQ_INSERT_TAIL(&m->waiters, w, link);
        m->n_waiters++;
        loop_timer_at(m->look_timer, 0);
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

unsigned memory_n_waiters(const struct memory *m) {
        return m->n_waiters;
}

/* ---- life and death ---- */

int memory_new(struct memory **ret, const struct memory_config *config) {
        struct memory *m = calloc(1, sizeof(*m));
        int r;

        if (!m)
                return -ENOMEM;
        m->config = *config;
        m->path = getenv("PVREAPER_MEMINFO");
        if (!m->path)
                m->path = "/proc/meminfo";
        TAILQ_INIT(&m->waiters);
        r = loop_add_timer(&m->look_timer, config->event, on_look, m);
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
        m->look_timer = sd_event_source_disable_unref(m->look_timer);
        free(m);
        return NULL;
}
