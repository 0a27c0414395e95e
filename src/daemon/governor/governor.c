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

/* overdue_usec is no limit of what a job may do: it is the mode's own. */
static void apply(struct governor *g, uint64_t now) {
        const struct governor_limits *a = &g->limits[GOVERNOR_NORMAL];
        const struct governor_limits *b = &g->limits[governor_mode(g)];

        g->effective = (struct governor_limits){
                .max_concurrent = (unsigned)max_u64(a->max_concurrent, b->max_concurrent),
                .start_rate = faster(a->start_rate, b->start_rate),
                .start_burst = (unsigned)max_u64(a->start_burst, b->start_burst),
                .overdue_usec = b->overdue_usec,
        };
        bucket_set(&g->starts, now, g->effective.start_rate, g->effective.start_burst);
}

void governor_init(struct governor *g, const struct governor_limits *limits,
                   const struct unit_limits *unit_limits) {
        *g = (struct governor){.effective = *limits};
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

void governor_set_limits(struct governor *g, uint64_t now, enum governor_mode mode,
                         const struct governor_limits *limits) {
        g->limits[mode] = *limits;
        apply(g, now);
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

struct job *governor_next(const struct governor *g, uint64_t now, uint64_t *ret_wake_at) {
        struct job *job = queue_next(&g->queue);

        *ret_wake_at = USEC_INFINITY;
        if (!job || g->n_counted >= g->effective.max_concurrent)
                return NULL;
        *ret_wake_at = bucket_ready_at(&g->starts, now, 1);
        return *ret_wake_at <= now ? job : NULL;
}

/* ---- slots ---- */

static void set_state(struct slot *slot, enum slot_state state) {
        struct governor *g = slot->governor;
        bool counted = slot->state == SLOT_COUNTED, counts = state == SLOT_COUNTED;

        slot->state = state;
        if (counted == counts)
                return;
        g->n_counted += counts ? 1U : -1U;
        slot->unit->n_counted += counts ? 1U : -1U;
        queue_unit_changed(&g->queue, slot->unit);
}

/* unit: a reference, taken over. */
static void take(struct slot *slot, struct governor *g, uint64_t now, struct unit *unit) {
        *slot = (struct slot){.governor = g, .unit = unit, .taken_at = now, .moved_at = now};
        set_state(slot, SLOT_COUNTED);
}

int slot_begin(struct slot *slot, struct governor *g, uint64_t now, struct job *job) {
        struct unit *unit = job->queued_for;

        if (slot->state != SLOT_FREE)
                return -EBUSY;
        unit_ref(unit);
        queue_take(&g->queue, job);
        take(slot, g, now, unit);
        return 0;
}

int slot_grant(struct slot *slot, struct governor *g, uint64_t now, struct job *job) {
        int r;

        r = slot_begin(slot, g, now, job);
        if (r >= 0)
                (void)bucket_take(&g->starts, now, 1);
        return r;
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
        slot->unit = unit_unref(slot->unit);
}

static bool lasts(uint64_t since, uint64_t now, uint64_t limit) {
        return limit != USEC_INFINITY && now > since && now - since >= limit;
}

void slot_moved(struct slot *slot, uint64_t now) {
        slot->moved_at = now;
}

bool slot_observe(struct slot *slot, uint64_t now, uint64_t cpu_usec) {
        enum slot_state before = slot->state, state = SLOT_COUNTED;

        if (before == SLOT_FREE)
                return false;
        if (cpu_usec != USEC_INFINITY && cpu_usec != slot->cpu_seen) {
                slot->cpu_seen = cpu_usec;
                slot->moved_at = now;
        }
        if (lasts(slot->taken_at, now, slot->governor->effective.overdue_usec))
                state = SLOT_OVERDUE;
        else if (lasts(slot->moved_at, now, GOVERNOR_STANDSTILL_USEC))
                state = SLOT_STANDING;
        set_state(slot, state);
        return state != before;
}
