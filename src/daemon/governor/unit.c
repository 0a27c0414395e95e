/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Units by name, in libc's balanced tree: an attacker who chooses the names cannot choose them so
 * that looking one up takes long, as he could with a hash. The table owns all units. Those without
 * reference stand in table.idle until nothing speaks against forgetting them; unit_get() looks at
 * the oldest of them each time, so their number is bounded by what arrived within the time that a
 * bucket takes to fill.
 *
 * Quotas: table.used is the sum of the units', and only charge_take() and charge_give() write them.
 */

#include "daemon/governor/unit.h"

#include <search.h>
#include <string.h>

/* ---- the table ---- */

static int compare_names(const void *a, const void *b) {
        return strcmp(((const struct unit *)a)->name, ((const struct unit *)b)->name);
}

static void unit_init(struct unit *u, struct unit_table *table) {
        const struct unit_limits *limits = &table->limits;

        u->table = table;
        for (size_t i = 0; i < ARRAY_SIZE(u->line.jobs); i++)
                TAILQ_INIT(&u->line.jobs[i]);
        bucket_init(&u->arrivals, USEC_PER_SEC, limits->arrivals_per_sec, limits->arrivals_burst);
        bucket_init(&u->packets, USEC_PER_SEC, limits->packets_per_sec, limits->packets_burst);
        bucket_init(&u->outcomes, USEC_PER_SEC, limits->outcomes_per_sec, limits->outcomes_burst);
}

static void unit_forget(struct unit *u) {
        TAILQ_REMOVE(&u->table->idle, u, link);
        (void)tdelete(u, &u->table->tree, compare_names);
        u->table->n_units--;
        free(u->name);
        free(u);
}

static struct unit *unit_make(struct unit_table *table, const char *name) {
        struct unit *u = calloc(1, sizeof(*u));

        if (!u)
                return NULL;
        unit_init(u, table);
        u->name = strdup(name);
        if (!u->name || !tsearch(u, &table->tree, compare_names)) {
                free(u->name);
                free(u);
                return NULL;
        }
        table->n_units++;
        TAILQ_INSERT_TAIL(&table->idle, u, link);
        return u;
}

void unit_table_init(struct unit_table *table, const struct unit_limits *limits) {
        *table = (struct unit_table){.limits = *limits};
        TAILQ_INIT(&table->idle);
        TAILQ_INIT(&table->untold);
        unit_init(&table->shared, table);
}

void unit_table_deinit(struct unit_table *table) {
        struct unit *u;
        unsigned n;

        while ((u = unit_take_untold(table, &n)))
                unit_unref(u);
        while (!TAILQ_EMPTY(&table->idle))
                unit_forget(TAILQ_FIRST(&table->idle));
}

/* twalk_r() hands over a place in the tree, of which the first thing is the pointer to the unit. */
struct walk {
        const struct unit_limits *limits;
        uint64_t now;
};

static void set_rates(struct unit *u, const struct walk *walk) {
        const struct unit_limits *limits = walk->limits;

        bucket_set(&u->arrivals, walk->now, limits->arrivals_per_sec, limits->arrivals_burst);
        bucket_set(&u->packets, walk->now, limits->packets_per_sec, limits->packets_burst);
        bucket_set(&u->outcomes, walk->now, limits->outcomes_per_sec, limits->outcomes_burst);
}

static void on_unit(const void *node, VISIT visit, void *userdata) {
        if (visit == postorder || visit == leaf)
                set_rates(*(struct unit *const *)node, userdata);
}

void unit_table_set_limits(struct unit_table *table, uint64_t now,
                           const struct unit_limits *limits) {
        struct walk walk = {limits, now};

        table->limits = *limits;
        set_rates(&table->shared, &walk);
        twalk_r(table->tree, on_unit, &walk);
}

/* ---- references ---- */

static bool has_history(const struct unit *u, uint64_t now) {
        return !bucket_is_full(&u->arrivals, now) || !bucket_is_full(&u->packets, now) ||
               !bucket_is_full(&u->outcomes, now);
}

static void forget_idle(struct unit_table *table, uint64_t now) {
        struct unit *u;

        while ((u = TAILQ_FIRST(&table->idle)) && !has_history(u, now))
                unit_forget(u);
}

struct unit *unit_get(struct unit_table *table, uint64_t now, const char *name) {
        struct unit key = {.name = (char *)(uintptr_t)name};
        struct unit **found, *u;

        forget_idle(table, now);
        if (!name)
                return unit_ref(&table->shared);
        found = tfind(&key, &table->tree, compare_names);
        u = found ? *found : unit_make(table, name);
        return unit_ref(u ? u : &table->shared);
}

struct unit *unit_ref(struct unit *u) {
        if (u->n_refs++ == 0 && u->name)
                TAILQ_REMOVE(&u->table->idle, u, link);
        return u;
}

struct unit *unit_unref(struct unit *u) {
        if (u && --u->n_refs == 0 && u->name)
                TAILQ_INSERT_TAIL(&u->table->idle, u, link);
        return NULL;
}

/* ---- limits ---- */

bool unit_arrives(struct unit *u, uint64_t now) {
        return bucket_take(&u->arrivals, now, 1);
}

uint64_t unit_packet(struct unit *u, uint64_t now) {
        return bucket_reserve(&u->packets, now, 1);
}

bool unit_tells(struct unit *u, uint64_t now) {
        if (bucket_take(&u->outcomes, now, 1))
                return true;
        if (u->n_untold++ == 0) {
                unit_ref(u); /* not in the macro: it evaluates its argument more than once */
                TAILQ_INSERT_TAIL(&u->table->untold, u, untold_link);
        }
        return false;
}

struct unit *unit_take_untold(struct unit_table *table, unsigned *ret) {
        struct unit *u = TAILQ_FIRST(&table->untold);

        if (!u)
                return NULL;
        TAILQ_REMOVE(&table->untold, u, untold_link);
        *ret = u->n_untold;
        u->n_untold = 0;
        return u;
}

int charge_take(struct charge *charge, struct unit *u, enum unit_quota quota) {
        struct unit_table *table = u->table;
        unsigned pool = table->limits.pool[quota], most = table->limits.most[quota];

        if (table->used[quota] >= pool)
                return -EDQUOT;
        if (most == 0)
                most = pool - table->used[quota];
        if (u->used[quota] >= most)
                return -EDQUOT;
        charge_take_anyway(charge, u, quota);
        return 0;
}

void charge_take_anyway(struct charge *charge, struct unit *u, enum unit_quota quota) {
        u->used[quota]++;
        u->table->used[quota]++;
        *charge = (struct charge){unit_ref(u), quota};
}

void charge_give(struct charge *charge) {
        struct unit *u = charge->unit;

        if (!u)
                return;
        u->used[charge->quota]--;
        u->table->used[charge->quota]--;
        charge->unit = unit_unref(u);
}
