/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Scheduling policies of real children, set from outside: by root, or by whoever has CAP_SYS_NICE;
 * the rest is skipped elsewhere. Shares are small, so that a host with other deadline tasks admits
 * them, and children are alive when they are changed: bandwidth that a zombie gets does not come
 * back.
 */

#include "fds.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "children.h"
#include "daemon/cpu/scheduling.h"

#define DEADLINE 6

static const struct share small = {.runtime_nsec = 1000000, .period_nsec = 100000000};
static const struct share smaller = {.runtime_nsec = 500000, .period_nsec = 100000000};

static void check_sort(pid_t pid, enum sched_sort sort, int policy) {
        struct sched_state state;

        assert_int_equal(sched_look(pid, &state), 0);
        assert_int_equal(state.sort, sort);
        assert_int_equal(state.policy, policy);
}

static void test_scheduling_host(void **state) {
        struct share_host host;

        sched_read_host(&host);
        assert_int_equal(host.n_cpus, sysconf(_SC_NPROCESSORS_ONLN));
        assert_in_range(host.tick_nsec, 1000000, 10000000); /* HZ=1000 .. 100 */
        assert_true(host.period_min_nsec >= 100000);
        assert_true(host.period_max_nsec <= UINT64_C(4000000000));
        assert_true(host.period_max_nsec > host.period_min_nsec);
        assert_true(host.admissible > 0);
}

static void test_scheduling_there_and_back(void **state) {
        struct child child = child_new("worker", NULL);
        struct sched_param batch = {};
        struct sched_state look;

        assert_int_equal(sched_setscheduler(child.pid, SCHED_BATCH, &batch), 0);
        assert_int_equal(setpriority(PRIO_PROCESS, (id_t)child.pid, 7), 0);
        assert_int_equal(sched_set_deadline(child.pid, &small), 0);
        check_sort(child.pid, SCHED_SORT_DEADLINE, DEADLINE);
        assert_int_equal(sched_set_deadline(child.pid, &smaller), 0);
        assert_int_equal(sched_look(child.pid, &look), 0);
        assert_int_equal(look.share.runtime_nsec, smaller.runtime_nsec);
        assert_int_equal(look.share.period_nsec, smaller.period_nsec);
        assert_int_equal(look.nice, 7);
        assert_int_equal(sched_set_fair(child.pid, SCHED_IDLE), 0);
        check_sort(child.pid, SCHED_SORT_IDLE, SCHED_IDLE);
        assert_int_equal(sched_set_deadline(child.pid, &small), 0);
        assert_int_equal(sched_set_fair(child.pid, SCHED_BATCH), 0);
        check_sort(child.pid, SCHED_SORT_FAIR, SCHED_BATCH);
        assert_int_equal(getpriority(PRIO_PROCESS, (id_t)child.pid), 7);
        child_end(&child);
}

/* getpriority(2) returns it, and -1 for a failure. */
static void test_scheduling_nice_minus_one(void **state) {
        struct child child = child_new("nice", NULL);
        struct sched_state look;

        assert_int_equal(setpriority(PRIO_PROCESS, (id_t)child.pid, -1), 0);
        assert_int_equal(sched_look(child.pid, &look), 0);
        assert_int_equal(look.nice, -1);
        assert_int_equal(sched_set_fair(child.pid, SCHED_BATCH), 0);
        assert_int_equal(getpriority(PRIO_PROCESS, (id_t)child.pid), -1);
        child_end(&child);
}

static void test_scheduling_pinned(void **state) {
        struct child child = child_new("pinned", NULL);
        struct sched_cpus *had;
        cpu_set_t one, now;

        CPU_ZERO(&one);
        CPU_SET(0, &one);
        assert_int_equal(sched_setaffinity(child.pid, sizeof(one), &one), 0);
        assert_int_equal(sched_set_deadline(child.pid, &small), -EPERM);
        assert_non_null(strstr(sched_why(child.pid, -EPERM), "pinned"));
        assert_int_equal(sched_free_cpus(child.pid, &had), 0);
        assert_int_equal(sched_set_deadline(child.pid, &small), 0);
        assert_int_equal(sched_free_cpus(child.pid, NULL), 0);
        assert_int_equal(sched_set_fair(child.pid, SCHED_OTHER), 0);
        assert_int_equal(sched_set_cpus(child.pid, had), 0);
        assert_int_equal(sched_getaffinity(child.pid, sizeof(now), &now), 0);
        assert_true(CPU_EQUAL(&one, &now));
        free(had);
        child_end(&child);
}

static void test_scheduling_gone(void **state) {
        struct child child = child_new("gone", NULL);
        struct sched_cpus *cpus;
        struct sched_state look;
        pid_t pid = child.pid;

        child_end(&child);
        assert_int_equal(sched_set_deadline(pid, &small), -ESRCH);
        assert_int_equal(sched_set_fair(pid, SCHED_OTHER), -ESRCH);
        assert_int_equal(sched_look(pid, &look), -ESRCH);
        assert_int_equal(sched_free_cpus(pid, &cpus), -ESRCH);
}

/* 0 is ourselves, to the kernel: a mistake in a pid must not change the daemon. */
static void test_scheduling_never_ourselves(void **state) {
        struct sched_cpus *cpus;
        struct sched_state look;

        assert_int_equal(sched_set_deadline(0, &small), -ESRCH);
        assert_int_equal(sched_set_fair(0, SCHED_IDLE), -ESRCH);
        assert_int_equal(sched_look(0, &look), -ESRCH);
        assert_int_equal(sched_free_cpus(0, &cpus), -ESRCH);
        check_sort(getpid(), SCHED_SORT_FAIR, sched_getscheduler(0));
}

