/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which controllers are enabled, where, and when not: on directories with plain files for a cgroup
 * tree. What would be written goes through a door (the linker's --wrap), so that its order is seen
 * and errors can be had: no host has all of these cases at once.
 */

#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "capture.h"
#include "daemon/cgroup/cgroup.h"

/* ---- the doors ---- */

static struct {
        int path, jobs;    /* the directories that may be written to */
        char written[256]; /* what was, in order */
        int error;         /* what writing gives */
} fake;

int __wrap_cgroup_write_at(int dir, const char *path, const char *text);

int __wrap_cgroup_write_at(int dir, const char *path, const char *text) {
        size_t n = strlen(fake.written);

        assert_true(dir == fake.path || dir == fake.jobs);
        assert_string_equal(path, "cgroup.subtree_control");
        (void)snprintf(fake.written + n, sizeof(fake.written) - n, "%s:%s ",
                       dir == fake.path ? "PATH" : "jobs", text);
        return fake.error;
}

/* ---- a cgroup tree of plain files ---- */

struct tree {
        char directory[64];
        int dir;
        struct cgroup_root root;
        char jobs_path[96];
};

static void put(int dir, const char *name, const char *text) {
        int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close_fd(&fd);
}

static void tree_make(struct tree *t, const char *available) {
        memset(t, 0, sizeof(*t));
        memset(&fake, 0, sizeof(fake));
        (void)snprintf(t->directory, sizeof(t->directory), "/tmp/pvr-test-XXXXXX");
        assert_non_null(mkdtemp(t->directory));
        (void)snprintf(t->jobs_path, sizeof(t->jobs_path), "%s/jobs", t->directory);
        assert_int_equal(mkdir(t->jobs_path, 0700), 0);
        t->root.path = t->directory;
        t->root.jobs_path = t->jobs_path;
        fake.path = t->dir = open(t->directory, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        fake.jobs = t->root.jobs = open(t->jobs_path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        put(t->dir, "cgroup.controllers", available);
        for (int i = 0; i < 2; i++) {
                put(i ? t->root.jobs : t->dir, "cgroup.subtree_control", "");
                put(i ? t->root.jobs : t->dir, "cgroup.procs", "");
                put(i ? t->root.jobs : t->dir, "cgroup.type", "domain\n");
        }
}

static void tree_remove(struct tree *t) {
        static const char *const files[] = {"cgroup.subtree_control", "cgroup.procs",
                                            "cgroup.type"};

        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                (void)unlinkat(t->dir, files[i], 0);
                (void)unlinkat(t->root.jobs, files[i], 0);
        }
        (void)unlinkat(t->dir, "cgroup.controllers", 0);
        close_fd(&t->root.jobs);
        close_fd(&t->dir);
        assert_int_equal(rmdir(t->jobs_path), 0);
        assert_int_equal(rmdir(t->directory), 0);
}

/* What cgroup_enable_controllers() says; what it logs is in *log. */
static int enable(struct tree *t, const char **log) {
        int r;

        capture_begin();
        r = cgroup_enable_controllers(&t->root, t->dir);
        *log = capture_end();
        return r;
}

/* ---- names ---- */

static void test_cgroup_parse_controllers(void **state) {
        static const struct {
                const char *list;
                unsigned set;
        } rows[] = {
                {"", 0},
                {"\n", 0},
                {"cpu\n", CGROUP_CPU},
                {"cpuset io\n", 0},
                {"cpuset cpu io memory hugetlb pids rdma misc\n",
                 CGROUP_CPU | CGROUP_MEMORY | CGROUP_PIDS},
                {"pids", CGROUP_PIDS},
                {"xpids pidsx cpu.x\n", 0},
                {"cpucpu cpu", CGROUP_CPU},
        };

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                assert_int_equal(cgroup_parse_controllers(rows[i].list), rows[i].set);
}

static void test_cgroup_closer_names(void **state) {
        assert_true(cgroup_is_closer_name("pv-reaper-closer@0-1234-0.service"));
        assert_true(cgroup_is_closer_name("pv-reaper-closer@x.service"));
        assert_false(cgroup_is_closer_name("pv-reaper-closer@.service"));
        assert_false(cgroup_is_closer_name("pv-reaper-closer@1.service.d"));
        assert_false(cgroup_is_closer_name("pv-reaper-closer@1.scope"));
        assert_false(cgroup_is_closer_name("pv-reaper-closer@/../x.service"));
        assert_false(cgroup_is_closer_name("xpv-reaper-closer@1.service"));
        assert_false(cgroup_is_closer_name("pv-reaper.service"));
        assert_false(cgroup_is_closer_name(""));
}

/* ---- enabling ---- */

static void test_cgroup_enables_top_down(void **state) {
        struct tree t;
        const char *log;

        tree_make(&t, "cpuset cpu io memory pids\n");
        assert_int_equal(enable(&t, &log), 0);
        assert_string_equal(fake.written,
                            "PATH:+cpu PATH:+memory PATH:+pids jobs:+memory jobs:+pids ");
        assert_string_equal(log, "");
        assert_int_equal(t.root.controllers, CGROUP_CPU | CGROUP_MEMORY | CGROUP_PIDS);
        assert_int_equal(t.root.leaf_controllers, CGROUP_MEMORY | CGROUP_PIDS);
        tree_remove(&t);
}

static void test_cgroup_enables_what_is_missing_only(void **state) {
        struct tree t;
        const char *log;

        tree_make(&t, "cpu pids\n");
        put(t.dir, "cgroup.subtree_control", "cpu\n");
        assert_int_equal(enable(&t, &log), 0);
        assert_string_equal(fake.written, "PATH:+pids jobs:+pids ");
        put(t.dir, "cgroup.subtree_control", "memory cpu pids\n");
        put(t.root.jobs, "cgroup.subtree_control", "pids\n");
        fake.written[0] = '\0';
        assert_int_equal(enable(&t, &log), 0);
        assert_string_equal(fake.written, "jobs:+memory ");
        assert_int_equal(t.root.leaf_controllers, CGROUP_MEMORY | CGROUP_PIDS);
        tree_remove(&t);
}

static void test_cgroup_without_controllers(void **state) {
        struct tree t;
        const char *log;

        tree_make(&t, "hugetlb cpuset\n");
        put(t.dir, "cgroup.procs", "1\n"); /* it is in nobody's way */
        assert_int_equal(enable(&t, &log), 0);
        assert_string_equal(fake.written, "");
        assert_int_equal(t.root.controllers | t.root.leaf_controllers, 0);
        assert_non_null(strstr(log, " lacks cpu, memory, pids: accounting only, no CPU limits, "
                                    "no memory limits, no pids limit\n"));
        put(t.dir, "cgroup.controllers", "pids\n");
        put(t.dir, "cgroup.procs", "");
        assert_int_equal(enable(&t, &log), 0);
        assert_non_null(strstr(log, " lacks cpu, memory: no CPU limits, no memory limits\n"));
        tree_remove(&t);
}

static void test_cgroup_that_may_not_enable(void **state) {
        struct tree t;
        const char *log;

        tree_make(&t, "cpu pids\n");
        fake.error = -EACCES;
        assert_int_equal(enable(&t, &log), 0);
        assert_string_equal(fake.written, "PATH:+cpu PATH:+pids ");
        assert_non_null(strstr(log, "cannot enable pids below "));
        assert_non_null(strstr(log, "Permission denied"));
        assert_non_null(strstr(log, "accounting only"));
        assert_int_equal(t.root.controllers | t.root.leaf_controllers, 0);
        tree_remove(&t);
}

/* Named, whoever it is: cpu and pids would be enabled all the same. */
static void test_cgroup_with_a_process_in_it(void **state) {
        char procs[32], name[16] = "", expected[64]; /* qemu-user has a name of its own */
        struct tree t;
        const char *log;

        (void)snprintf(procs, sizeof(procs), "%d\n", (int)getpid());
        assert_int_equal(prctl(PR_GET_NAME, name), 0);
        (void)snprintf(expected, sizeof(expected), "process %d (%s) is in it", (int)getpid(), name);
        tree_make(&t, "cpu pids\n");
        put(t.dir, "cgroup.procs", procs);
        assert_int_equal(enable(&t, &log), -EBUSY);
        assert_string_equal(fake.written, "");
        assert_non_null(strstr(log, expected));
        put(t.dir, "cgroup.procs", "");
        put(t.root.jobs, "cgroup.procs", procs);
        assert_int_equal(enable(&t, &log), -EBUSY);
        assert_string_equal(fake.written, "PATH:+cpu PATH:+pids ");
        assert_non_null(strstr(log, "/jobs (--cgroup): process "));
        assert_non_null(strstr(log, expected));
        tree_remove(&t);
}

static void test_cgroup_of_threads(void **state) {
        struct tree t;
        const char *log;

        tree_make(&t, "cpu pids\n");
        put(t.root.jobs, "cgroup.type", "domain invalid\n");
        assert_int_equal(enable(&t, &log), -EOPNOTSUPP);
        assert_string_equal(fake.written, "PATH:+cpu PATH:+pids ");
        assert_non_null(strstr(log, "its cgroup.type is domain invalid: "));
        tree_remove(&t);
}

/* ---- weight ---- */

static void test_cgroup_yields(void **state) {
        static const struct {
                const char *upper_weight, *weight, *idle; /* of PATH's parent, of PATH */
                bool yields;
        } rows[] = {
                {NULL, NULL, NULL, false},       {"100\n", "100\n", "0\n", false},
                {"100\n", "99\n", "0\n", true},  {"20\n", "100\n", "0\n", true},
                {"500\n", "100\n", "1\n", true}, {"500\n", "x\n", "\n", false},
        };
        struct tree t;

        tree_make(&t, "cpu\n");
        t.root.path = t.jobs_path; /* whose parent is of files, too */
        t.root.controllers = CGROUP_CPU;
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                put(t.dir, "cpu.weight", rows[i].upper_weight ? rows[i].upper_weight : "");
                put(t.root.jobs, "cpu.weight", rows[i].weight ? rows[i].weight : "");
                put(t.root.jobs, "cpu.idle", rows[i].idle ? rows[i].idle : "");
                assert_int_equal(cgroup_root_yields(&t.root), rows[i].yields);
        }
        put(t.dir, "cpu.weight", "1\n");
        assert_true(cgroup_root_yields(&t.root));
        t.root.controllers = CGROUP_PIDS; /* then it weighs nothing */
        assert_false(cgroup_root_yields(&t.root));
        assert_int_equal(unlinkat(t.root.jobs, "cpu.idle", 0), 0);
        assert_int_equal(unlinkat(t.root.jobs, "cpu.weight", 0), 0);
        assert_int_equal(unlinkat(t.dir, "cpu.weight", 0), 0);
        tree_remove(&t);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_cgroup_parse_controllers),
                checked_test(test_cgroup_closer_names),
                checked_test(test_cgroup_enables_top_down),
                checked_test(test_cgroup_enables_what_is_missing_only),
                checked_test(test_cgroup_without_controllers),
                checked_test(test_cgroup_that_may_not_enable),
                checked_test(test_cgroup_with_a_process_in_it),
                checked_test(test_cgroup_of_threads),
                checked_test(test_cgroup_yields),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
