/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * When a slot counts, by a clock of numbers: who moves and who twitches, who takes too long. And
 * that a unit which takes all slots does not keep the others out: in the governor alone, with any
 * number of hostile workers, and with hostile units.
 */

#include "fds.h"

#include <stdio.h>

#include "daemon/governor/governor.h"

#define SEC     USEC_PER_SEC
#define MSEC    USEC_PER_MSEC
#define MINUTE  (60 * SEC)
#define STARVED (30 * SEC)

static const struct unit_limits no_limits = {.pool = {100000, 100000}};

/* A worker, as far as the governor knows one. */
struct actor {
        struct job job;
        struct slot slot;
        char unit[24];
        uint64_t cpu;
        uint64_t granted_at;
};

static void ask(struct governor *g, uint64_t now, struct actor *a, const char *unit) {
        *a = (struct actor){.job.worker = (struct worker *)a};
        (void)snprintf(a->unit, sizeof(a->unit), "%s", unit);
        a->job.unit = a->unit;
        assert_int_equal(queue_push(&g->queue, now, &a->job), 0);
}

/* Grants as long as there is somebody to grant; how many. */
static unsigned dispatch(struct governor *g, uint64_t now) {
        struct job *job;
        uint64_t wake_at;
        unsigned n = 0;

        for (; (job = governor_next(g, now, &wake_at)); n++) {
                struct actor *a = (struct actor *)job->worker;

                assert_int_equal(slot_grant(&a->slot, g, now, job), 0);
                assert_false(slot_observe(&a->slot, now, a->cpu));
                a->granted_at = now;
        }
        return n;
}

static uint64_t wake_at(const struct governor *g, uint64_t now) {
        uint64_t at;

        assert_null(governor_next(g, now, &at));
        return at;
}

/* n of one unit ask at once. */
static void setup(struct governor *g, struct actor *actors, unsigned n,
                  const struct governor_limits *limits) {
        governor_init(g, limits, &no_limits);
        for (unsigned i = 0; i < n; i++)
                ask(g, 0, &actors[i], "evil.scope");
}

static void finish(struct actor *actors, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                slot_give(&actors[i].slot);
}

static void teardown(struct governor *g, struct actor *actors, unsigned n) {
        finish(actors, n);
        governor_deinit(g);
        assert_int_equal(g->n_counted, 0);
        assert_int_equal(g->n_taken, 0);
        assert_true(TAILQ_EMPTY(&g->granted));
        assert_int_equal(g->units.n_units, 0);
}

/* Looks at all of them each second, from a time to another; each used so much since. */
static void pass(struct actor *actors, unsigned n, uint64_t from, uint64_t to, uint64_t cpu) {
        for (uint64_t now = from + SEC; now <= to; now += SEC)
                for (unsigned i = 0; i < n; i++)
                        (void)slot_observe(&actors[i].slot, now, actors[i].cpu += cpu);
}

/* ---- moving ---- */

static void test_one_that_does_nothing_stands_still(void **state) {
        const struct governor_limits limits = {1, 0, 0, USEC_INFINITY, USEC_INFINITY};
        const uint64_t still = GOVERNOR_STANDSTILL_USEC;
        struct actor actors[2];
        struct governor g;

        setup(&g, actors, 2, &limits);
        assert_int_equal(dispatch(&g, 5), 1);
        assert_false(slot_observe(&actors[0].slot, 5, 1234)); /* a bill from before: no move */
        assert_int_equal(g.n_moves, 0);
        assert_false(slot_observe(&actors[0].slot, 5 + still - 1, 1234));
        assert_true(slot_observe(&actors[0].slot, 5 + still, 1234));
        assert_int_equal(actors[0].slot.state, SLOT_STANDING);
        assert_int_equal(g.n_counted, 0);
        assert_int_equal(dispatch(&g, MINUTE), 1);
        assert_false(slot_observe(&actors[0].slot, MINUTE, USEC_INFINITY)); /* no sign of life */
        assert_false(slot_observe(&actors[0].slot, MINUTE, 1235));
        assert_true(slot_observe(&actors[0].slot, MINUTE + 1, 1235 + GOVERNOR_MOVE_USEC));
        assert_int_equal(g.n_counted, 2); /* one more than allowed, as said */
        assert_int_equal(g.n_moves, 1);
        slot_give(&actors[1].slot);
        assert_false(slot_observe(&actors[1].slot, 2 * MINUTE, 1));
        assert_int_equal(g.n_counted, 1);
        teardown(&g, actors, 2);
}

/* A little less than enough in each window, for an hour: it stands still, and never counts again.
 */
