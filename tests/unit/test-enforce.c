/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The CPU cap against a host that is made up: the calls of scheduling.c are replaced, so a test
 * says what the kernel admits and refuses, and sees in which order what was asked of it. The tasks
 * are real pids only as far as their pidfds go: one pipe stands for all, at its end they are dead.
 */

#include "fds.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "capture.h"
#include "daemon/cpu/enforce.h"
#include "rng.h"

#define PERCENT  (USEC_PER_SEC / 100)
#define N_TASKS  12
#define DEADLINE 6

/* ---- the host ---- */

static struct {
        struct share_host share;
        struct sched_state tasks[N_TASKS]; /* by pid - 1 */
        uint64_t admissible;               /* what there really is */
        uint64_t peak;                     /* of all shares, µs per s */
        int refuse_deadline, refuse_fair, refuse_cpus;
        unsigned n_freed, n_restored, n_set;
        char written[512];
        int write_result;
} host;

/* What it is worth, in µs per s, rounded up. */
static uint64_t share_usec_per_sec(const struct share *share) {
        return (share->runtime_nsec * USEC_PER_SEC + share->period_nsec - 1) / share->period_nsec;
}

static uint64_t total(void) {
        uint64_t sum = 0;

        for (int i = 0; i < N_TASKS; i++)
                if (host.tasks[i].sort == SCHED_SORT_DEADLINE)
                        sum += share_usec_per_sec(&host.tasks[i].share);
        return sum;
}

unsigned __wrap_sched_count_cpus(void);
void __wrap_sched_read_host(struct share_host *ret);
int __wrap_sched_look(pid_t pid, struct sched_state *ret);
int __wrap_sched_set_deadline(pid_t pid, const struct share *share);
int __wrap_sched_set_fair(pid_t pid, int policy);
int __wrap_sched_free_cpus(pid_t pid, struct sched_cpus **ret);
int __wrap_sched_set_cpus(pid_t pid, const struct sched_cpus *cpus);
const char *__wrap_sched_why(pid_t pid, int error);

unsigned __wrap_sched_count_cpus(void) {
        return host.share.n_cpus;
}

void __wrap_sched_read_host(struct share_host *ret) {
        *ret = host.share;
}

int __wrap_sched_look(pid_t pid, struct sched_state *ret) {
        *ret = host.tasks[pid - 1];
        return 0;
}

int __wrap_sched_set_deadline(pid_t pid, const struct share *share) {
        struct sched_state *task = &host.tasks[pid - 1], before = *task;

        if (host.refuse_deadline < 0)
                return host.refuse_deadline;
        host.n_set++;
        *task = (struct sched_state){
                .policy = DEADLINE, .sort = SCHED_SORT_DEADLINE, .share = *share};
        if (total() > host.admissible) {
                *task = before;
                return -EBUSY;
        }
        host.peak = max_u64(host.peak, total());
        return 0;
}

int __wrap_sched_set_fair(pid_t pid, int policy) {
        if (host.refuse_fair < 0)
                return host.refuse_fair;
        host.tasks[pid - 1] = (struct sched_state){
                .policy = policy, .sort = policy == SCHED_IDLE ? SCHED_SORT_IDLE : SCHED_SORT_FAIR};
        return 0;
}

int __wrap_sched_free_cpus(pid_t pid, struct sched_cpus **ret) {
        if (host.refuse_cpus < 0)
                return host.refuse_cpus;
        if (ret) {
                *ret = calloc(1, 1);
                host.n_freed++;
        }
        return 0;
}

int __wrap_sched_set_cpus(pid_t pid, const struct sched_cpus *cpus) {
        assert_non_null(cpus);
        host.n_restored++;
        return 0;
}

const char *__wrap_sched_why(pid_t pid, int error) {
        return error == -EPERM ? "may not" : error == -EBUSY ? "full" : "invalid";
}

static int on_write(void *userdata, const char *file, const char *value) {
        size_t n = strlen(host.written);

        (void)snprintf(host.written + n, sizeof(host.written) - n, "%s=%s;", file, value);
        return host.write_result;
}

