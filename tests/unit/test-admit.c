/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who may be a worker, of those that register and of those that an earlier daemon left; and where
 * it lives from then on. Processes and cgroups are made up (town.h): 10 is a VMM, 11 its keeper.
 * Each case says what it changes of that.
 */

#include "admitted.h"

/* ---- keepers ---- */

static void test_a_keeper(void **state) {
        struct worker *w;
        struct house h;

        begin(&h);
        assert_int_equal(admit(&h, h.keeper), 0);
        w = last_worker(&h);
        assert_int_equal(w->pid, 11);
        assert_int_equal(w->starttime, 1011);
        assert_int_equal(w->vmm_pid, 10);
        assert_string_equal(w->unit, "machine-10.scope"); /* its VMM's */
        assert_int_equal(w->sort, WORKER_KEEPER);
        assert_true(worker_vmm_alive(w));
        assert_false(worker_stays(w));
        assert_string_equal(h.keeper->cgroup, "/town/jobs/vm-11-1011");
        assert_false(h.keeper->limited);             /* its memory is its VMM's */
        assert_int_equal(crew_n_capped(&h.crew), 0); /* it has no job */
        end(&h);
}

static void test_its_end_and_its_vmms(void **state) {
        struct house h;

        begin(&h);
        assert_int_equal(admit(&h, h.keeper), 0);
        town_kill(h.vmm);
        fake_time_pass(h.crew.event, 0);
        assert_int_equal(h.crew.workers.n, 1);
        assert_true(h.keeper->limited);
        town_kill(h.keeper);
        fake_time_pass(h.crew.event, 0);
        assert_int_equal(h.crew.workers.n, 0);
        assert_int_equal(town.n_cgroups, 0);
        end(&h);
}

static void test_who_is_no_keeper(void **state) {
        struct house h;

        begin(&h);
        h.keeper->memory = 99; /* it shares none with its parent */
        expect_refused(&h, h.keeper, -EPERM);
        h.keeper->memory = h.vmm->memory;
        h.keeper->n_threads = 2;
        expect_refused(&h, h.keeper, -EUSERS);
        h.keeper->n_threads = 1;
        h.keeper->ppid = 77; /* there is no such process */
        expect_refused(&h, h.keeper, -ESRCH);
        h.keeper->ppid = 10;
        h.crew.workers.max = 0;
        expect_refused(&h, h.keeper, -EMFILE);
        end(&h);
}

static void test_who_is_gone(void **state) {
        struct house h;

        begin(&h);
        assert_int_equal(eventfd_write(h.vmm->life, 1), 0); /* after what was read of it */
        expect_refused(&h, h.keeper, -ESRCH);
        end(&h);
        begin(&h);
        assert_int_equal(eventfd_write(h.keeper->life, 1), 0);
        expect_refused(&h, h.keeper, -ESRCH);
        end(&h);
}

/* One address space has one worker, whoever is whose child. */
static void test_a_second_keeper(void **state) {
        struct citizen *second, *below;
        struct house h;

        begin(&h);
        assert_int_equal(admit(&h, h.keeper), 0);
        second = town_add(12, 10);
        second->memory = h.vmm->memory;
        expect_refused(&h, second, -EEXIST);
        below = town_add(13, 12); /* of the same unit, with another parent */
        below->memory = second->memory;
        second->unit = h.vmm->unit;
        expect_refused(&h, below, -EEXIST);
        below->ppid = 11; /* a worker's child: it is in no VM's cgroup */
        expect_refused(&h, below, -EEXIST);
        town_kill(h.keeper); /* it is not seen yet that it is dead */
        h.keeper->memory = h.vmm->memory;
        assert_int_equal(admit(&h, second), 0);
        end(&h);
}

static void test_a_keeper_of_another_vm(void **state) {
        struct citizen *vmm, *keeper;
        struct house h;

        begin(&h);
        assert_int_equal(admit(&h, h.keeper), 0);
        vmm = town_add(20, 1);
        keeper = town_add(21, 20);
        keeper->memory = vmm->memory;
        vmm->unit = h.vmm->unit;
        assert_int_equal(admit(&h, keeper), 0);
        assert_int_equal(h.crew.workers.n, 2);
        end(&h);
}

