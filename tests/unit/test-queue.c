/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The queue against a naive one, which looks at every job for each answer. Whatever is pushed,
 * taken out of the middle, granted, counted or reordered, both must name the same next job. The
 * random steps are the same in every run.
 */

#include "fds.h"

#include <stdio.h>
#include <string.h>

#include "daemon/governor/queue.h"
#include "rng.h"

#define N_JOBS  48
#define N_UNITS 7

static const struct unit_limits no_limits = {.pool = {1000, 1000}};
static const char *const names[N_UNITS] = {NULL, "a", "b", "c", "d", "e", "f"};

struct world {
        struct unit_table units;
        struct queue queue;
};

static void world_init(struct world *w) {
        unit_table_init(&w->units, &no_limits);
        queue_init(&w->queue, &w->units);
}

static void world_deinit(struct world *w) {
        queue_deinit(&w->queue);
        unit_table_deinit(&w->units);
        assert_int_equal(w->units.n_units, 0);
}

static void push(struct world *w, struct job *job, const char *unit) {
        job->unit = (char *)(uintptr_t)unit; /* read only */
        assert_int_equal(queue_push(&w->queue, 0, job), 0);
}

static void assert_taken(struct world *w, struct job *job) {
        assert_ptr_equal(queue_next(&w->queue), job);
        assert_ptr_equal(queue_next(&w->queue), job); /* looking takes nothing */
        queue_take(&w->queue, 0, job);
}

static void test_queue_empty(void **state) {
        struct job job = {};
        struct world w;

        memset(&w, 0xff, sizeof(w));
        world_init(&w);
        assert_int_equal(w.queue.n_waiting, 0);
        assert_true(TAILQ_EMPTY(&w.queue.waiting));
        assert_null(queue_next(&w.queue));
        queue_remove(&w.queue, &job); /* was never in there */
        assert_int_equal(w.queue.n_waiting, 0);
        world_deinit(&w);
}

/* One request per unit: as if there were no units. */
static void test_queue_first_come_first_served(void **state) {
        struct job jobs[N_UNITS] = {};
        struct world w;

        world_init(&w);
        for (int i = 0; i < N_UNITS; i++)
                push(&w, &jobs[i], names[N_UNITS - 1 - i]);
        assert_int_equal(w.queue.n_waiting, N_UNITS);
        for (int i = 0; i < N_UNITS; i++) {
                assert_taken(&w, &jobs[i]);
                assert_int_equal(w.queue.n_waiting, N_UNITS - 1 - i);
        }
        assert_null(queue_next(&w.queue));
        world_deinit(&w);
}

static void test_queue_out_of_the_middle(void **state) {
        struct job jobs[3] = {};
        struct world w;

        world_init(&w);
        for (int i = 0; i < 3; i++)
                push(&w, &jobs[i], names[i]);
        queue_remove(&w.queue, &jobs[1]);
        push(&w, &jobs[1], names[1]); /* who asks again stands behind the others */
        queue_remove(&w.queue, &jobs[0]);
        queue_remove(&w.queue, &jobs[0]);
        assert_taken(&w, &jobs[2]);
        assert_taken(&w, &jobs[1]);
        assert_int_equal(w.queue.n_waiting, 0);
        world_deinit(&w);
}

static void test_queue_units_in_turns(void **state) {
        struct job many[4] = {}, few[2] = {};
        struct world w;

        world_init(&w);
        for (int i = 0; i < 4; i++)
                push(&w, &many[i], "many");
        for (int i = 0; i < 2; i++)
                push(&w, &few[i], "few");
        assert_taken(&w, &many[0]);
        assert_taken(&w, &few[0]);
        assert_taken(&w, &many[1]);
        assert_taken(&w, &few[1]);
        assert_taken(&w, &many[2]);
        push(&w, &few[0], "few");
        assert_taken(&w, &many[3]); /* in line since before few came back */
        assert_taken(&w, &few[0]);
        world_deinit(&w);
}

static void test_queue_fewest_slots_first(void **state) {
        struct job a[2] = {}, b = {}, unknown = {};
        struct world w;
        struct unit *unit;

        world_init(&w);
        push(&w, &a[0], "a");
        push(&w, &a[1], "a");
        push(&w, &unknown, NULL);
        push(&w, &b, "b");
        unit = unit_ref(a[0].queued_for);
        unit->n_counted = 1;
        queue_unit_changed(&w.queue, unit);
        assert_taken(&w, &unknown);
        unit->n_counted = 0;
        queue_unit_changed(&w.queue, unit);
        assert_taken(&w, &a[0]);
        assert_taken(&w, &b);
        assert_taken(&w, &a[1]);
        queue_unit_changed(&w.queue, unit); /* it is not even in there */
        unit_unref(unit);
        world_deinit(&w);
}

static void test_queue_short_of_memory(void **state) {
        struct job reboots[3] = {}, ends[3] = {};
        struct world w;

        world_init(&w);
        for (int i = 0; i < 3; i++) {
                ends[i].frees_memory = true;
                push(&w, &reboots[i], i < 2 ? "a" : "b");
                push(&w, &ends[i], i < 2 ? "a" : "c");
        }
        assert_taken(&w, &reboots[0]);
        queue_set_memory_short(&w.queue, true);
        assert_taken(&w, &ends[2]); /* c is in line before a, which had a grant just now */
        assert_taken(&w, &ends[0]);
        ends[1].frees_memory = false; /* too late: it counts what was true when it came */
        assert_taken(&w, &ends[1]);
        assert_taken(&w, &reboots[2]);
        queue_set_memory_short(&w.queue, false);
        assert_taken(&w, &reboots[1]);
        world_deinit(&w);
}

