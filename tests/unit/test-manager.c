/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The manager's loop: what is granted when, what is looked at once a second and until when, who is
 * told, and what the configuration and the modes change. Its parts are the real ones. Processes and
 * cgroups are made up (town.h), and the clock is the test's (loop.h).
 */

#include "manager-house.h"

/* ---- granting ---- */

static void test_as_many_as_may_run(void **state) {
        struct keeper k[3];
        struct house h;

        begin_with(&h, k, 3);
        assert_false(is_granted(&k[0])); /* from the loop only */
        pass(&h, 0);
        assert_true(is_granted(&k[0]) && is_granted(&k[1]));
        assert_false(is_granted(&k[2]));
        assert_int_equal(h.n_queued, 3);
        assert_int_equal(h.n_running, 2);
        pass(&h, 9 * SEC);
        assert_false(is_granted(&k[2]));
        done(&k[0], 1);
        pass(&h, 0);
        assert_true(is_granted(&k[2]));
        free_keepers(&h, k, 3);
}

static void test_the_end_of_a_worker_is_anothers_turn(void **state) {
        struct keeper k[3];
        struct house h;

        begin_with(&h, k, 3);
        pass(&h, 0);
        town_kill(k[1].citizen);
        assert_non_null(strstr(pass(&h, 0), "lost"));
        assert_true(is_granted(&k[2]));
        assert_int_equal(h.m->workers.n, 2);
        free_keepers(&h, k, 3);
}

/* start-rate: the next one has to wait, and does not wait for anything to happen. */
static void test_jobs_start_at_a_rate(void **state) {
        struct keeper k[2];
        struct house h;

        begin(&h);
        h.m->config->start_rate = 60;
        h.m->config->start_burst = 1;
        manager_apply(h.m);
        pass(&h, 60 * SEC); /* the bucket is full */
        keeper_new(&k[0], &h, 100);
        keeper_new(&k[1], &h, 110);
        request(&k[0], 1);
        request(&k[1], 1);
        pass(&h, 59 * SEC);
        assert_true(is_granted(&k[0]));
        assert_false(is_granted(&k[1]));
        pass(&h, SEC);
        assert_true(is_granted(&k[1]));
        free_keepers(&h, k, 2);
}

/* ---- once a second ---- */

static void test_one_that_stands_still_makes_room(void **state) {
        struct keeper k[3];
        struct house h;

        begin_with(&h, k, 3);
        pass(&h, 0);
        for (unsigned i = 0; i < 12; i++) {
                k[1].citizen->cgroup_cpu_usec += USEC_PER_MSEC * 2; /* it moves */
                pass(&h, SEC);
        }
        assert_string_equal(worker_state_to_string(k[0].worker), "overdue");
        assert_string_equal(worker_state_to_string(k[1].worker), "running");
        assert_true(is_granted(&k[2]));
        free_keepers(&h, k, 3);
}

/* The loop rests when there is nothing to look at. */
static void test_it_ticks_only_with_work(void **state) {
        struct keeper k[1];
        struct house h;
        unsigned n;

        begin_with(&h, k, 1);
        pass(&h, SEC / 2);
        n = h.n_changed;
        pass(&h, 5 * SEC);
        assert_int_equal(h.n_changed - n, 5);
        done(&k[0], 1);
        pass(&h, 2 * SEC);
        n = h.n_changed;
        pass(&h, 100 * SEC);
        assert_int_equal(h.n_changed, n);
        request(&k[0], 2);
        pass(&h, 0);
        n = h.n_changed;
        pass(&h, 3 * SEC);
        assert_int_equal(h.n_changed - n, 3);
        free_keepers(&h, k, 1);
}

/* One that was sent away idle is looked at until it moves. */
static void test_it_ticks_for_one_that_is_away(void **state) {
        struct keeper k[1];
        struct house h;

        begin(&h);
        keeper_new(&k[0], &h, 100);
        worker_set_state(k[0].worker, WORKER_SENT_AWAY);
        pass(&h, 30 * SEC);
        k[0].citizen->cgroup_cpu_usec += GOVERNOR_MOVE_USEC;
        pass(&h, 11 * SEC);
        assert_int_equal(k[0].worker->state, WORKER_AWAY);
        free_keepers(&h, k, 1);
}