static void test_a_twitch_is_no_move(void **state) {
        const struct governor_limits limits = {1, 0, 0, USEC_INFINITY, USEC_INFINITY};
        struct actor actor;
        struct governor g;

        setup(&g, &actor, 1, &limits);
        assert_int_equal(dispatch(&g, 0), 1);
        pass(&actor, 1, 0, 10 * SEC, GOVERNOR_MOVE_USEC / 10 - 1);
        assert_int_equal(actor.slot.state, SLOT_STANDING);
        for (uint64_t at = 10 * SEC; at < 60 * MINUTE; at += SEC) {
                pass(&actor, 1, at, at + SEC, GOVERNOR_MOVE_USEC / 10 - 1);
                assert_int_equal(actor.slot.state, SLOT_STANDING);
        }
        assert_int_equal(g.n_moves, 0);
        pass(&actor, 1, 60 * MINUTE, 60 * MINUTE + 11 * SEC, GOVERNOR_MOVE_USEC / 9 + 1);
        assert_int_equal(actor.slot.state, SLOT_COUNTED);
        assert_int_equal(g.n_moves, 1);
        teardown(&g, &actor, 1);
}

/* A thousandth of a CPU is enough. */
static void test_slow_work_is_a_move(void **state) {
        const struct governor_limits limits = {1, 0, 0, USEC_INFINITY, USEC_INFINITY};
        struct actor actor;
        struct governor g;

        setup(&g, &actor, 1, &limits);
        assert_int_equal(dispatch(&g, 0), 1);
        for (uint64_t at = 0; at < 60 * MINUTE; at += SEC) {
                pass(&actor, 1, at, at + SEC, GOVERNOR_MOVE_USEC / 9 + 1);
                assert_int_equal(actor.slot.state, SLOT_COUNTED);
        }
        assert_in_range(g.n_moves, 60 * 6, 60 * 7);
        teardown(&g, &actor, 1);
}

/* 1 % of a CPU for 40 workers: each has 2.5 ms in 10 s, and it is at work if it gets a tenth. */
static void test_a_small_share_of_the_quota_is_a_move(void **state) {
        const struct governor_limits limits = {40, 0, 0, USEC_INFINITY, USEC_INFINITY};
        struct actor actors[40];
        struct governor g;

        setup(&g, actors, 40, &limits);
        governor_set_cpu_quota(&g, SEC / 100);
        assert_int_equal(dispatch(&g, 0), 40);
        pass(actors, 40, 0, 5 * MINUTE, 250);
        assert_int_equal(g.n_counted, 40);
        pass(actors, 40, 5 * MINUTE, 6 * MINUTE, 20);
        assert_int_equal(g.n_counted, 0);
        pass(actors, 40, 6 * MINUTE, 7 * MINUTE, 250);
        assert_int_equal(g.n_counted, 40);
        governor_set_cpu_quota(&g, USEC_INFINITY); /* now each may have more */
        pass(actors, 40, 7 * MINUTE, 8 * MINUTE, 250);
        assert_int_equal(g.n_counted, 0);
        teardown(&g, actors, 40);
}

static void test_slot_overdue(void **state) {
        struct governor_limits limits = {1, 0, 0, 5 * MINUTE, USEC_INFINITY};
        struct actor actors[2];
        struct governor g;
        uint64_t cpu = 0;

        setup(&g, actors, 2, &limits);
        assert_int_equal(dispatch(&g, MINUTE), 1);
        for (uint64_t now = MINUTE; now < 6 * MINUTE; now += USEC_PER_SEC)
                assert_false(slot_observe(&actors[0].slot, now, cpu += GOVERNOR_MOVE_USEC));
        assert_true(slot_observe(&actors[0].slot, 6 * MINUTE, cpu += GOVERNOR_MOVE_USEC));
        assert_int_equal(actors[0].slot.state, SLOT_OVERDUE);
        assert_false(slot_observe(&actors[0].slot, 7 * MINUTE,
                                  cpu += GOVERNOR_MOVE_USEC)); /* moving does not help */
        assert_int_equal(dispatch(&g, 7 * MINUTE), 1);
        limits.overdue_usec = 60 * MINUTE;
        governor_set_limits(&g, 7 * MINUTE, GOVERNOR_NORMAL, &limits);
        assert_true(slot_observe(&actors[0].slot, 7 * MINUTE, cpu += GOVERNOR_MOVE_USEC));
        assert_int_equal(g.n_counted, 2);
        /* Found after a restart, and what is known of the time before is not forgotten. */
        slot_take_found(&actors[0].slot, &g, 10 * MINUTE, actors[0].unit, 1);
        assert_int_equal(g.n_counted, 2);
        assert_true(slot_observe(&actors[0].slot, 60 * MINUTE + 1, cpu += GOVERNOR_MOVE_USEC));
        slot_take_found(&actors[0].slot, &g, 70 * MINUTE, actors[0].unit, USEC_INFINITY);
        assert_false(slot_observe(&actors[0].slot, 70 * MINUTE, cpu));
        assert_false(slot_observe(&actors[0].slot, 130 * MINUTE - 1, cpu += GOVERNOR_MOVE_USEC));
        assert_true(slot_observe(&actors[0].slot, 130 * MINUTE, cpu += GOVERNOR_MOVE_USEC));
        teardown(&g, actors, 2);
}