/* ---- one scene ---- */

static struct enforce *enforce;
static struct enforce_task tasks[N_TASKS];
static int alive[2];

static int set_up(void **state) {
        static const struct enforce_cgroup cgroup = {.write = on_write};

        fds_setup(state);
        memset(&host, 0, sizeof(host));
        memset(tasks, 0, sizeof(tasks));
        host.share = (struct share_host){.n_cpus = 2,
                                         .tick_nsec = 4000000,
                                         .admissible = 190 * PERCENT,
                                         .period_min_nsec = 100000,
                                         .period_max_nsec = UINT64_C(4000000000)};
        host.admissible = 190 * PERCENT;
        assert_int_equal(pipe(alive), 0);
        assert_int_equal(enforce_new(&enforce, &cgroup), 0);
        host.written[0] = '\0';
        capture_begin();
        return 0;
}

static int tear_down(void **state) {
        (void)capture_end();
        enforce = enforce_free(enforce);
        close_fd(&alive[0]);
        close_fd(&alive[1]);
        return fds_teardown(state);
}

#define scene(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

static void set_policy(enum enforce_mode mode, uint64_t quota) {
        enforce_set_policy(enforce, &(struct enforce_policy){
                                            .mode = mode, .quota = quota, .period_usec = 10000});
}

static void add(int i) {
        enforce_add(enforce, &tasks[i], i + 1, alive[0], SCHED_BATCH);
}

static void check_capped(int i, uint64_t usec_per_sec) {
        assert_int_equal(host.tasks[i].sort, SCHED_SORT_DEADLINE);
        assert_int_equal(share_usec_per_sec(&host.tasks[i].share), usec_per_sec);
        assert_int_equal(tasks[i].state, TASK_CAPPED);
}

static void check_back(int i) {
        assert_int_equal(host.tasks[i].policy, SCHED_BATCH);
        assert_int_equal(tasks[i].state, TASK_FREE);
        assert_null(tasks[i].cpus);
}

static void check_backend(const char *backend, const char *reason) {
        assert_string_equal(enforce_get_backend(enforce), backend);
        assert_non_null(strstr(enforce_get_reason(enforce), reason));
}

/* ---- who enforces ---- */

static void test_enforce_modes(void **state) {
        check_backend("none", "there is no quota");
        set_policy(ENFORCE_DEADLINE, 50 * PERCENT);
        check_backend("deadline", "deadline: as configured");
        set_policy(ENFORCE_CGROUP, 50 * PERCENT);
        check_backend("cgroup", "cgroup: as configured");
        set_policy(ENFORCE_OFF, 50 * PERCENT);
        check_backend("off", "off: as configured");
        set_policy(ENFORCE_DEADLINE, 200 * PERCENT);
        check_backend("none", "the quota is all CPUs");
        set_policy(ENFORCE_DEADLINE, 195 * PERCENT);
        check_backend("cgroup", "more than SCHED_DEADLINE admits");
        set_policy(ENFORCE_DEADLINE, SHARE_UNLIMITED);
        check_backend("none", "there is no quota");
}

static void test_enforce_probe_decides(void **state) {
        set_policy(ENFORCE_AUTO, 50 * PERCENT);
        check_backend("deadline", "the test of cpu.max has not ended");
        enforce_set_probe(enforce, PROBE_HOLDS, "tried");
        check_backend("cgroup", "cpu.max acts inside system calls on this kernel");
        enforce_set_probe(enforce, PROBE_DOES_NOT_HOLD, "tried");
        check_backend("deadline", "cpu.max does not act inside system calls on this kernel");
        enforce_set_probe(enforce, PROBE_UNKNOWN, "no cpu controller");
        check_backend("deadline", "cannot test cpu.max: no cpu controller; using SCHED_DEADLINE");
        enforce_set_probe(enforce, PROBE_HOLDS, "tried");
        set_policy(ENFORCE_DEADLINE, 50 * PERCENT);
        check_backend("deadline", "as configured");
}

