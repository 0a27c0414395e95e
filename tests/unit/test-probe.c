/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a try of cpu.max shows, on figures that were measured and on made-up ones; and the probe's
 * way through the loop with cgroups that are none: it must end, say why, and leave nothing behind.
 * Whether it tells the truth about a kernel is tests/integration/cpu/test-cap.py's.
 */

#include "fds.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

#include "daemon/cpu/probe.h"

#define MSEC UINT64_C(1000000)

static enum probe_result judge_msec(uint64_t cpu, uint64_t idle, uint64_t inside, uint64_t after) {
        const uint64_t begin = 1000 * MSEC;

        return probe_judge(&(struct probe_try){.cpu = cpu * MSEC,
                                               .free = idle * MSEC,
                                               .begin = begin,
                                               .end = begin + (inside + after) * MSEC,
                                               .complete = begin + inside * MSEC});
}

/* Nobody saw the output complete before the caller went on: all of the time was inside. */
static void test_probe_judge_between_two_looks(void **state) {
        struct probe_try try = {.cpu = 40, .free = 41, .begin = 1000, .end = 1310};

        assert_int_equal(probe_judge(&try), PROBE_HOLDS);
        try.complete = 1311;
        assert_int_equal(probe_judge(&try), PROBE_HOLDS);
        try.end = 1041;
        assert_int_equal(probe_judge(&try), PROBE_UNKNOWN);
        try.complete = 0;
        assert_int_equal(probe_judge(&try), PROBE_UNKNOWN);
}

static void test_probe_judge(void **state) {
        assert_int_equal(judge_msec(40, 41, 310, 2), PROBE_HOLDS);
        assert_int_equal(judge_msec(40, 41, 400, 90), PROBE_HOLDS); /* one period is owed */
        assert_int_equal(judge_msec(40, 41, 41, 290), PROBE_DOES_NOT_HOLD);
        assert_int_equal(judge_msec(35, 36, 35, 294), PROBE_DOES_NOT_HOLD);
        assert_int_equal(judge_msec(40, 70, 100, 200), PROBE_DOES_NOT_HOLD); /* busy */
        assert_int_equal(judge_msec(40, 70, 30, 100), PROBE_UNKNOWN);        /* busier */
        assert_int_equal(judge_msec(40, 41, 41, 1), PROBE_UNKNOWN);   /* the quota did nothing */
        assert_int_equal(judge_msec(40, 200, 310, 2), PROBE_UNKNOWN); /* others did it */
        assert_int_equal(judge_msec(40, 200, 41, 290), PROBE_UNKNOWN);
        assert_int_equal(judge_msec(40, 41, 200, 200), PROBE_UNKNOWN);
        assert_int_equal(judge_msec(0, 0, 310, 2), PROBE_UNKNOWN);
}

struct outcome {
        sd_event *event;
        enum probe_result result;
        const char *why;
        unsigned n;
};

static void on_done(void *userdata, enum probe_result result, const char *why) {
        struct outcome *outcome = userdata;

        outcome->result = result;
        outcome->why = why;
        outcome->n++;
        assert_int_equal(sd_event_exit(outcome->event, 0), 0);
}

static int limit_refused(int cgroup, bool limited) {
        return limited ? -EACCES : 0;
}

/* Refused as before, if the daemon's fds are not there. */
static int limit_refused_alone(int cgroup, bool limited) {
        bool alone = cgroup == STDIN_FILENO && fcntl(STDOUT_FILENO, F_GETFD) < 0;

        return limited && alone ? -EACCES : 0;
}

static int limit_ignored(int cgroup, bool limited) {
        return 0;
}

/* In a directory that is no cgroup: every write fails, unless it is told that there is a file. */
static void run_probe(const char *directory, probe_limit_fn limit, uint64_t limit_usec,
                      struct outcome *ret) {
        struct probe_config config = {.done = on_done, .limit = limit, .limit_usec = limit_usec};
        struct outcome outcome = {};
        struct probe *probe;

        assert_int_equal(sd_event_new(&outcome.event), 0);
        config.cgroup = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        config.userdata = &outcome;
        assert_true(config.cgroup >= 0);
        assert_int_equal(probe_new(&probe, outcome.event, &config), 0);
        assert_int_equal(sd_event_loop(outcome.event), 0);
        assert_int_equal(outcome.n, 1);
        probe_free(probe);
        sd_event_unref(outcome.event);
        close(config.cgroup);
        *ret = outcome;
}