/* It is no progress of anything: a host that is being switched off does not wait for it. */
static void test_what_is_overdue_does_not_move(void **state) {
        const struct governor_limits limits = {1, 0, 0, MINUTE, USEC_INFINITY};
        struct actor actor;
        struct governor g;
        uint64_t n;

        setup(&g, &actor, 1, &limits);
        assert_int_equal(dispatch(&g, 0), 1);
        pass(&actor, 1, 0, MINUTE - SEC, SEC);
        n = g.n_moves;
        assert_true(n > 50);
        pass(&actor, 1, MINUTE - SEC, 5 * MINUTE, SEC);
        assert_int_equal(g.n_moves, n);
        teardown(&g, &actor, 1);
}

/* ---- one unit takes all slots, and works without end ---- */

/* n hostile workers, four slots; one of another unit comes after so many seconds. */
static void check_hostile(unsigned n, uint64_t comes_at) {
        const struct governor_limits limits = {4, 0, 0, USEC_INFINITY, STARVED};
        static struct actor evil[100];
        struct actor good;
        struct governor g;
        unsigned n_evil;

        setup(&g, evil, n, &limits);
        n_evil = dispatch(&g, 0);
        assert_int_equal(n_evil, n < 4 ? n : 4);
        pass(evil, n, 0, comes_at, SEC);
        assert_int_equal(dispatch(&g, comes_at), 0); /* it has slots, and is not starved */
        ask(&g, comes_at, &good, "good.scope");
        if (n < 4) {
                assert_int_equal(dispatch(&g, comes_at), 1);
        } else {
                assert_int_equal(wake_at(&g, comes_at), comes_at + STARVED);
                pass(evil, n, comes_at, comes_at + STARVED, SEC);
                assert_int_equal(dispatch(&g, comes_at + STARVED - 1), 0);
                assert_int_equal(dispatch(&g, comes_at + STARVED), 1);
        }
        assert_int_equal(good.slot.state, SLOT_COUNTED);
        assert_true(good.granted_at <= comes_at + STARVED);
        assert_int_equal(good.slot.beyond, n >= 4);
        assert_int_equal(wake_at(&g, comes_at + STARVED), USEC_INFINITY);
        slot_give(&good.slot);
        teardown(&g, evil, n);
}

static void test_hostile_workers_do_not_stop_others(void **state) {
        static const unsigned numbers[] = {1, 4, 100};

        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
                check_hostile(numbers[i], 0);
                check_hostile(numbers[i], 7 * SEC);
                check_hostile(numbers[i], 10 * MINUTE);
        }
}

/* A hundred units hold, or wait for, a slot each: the nth waits for 30 s * n / 4, rounded up. */
static void test_hostile_units_delay_others(void **state) {
        const struct governor_limits limits = {4, 0, 0, USEC_INFINITY, STARVED};
        static struct actor evil[100];
        struct actor good;
        struct governor g;
        char unit[24];

        governor_init(&g, &limits, &no_limits);
        for (unsigned i = 0; i < 100; i++) {
                (void)snprintf(unit, sizeof(unit), "evil-%u.scope", i);
                ask(&g, 0, &evil[i], unit);
        }
        ask(&g, 0, &good, "good.scope");
        for (uint64_t now = 0; !good.slot.granted; now += SEC) {
                unsigned n = dispatch(&g, now);

                assert_int_equal(n, now % STARVED == 0 ? g.n_counted == 101 ? 1 : 4 : 0);
                pass(evil, 100, now - SEC, now, SEC);
                assert_true(now <= 25 * STARVED);
        }
        assert_int_equal(good.granted_at, 25 * STARVED);
        slot_give(&good.slot);
        teardown(&g, evil, 100);
}