static void check_written(const char *expected) {
        assert_string_equal(host.written, expected);
        host.written[0] = '\0';
}

/* What a daemon before this one left in the cgroup does not hold for ever. */
static void test_enforce_forgets_limits(void **state) {
        static const struct enforce_cgroup cgroup = {.write = on_write};

        enforce = enforce_free(enforce);
        assert_int_equal(enforce_new(&enforce, &cgroup), 0);
        check_written("cpu.max=max;");
        set_policy(ENFORCE_AUTO, SHARE_UNLIMITED);
        check_written("");

        enforce = enforce_free(enforce);
        host.write_result = -EACCES;
        assert_int_equal(enforce_new(&enforce, &cgroup), 0);
        check_written("cpu.max=max;");
        set_policy(ENFORCE_AUTO, SHARE_UNLIMITED);
        check_written("cpu.max=max 10000;");
}

static void test_enforce_cpu_max(void **state) {
        set_policy(ENFORCE_AUTO, SHARE_UNLIMITED);
        check_written("");
        set_policy(ENFORCE_CGROUP, 50 * PERCENT);
        check_written("cpu.max=5000 10000;");
        enforce_tick(enforce); /* by itself, cpu.max is not to be refilled */
        check_written("");
        set_policy(ENFORCE_DEADLINE, 50 * PERCENT); /* the same */
        check_written("");
        enforce_tick(enforce); /* there can be no debt */
        set_policy(ENFORCE_DEADLINE, 50 * PERCENT);
        check_written("");
        set_policy(ENFORCE_DEADLINE, 2 * PERCENT); /* idle keepers need some */
        check_written("cpu.max=1000 10000;");
        set_policy(ENFORCE_CGROUP, 2 * PERCENT);
        check_written("cpu.max=1000 50000;");
        set_policy(ENFORCE_OFF, 2 * PERCENT);
        check_written("cpu.max=max 10000;");
        set_policy(ENFORCE_OFF, 2 * PERCENT);
        check_written("");
}

/* Who is not held by a share runs up a debt there, which others would have to pay. */
static void test_enforce_debts_are_forgiven(void **state) {
        set_policy(ENFORCE_DEADLINE, 50 * PERCENT);
        add(0);
        add(1);
        enforce_tick(enforce);
        check_written("cpu.max=5000 10000;");
        host.tasks[1] = (struct sched_state){.policy = SCHED_OTHER}; /* it escapes */
        enforce_tick(enforce);
        check_written("cpu.max=5000 10000;");
        enforce_tick(enforce);
        check_written("");
        enforce_remove(&tasks[1]);
        check_written("");
        host.refuse_deadline = -EPERM; /* and this one is not held at all */
        add(2);
        enforce_tick(enforce);
        check_written("cpu.max=5000 10000;");
        enforce_remove(&tasks[2]);
        check_written("cpu.max=5000 10000;");
        (void)capture_end();
        capture_begin();
}

static void test_enforce_no_controller(void **state) {
        const char *said;

        host.write_result = -ENOENT;
        set_policy(ENFORCE_CGROUP, 50 * PERCENT);
        set_policy(ENFORCE_CGROUP, 40 * PERCENT);
        said = capture_end();
        assert_non_null(strstr(said, "cannot set cpu.max"));
        assert_null(strstr(strstr(said, "cannot set cpu.max") + 1, "cannot set cpu.max"));
        check_backend("cgroup", "but cpu.max cannot be set");
        capture_begin();
}

/* What could not be written is tried again with the next change, whatever that is. */
static void test_enforce_what_failed_is_written(void **state) {
        set_policy(ENFORCE_CGROUP, 50 * PERCENT);
        host.written[0] = '\0';
        host.write_result = -EIO;
        set_policy(ENFORCE_OFF, 50 * PERCENT);
        check_written("cpu.max=max 10000;");
        host.write_result = 0;
        set_policy(ENFORCE_OFF, 50 * PERCENT);
        check_written("cpu.max=max 10000;");
        (void)capture_end();
        capture_begin();
}

