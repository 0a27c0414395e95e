/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The governor with a clock of numbers. Single cases first; then a host full of workers that do as
 * they please, in random steps that are the same in every run, while everything that was promised
 * is looked at after each of them: from what was granted and when, not from the governor's counts.
 */

#include "fds.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "actors.h"
#include "daemon/governor/governor.h"
#include "rng.h"

#define MINUTE (60 * USEC_PER_SEC)
#define HOUR   (60 * MINUTE)

/* ---- limits ---- */

static void test_governor_nobody_waits(void **state) {
        const struct governor_limits limits = {4, 60, 1, USEC_INFINITY, USEC_INFINITY};
        uint64_t wake_at = 0;
        struct governor g;

        governor_init(&g, &limits, &no_limits);
        assert_null(governor_next(&g, 0, &wake_at));
        assert_int_equal(wake_at, USEC_INFINITY);
        governor_deinit(&g);
}

static void test_governor_concurrency_live(void **state) {
        struct governor_limits limits = {4, 0, 0, USEC_INFINITY, USEC_INFINITY};
        struct actor actors[20];
        struct governor g;
        uint64_t wake_at;

        setup(&g, actors, 20, &limits);
        assert_int_equal(dispatch(&g, 0, &wake_at), 4);
        assert_int_equal(wake_at, USEC_INFINITY); /* time alone frees no slot */
        limits.max_concurrent = 2;
        governor_set_limits(&g, 1, GOVERNOR_NORMAL, &limits);
        assert_int_equal(g.n_counted, 4); /* left to finish */
        slot_give(&actors[0].slot);
        slot_give(&actors[0].slot);
        slot_give(&actors[1].slot);
        assert_int_equal(dispatch(&g, 1, &wake_at), 0);
        slot_give(&actors[2].slot);
        assert_int_equal(dispatch(&g, 1, &wake_at), 1);
        limits.max_concurrent = 9;
        governor_set_limits(&g, 2, GOVERNOR_NORMAL, &limits);
        assert_int_equal(dispatch(&g, 2, &wake_at), 7);
        limits.max_concurrent = 0;
        governor_set_limits(&g, 3, GOVERNOR_NORMAL, &limits);
        teardown(&g, actors, 20);
}

static void assert_limits(const struct governor_limits *a, const struct governor_limits *b) {
        assert_int_equal(a->max_concurrent, b->max_concurrent);
        assert_int_equal(a->start_rate, b->start_rate);
        assert_int_equal(a->start_burst, b->start_burst);
        assert_int_equal(a->overdue_usec, b->overdue_usec);
        assert_int_equal(a->starvation_usec, b->starvation_usec);
}

static void test_governor_modes(void **state) {
        const struct governor_limits normal = {4, 6, 2, 7 * MINUTE, USEC_INFINITY};
        const struct governor_limits boost = {8, 0, 0, 9 * MINUTE, 3 * MINUTE};
        const struct governor_limits drain = {1, 3, 9, USEC_INFINITY,
                                              USEC_INFINITY}; /* less than normal */
        struct governor g;

        governor_init(&g, &normal, &no_limits);
        governor_set_limits(&g, 0, GOVERNOR_BOOST, &boost);
        governor_set_limits(&g, 0, GOVERNOR_DRAINING, &drain);
        assert_int_equal(governor_mode(&g), GOVERNOR_NORMAL);
        assert_limits(&g.effective, &normal);
        governor_set_mode(&g, 0, GOVERNOR_BOOST, true);
        assert_int_equal(g.effective.max_concurrent, 8);
        assert_int_equal(g.effective.start_rate, 0);
        assert_int_equal(g.effective.start_burst, 2);
        assert_int_equal(g.effective.overdue_usec, 9 * MINUTE);
        assert_int_equal(g.effective.starvation_usec, 3 * MINUTE);
        governor_set_mode(&g, 0, GOVERNOR_DRAINING, true);
        assert_int_equal(governor_mode(&g), GOVERNOR_DRAINING);
        assert_int_equal(g.effective.max_concurrent, 4);
        assert_int_equal(g.effective.start_rate, 6);
        assert_int_equal(g.effective.start_burst, 9);
        governor_set_mode(&g, 0, GOVERNOR_DRAINING, false);
        assert_int_equal(g.effective.max_concurrent, 8);
        governor_set_mode(&g, 0, GOVERNOR_BOOST, false);
        assert_limits(&g.effective, &normal);
        governor_deinit(&g);
}