/* Who can take slots without a grant (BEGUN) keeps nobody from being starved. */
static void test_slots_without_a_grant_do_not_stop_others(void **state) {
        const struct governor_limits limits = {1, 0, 0, USEC_INFINITY, STARVED};
        struct actor evil[2], good;
        struct governor g;

        setup(&g, evil, 1, &limits);
        assert_int_equal(slot_begin(&evil[0].slot, &g, 0, &evil[0].job), 0);
        ask(&g, 0, &good, "good.scope");
        for (unsigned i = 1; i < 30; i++) {
                struct actor *next = &evil[i % 2];

                ask(&g, i * SEC, next, "evil.scope");
                assert_int_equal(slot_begin(&next->slot, &g, i * SEC, &next->job), 0);
                slot_give(&evil[(i + 1) % 2].slot);
                assert_int_equal(dispatch(&g, i * SEC), 0);
        }
        assert_int_equal(dispatch(&g, STARVED), 1);
        assert_true(good.slot.beyond);
        slot_give(&good.slot);
        teardown(&g, evil, 2);
}

/* A queue that moves is no starvation, however long it is: not one of 500 goes beyond the limit. */
static void test_a_storm_of_short_jobs_keeps_to_the_limit(void **state) {
        const struct governor_limits limits = {4, 0, 0, USEC_INFINITY, STARVED};
        static struct actor storm[500];
        struct governor g;
        unsigned n_beyond = 0;
        char unit[24];

        governor_init(&g, &limits, &no_limits);
        for (unsigned i = 0; i < 500; i++) {
                (void)snprintf(unit, sizeof(unit), "vm-%u.scope", i);
                ask(&g, 0, &storm[i], unit);
        }
        for (uint64_t now = 0; g.queue.n_waiting > 0; now += SEC) {
                for (unsigned i = 0; i < 500; i++)
                        if (storm[i].slot.granted && now - storm[i].granted_at >= 20 * SEC)
                                slot_give(&storm[i].slot);
                (void)dispatch(&g, now);
                assert_true(g.n_counted <= 4);
        }
        for (unsigned i = 0; i < 500; i++)
                n_beyond += storm[i].slot.beyond;
        assert_int_equal(n_beyond, 0);
        teardown(&g, storm, 500);
}

/* start-rate holds for the starved, too. */
static void test_the_starved_keep_to_the_start_rate(void **state) {
        const struct governor_limits limits = {1, 60, 1, USEC_INFINITY, STARVED};
        struct actor evil, good;
        struct governor g;

        setup(&g, &evil, 1, &limits);
        assert_int_equal(dispatch(&g, 0), 1);
        ask(&g, 0, &good, "good.scope");
        assert_int_equal(wake_at(&g, 0), MINUTE);
        assert_int_equal(dispatch(&g, MINUTE), 1);
        slot_give(&good.slot);
        teardown(&g, &evil, 1);
}

/* While memory is short, too: a unit with nothing to give back waits no longer for its slot. */
static void test_starved_while_memory_is_short(void **state) {
        const struct governor_limits limits = {1, 0, 0, USEC_INFINITY, STARVED};
        struct actor evil[2], good[2];
        struct governor g;

        setup(&g, evil, 1, &limits);
        queue_set_memory_short(&g.queue, true);
        assert_int_equal(dispatch(&g, 0), 1);
        ask(&g, 0, &good[0], "good.scope");
        ask(&g, 0, &good[1], "good.scope");
        queue_remove(&g.queue, &good[1].job);
        good[1].job.frees_memory = true;
        assert_int_equal(queue_push(&g.queue, 0, &good[1].job), 0);
        assert_int_equal(dispatch(&g, STARVED), 1);
        assert_int_equal(good[1].granted_at, STARVED);
        slot_give(&good[1].slot);
        assert_int_equal(dispatch(&g, 2 * STARVED), 1);
        assert_int_equal(good[0].granted_at, 2 * STARVED);
        slot_give(&good[0].slot);
        teardown(&g, evil, 1);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_one_that_does_nothing_stands_still),
                checked_test(test_a_twitch_is_no_move),
                checked_test(test_slow_work_is_a_move),
                checked_test(test_a_small_share_of_the_quota_is_a_move),
                checked_test(test_slot_overdue),
                checked_test(test_what_is_overdue_does_not_move),
                checked_test(test_hostile_workers_do_not_stop_others),
                checked_test(test_hostile_units_delay_others),
                checked_test(test_slots_without_a_grant_do_not_stop_others),
                checked_test(test_a_storm_of_short_jobs_keeps_to_the_limit),
                checked_test(test_the_starved_keep_to_the_start_rate),
                checked_test(test_starved_while_memory_is_short),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
