/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is said of jobs that wait, against what becomes of them: the order that turns_order() tells
 * is the one in which they are granted, in random queues too; and the reason, case by case. The
 * clock is a number.
 */

#include "fds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/governor/turns.h"
#include "rng.h"

#define N_ACTORS 60
#define HOUR     (3600 * USEC_PER_SEC)

struct actor {
        struct job job;
        struct slot slot;
        char unit[24];
};

static const struct unit_limits no_limits = {.pool = {100000, 100000}};
static struct actor actors[N_ACTORS];
static struct governor g;

static void begin(unsigned max_concurrent, unsigned start_rate) {
        const struct governor_limits limits = {max_concurrent, start_rate, 1, USEC_INFINITY,
                                               USEC_INFINITY};

        governor_init(&g, &limits, &no_limits);
        memset(actors, 0, sizeof(actors));
}

static void end(void) {
        for (unsigned i = 0; i < N_ACTORS; i++) {
                queue_remove(&g.queue, &actors[i].job);
                slot_give(&actors[i].slot);
        }
        governor_deinit(&g);
}

static void ask(unsigned i, unsigned unit, bool frees_memory) {
        struct actor *a = &actors[i];

        (void)snprintf(a->unit, sizeof(a->unit), "unit-%u", unit);
        a->job.unit = a->unit;
        a->job.worker = (struct worker *)a;
        a->job.frees_memory = frees_memory;
        assert_int_equal(queue_push(&g.queue, 0, &a->job), 0);
}

static void grant(struct job *job) {
        assert_int_equal(slot_grant(&((struct actor *)job->worker)->slot, &g, 0, job), 0);
}

/* Why the actor's job waits, at 1 s. */
static const char *why(unsigned i) {
        const char *word = turns_why(&g, USEC_PER_SEC, &actors[i].job);

        return word ? word : "-";
}

static void test_turns_are_as_granted(void **state) {
        for (uint64_t seed = 1; seed <= 200; seed++) {
                _cleanup_(freep) struct job **order = NULL;
                struct rng rng = {seed};
                unsigned n;

                begin(N_ACTORS, 0);
                queue_set_memory_short(&g.queue, seed % 2);
                for (unsigned i = 0; i < N_ACTORS; i++)
                        ask(i, rng_below(&rng, 7), rng_below(&rng, 3) == 0);
                for (unsigned i = 0; i < 20; i++) /* some units have slots, and old tickets */
                        grant(&actors[rng_below(&rng, 3) * 20 + i].job);
                n = g.queue.n_waiting;
                order = turns_order(&g.queue);
                assert_non_null(order);
                for (unsigned i = 0; i < n; i++) {
                        assert_ptr_equal(queue_next(&g.queue), order[i]);
                        grant(order[i]);
                }
                assert_null(turns_order(&g.queue));
                end();
        }
}

static void test_turns_why(void **state) {
        begin(2, 0);
        ask(0, 0, false);
        assert_string_equal(why(0), "-"); /* it is granted now */
        grant(&actors[0].job);
        assert_string_equal(why(0), "-");
        ask(1, 0, false);
        ask(2, 1, false);
        assert_string_equal(why(1), "turn"); /* its unit has a slot, the other has none */
        grant(&actors[2].job);
        ask(3, 1, true);
        assert_string_equal(why(1), "limit");
        assert_string_equal(why(3), "limit");
        governor_set_mode(&g, 0, GOVERNOR_BOOST, true);
        assert_string_equal(why(1), "memory");
        assert_string_equal(why(3), "limit");
        governor_set_mode(&g, 0, GOVERNOR_BOOST, false);
        governor_set_mode(&g, 0, GOVERNOR_DRAINING, true);
        assert_string_equal(why(1), "drain");
        end();
}

static void test_turns_start_rate(void **state) {
        begin(9, 60);
        ask(0, 0, false);
        ask(1, 1, false);
        assert_string_equal(why(0), "-");
        grant(&actors[0].job);
        assert_string_equal(why(1), "start-rate");
        assert_int_equal(turns_start_at(&g, USEC_PER_SEC, 1), HOUR / 60);
        assert_int_equal(turns_start_at(&g, USEC_PER_SEC, 3), 3 * HOUR / 60);
        end();
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_turns_are_as_granted),
                checked_test(test_turns_why),
                checked_test(test_turns_start_rate),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