/* On and off, on and off: that must not be a way around the rate. */
static void test_governor_boost_is_no_refill(void **state) {
        const struct governor_limits normal = {1000, 360, 5, USEC_INFINITY, USEC_INFINITY};
        const struct governor_limits boost = {1000, 0, 0, USEC_INFINITY, USEC_INFINITY};
        struct actor actors[20];
        struct governor g;
        uint64_t wake_at;

        setup(&g, actors, 20, &normal);
        governor_set_limits(&g, 0, GOVERNOR_BOOST, &boost);
        assert_int_equal(dispatch(&g, 0, &wake_at), 5);
        governor_set_mode(&g, 0, GOVERNOR_BOOST, true);
        governor_set_mode(&g, 1, GOVERNOR_BOOST, false);
        assert_int_equal(dispatch(&g, 1, &wake_at), 0);
        assert_int_equal(wake_at, 1 + 10 * USEC_PER_SEC);
        governor_set_mode(&g, 1, GOVERNOR_BOOST, true);
        assert_int_equal(dispatch(&g, 1, &wake_at), 15);
        teardown(&g, actors, 20);
}

/* ---- slots ---- */

static void test_slot_one_job_per_worker(void **state) {
        const struct governor_limits limits = {4, 60, 1, USEC_INFINITY, USEC_INFINITY};
        struct actor actor;
        struct governor g;
        uint64_t wake_at;

        setup(&g, &actor, 1, &limits);
        slot_take_found(&actor.slot, &g, 0, actor.unit, USEC_INFINITY);
        assert_int_equal(slot_grant(&actor.slot, &g, 0, &actor.job), -EBUSY);
        assert_int_equal(slot_begin(&actor.slot, &g, 0, &actor.job), -EBUSY);
        assert_non_null(actor.job.queued_for);
        assert_int_equal(g.n_counted, 1);
        slot_give(&actor.slot);
        assert_int_equal(dispatch(&g, 0, &wake_at), 1); /* -EBUSY took no start */
        assert_null(actor.job.queued_for);
        teardown(&g, &actor, 1);
}

static void test_slot_revoked_grant_costs_nothing(void **state) {
        const struct governor_limits limits = {4, 1, 1, USEC_INFINITY, USEC_INFINITY};
        struct actor actors[2];
        struct governor g;
        uint64_t wake_at;

        setup(&g, actors, 2, &limits);
        assert_int_equal(dispatch(&g, 0, &wake_at), 1);
        slot_revoke(&actors[0].slot);
        slot_revoke(&actors[0].slot); /* not twice */
        assert_int_equal(g.n_counted, 0);
        assert_int_equal(dispatch(&g, 0, &wake_at), 1);
        assert_int_equal(actors[1].slot.state, SLOT_COUNTED);
        ask(&g, 0, &actors[0]); /* whoever cannot wait needs no start, and counts */
        assert_int_equal(slot_begin(&actors[0].slot, &g, 0, &actors[0].job), 0);
        assert_null(actors[0].job.queued_for);
        assert_int_equal(g.n_counted, 2);
        teardown(&g, actors, 2);
}

/* ---- one unit with very many requests ---- */