static void test_queue_deinit_lets_go(void **state) {
        struct job jobs[40] = {};
        char unit[40][8];
        struct world w;

        world_init(&w);
        for (int i = 0; i < 40; i++) {
                (void)snprintf(unit[i], sizeof(unit[i]), "%d", i);
                jobs[i].frees_memory = i % 2;
                push(&w, &jobs[i], unit[i]);
        }
        assert_int_equal(w.units.n_units, 40);
        queue_deinit(&w.queue);
        for (int i = 0; i < 40; i++)
                assert_null(jobs[i].queued_for);
        unit_table_deinit(&w.units);
}

/* ---- against the naive one ---- */

struct naive {
        struct job *waiting[N_JOBS]; /* in order of registration */
        unsigned n;
        bool memory_short;
        unsigned slots[N_UNITS];
        uint64_t since[N_UNITS]; /* in line */
        uint64_t next;
};

static unsigned unit_of(const struct job *job) {
        unsigned i = 0;

        while (names[i] != job->unit)
                i++;
        return i;
}

static bool naive_has(const struct naive *naive, unsigned unit) {
        for (unsigned i = 0; i < naive->n; i++)
                if (unit_of(naive->waiting[i]) == unit)
                        return true;
        return false;
}

static void naive_push(struct naive *naive, struct job *job) {
        unsigned unit = unit_of(job);

        if (!naive_has(naive, unit))
                naive->since[unit] = naive->next++;
        naive->waiting[naive->n++] = job;
}

static void naive_remove(struct naive *naive, const struct job *job) {
        unsigned at = 0;

        while (naive->waiting[at] != job)
                at++;
        naive->n--;
        memmove(&naive->waiting[at], &naive->waiting[at + 1],
                (naive->n - at) * sizeof(naive->waiting[0]));
}

static bool naive_before(const struct naive *naive, const struct job *a, const struct job *b) {
        unsigned i = unit_of(a), k = unit_of(b);

        if (naive->memory_short && a->frees_memory != b->frees_memory)
                return a->frees_memory;
        if (naive->slots[i] != naive->slots[k])
                return naive->slots[i] < naive->slots[k];
        return naive->since[i] < naive->since[k];
}

static struct job *naive_next(const struct naive *naive) {
        struct job *best = NULL;

        for (unsigned i = 0; i < naive->n; i++)
                if (!best || naive_before(naive, naive->waiting[i], best))
                        best = naive->waiting[i];
        return best;
}

static void check_same(const struct queue *q, const struct naive *naive) {
        const struct job *j;
        unsigned i = 0;

        assert_int_equal(q->n_waiting, naive->n);
        TAILQ_FOREACH (j, &q->waiting, link) {
                assert_ptr_equal(j, naive->waiting[i++]);
        }
        assert_int_equal(i, naive->n);
        assert_ptr_equal(queue_next(q), naive_next(naive));
}

static void step_push(struct rng *rng, struct world *w, struct naive *naive, struct job *job) {
        if (job->queued_for)
                return;
        job->frees_memory = rng_below(rng, 3) == 0;
        push(w, job, names[rng_below(rng, N_UNITS)]);
        naive_push(naive, job);
}

static void step_grant(struct world *w, struct naive *naive) {
        struct job *job = queue_next(&w->queue);

        if (!job)
                return;
        queue_take(&w->queue, 0, job);
        naive_remove(naive, job);
        naive->since[unit_of(job)] = naive->next++;
}

static void step_slots(struct rng *rng, struct world *w, struct naive *naive) {
        unsigned i = rng_below(rng, N_UNITS);
        struct unit *unit = unit_get(&w->units, 0, names[i]);

        naive->slots[i] = rng_below(rng, 3);
        unit->n_counted = naive->slots[i];
        queue_unit_changed(&w->queue, unit);
        unit_unref(unit);
}

static void random_step(struct rng *rng, struct world *w, struct naive *naive, struct job *jobs) {
        struct job *job = &jobs[rng_below(rng, N_JOBS)];

        switch (rng_below(rng, 8)) {
        case 0:
        case 1:
        case 2:
                step_push(rng, w, naive, job);
                break;
        case 3: /* somebody gives up */
                if (job->queued_for) {
                        queue_remove(&w->queue, job);
                        naive_remove(naive, job);
                }
                break;
        case 4:
        case 5:
                step_grant(w, naive);
                break;
        case 6:
                step_slots(rng, w, naive);
                break;
        case 7:
                naive->memory_short = rng_below(rng, 2);
                queue_set_memory_short(&w->queue, naive->memory_short);
                break;
        }
}

static void test_queue_against_naive(void **state) {
        struct rng rng = {11};
        unsigned longest = 0;

        for (int round = 0; round < 20; round++) {
                struct job jobs[N_JOBS] = {};
                struct unit *held[N_UNITS]; /* so that they keep their slots */
                struct naive naive = {};
                struct world w;

                world_init(&w);
                for (int i = 0; i < N_UNITS; i++)
                        held[i] = unit_get(&w.units, 0, names[i]);
                for (int step = 0; step < 3000; step++) {
                        random_step(&rng, &w, &naive, jobs);
                        check_same(&w.queue, &naive);
                        longest = naive.n > longest ? naive.n : longest;
                }
                queue_deinit(&w.queue);
                for (int i = 0; i < N_UNITS; i++)
                        unit_unref(held[i]);
                unit_table_deinit(&w.units);
        }
        assert_true(longest > N_JOBS / 2); /* there was something to get wrong */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_queue_empty),
                checked_test(test_queue_first_come_first_served),
                checked_test(test_queue_out_of_the_middle),
                checked_test(test_queue_units_in_turns),
                checked_test(test_queue_fewest_slots_first),
                checked_test(test_queue_short_of_memory),
                checked_test(test_queue_deinit_lets_go),
                checked_test(test_queue_against_naive),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