/* ---- shares ---- */

static void test_enforce_shares_follow_workers(void **state) {
        set_policy(ENFORCE_DEADLINE, 40 * PERCENT);
        add(0);
        check_capped(0, 40 * PERCENT);
        add(1);
        check_capped(0, 20 * PERCENT);
        check_capped(1, 20 * PERCENT);
        enforce_remove(&tasks[0]);
        check_back(0);
        check_capped(1, 40 * PERCENT);
        set_policy(ENFORCE_DEADLINE, 10 * PERCENT);
        check_capped(1, 10 * PERCENT);
        set_policy(ENFORCE_OFF, 10 * PERCENT);
        check_back(1);
        assert_int_equal(host.n_freed, 2);
        assert_int_equal(host.n_restored, 2);
        enforce_remove(&tasks[1]);
        enforce_remove(&tasks[1]);
        check_back(1);
}

static void test_enforce_no_cap_needed(void **state) {
        set_policy(ENFORCE_DEADLINE, 100 * PERCENT);
        add(0);
        assert_int_equal(tasks[0].state, TASK_FREE);
        add(1);
        check_capped(0, 50 * PERCENT);
        enforce_remove(&tasks[1]);
        check_back(0);
        assert_int_equal(host.n_set, 2);
}

static void test_enforce_nothing_is_set_twice(void **state) {
        set_policy(ENFORCE_DEADLINE, 40 * PERCENT);
        add(0);
        add(1);
        host.n_set = 0;
        set_policy(ENFORCE_DEADLINE, 40 * PERCENT);
        enforce_tick(enforce);
        add(1);
        assert_int_equal(host.n_set, 0);
        assert_int_equal(enforce_get_counts(enforce).n_tasks, 2);
}

/* Whatever happens, at no moment is there more than the larger of the old and the new quota. */
static void test_enforce_never_above_quota(void **state) {
        uint64_t quota = 0, before;
        struct rng rng = {17};

        for (int step = 0; step < 4000; step++) {
                int i = (int)rng_below(&rng, N_TASKS);

                before = quota;
                if (rng_below(&rng, 4) == 0) {
                        quota = 1000 + rng_below(&rng, 180 * PERCENT);
                        set_policy(ENFORCE_DEADLINE, quota);
                } else if (tasks[i].enforce) {
                        enforce_remove(&tasks[i]);
                } else {
                        add(i);
                }
                assert_true(host.peak <= max_u64(quota, before) + N_TASKS); /* rounded up */
                host.peak = total();
        }
        assert_int_equal(enforce_get_counts(enforce).n_refused, 0);
}

/* ---- refusals ---- */

static void test_enforce_less_is_admitted(void **state) {
        host.admissible = 30 * PERCENT;
        set_policy(ENFORCE_DEADLINE, 40 * PERCENT);
        add(0);
        assert_int_equal(tasks[0].state, TASK_SHORT);
        assert_in_range(total(), 28 * PERCENT, 30 * PERCENT);
        assert_int_equal(share_usec_per_sec(&tasks[0].share), total());
        assert_int_equal(enforce_get_counts(enforce).n_unenforced, 0);
        assert_int_equal(enforce_get_counts(enforce).n_refused, 1);
        enforce_tick(enforce);
        assert_int_equal(enforce_get_counts(enforce).n_refused, 1);
        host.admissible = 190 * PERCENT;
        enforce_tick(enforce);
        check_capped(0, 40 * PERCENT);
        assert_non_null(strstr(capture_end(), "cap the CPU of worker 1 as configured (full)"));
        capture_begin();
}

static void test_enforce_nothing_is_admitted(void **state) {
        host.admissible = 0;
        set_policy(ENFORCE_DEADLINE, 40 * PERCENT);
        add(0);
        assert_int_equal(tasks[0].state, TASK_IDLE);
        assert_int_equal(host.tasks[0].policy, SCHED_IDLE);
        assert_int_equal(enforce_get_counts(enforce).n_unenforced, 1);
        enforce_remove(&tasks[0]);
        check_back(0);
        assert_int_equal(enforce_get_counts(enforce).n_refused, 1); /* they outlive the task */
}