/* The kernel is asked about the last few of a unit only: each costs 2 us. */
static void test_a_unit_with_many_workers(void **state) {
        struct citizen *second;
        struct house h;

        begin(&h);
        assert_int_equal(admit(&h, h.keeper), 0);
        last_worker(&h)->vmm_pid = 999; /* that alone would tell */
        second = town_add(12, 10);
        second->memory = h.vmm->memory;
        for (pid_t pid = 100; pid < 100 + 2 * 63; pid += 2) {
                struct citizen *vmm = town_add(pid, 1), *keeper = town_add(pid + 1, pid);

                keeper->memory = vmm->memory;
                vmm->unit = h.vmm->unit;
                assert_int_equal(admit(&h, keeper), 0);
        }
        expect_refused(&h, second, -EEXIST); /* the first is the 64th */
        {
                struct citizen *vmm = town_add(300, 1), *keeper = town_add(301, 300);

                keeper->memory = vmm->memory;
                vmm->unit = h.vmm->unit;
                assert_int_equal(admit(&h, keeper), 0);
        }
        assert_int_equal(admit(&h, second), 0);
        end(&h);
}

static void test_a_unit_with_too_many_workers(void **state) {
        const struct unit_limits limits = {.pool = {100, 100}, .most = {100, 1}};
        struct citizen *vmm, *keeper;
        struct house h;

        begin(&h);
        unit_table_set_limits(&h.crew.governor.units, loop_now(h.crew.event), &limits);
        assert_int_equal(admit(&h, h.keeper), 0);
        vmm = town_add(20, 1);
        keeper = town_add(21, 20);
        keeper->memory = vmm->memory;
        vmm->unit = h.vmm->unit;
        expect_refused(&h, keeper, -EDQUOT);
        end(&h);
}

/* The keeper has the memory: what the helper does frees nothing. */
static void test_a_keeper_overtakes_a_helper(void **state) {
        struct worker *w;
        struct house h;
        struct hand helper;

        begin(&h);
        hand_new(&helper, &h.crew);
        w = helper.worker;
        w->sort = WORKER_HELPER;
        worker_set_state(w, WORKER_ADOPTED);
        w->vmm_pid = 10;
        assert_int_equal(admit(&h, h.keeper), 0);
        assert_int_equal(w->state, WORKER_OVERTAKEN);
        hand_free(&helper);
        end(&h);
}

/* ---- closers ---- */

static void test_a_closer(void **state) {
        struct citizen *closer, *other;
        struct worker *w;
        struct house h;

        begin(&h);
        closer = town_add(30, 1);
        closer->closer = true;
        closer->unit = "pv-reaper-closer@1.service";
        assert_int_equal(admit(&h, closer), 0);
        w = last_worker(&h);
        assert_int_equal(w->sort, WORKER_CLOSER);
        assert_string_equal(w->unit, "pv-reaper-closer@1.service");
        assert_string_equal(w->cgroup->path, "/town/pv-reaper-closer@1.service");
        assert_string_equal(closer->cgroup, ""); /* it is systemd's, and never moved */
        assert_int_equal(w->vmm_pid, 0);
        other = town_add(31, 30); /* in the same cgroup: one bill for two */
        other->closer = true;
        expect_refused(&h, other, -EEXIST);
        town_kill(closer);
        assert_int_equal(admit(&h, other), 0);
        end(&h);
}

/* Without cgroups nothing tells a closer from others who share no memory with their parents. */
static void test_without_cgroups(void **state) {
        struct citizen *stranger;
        struct house h;

        begin(&h);
        h.crew.workers.cgroup = NULL;
        assert_int_equal(admit(&h, h.keeper), 0);
        assert_int_equal(last_worker(&h)->sort, WORKER_KEEPER);
        assert_null(last_worker(&h)->cgroup);
        stranger = town_add(30, 1);
        assert_int_equal(admit(&h, stranger), 0);
        assert_int_equal(last_worker(&h)->sort, WORKER_CLOSER);
        assert_int_equal(town.n_cgroups, 0);
        end(&h);
}

/* ---- where a worker lives ---- */

/* A move would take the guest's memory away from its nodes. */
static void test_a_worker_that_stays(void **state) {
        struct worker *w;
        struct house h;
        const char *said;

        begin(&h);
        town.nodes_error = -EXDEV;
        capture_begin();
        assert_int_equal(admit(&h, h.keeper), 0);
        said = capture_end();
        assert_non_null(strstr(said, "worker 11 (unit machine-10.scope) stays in its VM's cgroup"));
        w = last_worker(&h);
        assert_true(worker_stays(w));
        assert_string_equal(h.keeper->cgroup, "");
        assert_int_equal(town.n_cgroups, 0);
        h.keeper->cpu_usec = 55; /* then its process has the bill */
        h.vmm->nodes = "0";      /* nobody needs the policies any more */
        town.nodes_error = 0;
        town_kill(h.vmm);
        capture_begin();
        fake_time_pass(h.crew.event, 0);
        assert_string_equal(capture_end(), "");
        assert_false(worker_stays(w));
        assert_string_equal(h.keeper->cgroup, "/town/jobs/vm-11-1011");
        assert_true(h.keeper->limited);
        end(&h);
}

