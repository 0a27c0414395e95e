/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The queue against a naive one: an array in which everything is moved by hand. Whatever is pushed,
 * taken out of the middle, counted or limited, both must name the same next job. The random steps
 * are the same in every run.
 */

#include "fds.h"

#include <string.h>

#include "daemon/queue.h"
#include "rng.h"

#define N_JOBS 24

static unsigned length_of(const struct queue *q) {
        const struct job *j;
        unsigned n = 0;

        TAILQ_FOREACH (j, &q->waiting, link) {
                n++;
        }
        return n;
}

static void test_queue_empty(void **state) {
        struct queue q;

        memset(&q, 0xff, sizeof(q));
        queue_init(&q, 3);
        assert_int_equal(q.n_waiting, 0);
        assert_int_equal(q.n_counted, 0);
        assert_int_equal(q.max_concurrent, 3);
        assert_true(TAILQ_EMPTY(&q.waiting));
        assert_null(queue_next(&q));
}

static void test_queue_first_come_first_served(void **state) {
        struct job jobs[4] = {};
        struct queue q;

        queue_init(&q, 1);
        for (int i = 0; i < 4; i++)
                queue_push(&q, &jobs[i]);
        assert_int_equal(q.n_waiting, 4);
        for (int i = 0; i < 4; i++) {
                assert_ptr_equal(queue_next(&q), &jobs[i]);
                assert_ptr_equal(queue_next(&q), &jobs[i]); /* looking takes nothing */
                queue_remove(&q, &jobs[i]);
                assert_int_equal(q.n_waiting, 3 - i);
        }
        assert_null(queue_next(&q));
}

static void test_queue_out_of_the_middle(void **state) {
        struct job jobs[3] = {};
        struct queue q;

        queue_init(&q, 1);
        for (int i = 0; i < 3; i++)
                queue_push(&q, &jobs[i]);
        queue_remove(&q, &jobs[1]);
        queue_push(&q, &jobs[1]); /* who asks again stands behind the others */
        queue_remove(&q, &jobs[0]);
        assert_ptr_equal(queue_next(&q), &jobs[2]);
        queue_remove(&q, &jobs[2]);
        assert_ptr_equal(queue_next(&q), &jobs[1]);
        assert_int_equal(q.n_waiting, 1);
}

static void test_queue_limit(void **state) {
        struct job job = {};
        struct queue q;

        queue_init(&q, 2);
        queue_push(&q, &job);
        q.n_counted = 1;
        assert_ptr_equal(queue_next(&q), &job);
        q.n_counted = 2;
        assert_null(queue_next(&q));
        q.n_counted = 3; /* found after a restart: there may be more than fit */
        assert_null(queue_next(&q));
        q.max_concurrent = 4;
        assert_ptr_equal(queue_next(&q), &job);
        q.n_counted = 0;
        q.max_concurrent = 0;
        assert_null(queue_next(&q));
}

/* ---- against the naive one ---- */

struct naive {
        struct job *waiting[N_JOBS];
        unsigned n;
};

static void naive_remove(struct naive *naive, unsigned at) {
        naive->n--;
        memmove(&naive->waiting[at], &naive->waiting[at + 1],
                (naive->n - at) * sizeof(naive->waiting[0]));
}

static bool naive_has(const struct naive *naive, const struct job *job) {
        for (unsigned i = 0; i < naive->n; i++)
                if (naive->waiting[i] == job)
                        return true;
        return false;
}

static void check_same(const struct queue *q, const struct naive *naive) {
        bool room = q->n_counted < q->max_concurrent;
        const struct job *j;
        unsigned i = 0;

        assert_int_equal(q->n_waiting, naive->n);
        assert_int_equal(length_of(q), naive->n);
        TAILQ_FOREACH (j, &q->waiting, link) {
                assert_ptr_equal(j, naive->waiting[i++]);
        }
        assert_ptr_equal(queue_next(q), room && naive->n > 0 ? naive->waiting[0] : NULL);
}

static void random_step(struct rng *rng, struct queue *q, struct naive *naive, struct job *jobs) {
        struct job *job = &jobs[rng_below(rng, N_JOBS)];
        struct job *next = queue_next(q);
        unsigned at;

        switch (rng_below(rng, 5)) {
        case 0:
        case 1:
                if (naive_has(naive, job))
                        break;
                queue_push(q, job);
                naive->waiting[naive->n++] = job;
                break;
        case 2: /* somebody gives up */
                if (naive->n == 0)
                        break;
                at = rng_below(rng, naive->n);
                queue_remove(q, naive->waiting[at]);
                naive_remove(naive, at);
                break;
        case 3: /* a grant */
                if (!next)
                        break;
                queue_remove(q, next);
                naive_remove(naive, 0);
                q->n_counted++;
                break;
        case 4: /* somebody is done, or the administrator changes his mind */
                if (q->n_counted > 0)
                        q->n_counted--;
                if (rng_below(rng, 8) == 0)
                        q->max_concurrent = rng_below(rng, 6);
                break;
        }
}

static void test_queue_against_naive(void **state) {
        struct rng rng = {11};
        unsigned longest = 0;

        for (int round = 0; round < 20; round++) {
                struct job jobs[N_JOBS] = {};
                struct naive naive = {};
                struct queue q;

                queue_init(&q, 1 + rng_below(&rng, 4));
                for (int step = 0; step < 1000; step++) {
                        random_step(&rng, &q, &naive, jobs);
                        check_same(&q, &naive);
                        longest = naive.n > longest ? naive.n : longest;
                }
        }
        assert_true(longest > N_JOBS / 2); /* there was something to get wrong */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_queue_empty),
                checked_test(test_queue_first_come_first_served),
                checked_test(test_queue_out_of_the_middle),
                checked_test(test_queue_limit),
                checked_test(test_queue_against_naive),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
