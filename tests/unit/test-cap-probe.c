/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What cap.c adds to enforce.c: which cgroup is written, where there is none; when the probe runs,
 * once, in a cgroup of its own, and what becomes of that. The cgroup's files, the probe and the
 * host's CPUs are made up in here (the linker's --wrap).
 */

#include "fds.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "capture.h"
#include "daemon/cgroup/cgroup.h"
#include "daemon/cpu/cap.h"

#define PERCENT (USEC_PER_SEC / 100)

static struct {
        struct cgroup_root root;

        /* what is answered */
        int scratch_error, remove_error, probe_error;

        /* what was asked for */
        char written[256];
        unsigned n_scratches, n_removed;
        struct probe_config probe; /* of the one that runs */
        bool probing;
} host;

int __wrap_cgroup_root_set(struct cgroup_root *root, const char *file, const char *value);
int __wrap_cgroup_root_make_scratch(struct cgroup_root *root);
int __wrap_cgroup_root_remove_scratch(struct cgroup_root *root);
int __wrap_probe_new(struct probe **ret, sd_event *event, const struct probe_config *config);
struct probe *__wrap_probe_free(struct probe *probe);
void __wrap_sched_read_host(struct share_host *ret);

void __wrap_sched_read_host(struct share_host *ret) {
        *ret = (struct share_host){.n_cpus = 4,
                                   .tick_nsec = 1000000,
                                   .admissible = 3 * USEC_PER_SEC,
                                   .period_min_nsec = 100000,
                                   .period_max_nsec = 4000000000};
}

int __wrap_cgroup_root_set(struct cgroup_root *root, const char *file, const char *value) {
        size_t n = strlen(host.written);

        assert_ptr_equal(root, &host.root);
        (void)snprintf(host.written + n, sizeof(host.written) - n, "%s=%s;", file, value);
        return 0;
}