static void test_governor_fair_to_the_single_one(void **state) {
        const struct governor_limits limits = {4, 0, 0, USEC_INFINITY, USEC_INFINITY};
        static struct actor many[500];
        struct actor single;
        struct governor g;
        uint64_t wake_at;

        governor_init(&g, &limits, &no_limits);
        for (unsigned i = 0; i < 500; i++) {
                actor_init(&many[i], "many");
                ask(&g, 0, &many[i]);
        }
        assert_int_equal(dispatch(&g, 0, &wake_at), 4);
        actor_init(&single, "single");
        for (unsigned i = 0; i < 100; i++) { /* each time the very next one */
                ask(&g, i, &single);
                assert_int_equal(dispatch(&g, i, &wake_at), 0);
                slot_give(&many[i].slot);
                assert_int_equal(dispatch(&g, i, &wake_at), 1);
                assert_int_equal(single.slot.state, SLOT_COUNTED);
                slot_give(&single.slot);
                assert_int_equal(dispatch(&g, i, &wake_at), 1);
        }
        teardown(&g, many, 500);
}

/* ---- a host full of workers ---- */

#define N_ACTORS 60
#define N_HOUSES 9 /* units */
#define N_GRANTS 4000

struct host {
        struct rng rng;
        struct governor g;
        struct governor_limits limits;
        struct actor actors[N_ACTORS];
        unsigned house[N_ACTORS];
        uint64_t now;

        /* what happened, as seen from outside */
        uint64_t granted_at[N_GRANTS];
        unsigned n_grants;
        unsigned waiting[N_HOUSES], slots[N_HOUSES], n_slots;
        uint64_t in_line[N_HOUSES]; /* since when, or since the last grant */
        unsigned n_beyond;
        /* grants to another one since this one is in line and has no slot */
        unsigned overtaken[N_HOUSES][N_HOUSES];
};

static void host_init(struct host *h, uint64_t seed) {
        char unit[24];

        *h = (struct host){.rng = {seed}, .now = 1};
        h->limits = (struct governor_limits){1 + rng_below(&h->rng, 12), rng_below(&h->rng, 2000),
                                             rng_below(&h->rng, 9), USEC_INFINITY,
                                             rng_below(&h->rng, 9) * 5 * USEC_PER_SEC};
        if (h->limits.starvation_usec == 0)
                h->limits.starvation_usec = USEC_INFINITY;
        governor_init(&h->g, &h->limits, &no_limits);
        for (unsigned i = 0; i < N_ACTORS; i++) {
                /* Half of them live in the first house. */
                h->house[i] = i % 2 ? 0 : rng_below(&h->rng, N_HOUSES);
                (void)snprintf(unit, sizeof(unit), "house-%u", h->house[i]);
                actor_init(&h->actors[i], unit);
        }
}

static void reset_line(struct host *h, unsigned house) {
        memset(h->overtaken[house], 0, sizeof(h->overtaken[house]));
}

static void set_slots(struct host *h, unsigned i, unsigned change) {
        unsigned house = h->house[i];

        h->slots[house] += change;
        h->n_slots += change;
        reset_line(h, house);
}

static void check_turn(struct host *h, const struct actor *a, unsigned house) {
        const struct job *j;

        for (unsigned other = 0; other < N_HOUSES; other++) {
                if (other == house || h->waiting[other] == 0 || h->g.queue.memory_short)
                        continue;
                assert_true(h->slots[house] <= h->slots[other]);
                if (h->slots[other] == 0)
                        assert_true(++h->overtaken[other][house] <= 1);
        }
        TAILQ_FOREACH (j, &h->g.queue.waiting, link) {
                bool same_unit = strcmp(j->unit, a->unit) == 0;

                if (h->g.queue.memory_short && j->frees_memory)
                        assert_true(a->job.frees_memory);
                if (same_unit &&
                    (!h->g.queue.memory_short || j->frees_memory == a->job.frees_memory)) {
                        assert_ptr_equal(j, &a->job); /* it is the oldest */
                        break;
                }
        }
}

/* Beyond the limit: it waits for long enough, longer than others, and few slots are as young. */
static void check_starved(const struct host *h, unsigned house) {
        uint64_t usec = h->limits.starvation_usec;
        unsigned n_young = 0;

        assert_int_equal(h->slots[house], 0);
        assert_true(h->now - h->in_line[house] >= usec);
        for (unsigned other = 0; other < N_HOUSES; other++)
                if (h->waiting[other] > 0 && h->slots[other] == 0)
                        assert_true(h->in_line[house] <= h->in_line[other]);
        for (unsigned i = 0; i < N_ACTORS; i++)
                n_young += h->actors[i].slot.granted && h->now - h->actors[i].slot.taken_at < usec;
        assert_true(n_young < h->limits.max_concurrent);
}