static void test_enforce_pinned(void **state) {
        set_policy(ENFORCE_DEADLINE, 40 * PERCENT);
        host.refuse_deadline = -EPERM;
        add(0);
        assert_int_equal(tasks[0].state, TASK_IDLE);
        host.refuse_deadline = 0;
        enforce_tick(enforce);
        check_capped(0, 40 * PERCENT);
        enforce_remove(&tasks[0]);
        check_back(0);
        assert_int_equal(host.n_restored, host.n_freed);
}

static void test_enforce_not_permitted(void **state) {
        set_policy(ENFORCE_DEADLINE, 40 * PERCENT);
        host.refuse_deadline = host.refuse_fair = host.refuse_cpus = -EPERM;
        add(0);
        enforce_tick(enforce);
        assert_int_equal(tasks[0].state, TASK_UNCAPPED);
        assert_int_equal(enforce_get_counts(enforce).n_unenforced, 1);
        assert_int_equal(enforce_get_counts(enforce).n_refused, 1);
        assert_non_null(strstr(capture_end(), "(may not): only cpu.max caps it"));
        capture_begin();
        enforce_remove(&tasks[0]);
        assert_string_equal(capture_end(), ""); /* there is nothing to take back */
        capture_begin();
}

/* ---- escapes, death, restart ---- */

static void test_enforce_escape_is_noticed(void **state) {
        set_policy(ENFORCE_DEADLINE, 40 * PERCENT);
        add(0);
        host.tasks[0] = (struct sched_state){.policy = SCHED_OTHER};
        enforce_tick(enforce);
        check_capped(0, 40 * PERCENT);
        host.tasks[0].share.runtime_nsec *= 2;
        enforce_tick(enforce);
        check_capped(0, 40 * PERCENT);
        assert_int_equal(enforce_get_counts(enforce).n_escaped, 2);
        enforce_tick(enforce);
        enforce_remove(&tasks[0]);
        assert_int_equal(enforce_get_counts(enforce).n_escaped, 2);
        assert_non_null(strstr(capture_end(), "worker 1 has left its CPU cap (2 times so far)"));
        capture_begin();
}

/* The dead are not touched: what a zombie gets is lost. */
static void test_enforce_dead(void **state) {
        set_policy(ENFORCE_DEADLINE, 40 * PERCENT);
        add(0);
        host.n_set = 0;
        close_fd(&alive[1]); /* POLLHUP: as a pidfd of the dead */
        set_policy(ENFORCE_DEADLINE, 20 * PERCENT);
        add(1);
        enforce_tick(enforce);
        assert_int_equal(host.n_set, 0);
        assert_int_equal(tasks[0].state, TASK_GONE);
        enforce_remove(&tasks[0]);
        enforce_remove(&tasks[1]);
        assert_int_equal(host.tasks[0].sort, SCHED_SORT_DEADLINE);
}

static void test_enforce_after_restart(void **state) {
        host.tasks[0] = (struct sched_state){.policy = DEADLINE, .sort = SCHED_SORT_DEADLINE};
        host.tasks[0].share = (struct share){.runtime_nsec = 4000000, .period_nsec = 8000000};
        host.tasks[1] = (struct sched_state){.policy = SCHED_IDLE, .sort = SCHED_SORT_IDLE};
        add(0);
        add(1);
        check_back(0);
        check_back(1);
        host.tasks[2] = (struct sched_state){.policy = DEADLINE, .sort = SCHED_SORT_DEADLINE};
        host.tasks[2].share = (struct share){.runtime_nsec = 4000000, .period_nsec = 8000000};
        set_policy(ENFORCE_DEADLINE, 30 * PERCENT);
        add(2);
        for (int i = 0; i < 3; i++)
                check_capped(i, 10 * PERCENT);
        enforce = enforce_free(enforce); /* what it gave stays in force */
        for (int i = 0; i < 3; i++) {
                assert_int_equal(share_usec_per_sec(&host.tasks[i].share), 10 * PERCENT);
                assert_null(tasks[i].enforce);
                assert_null(tasks[i].cpus);
        }
}