static void test_scheduling_out_of_range(void **state) {
        static const struct share shares[] = {
                {.runtime_nsec = 1023, .period_nsec = 100000000},
                {.runtime_nsec = 100001, .period_nsec = 100000},
                {.runtime_nsec = 1024, .period_nsec = 50000},
                {.runtime_nsec = 1000000, .period_nsec = UINT64_C(60000000000)},
        };
        struct child child = child_new("range", NULL);

        for (size_t i = 0; i < ARRAY_SIZE(shares); i++)
                assert_int_equal(sched_set_deadline(child.pid, &shares[i]), -EINVAL);
        check_sort(child.pid, SCHED_SORT_FAIR, SCHED_OTHER);
        child_end(&child);
}

/* As many as it takes: each has nearly a whole CPU. */
static void test_scheduling_full(void **state) {
        const struct share nearly_all = {.runtime_nsec = 94000000, .period_nsec = 100000000};
        long n = sysconf(_SC_NPROCESSORS_ONLN) + 1;
        struct child children[64];
        int r = 0;
        long i;

        n = n < 64 ? n : 64;
        for (i = 0; i < n && r == 0; i++) {
                children[i] = child_new("full", NULL);
                r = sched_set_deadline(children[i].pid, &nearly_all);
        }
        assert_int_equal(r, -EBUSY);
        assert_non_null(strstr(sched_why(children[0].pid, r), "admits"));
        while (i-- > 0)
                child_end(&children[i]);
}

static int fork_errno(const struct share *share) {
        pid_t outer = fork(), inner;

        if (outer != 0)
                return wait_for_exit(outer);
        if (sched_set_deadline(getpid(), share) < 0)
                _exit(255);
        inner = fork();
        if (inner == 0)
                _exit(sched_getscheduler(0) == SCHED_OTHER ? 0 : 1);
        if (inner < 0)
                _exit(errno);
        _exit(wait_for_exit(inner) == 0 ? 0 : 254);
}

static void test_scheduling_fork(void **state) {
        assert_int_equal(fork_errno(&small), EAGAIN);
}

/* Without the capability the reason is that, whatever else may be wrong. */
static void test_scheduling_no_capability(void **state) {
        struct child child = child_new("nobody", NULL);
        pid_t other = fork();

        if (other == 0) {
                struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
                struct __user_cap_data_struct none[2] = {};

                if (syscall(SYS_capset, &header, none) < 0)
                        _exit(2);
                _exit(sched_set_deadline(child.pid, &small) == -EPERM &&
                                      strcmp(sched_why(child.pid, -EPERM), "no CAP_SYS_NICE") == 0
                              ? 0
                              : 1);
        }
        assert_int_equal(wait_for_exit(other), 0);
        child_end(&child);
}

static const char *why_not(void) {
        pid_t pid = fork();

        if (pid == 0)
                _exit(sched_set_deadline(getpid(), &small) == 0 ? 0 : 1);
        return wait_for_exit(pid) == 0 ? NULL : "SCHED_DEADLINE is refused here";
}

static void test_scheduling_lists_of_cpus(void **state) {
        static const char *const lists[] = {"0", "0-1", "1,3-5,8191", "63-64", "0-8191"};
        static const char *const wrong[] = {"", "x", "1;", "1-", "3-1", "8192", "1 2", "-1"};
        struct child child = child_new("worker", NULL);
        struct sched_cpus *cpus;
        char list[64];

        assert_int_equal(sched_list_cpus(child.pid, list, sizeof(list)), 0);
        assert_string_equal(list, ""); /* all of them */
        for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
                assert_int_equal(sched_parse_cpus(&cpus, lists[i]), 0);
                free(cpus);
        }
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
                assert_int_equal(sched_parse_cpus(&cpus, wrong[i]), -EBADMSG);
        if (sysconf(_SC_NPROCESSORS_ONLN) > 1) {
                assert_int_equal(sched_parse_cpus(&cpus, "1,4000-8191"), 0);
                assert_int_equal(sched_set_cpus(child.pid, cpus), 0);
                free(cpus);
                assert_int_equal(sched_list_cpus(child.pid, list, sizeof(list)), 0);
                assert_string_equal(list, "1");
                assert_int_equal(sched_list_cpus(child.pid, list, 1), -ERANGE);
        }
        child_end(&child);
        assert_int_equal(sched_list_cpus(0, list, sizeof(list)), -ESRCH);
}

static const char *no_priority(void) {
        pid_t pid = fork();

        if (pid == 0)
                _exit(setpriority(PRIO_PROCESS, 0, -1) == 0 ? 0 : 1);
        return wait_for_exit(pid) == 0 ? NULL : "no nice value below 0 here";
}

int main(void) {
        const char *why = why_not();
        const char *one_cpu = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? why : "there is only one CPU";
        const struct CMUnitTest tests[] = {
                checked_test(test_scheduling_host),
                checked_test(test_scheduling_gone),
                checked_test(test_scheduling_never_ourselves),
                checked_test(test_scheduling_lists_of_cpus),
                checked_test_unless(why, test_scheduling_there_and_back),
                checked_test_unless(no_priority(), test_scheduling_nice_minus_one),
                checked_test_unless(one_cpu, test_scheduling_pinned),
                checked_test_unless(why, test_scheduling_out_of_range),
                checked_test_unless(why, test_scheduling_full),
                checked_test_unless(why, test_scheduling_fork),
                checked_test_unless(why, test_scheduling_no_capability),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