/* Its bill is where its job began. */
static void test_a_worker_that_runs_is_not_moved(void **state) {
        const struct wire_request request = {.kind = WIRE_KIND_SHUTDOWN, .seq = 1, .mem = 1};
        const struct wire_begun begun = {.seq = 2};
        struct worker *w;
        struct house h;

        begin(&h);
        town.nodes_error = -EXDEV;
        capture_begin();
        assert_int_equal(admit(&h, h.keeper), 0);
        (void)capture_end();
        w = last_worker(&h);
        assert_int_equal(worker_on_request(w, &request), 0);
        assert_int_equal(
                worker_on_request(w, &(struct wire_request){.kind = WIRE_KIND_REBOOT, .seq = 2}),
                0);
        assert_int_equal(worker_on_begun(w, &begun), 0);
        town.nodes_error = 0;
        town_kill(h.vmm);
        fake_time_pass(h.crew.event, 0);
        assert_true(worker_stays(w));
        assert_string_equal(h.keeper->cgroup, "");
        end(&h);
}

/* Their VM has been moved, or one of them: nobody knows to whose nodes the policies are bound. */
static void test_nodes_that_differ(void **state) {
        struct house h;

        begin(&h);
        h.vmm->nodes = "0-1";
        capture_begin();
        assert_int_equal(admit(&h, h.keeper), 0);
        assert_non_null(strstr(capture_end(), "stays in its VM's cgroup"));
        assert_true(worker_stays(last_worker(&h)));
        end(&h);
}

/* It is no worker, and must not stay where its VM's limits do not hold. */
static void test_threads_made_while_it_is_moved(void **state) {
        struct house h;

        begin(&h);
        h.keeper->n_threads_moved = 3;
        capture_begin();
        assert_int_equal(admit(&h, h.keeper), -EUSERS);
        assert_non_null(strstr(capture_end(), "process 11 made threads while it was moved: it is "
                                              "killed"));
        assert_true(h.keeper->killed);
        assert_int_equal(h.crew.workers.n, 0);
        end(&h);
}

static void test_moves_that_fail(void **state) {
        struct house h;

        begin(&h);
        town.new_error = -ENOSPC;
        expect_refused(&h, h.keeper, -ENOSPC);
        town.new_error = 0;
        town.attach_error = -EACCES;
        expect_refused(&h, h.keeper, -EACCES);
        town.attach_error = 0;
        town.remove_error = -EBUSY;
        town.attach_error = -EACCES;
        assert_int_equal(admit(&h, h.keeper), -EACCES);
        assert_true(h.crew.workers.purge); /* it is tried again */
        end(&h);
}

/* Whoever has that number now is a stranger, and is left alone. */
static void test_one_that_ends_while_it_is_moved(void **state) {
        struct house h;

        begin(&h);
        h.keeper->dies_moved = true;
        capture_begin();
        assert_int_equal(admit(&h, h.keeper), -ESRCH);
        assert_non_null(strstr(capture_end(), "worker 11 ended while it was moved"));
        assert_int_equal(h.crew.workers.n, 0);
        end(&h);
}

/* It made threads after peer.c had counted them. */
static void test_threads_made_before_it_is_moved(void **state) {
        struct task_stat stat = {.ppid = 10, .starttime = 1011, .n_threads = 1};
        int pidfd, r;
        struct worker *w;
        struct house h;

        begin(&h);
        h.keeper->n_threads = 2;
        pidfd = town_open(11);
        r = worker_new(&w, &h.crew.workers, 11, &stat, &pidfd);
        assert_int_equal(r, -EUSERS);
        assert_string_equal(h.keeper->cgroup, "");
        assert_false(h.keeper->killed);
        end(&h);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_a_keeper),
                checked_test(test_its_end_and_its_vmms),
                checked_test(test_who_is_no_keeper),
                checked_test(test_who_is_gone),
                checked_test(test_a_second_keeper),
                checked_test(test_a_keeper_of_another_vm),
                checked_test(test_a_unit_with_many_workers),
                checked_test(test_a_unit_with_too_many_workers),
                checked_test(test_a_keeper_overtakes_a_helper),
                checked_test(test_a_closer),
                checked_test(test_without_cgroups),
                checked_test(test_a_worker_that_stays),
                checked_test(test_a_worker_that_runs_is_not_moved),
                checked_test(test_nodes_that_differ),
                checked_test(test_threads_made_while_it_is_moved),
                checked_test(test_moves_that_fail),
                checked_test(test_one_that_ends_while_it_is_moved),
                checked_test(test_threads_made_before_it_is_moved),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
