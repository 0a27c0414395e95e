/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who waits until a VM is quiet, and when that is said: which workers are meant by a name, a UUID
 * or a pid, which could be meant, deadlines, and how often is looked. The clock stands still
 * between the steps.
 */

#include "fds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"
#include "crew.h"
#include "daemon/runtime/loop.h"
#include "daemon/worker/quiet.h"
#include "loop.h"

#define SEC  USEC_PER_SEC
#define UUID "0ad0e3a2-4b3c-4cf0-9a8e-0123456789ab"

struct waiting {
        struct quiet_waiter waiter;
        unsigned n_done;
        int error;
};

static void on_done(struct quiet_waiter *waiter, int error) {
        struct waiting *w = (struct waiting *)((char *)waiter - offsetof(struct waiting, waiter));

        w->n_done++;
        w->error = error;
}

struct house {
        struct crew crew;
        struct quiet *quiet;
        struct hand hand; /* "guest", of VMM 77; says that it is quiet, and its VMM lives */
};

static void begin(struct house *h) {
        crew_begin(&h->crew, 1);
        h->quiet = NULL;
        assert_int_equal(quiet_new(&h->quiet, &h->crew.workers), 0);
        hand_new(&h->hand, &h->crew);
        free(h->hand.worker->name);
        h->hand.worker->name = strdup("guest");
        assert_true(uuid_parse(UUID, h->hand.worker->uuid));
        h->hand.worker->vmm_pid = 77;
        h->hand.worker->says_quiet = true;
}

static void end(struct house *h) {
        h->quiet = quiet_free(h->quiet);
        hand_free(&h->hand);
        crew_end(&h->crew);
}

static void pass(struct house *h, uint64_t usec) {
        fake_time_pass(h->crew.event, usec);
}

static void wait_for(struct house *h, struct waiting *w, const char *what, uint64_t usec) {
        *w = (struct waiting){.waiter.done = on_done};
        w->waiter.deadline = usec == USEC_INFINITY ? usec : loop_now(h->crew.event) + usec;
        assert_int_equal(quiet_wait(h->quiet, &w->waiter, what), 0);
        assert_int_equal(w->n_done, 0); /* from the loop only */
}

/* Somebody waits, and is told when the VMM is dead. */
static void expect_meant(const char *what) {
        struct waiting w;
        struct house h;

        begin(&h);
        wait_for(&h, &w, what, USEC_INFINITY);
        assert_int_equal(w.waiter.n_known, 1);
        pass(&h, 60 * SEC);
        assert_int_equal(w.n_done, 0);
        hand_lose_vmm(&h.hand);
        pass(&h, SEC);
        assert_int_equal(w.n_done, 1);
        assert_int_equal(w.error, 0);
        pass(&h, 60 * SEC);
        assert_int_equal(w.n_done, 1);
        end(&h);
}

/* Nobody is meant: that is quiet at once. */
static void expect_not_meant(const char *what) {
        struct waiting w;
        struct house h;

        begin(&h);
        wait_for(&h, &w, what, USEC_INFINITY);
        assert_int_equal(w.waiter.n_known, 0);
        pass(&h, 0);
        assert_int_equal(w.n_done, 1);
        assert_int_equal(w.error, 0);
        end(&h);
}

static void test_whose_vm_it_is(void **state) {
        char pid[32];

        expect_meant("guest");
        expect_meant(UUID);
        expect_meant("0AD0E3A2-4B3C-4CF0-9A8E-0123456789AB");
        expect_meant("pid=77"); /* the VMM's */
        expect_meant("pid=0077");
        (void)snprintf(pid, sizeof(pid), "pid=%d", 78);
        expect_not_meant(pid);
        expect_not_meant("gues");
        expect_not_meant("00000000-0000-0000-0000-000000000000");
        expect_not_meant("1ad0e3a2-4b3c-4cf0-9a8e-0123456789ab");
        expect_not_meant("77");
        expect_not_meant("pid=09");
        expect_not_meant("pid=90");
        expect_not_meant("pid=");
        expect_not_meant("pid=77x");
        expect_not_meant("pid=-77");
        expect_not_meant("pid=99999999999999999999");
}

static void test_a_pid_of_the_worker(void **state) {
        struct waiting w;
        struct house h;
        char what[32];

        begin(&h);
        (void)snprintf(what, sizeof(what), "pid=%d", (int)h.hand.worker->pid);
        wait_for(&h, &w, what, USEC_INFINITY);
        assert_int_equal(w.waiter.n_known, 1);
        quiet_leave(&w.waiter);
        end(&h);
}

/* The claims of workers are escaped, and so is what is asked for. */
static void test_a_name_that_is_escaped(void **state) {
        struct waiting w;
        struct house h;

        begin(&h);
        h.hand.worker->name[0] = '?';
        wait_for(&h, &w, "\nuest", USEC_INFINITY);
        assert_int_equal(w.waiter.n_known, 1);
        assert_string_equal(w.waiter.name, "?uest");
        quiet_leave(&w.waiter);
        end(&h);
}

/* It has not said so: a dead VMM is not enough. */
static void test_one_that_drains_still(void **state) {
        struct waiting w;
        struct house h;

        begin(&h);
        h.hand.worker->says_quiet = false;
        hand_lose_vmm(&h.hand);
        wait_for(&h, &w, "guest", USEC_INFINITY);
        pass(&h, 60 * SEC);
        assert_int_equal(w.n_done, 0);
        h.hand.worker->says_quiet = true;
        quiet_changed(h.quiet);
        pass(&h, 0); /* at once */
        assert_int_equal(w.n_done, 1);
        end(&h);
}