static void host_grant(struct host *h, struct actor *a) {
        unsigned i = (unsigned)(a - h->actors);
        bool beyond = h->n_slots >= h->limits.max_concurrent;

        assert_int_equal(a->slot.state, SLOT_FREE);
        if (beyond)
                check_starved(h, h->house[i]);
        else
                check_turn(h, a, h->house[i]);
        assert_int_equal(slot_grant(&a->slot, &h->g, h->now, &a->job), 0);
        assert_int_equal(a->slot.beyond, beyond);
        h->n_beyond += beyond;
        h->waiting[h->house[i]]--;
        h->in_line[h->house[i]] = h->now;
        h->granted_at[h->n_grants++] = h->now;
        set_slots(h, i, 1);
}

/* When it says to ask again is when there is one, not earlier and not later. */
static void check_wake_at(struct host *h, uint64_t wake_at) {
        uint64_t ignored;

        if (wake_at == USEC_INFINITY) {
                assert_true(h->g.queue.n_waiting == 0 || h->n_slots >= h->limits.max_concurrent);
                for (unsigned i = 0; i < N_HOUSES; i++)
                        assert_true(h->limits.starvation_usec == USEC_INFINITY ||
                                    h->waiting[i] == 0 || h->slots[i] > 0);
                assert_null(governor_next(&h->g, h->now + 1000 * MINUTE, &ignored));
                return;
        }
        assert_true(wake_at > h->now);
        assert_null(governor_next(&h->g, wake_at - 1, &ignored));
        assert_int_equal(ignored, wake_at);
        assert_non_null(governor_next(&h->g, wake_at, &ignored));
}

static uint64_t host_dispatch(struct host *h) {
        uint64_t wake_at;
        struct job *job;

        while (h->n_grants < N_GRANTS && (job = governor_next(&h->g, h->now, &wake_at)))
                host_grant(h, (struct actor *)job->worker);
        if (h->n_grants == N_GRANTS)
                return USEC_INFINITY;
        check_wake_at(h, wake_at);
        return wake_at;
}

static void host_ask(struct host *h, unsigned i) {
        struct actor *a = &h->actors[i];

        if (a->job.queued_for || a->slot.state != SLOT_FREE)
                return;
        a->job.frees_memory = rng_below(&h->rng, 4) == 0;
        ask(&h->g, h->now, a);
        if (h->waiting[h->house[i]]++ > 0)
                return;
        reset_line(h, h->house[i]);
        h->in_line[h->house[i]] = h->now;
}

static void host_give_up(struct host *h, unsigned i) {
        if (!h->actors[i].job.queued_for)
                return;
        queue_remove(&h->g.queue, &h->actors[i].job);
        h->waiting[h->house[i]]--;
}

static void host_finish(struct host *h, unsigned i) {
        bool counted = h->actors[i].slot.state == SLOT_COUNTED;

        slot_give(&h->actors[i].slot);
        if (counted)
                set_slots(h, i, -1U);
}

static void host_observe(struct host *h, unsigned i) {
        struct actor *a = &h->actors[i];

        a->cpu += rng_below(&h->rng, 2) * GOVERNOR_MOVE_USEC;
        if (slot_observe(&a->slot, h->now, a->cpu))
                set_slots(h, i, a->slot.state == SLOT_COUNTED ? 1 : -1U);
}

static void host_step(struct host *h, uint64_t wake_at) {
        unsigned i = rng_below(&h->rng, N_ACTORS);

        switch (rng_below(&h->rng, 12)) {
        case 0:
                h->now += rng_below(&h->rng, 3 * USEC_PER_SEC);
                return;
        case 1:
                if (wake_at != USEC_INFINITY)
                        h->now = wake_at;
                return;
        case 2:
                host_give_up(h, i);
                return;
        case 3:
        case 4:
        case 5:
                host_finish(h, i);
                return;
        case 6:
        case 7:
                host_observe(h, i);
                return;
        case 8:
                queue_set_memory_short(&h->g.queue, rng_below(&h->rng, 20) == 0);
                if (h->g.queue.memory_short) /* it upsets the turns */
                        memset(h->overtaken, 0, sizeof(h->overtaken));
                return;
        default:
                host_ask(h, i);
        }
}

