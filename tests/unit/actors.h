/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For tests of the governor alone: workers that are a job and a slot, and a clock of numbers. */

#include "fds.h"

#include <stdio.h>

#include "daemon/governor/governor.h"

static const struct unit_limits no_limits = {.pool = {100000, 100000}};

/* A worker, as far as the governor knows one. */
struct actor {
        struct job job;
        struct slot slot;
        char unit[24];
        uint64_t cpu;
};

static void actor_init(struct actor *a, const char *unit) {
        *a = (struct actor){};
        (void)snprintf(a->unit, sizeof(a->unit), "%s", unit);
        a->job.unit = a->unit;
        a->job.worker = (struct worker *)a;
}

static void ask(struct governor *g, uint64_t now, struct actor *a) {
        assert_int_equal(queue_push(&g->queue, now, &a->job), 0);
}

/* Grants as long as there is somebody to grant; how many. */
static unsigned dispatch(struct governor *g, uint64_t now, uint64_t *ret_wake_at) {
        struct job *job;
        unsigned n = 0;

        while ((job = governor_next(g, now, ret_wake_at))) {
                struct actor *a = (struct actor *)job->worker;

                assert_int_equal(slot_grant(&a->slot, g, now, job), 0);
                n++;
        }
        return n;
}

static void setup(struct governor *g, struct actor *actors, unsigned n,
                  const struct governor_limits *limits) {
        char unit[24];

        governor_init(g, limits, &no_limits);
        for (unsigned i = 0; i < n; i++) {
                (void)snprintf(unit, sizeof(unit), "unit-%u", i);
                actor_init(&actors[i], unit);
                ask(g, 0, &actors[i]);
        }
}

static void teardown(struct governor *g, struct actor *actors, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                slot_give(&actors[i].slot);
        governor_deinit(g);
        assert_int_equal(g->n_counted, 0);
        assert_int_equal(g->units.n_units, 0);
}
