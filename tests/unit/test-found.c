/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Workers that an earlier daemon left: which are found, what is known of them, and what ended while
 * no daemon was there. Processes and cgroups are made up (town.h): 10 is a VMM, 11 its keeper.
 * Each case says what it changes of that.
 */

#include "admitted.h"

/* ---- after a restart ---- */

static void test_a_keeper_is_found(void **state) {
        struct worker *w;
        struct house h;

        begin(&h);
        strcpy(h.keeper->cgroup, "/town/jobs/vm-11-1011");
        assert_int_equal(find(&h, h.keeper), 0);
        w = last_worker(&h);
        assert_int_equal(w->state, WORKER_FOUND);
        assert_int_equal(w->vmm_pid, 10);
        assert_int_equal(h.crew.governor.n_counted, 1);
        assert_int_equal(crew_n_capped(&h.crew), 0); /* it has no job, as far as is known */
        assert_string_equal(worker_state_to_string(w), "found");
        town_kill(h.keeper);
        fake_time_pass(h.crew.event, 0);
        assert_int_equal(h.crew.workers.n, 0);
        assert_int_equal(h.crew.governor.n_counted, 0);
        end(&h);
}

/* Nobody was there to limit it when its VMM died. */
static void test_one_whose_vmm_died_meanwhile(void **state) {
        struct worker *w;
        struct house h;

        begin(&h);
        strcpy(h.keeper->cgroup, "/town/jobs/vm-11-1011");
        town_kill(h.vmm);
        h.keeper->ppid = 1;
        assert_int_equal(find(&h, h.keeper), 0);
        w = last_worker(&h);
        assert_int_equal(w->vmm_pid, 0);
        assert_true(h.keeper->limited);
        end(&h);
}

static void test_what_was_running_is_resumed(void **state) {
        const struct wire_request request = {.kind = WIRE_KIND_REBOOT, .seq = 4, .mem = 4096};
        const struct wire_outcome outcome = {.kind = WIRE_KIND_REBOOT, .seq = 4};
        struct house h;

        begin(&h);
        assert_int_equal(admit(&h, h.keeper), 0);
        assert_int_equal(worker_on_request(last_worker(&h), &request), 0);
        /* granted, by a daemon that dies: its connection does not matter here */
        assert_int_equal(slot_grant(&last_worker(&h)->slot, &h.crew.governor,
                                    loop_now(h.crew.event), last_worker(&h)->job),
                         0);
        h.keeper->cgroup_cpu_usec = 100;
        worker_start_job(last_worker(&h));
        fake_time_pass(h.crew.event, 5 * SEC);
        worker_free(last_worker(&h));

        assert_int_equal(find(&h, h.keeper), 0);
        assert_int_equal(crew_n_capped(&h.crew), 1);
        assert_int_equal(last_worker(&h)->job->seq, 4);
        assert_int_equal(last_worker(&h)->job->state, JOB_RUNNING);
        h.keeper->cgroup_cpu_usec = 350;
        fake_time_pass(h.crew.event, 5 * SEC);
        assert_int_equal(worker_on_done(last_worker(&h), &outcome), 0);
        assert_int_equal(crew_last(&h.crew)->state, JOB_DONE);
        assert_int_equal(crew_last(&h.crew)->ran_usec, 10 * SEC);
        assert_int_equal(crew_last(&h.crew)->cpu_usec, 250);
        end(&h);
}

/* A daemon that granted 11 a job ends; then 11 ends, with 250 µs more on its bill. */
static struct worker *grant(struct house *h, uint32_t kind) {
        const struct wire_register reg = {.header.version = WIRE_VERSION, .name = "guest one"};
        const struct wire_request request = {.kind = kind, .seq = 4, .mem = 4096};
        struct worker *w;

        assert_int_equal(admit(h, h->keeper), 0);
        w = last_worker(h);
        assert_int_equal(worker_on_register(w, &reg), 0);
        assert_int_equal(worker_on_request(w, &request), 0);
        assert_int_equal(slot_grant(&w->slot, &h->crew.governor, loop_now(h->crew.event), w->job),
                         0);
        h->keeper->cgroup_cpu_usec = 100;
        worker_start_job(w);
        return w;
}

static void end_between_daemons(struct house *h, struct worker *w) {
        h->crew.workers.leaving = true;
        worker_free(w);
        h->crew.workers.leaving = false;
        h->keeper->cgroup_cpu_usec += 250;
        town_bury(h->keeper);
}