/* Where it might run before an earlier daemon capped it is known, unless that cap is gone. */
static void test_enforce_cpus_of_an_earlier_daemon(void **state) {
        host.tasks[0] = (struct sched_state){.policy = DEADLINE, .sort = SCHED_SORT_DEADLINE};
        tasks[0].cpus = calloc(1, 1);
        tasks[1].cpus = calloc(1, 1);
        set_policy(ENFORCE_DEADLINE, 20 * PERCENT);
        add(0);
        add(1);
        assert_int_equal(host.n_freed, 1); /* of 1: it was where it wants to be */
        enforce_remove(&tasks[0]);
        enforce_remove(&tasks[1]);
        assert_int_equal(host.n_restored, 2);
        tasks[0].cpus = calloc(1, 1);
        host.tasks[0] = (struct sched_state){.policy = DEADLINE, .sort = SCHED_SORT_DEADLINE};
        set_policy(ENFORCE_OFF, 20 * PERCENT); /* no cap any more */
        add(0);
        check_back(0);
        assert_int_equal(host.n_restored, 3);
}

/* Each is asked once, whatever the number of them, and what was left makes room first. */
static void test_enforce_many_at_once(void **state) {
        set_policy(ENFORCE_DEADLINE, 60 * PERCENT);
        host.admissible = 60 * PERCENT;
        host.tasks[N_TASKS - 1] =
                (struct sched_state){.policy = DEADLINE,
                                     .sort = SCHED_SORT_DEADLINE,
                                     .share = {.runtime_nsec = 6000000, .period_nsec = 10000000}};
        enforce_hold(enforce);
        for (int i = 0; i < N_TASKS; i++)
                add(i);
        assert_int_equal(host.n_set, 0);
        enforce_settle(enforce);
        assert_int_equal(host.n_set, N_TASKS);
        for (int i = 0; i < N_TASKS; i++)
                check_capped(i, 5 * PERCENT);
        enforce_hold(enforce);
        for (int i = 1; i < N_TASKS; i++)
                enforce_remove(&tasks[i]);
        check_back(1);
        enforce_settle(enforce);
        check_capped(0, 60 * PERCENT);
        assert_int_equal(host.n_set, N_TASKS + 1);
        assert_int_equal(enforce_get_counts(enforce).n_refused, 0);
}

static void test_enforce_has_cap(void **state) {
        for (int sort = SCHED_SORT_FAIR; sort <= SCHED_SORT_REALTIME; sort++) {
                host.tasks[0].sort = (enum sched_sort)sort;
                assert_int_equal(enforce_has_cap(1),
                                 sort == SCHED_SORT_IDLE || sort == SCHED_SORT_DEADLINE);
        }
}

int main(void) {
        const struct CMUnitTest tests_[] = {
                scene(test_enforce_modes),
                scene(test_enforce_probe_decides),
                scene(test_enforce_forgets_limits),
                scene(test_enforce_cpu_max),
                scene(test_enforce_debts_are_forgiven),
                scene(test_enforce_what_failed_is_written),
                scene(test_enforce_no_controller),
                scene(test_enforce_shares_follow_workers),
                scene(test_enforce_no_cap_needed),
                scene(test_enforce_nothing_is_set_twice),
                scene(test_enforce_never_above_quota),
                scene(test_enforce_less_is_admitted),
                scene(test_enforce_nothing_is_admitted),
                scene(test_enforce_pinned),
                scene(test_enforce_not_permitted),
                scene(test_enforce_escape_is_noticed),
                scene(test_enforce_dead),
                scene(test_enforce_after_restart),
                scene(test_enforce_cpus_of_an_earlier_daemon),
                scene(test_enforce_many_at_once),
                scene(test_enforce_has_cap),
        };

        return cmocka_run_group_tests(tests_, NULL, NULL);
}