static void check_rate(const struct host *h) {
        if (h->limits.start_rate == 0)
                return;
        for (unsigned i = 0; i < h->n_grants; i++)
                for (unsigned k = i; k < h->n_grants; k++) {
                        uint64_t t = h->granted_at[k] - h->granted_at[i];

                        assert_true((k - i + 1) * HOUR <= max_u64(h->limits.start_burst, 1) * HOUR +
                                                                  h->limits.start_rate * t);
                }
}

static unsigned host_run(struct host *h, unsigned n_steps, bool change_limits) {
        for (unsigned step = 0; step < n_steps && h->n_grants < N_GRANTS; step++) {
                host_step(h, host_dispatch(h));
                assert_int_equal(h->g.n_counted, h->n_slots);
                if (change_limits && step % 100 == 0) {
                        h->limits.max_concurrent = 1 + rng_below(&h->rng, 12);
                        governor_set_limits(&h->g, h->now, GOVERNOR_NORMAL, &h->limits);
                }
        }
        for (unsigned i = 0; i < N_ACTORS; i++)
                host_finish(h, i);
        governor_deinit(&h->g);
        return h->n_grants;
}

static void test_governor_host(void **state) {
        static struct host h;
        unsigned n_grants = 0, n_beyond = 0;

        for (uint64_t seed = 1; seed <= 30; seed++) {
                host_init(&h, seed);
                n_grants += host_run(&h, 8000, false);
                n_beyond += h.n_beyond;
                check_rate(&h);
        }
        assert_true(n_grants > 5000); /* it was not all waiting */
        assert_true(n_beyond > 100);
}

static void test_governor_host_limits_change(void **state) {
        static struct host h;

        for (uint64_t seed = 100; seed <= 120; seed++) {
                host_init(&h, seed);
                assert_true(host_run(&h, 8000, true) > 0);
                check_rate(&h);
        }
}

/* ---- 5,000 jobs of 4,000 units ---- */

#define N_LARGE 5000

static double cpu_msec(void) {
        struct timespec ts;

        assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts), 0);
        return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* About 5 ms here. The limit is what a slow machine needs under valgrind, and a list never will. */
static void test_governor_large_host(void **state) {
        const struct governor_limits limits = {8, 0, 0, USEC_INFINITY, USEC_INFINITY};
        static struct actor actors[N_LARGE];
        double begin = cpu_msec();
        struct governor g;
        uint64_t wake_at;
        char unit[24];

        governor_init(&g, &limits, &no_limits);
        for (unsigned i = 0; i < N_LARGE; i++) {
                (void)snprintf(unit, sizeof(unit), "machine-%u.scope", i % 4000);
                actor_init(&actors[i], unit);
                ask(&g, 0, &actors[i]);
        }
        assert_int_equal(dispatch(&g, 0, &wake_at), 8);
        for (unsigned i = 0; i < N_LARGE; i++) { /* first come, first served: each once */
                assert_int_equal(actors[i].slot.state, SLOT_COUNTED);
                slot_give(&actors[i].slot);
                (void)dispatch(&g, i, &wake_at);
        }
        assert_int_equal(g.queue.n_waiting, 0);
        teardown(&g, actors, N_LARGE);
        assert_true(cpu_msec() - begin < 1000);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_governor_nobody_waits),
                checked_test(test_governor_concurrency_live),
                checked_test(test_governor_modes),
                checked_test(test_governor_boost_is_no_refill),
                checked_test(test_slot_one_job_per_worker),
                checked_test(test_slot_revoked_grant_costs_nothing),
                checked_test(test_governor_fair_to_the_single_one),
                checked_test(test_governor_host),
                checked_test(test_governor_host_limits_change),
                checked_test(test_governor_large_host),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
