/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Owns queue and units, which know nothing of slots and limits. n_counted, here and in the units,
 * is the number of slots in SLOT_COUNTED: only set_state() changes any of the three.
 *
 * A grant needs three things: a job, a slot below max-concurrent, a start from the bucket. Only the
 * third comes by waiting, so governor_next() names a time only if the other two are there: nobody
 * is woken for nothing.
 */

#include "daemon/governor/governor.h"

#define HOUR_USEC (3600 * USEC_PER_SEC)

/* ---- limits ---- */

enum governor_mode governor_mode(const struct governor *g) {
        enum governor_mode mode = _GOVERNOR_MODE_MAX - 1;

        while (mode > GOVERNOR_NORMAL && !g->asked[mode])
                mode--;
        return mode;
}

/* The higher of two rates, of which 0 is the highest. */
static unsigned faster(unsigned a, unsigned b) {
        return a == 0 || b == 0 ? 0 : (unsigned)max_u64(a, b);
}

/* The times are no limits of what a job may do: they are the mode's own. */
static void apply(struct governor *g, uint64_t now) {
        const struct governor_limits *a = &g->limits[GOVERNOR_NORMAL];
        const struct governor_limits *b = &g->limits[governor_mode(g)];

        g->effective = (struct governor_limits){
                .max_concurrent = (unsigned)max_u64(a->max_concurrent, b->max_concurrent),
                .start_rate = faster(a->start_rate, b->start_rate),
                .start_burst = (unsigned)max_u64(a->start_burst, b->start_burst),
                .overdue_usec = b->overdue_usec,
                .starvation_usec = b->starvation_usec,
        };
        bucket_set(&g->starts, now, g->effective.start_rate, g->effective.start_burst);
}

void governor_init(struct governor *g, const struct governor_limits *limits,
                   const struct unit_limits *unit_limits) {
        *g = (struct governor){.effective = *limits, .cpu_quota = USEC_INFINITY};
        TAILQ_INIT(&g->granted);
        for (int i = GOVERNOR_NORMAL; i < _GOVERNOR_MODE_MAX; i++)
                g->limits[i] = *limits;
        unit_table_init(&g->units, unit_limits);
        queue_init(&g->queue, &g->units);
        bucket_init(&g->starts, HOUR_USEC, limits->start_rate, limits->start_burst);
}

void governor_deinit(struct governor *g) {
        queue_deinit(&g->queue);
        unit_table_deinit(&g->units);
}

/* What an administrator adds to the burst is there at once; a mode that comes and goes adds none.
 */
void governor_set_limits(struct governor *g, uint64_t now, enum governor_mode mode,
                         const struct governor_limits *limits) {
        unsigned before = g->limits[mode].start_rate != 0 ? g->limits[mode].start_burst : 0;

        g->limits[mode] = *limits;
        apply(g, now);
        if (mode == GOVERNOR_NORMAL && governor_mode(g) == mode && limits->start_burst > before)
                bucket_give(&g->starts, limits->start_burst - before);
}

void governor_set_cpu_quota(struct governor *g, uint64_t quota) {
        g->cpu_quota = quota;
}

void governor_set_mode(struct governor *g, uint64_t now, enum governor_mode mode, bool on) {
        if (g->asked[mode] == on)
                return;
        g->asked[mode] = on;
        queue_set_memory_short(&g->queue, g->asked[GOVERNOR_BOOST]);
        apply(g, now);
}

unsigned governor_n_left(const struct governor *g) {
        return g->n_counted + g->queue.n_waiting;
}

static uint64_t later(uint64_t usec, uint64_t by) {
        return by > USEC_INFINITY - usec ? USEC_INFINITY : usec + by;
}

/* When fewer than max_concurrent slots will have been granted within the last starvation_usec. */
static uint64_t pace(const struct governor *g) {
        unsigned n = g->effective.max_concurrent;
        const struct slot *slot;

        if (n == 0)
                return USEC_INFINITY;
        TAILQ_FOREACH_REVERSE(slot, &g->granted, slot_list, link) {
                if (--n == 0)
                        return later(slot->taken_at, g->effective.starvation_usec);
        }
        return 0;
}

/* The job of the unit that is starved first, and when it is. NULL: that will not be. */
static struct job *starving(const struct governor *g, uint64_t *ret_at) {
        struct job *job = queue_next_without_slot(&g->queue);

        if (!job)
                return NULL;
        *ret_at =
                max_u64(later(job->queued_for->line.since, g->effective.starvation_usec), pace(g));
        return *ret_at == USEC_INFINITY ? NULL : job;
}

struct job *governor_next(const struct governor *g, uint64_t now, uint64_t *ret_wake_at) {
        struct job *job = queue_next(&g->queue);
        uint64_t at = now;