/* Its name is not known before it registers. A VMM that lives is not waited for. */
static void test_one_that_could_be_meant(void **state) {
        struct waiting w;
        struct house h;

        begin(&h);
        h.hand.worker->says_quiet = false;
        worker_set_state(h.hand.worker, WORKER_FOUND);
        wait_for(&h, &w, "other", USEC_INFINITY);
        assert_int_equal(w.waiter.n_known, 0);
        pass(&h, 0);
        assert_int_equal(w.n_done, 1);
        hand_lose_vmm(&h.hand);
        wait_for(&h, &w, "other", USEC_INFINITY);
        pass(&h, 10 * SEC);
        assert_int_equal(w.n_done, 0);
        worker_set_state(h.hand.worker, WORKER_IDLE); /* it registers: it is another one */
        quiet_changed(h.quiet);
        pass(&h, 0);
        assert_int_equal(w.n_done, 1);
        /* of an adopted one it is never known */
        h.hand.worker->sort = WORKER_HELPER;
        wait_for(&h, &w, "other", USEC_INFINITY);
        pass(&h, 10 * SEC);
        assert_int_equal(w.n_done, 0);
        worker_free(h.hand.worker);
        quiet_changed(h.quiet);
        pass(&h, 0);
        assert_int_equal(w.n_done, 1);
        end(&h);
}

/* By pid, one of which nobody knows the VMM could be meant. */
static void test_one_whose_vmm_is_not_known(void **state) {
        struct waiting w;
        struct house h;

        begin(&h);
        h.hand.worker->says_quiet = false;
        h.hand.worker->vmm_pid = 0;
        hand_lose_vmm(&h.hand);
        wait_for(&h, &w, "pid=5", USEC_INFINITY);
        pass(&h, 10 * SEC);
        assert_int_equal(w.n_done, 0);
        h.hand.worker->sort = WORKER_CLOSER;
        quiet_changed(h.quiet);
        pass(&h, 0);
        assert_int_equal(w.n_done, 1);
        end(&h);
}

static void test_until_a_deadline(void **state) {
        struct waiting w, longer;
        struct house h;

        begin(&h);
        wait_for(&h, &w, "guest", SEC / 2); /* sooner than the next look */
        wait_for(&h, &longer, "guest", 5 * SEC);
        pass(&h, SEC / 2 - 1);
        assert_int_equal(w.n_done, 0);
        pass(&h, 1);
        assert_int_equal(w.n_done, 1);
        assert_int_equal(w.error, -ETIMEDOUT);
        assert_int_equal(longer.n_done, 0);
        pass(&h, 4 * SEC + SEC / 2);
        assert_int_equal(longer.error, -ETIMEDOUT);
        end(&h);
}

static void test_who_leaves_is_not_told(void **state) {
        struct waiting w;
        struct house h;

        begin(&h);
        wait_for(&h, &w, "guest", SEC);
        quiet_leave(&w.waiter);
        assert_null(w.waiter.quiet);
        quiet_leave(&w.waiter);
        hand_lose_vmm(&h.hand);
        pass(&h, 10 * SEC);
        assert_int_equal(w.n_done, 0);
        end(&h);
}

/* Of what it waited for before nothing is left. */
static void test_a_waiter_is_used_again(void **state) {
        struct waiting w;
        struct house h;

        begin(&h);
        wait_for(&h, &w, UUID, USEC_INFINITY);
        quiet_leave(&w.waiter);
        assert_int_equal(quiet_wait(h.quiet, &w.waiter, "pid=77"), 0);
        quiet_leave(&w.waiter);
        assert_int_equal(quiet_wait(h.quiet, &w.waiter, "other"), 0);
        assert_int_equal(w.waiter.n_known, 0);
        pass(&h, 0);
        assert_int_equal(w.n_done, 1);
        end(&h);
}

static void test_too_many_wait_for_quiet(void **state) {
        static struct waiting w[QUIET_WAITERS_MAX + 1];
        struct house h;

        begin(&h);
        for (unsigned i = 0; i < QUIET_WAITERS_MAX; i++)
                wait_for(&h, &w[i], "guest", USEC_INFINITY);
        assert_int_equal(quiet_wait(h.quiet, &w[QUIET_WAITERS_MAX].waiter, "guest"), -EBUSY);
        quiet_leave(&w[0].waiter);
        wait_for(&h, &w[QUIET_WAITERS_MAX], "guest", USEC_INFINITY);
        hand_lose_vmm(&h.hand);
        quiet_changed(h.quiet);
        pass(&h, 0);
        for (unsigned i = 1; i <= QUIET_WAITERS_MAX; i++)
                assert_int_equal(w[i].n_done, 1);
        end(&h);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_whose_vm_it_is),
                checked_test(test_a_pid_of_the_worker),
                checked_test(test_a_name_that_is_escaped),
                checked_test(test_one_that_drains_still),
                checked_test(test_one_that_could_be_meant),
                checked_test(test_one_whose_vmm_is_not_known),
                checked_test(test_until_a_deadline),
                checked_test(test_who_leaves_is_not_told),
                checked_test(test_a_waiter_is_used_again),
                checked_test(test_too_many_wait_for_quiet),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