/* A cgroup that could not be removed: it is tried until nobody is left in it. */
static void test_what_is_left_is_removed_later(void **state) {
        struct citizen *stranger;
        struct house h;

        begin(&h);
        stranger = town_add(50, 1);
        strcpy(stranger->cgroup, "/town/jobs/vm-50-1");
        h.m->workers.purge = true;
        manager_changed(h.m);
        pass(&h, 10 * SEC);
        assert_true(h.m->workers.purge);
        stranger->cgroup[0] = '\0';
        pass(&h, SEC);
        assert_false(h.m->workers.purge);
        end(&h);
}

/* Its end has not come to us yet: its bill must not go with its cgroup. */
static void test_the_purge_leaves_known_workers_alone(void **state) {
        struct citizen *left;
        struct keeper k[1];
        struct house h;

        begin_with(&h, k, 1);
        (void)pass(&h, 0);
        k[0].citizen->cgroup_cpu_usec = 700;
        assert_int_equal(sd_event_source_set_enabled(k[0].worker->exit_source, SD_EVENT_OFF), 0);
        town_bury(k[0].citizen);
        left = town_add(60, 1);
        strcpy(left->cgroup, "/town/jobs/vm-60-1060");
        strcpy(left->mark, "done=0 job=1 kind=1 bytes=4096 queued=1 granted=2 cpu=3 unit=x");
        town_bury(left);
        h.m->workers.purge = true;
        assert_non_null(strstr(pass(&h, SEC), "(pid 60, unit x) lost"));
        assert_string_equal(left->cgroup, "");
        assert_string_not_equal(k[0].citizen->cgroup, "");
        assert_false(h.m->workers.purge);
        assert_int_equal(sd_event_source_set_enabled(k[0].worker->exit_source, SD_EVENT_ON), 0);
        assert_non_null(strstr(pass(&h, 0), "CPU 0.000700 s"));
        assert_string_equal(k[0].citizen->cgroup, "");
        free_keepers(&h, k, 1);
}

/* ---- who is told ---- */

static void test_watchers_are_told(void **state) {
        struct manager_watcher deaf = {};
        struct keeper k[1];
        struct house h;
        unsigned n;

        begin(&h);
        manager_watch(h.m, &deaf); /* both are optional */
        keeper_new(&k[0], &h, 100);
        request(&k[0], 1);
        assert_int_equal(h.n_queued, 1);
        pass(&h, 0);
        assert_int_equal(h.n_running, 1);
        n = h.n_changed;
        done(&k[0], 1);
        assert_int_equal(h.n_ended, 1);
        pass(&h, 0);
        assert_true(h.n_changed > n);
        manager_unwatch(h.m, &h.watcher);
        n = h.n_changed;
        request(&k[0], 2);
        pass(&h, 0);
        assert_int_equal(h.n_queued, 1);
        assert_int_equal(h.n_changed, n);
        manager_watch(h.m, &h.watcher);
        manager_unwatch(h.m, &deaf);
        free_keepers(&h, k, 1);
}

static void test_jobs_are_remembered(void **state) {
        const struct wire_begun begun = {.seq = 2};
        struct keeper k[1];
        struct house h;

        begin_with(&h, k, 1);
        pass(&h, 0);
        done(&k[0], 1);
        request(&k[0], 2);
        assert_int_equal(worker_on_begun(k[0].worker, &begun), 0);
        done(&k[0], 2);
        assert_int_equal(h.m->ledger.n_history, 2);
        assert_int_equal(h.m->ledger.totals[JOB_DONE], 1);
        assert_int_equal(h.m->ledger.totals[JOB_UNGOVERNED], 1);
        assert_int_equal(h.m->ledger.tally.n_begun, 1);
        free_keepers(&h, k, 1);
}

/* ---- modes and configuration ---- */

static void test_short_memory_lets_more_run(void **state) {
        struct keeper k[3];
        struct house h;

        begin_with(&h, k, 3);
        pass(&h, SEC);
        assert_false(is_granted(&k[2]));
        set_available(&h, 3 * GIB);
        assert_non_null(strstr(pass(&h, SEC), "memory is short"));
        assert_int_equal(governor_mode(&h.m->governor), GOVERNOR_BOOST);
        assert_true(is_granted(&k[2]));
        assert_int_equal(h.m->ledger.tally.n_boosts, 1);
        set_available(&h, 8 * GIB);
        assert_non_null(strstr(pass(&h, SEC), "memory is no longer short"));
        assert_int_equal(governor_mode(&h.m->governor), GOVERNOR_NORMAL);
        assert_int_equal(h.m->ledger.tally.n_boosts, 1);
        free_keepers(&h, k, 3);
}