static void test_probe_no_entry(void **state) {
        struct outcome outcome;

        run_probe("/proc/self", NULL, 0, &outcome);
        assert_int_equal(outcome.result, PROBE_UNKNOWN);
        assert_string_equal(outcome.why, "cannot enter a cgroup");
}

/* As the daemon does. The kernel then forgets the exit status of an ordinary child. */
static void test_probe_sigchld_ignored(void **state) {
        struct outcome outcome;

        assert_true(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
        run_probe("/proc/self", NULL, 0, &outcome);
        assert_true(signal(SIGCHLD, SIG_DFL) != SIG_ERR);
        assert_int_equal(outcome.result, PROBE_UNKNOWN);
        assert_string_equal(outcome.why, "cannot enter a cgroup");
}

static char *fake_cgroup(char *template) {
        _cleanup_(close_fd) int dir = -1;
        _cleanup_(close_fd) int fd = -1;

        assert_non_null(mkdtemp(template));
        dir = open(template, O_PATH | O_DIRECTORY | O_CLOEXEC);
        fd = openat(dir, "cgroup.procs", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        return template;
}

static void remove_fake_cgroup(const char *path) {
        _cleanup_(close_fd) int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

        assert_int_equal(unlinkat(dir, "cgroup.procs", 0), 0);
        assert_int_equal(rmdir(path), 0);
}

static void test_probe_no_quota(void **state) {
        char path[] = "/tmp/test-probe.XXXXXX";
        struct outcome outcome;

        fake_cgroup(path);
        run_probe(path, limit_refused, 0, &outcome);
        assert_int_equal(outcome.result, PROBE_UNKNOWN);
        assert_string_equal(outcome.why, "cannot set cpu.max");
        remove_fake_cgroup(path);
}

/* A probe outlives nobody's connection. */
static void test_probe_has_the_cgroup_alone(void **state) {
        char path[] = "/tmp/test-probe.XXXXXX";
        struct outcome outcome;

        fake_cgroup(path);
        run_probe(path, limit_refused_alone, 0, &outcome);
        assert_string_equal(outcome.why, "cannot set cpu.max");
        remove_fake_cgroup(path);
}

/* A quota that does nothing must not be taken for one that holds, nor for one that does not. */
static void test_probe_no_effect(void **state) {
        char path[] = "/tmp/test-probe.XXXXXX";
        struct outcome outcome;

        fake_cgroup(path);
        run_probe(path, limit_ignored, 0, &outcome);
        assert_int_equal(outcome.result, PROBE_UNKNOWN);
        assert_string_equal(outcome.why, "the host is too busy to tell");
        remove_fake_cgroup(path);
}

static void test_probe_limit(void **state) {
        char path[] = "/tmp/test-probe.XXXXXX";
        struct outcome outcome;

        fake_cgroup(path);
        run_probe(path, limit_ignored, 1000, &outcome);
        assert_int_equal(outcome.result, PROBE_UNKNOWN);
        assert_string_equal(outcome.why, "the test took too long");
        remove_fake_cgroup(path);
}

static void test_probe_given_up(void **state) {
        struct probe_config config = {.done = on_done};
        struct probe *probe;
        sd_event *event;

        assert_int_equal(sd_event_new(&event), 0);
        config.cgroup = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(probe_new(&probe, event, &config), 0);
        assert_null(probe_free(probe));
        assert_null(probe_free(NULL));
        sd_event_unref(event);
        close(config.cgroup);
}

/* valgrind of 2022 has no pidfd_open(2); qemu-user knows no child that dies without SIGCHLD. */
static const char *no_probe(void) {
        _cleanup_(close_fd) int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
        pid_t pid;

        if (pidfd < 0)
                return "no pidfd_open(2)";
        pid = (pid_t)syscall(SYS_clone, 0UL, 0UL, 0UL, 0UL, 0UL);
        if (pid == 0)
                _exit(EXIT_SUCCESS);
        if (pid < 0)
                return "no clone(2) without an exit signal";
        assert_int_equal(waitpid(pid, NULL, __WALL), pid);
        return NULL;
}

int main(void) {
        const char *why = no_probe();
        const struct CMUnitTest tests[] = {
                checked_test(test_probe_judge),
                checked_test(test_probe_judge_between_two_looks),
                checked_test_unless(why, test_probe_no_entry),
                checked_test_unless(why, test_probe_sigchld_ignored),
                checked_test_unless(why, test_probe_no_quota),
                checked_test_unless(why, test_probe_has_the_cgroup_alone),
                checked_test_unless(why, test_probe_no_effect),
                checked_test_unless(why, test_probe_limit),
                checked_test_unless(why, test_probe_given_up),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