int __wrap_cgroup_root_make_scratch(struct cgroup_root *root) {
        host.n_scratches++;
        return host.scratch_error < 0 ? host.scratch_error
                                      : open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

int __wrap_cgroup_root_remove_scratch(struct cgroup_root *root) {
        host.n_removed++;
        return host.remove_error;
}

int __wrap_probe_new(struct probe **ret, sd_event *event, const struct probe_config *config) {
        if (host.probe_error < 0)
                return host.probe_error;
        assert_true(fcntl(config->cgroup, F_GETFD) >= 0);
        host.probe = *config;
        host.probing = true;
        *ret = (struct probe *)&host.probing;
        return 0;
}

struct probe *__wrap_probe_free(struct probe *probe) {
        if (probe)
                host.probing = false;
        return NULL;
}

static const struct enforce_policy policy = {
        .mode = ENFORCE_AUTO,
        .quota = 20 * PERCENT,
        .period_usec = 100 * USEC_PER_MSEC,
};

/* A host whose cgroup has these controllers. */
static struct cap *begin(unsigned controllers) {
        struct cap *cap = NULL;

        memset(&host, 0, sizeof(host));
        host.root.controllers = controllers;
        assert_int_equal(cap_new(&cap, NULL, &host.root), 0);
        return cap;
}

static void set(struct cap *cap, const struct enforce_policy *p) {
        capture_begin();
        cap_set(cap, p);
        (void)capture_end();
}

static void end_probe(enum probe_result result) {
        assert_true(host.probing);
        capture_begin();
        host.probe.done(host.probe.userdata, result, "it was tried");
        (void)capture_end();
        assert_false(host.probing);
}

/* ---- what is written ---- */

static void test_the_cgroup_is_written(void **state) {
        struct cap *cap = begin(CGROUP_CPU);

        set(cap, &policy);
        end_probe(PROBE_HOLDS);
        assert_non_null(strstr(host.written, "cpu.max=20000 100000;"));
        cap_free(cap);
}

static void test_without_a_controller_nothing_is_written(void **state) {
        struct cap *cap = begin(CGROUP_PIDS);

        set(cap, &policy);
        assert_string_equal(host.written, "");
        assert_false(host.probing);
        assert_int_equal(host.n_scratches, 0);
        assert_non_null(strstr(enforce_get_reason(cap_get_enforce(cap)), "no cpu controller"));
        cap_free(cap);
}

static void test_without_a_cgroup(void **state) {
        struct cap *cap = NULL;

        memset(&host, 0, sizeof(host));
        assert_int_equal(cap_new(&cap, NULL, NULL), 0);
        set(cap, &policy);
        assert_string_equal(enforce_get_backend(cap_get_enforce(cap)), "deadline");
        assert_false(cap_tick(cap));
        cap_free(cap);
        assert_null(cap_free(NULL));
}

/* ---- the probe ---- */

static void test_a_quota_asks_for_the_probe_once(void **state) {
        struct enforce_policy p = policy;
        struct cap *cap = begin(CGROUP_CPU);

        p.quota = SHARE_UNLIMITED;
        set(cap, &p);
        assert_false(host.probing);
        p.quota = 20 * PERCENT;
        p.mode = ENFORCE_CGROUP; /* the administrator knows */
        set(cap, &p);
        assert_false(host.probing);
        set(cap, &policy);
        assert_true(host.probing);
        set(cap, &policy);
        assert_int_equal(host.n_scratches, 1);
        end_probe(PROBE_HOLDS);
        assert_int_equal(host.n_removed, 1);
        assert_string_equal(enforce_get_backend(cap_get_enforce(cap)), "cgroup");
        set(cap, &policy);
        assert_int_equal(host.n_scratches, 1);
        assert_false(cap_tick(cap));
        cap_free(cap);
}

static void test_the_probe_decides(void **state) {
        struct cap *cap = begin(CGROUP_CPU);

        set(cap, &policy);
        assert_string_equal(enforce_get_backend(cap_get_enforce(cap)), "deadline"); /* until then */
        end_probe(PROBE_HOLDS);
        assert_string_equal(enforce_get_backend(cap_get_enforce(cap)), "cgroup");
        assert_non_null(strstr(enforce_get_reason(cap_get_enforce(cap)), "on this kernel"));
        cap_free(cap);
}

static void test_the_probe_cannot_run(void **state) {
        struct cap *cap = begin(CGROUP_CPU);

        host.probe_error = -ENOMEM;
        capture_begin();
        cap_set(cap, &policy);
        assert_non_null(strstr(capture_end(), "cannot test cpu.max"));
        assert_non_null(
                strstr(enforce_get_reason(cap_get_enforce(cap)), "the test could not start"));
        assert_int_equal(host.n_removed, 1);
        set(cap, &policy);
        assert_int_equal(host.n_scratches, 1); /* it is not tried again */
        cap_free(cap);
}

static void test_there_is_no_place_for_the_probe(void **state) {
        struct cap *cap = begin(CGROUP_CPU);

        host.scratch_error = -EACCES;
        set(cap, &policy);
        assert_false(host.probing);
        assert_non_null(
                strstr(enforce_get_reason(cap_get_enforce(cap)), "the test could not start"));
        cap_free(cap);
}

/* Its processes are being killed: its cgroup is removed by a later tick. */
static void test_the_scratch_cgroup_is_removed_later(void **state) {
        struct cap *cap = begin(CGROUP_CPU);

        set(cap, &policy);
        host.remove_error = -EBUSY;
        end_probe(PROBE_HOLDS);
        assert_true(cap_tick(cap));
        assert_int_equal(host.n_removed, 2);
        host.remove_error = 0;
        assert_false(cap_tick(cap));
        assert_int_equal(host.n_removed, 3);
        assert_false(cap_tick(cap));
        assert_int_equal(host.n_removed, 3);
        cap_free(cap);
}

static void test_the_end_while_the_probe_runs(void **state) {
        struct cap *cap = begin(CGROUP_CPU);

        set(cap, &policy);
        assert_true(host.probing);
        cap_free(cap);
        assert_false(host.probing);
        assert_int_equal(host.n_removed, 1);
}

/* ---- workers ---- */

static void test_workers_are_counted(void **state) {
        struct enforce_task a = {}, b = {};
        struct cap *cap = begin(CGROUP_CPU);

        enforce_add(cap_get_enforce(cap), &a, 0x400001, -1, SCHED_BATCH);
        enforce_add(cap_get_enforce(cap), &b, 0x400002, -1, SCHED_OTHER);
        assert_int_equal(enforce_get_counts(cap_get_enforce(cap)).n_tasks, 2);
        assert_int_equal(a.policy, SCHED_BATCH);
        assert_int_equal(b.policy, SCHED_OTHER);
        assert_int_equal(b.pid, 0x400002);
        assert_false(cap_tick(cap));
        enforce_remove(&a);
        enforce_remove(&a); /* it is not there */
        assert_int_equal(enforce_get_counts(cap_get_enforce(cap)).n_tasks, 1);
        enforce_remove(&b);
        cap_free(cap);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_the_cgroup_is_written),
                checked_test(test_without_a_controller_nothing_is_written),
                checked_test(test_without_a_cgroup),

                checked_test(test_a_quota_asks_for_the_probe_once),
                checked_test(test_the_probe_decides),
                checked_test(test_the_probe_cannot_run),
                checked_test(test_there_is_no_place_for_the_probe),
                checked_test(test_the_scratch_cgroup_is_removed_later),
                checked_test(test_the_end_while_the_probe_runs),
                checked_test(test_workers_are_counted),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