static void test_a_mode_acts_at_once(void **state) {
        struct keeper k[3];
        struct house h;

        begin_with(&h, k, 3);
        pass(&h, 0);
        manager_set_mode(h.m, GOVERNOR_DRAINING, true);
        pass(&h, 0);
        assert_int_equal(governor_mode(&h.m->governor), GOVERNOR_DRAINING);
        assert_true(is_granted(&k[2]));
        manager_set_mode(h.m, GOVERNOR_DRAINING, false);
        assert_int_equal(governor_mode(&h.m->governor), GOVERNOR_NORMAL);
        assert_int_equal(h.m->governor.effective.max_concurrent, 2);
        free_keepers(&h, k, 3);
}

static void test_a_new_configuration_acts_at_once(void **state) {
        struct keeper k[3];
        struct house h;

        begin_with(&h, k, 3);
        pass(&h, 0);
        set(h.m->config, "max-concurrent", "3");
        set(h.m->config, "unit-connections", "7");
        manager_apply(h.m);
        pass(&h, 0);
        assert_true(is_granted(&k[2]));
        assert_int_equal(h.m->governor.units.limits.most[UNIT_CONNECTIONS], 7);
        free_keepers(&h, k, 3);
}

/* The line of memory is drawn while jobs run. */
static void test_a_new_line_of_memory_acts_at_once(void **state) {
        struct keeper k[1];
        struct house h;

        begin(&h);
        set(h.m->config, "memory-low", "0");
        set_available(&h, 3 * GIB);
        keeper_new(&k[0], &h, 100);
        request(&k[0], 1);
        pass(&h, 5 * SEC);
        assert_int_equal(governor_mode(&h.m->governor), GOVERNOR_NORMAL);
        set(h.m->config, "memory-low", "4G");
        manager_apply(h.m);
        pass(&h, 0);
        assert_int_equal(governor_mode(&h.m->governor), GOVERNOR_BOOST);
        free_keepers(&h, k, 1);
}

/* Who asks for it makes nobody look at files: GetStatus did, for each job that waits. */
static void test_the_quota_in_force(void **state) {
        unsigned n_looks;
        struct house h;

        begin(&h);
        assert_true(manager_cpu_quota(h.m) == USEC_INFINITY);
        set(h.m->config, "cpu-enforce", "off"); /* what is decided, not what is done */
        set(h.m->config, "cpu-quota", "30%");
        set(h.m->config, "boost-cpu-quota", "70%");
        manager_apply(h.m);
        assert_int_equal(manager_cpu_quota(h.m), 30 * SEC / 100);
        manager_set_mode(h.m, GOVERNOR_BOOST, true);
        assert_int_equal(manager_cpu_quota(h.m), 70 * SEC / 100);
        manager_set_mode(h.m, GOVERNOR_BOOST, false);
        set(h.m->config, "cpu-quota", "auto");
        town.yields = true;
        manager_apply(h.m);
        assert_true(manager_cpu_quota(h.m) == USEC_INFINITY);
        town.yields = false;
        manager_apply(h.m);
        n_looks = town.n_yields;
        assert_true(manager_cpu_quota(h.m) <= 40 * SEC / 100);
        assert_int_equal(town.n_yields, n_looks);
        end(&h);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_as_many_as_may_run),
                checked_test(test_the_end_of_a_worker_is_anothers_turn),
                checked_test(test_jobs_start_at_a_rate),
                checked_test(test_one_that_stands_still_makes_room),
                checked_test(test_it_ticks_only_with_work),
                checked_test(test_it_ticks_for_one_that_is_away),
                checked_test(test_what_is_left_is_removed_later),
                checked_test(test_the_purge_leaves_known_workers_alone),
                checked_test(test_watchers_are_told),
                checked_test(test_jobs_are_remembered),
                checked_test(test_short_memory_lets_more_run),
                checked_test(test_a_mode_acts_at_once),
                checked_test(test_a_new_configuration_acts_at_once),
                checked_test(test_a_new_line_of_memory_acts_at_once),
                checked_test(test_the_quota_in_force),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