static int find_left(struct house *h, const struct citizen *c) {
        return worker_new_left(&h->crew.workers, c->pid, c->starttime);
}

static void test_what_ended_unseen_is_reported(void **state) {
        const struct job *job;
        struct house h;

        begin(&h);
        end_between_daemons(&h, grant(&h, WIRE_KIND_SHUTDOWN));
        town_kill(h.vmm);
        assert_int_equal(find_left(&h, h.keeper), 0);
        job = crew_last(&h.crew);
        assert_int_equal(job->state, JOB_DONE);
        assert_int_equal(job->seq, 4);
        assert_int_equal(job->cpu_usec, 250);
        assert_true(job->ran_usec == USEC_INFINITY); /* nobody knows when it ended */
        assert_true(job_was_granted(job));
        assert_string_equal(job->name, "guest one");
        assert_string_equal(job->unit, "machine-10.scope");
        assert_false(h.crew.workers.purge);
        assert_int_equal(town.n_cgroups, 0);
        assert_int_equal(h.crew.workers.n, 0);
        assert_int_equal(find_left(&h, h.keeper), 0); /* once */
        assert_int_equal(h.crew.n_ended, 1);
        end(&h);
}

/* A reboot; a release, so it said, while its VMM lives; one of whose VMM nothing is known. */
static void test_what_ended_unseen_and_is_not_known(void **state) {
        for (unsigned i = 0; i < 3; i++) {
                struct house h;

                begin(&h);
                end_between_daemons(&h, grant(&h, i == 0 ? WIRE_KIND_REBOOT : WIRE_KIND_SHUTDOWN));
                if (i != 1)
                        town_kill(h.vmm);
                if (i == 2)
                        h.keeper->card[0] = '\0';
                assert_int_equal(find_left(&h, h.keeper), 0);
                assert_int_equal(crew_last(&h.crew)->state, JOB_LOST);
                assert_int_equal(crew_last(&h.crew)->cpu_usec, 250);
                end(&h);
        }
}

static void test_who_ended_unseen_and_idle(void **state) {
        struct house h;

        begin(&h);
        assert_int_equal(find_left(&h, h.keeper), -EBUSY); /* it lives */
        assert_int_equal(admit(&h, h.keeper), 0);
        end_between_daemons(&h, last_worker(&h));
        town.remove_error = -EBUSY;
        assert_int_equal(find_left(&h, h.keeper), 0);
        assert_true(h.crew.workers.purge); /* somebody else is in it */
        assert_int_equal(h.crew.n_ended, 0);
        end(&h);
}

static void test_a_closer_is_found(void **state) {
        struct citizen *closer;
        struct house h;

        begin(&h);
        closer = town_add(30, 1);
        closer->closer = true;
        assert_int_equal(find(&h, closer), 0);
        assert_int_equal(last_worker(&h)->sort, WORKER_CLOSER);
        assert_int_equal(last_worker(&h)->state, WORKER_FOUND);
        assert_int_equal(h.crew.governor.n_counted, 1);
        end(&h);
}

static void test_who_is_not_counted(void **state) {
        struct worker *w;
        struct house h;

        begin(&h);
        assert_int_equal(worker_new_found(&w, &h.crew.workers, 77, 1), -ESRCH);
        assert_int_equal(worker_new_found(&w, &h.crew.workers, 11, 1), -ESRCH); /* another one */
        assert_int_equal(admit(&h, h.keeper), 0);
        assert_int_equal(find(&h, h.keeper), -EEXIST);
        worker_free(last_worker(&h));
        h.keeper->n_threads = 2;
        capture_begin();
        assert_int_equal(find(&h, h.keeper), -EUSERS);
        (void)capture_end();
        assert_true(h.keeper->killed);
        assert_int_equal(h.crew.workers.n, 0);
        end(&h);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_a_keeper_is_found),
                checked_test(test_one_whose_vmm_died_meanwhile),
                checked_test(test_what_was_running_is_resumed),
                checked_test(test_what_ended_unseen_is_reported),
                checked_test(test_what_ended_unseen_and_is_not_known),
                checked_test(test_who_ended_unseen_and_idle),
                checked_test(test_a_closer_is_found),
                checked_test(test_who_is_not_counted),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