        *ret_wake_at = USEC_INFINITY;
        if (g->n_counted >= g->effective.max_concurrent)
                job = starving(g, &at);
        if (!job)
                return NULL;
        *ret_wake_at = max_u64(at, bucket_ready_at(&g->starts, now, 1));
        return *ret_wake_at <= now ? job : NULL;
}

/* ---- slots ---- */

static void set_state(struct slot *slot, enum slot_state state) {
        struct governor *g = slot->governor;
        bool counted = slot->state == SLOT_COUNTED, counts = state == SLOT_COUNTED;

        g->n_taken += (state != SLOT_FREE) - (slot->state != SLOT_FREE);
        slot->state = state;
        if (counted == counts)
                return;
        g->n_counted += counts ? 1U : -1U;
        slot->unit->n_counted += counts ? 1U : -1U;
        queue_unit_changed(&g->queue, slot->unit);
}

/* unit: a reference, taken over. */
static void take(struct slot *slot, struct governor *g, uint64_t now, struct unit *unit) {
        *slot = (struct slot){.governor = g,
                              .unit = unit,
                              .taken_at = now,
                              .window_at = now,
                              .cpu_seen = USEC_INFINITY};
        set_state(slot, SLOT_COUNTED);
}

int slot_begin(struct slot *slot, struct governor *g, uint64_t now, struct job *job) {
        struct unit *unit = job->queued_for;

        if (slot->state != SLOT_FREE)
                return -EBUSY;
        unit_ref(unit);
        queue_take(&g->queue, now, job);
        take(slot, g, now, unit);
        return 0;
}

int slot_grant(struct slot *slot, struct governor *g, uint64_t now, struct job *job) {
        bool beyond = g->n_counted >= g->effective.max_concurrent;
        int r;

        r = slot_begin(slot, g, now, job);
        if (r < 0)
                return r;
        (void)bucket_take(&g->starts, now, 1);
        TAILQ_INSERT_TAIL(&g->granted, slot, link);
        slot->granted = true;
        slot->beyond = beyond;
        return 0;
}

void slot_revoke(struct slot *slot) {
        if (slot->state == SLOT_FREE)
                return;
        bucket_give(&slot->governor->starts, 1);
        slot_give(slot);
}

void slot_take_found(struct slot *slot, struct governor *g, uint64_t now, const char *unit,
                     uint64_t since) {
        slot_give(slot);
        take(slot, g, now, unit_get(&g->units, now, unit));
        slot->taken_at = min_u64(since, now);
}

void slot_give(struct slot *slot) {
        if (slot->state == SLOT_FREE)
                return;
        set_state(slot, SLOT_FREE);
        if (slot->granted)
                TAILQ_REMOVE(&slot->governor->granted, slot, link);
        slot->granted = false;
        slot->unit = unit_unref(slot->unit);
}

static bool lasts(uint64_t since, uint64_t now, uint64_t limit) {
        return limit != USEC_INFINITY && now > since && now - since >= limit;
}

/* A tenth of what its share of the quota is in GOVERNOR_STANDSTILL_USEC, if that is less. */
static uint64_t enough(const struct governor *g) {
        const uint64_t tenth = GOVERNOR_STANDSTILL_USEC / USEC_PER_SEC / 10;

        return min_u64(GOVERNOR_MOVE_USEC, g->cpu_quota / g->n_taken * tenth);
}

/* Whether it moved just now. It stands still when a whole window passes without that. */
static bool look(struct slot *slot, uint64_t now, uint64_t cpu_usec) {
        bool known = cpu_usec != USEC_INFINITY, moved;

        if (known && (slot->cpu_seen == USEC_INFINITY || slot->cpu_seen > cpu_usec))
                slot->cpu_seen = cpu_usec;
        moved = known && cpu_usec - slot->cpu_seen >= enough(slot->governor);
        if (!moved && !lasts(slot->window_at, now, GOVERNOR_STANDSTILL_USEC))
                return false;
        slot->stands = !moved;
        slot->window_at = now;
        slot->cpu_seen = cpu_usec;
        return moved;
}

bool slot_observe(struct slot *slot, uint64_t now, uint64_t cpu_usec) {
        enum slot_state before = slot->state, state = SLOT_COUNTED;
        bool moved;

        if (before == SLOT_FREE)
                return false;
        moved = look(slot, now, cpu_usec);
        if (lasts(slot->taken_at, now, slot->governor->effective.overdue_usec))
                state = SLOT_OVERDUE;
        else if (slot->stands)
                state = SLOT_STANDING;
        set_state(slot, state);
        slot->governor->n_moves += moved && state == SLOT_COUNTED;
        return state != before;
}
