/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How much memory a worker may take, on a directory with plain files for a cgroup.
 */

#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/cgroup.h"
#include "daemon/process.h"

struct tree {
        char path[64], jobs_path[96], leaf_path[128];
        int dir;
        struct cgroup_root root;
        struct cgroup_leaf leaf;
};

static void put(int dir, const char *name, const char *text) {
        int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close_fd(&fd);
}

/* ---- the tree ---- */

static void tree_make(struct tree *t) {
        memset(t, 0, sizeof(*t));
        (void)snprintf(t->path, sizeof(t->path), "/tmp/pvr-test-XXXXXX");
        assert_non_null(mkdtemp(t->path));
        (void)snprintf(t->jobs_path, sizeof(t->jobs_path), "%s/jobs", t->path);
        (void)snprintf(t->leaf_path, sizeof(t->leaf_path), "%s/vm-1-2", t->jobs_path);
        assert_int_equal(mkdir(t->jobs_path, 0700), 0);
        assert_int_equal(mkdir(t->leaf_path, 0700), 0);
        t->root.path = t->path;
        t->root.jobs_path = t->jobs_path;
        t->root.jobs = open(t->jobs_path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        t->dir = open(t->path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        t->leaf.path = t->leaf_path;
        t->leaf.dir = open(t->leaf_path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
}

static void tree_remove(struct tree *t) {
        static const char *const files[] = {"memory.current", "memory.high", "memory.max"};

        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                (void)unlinkat(t->dir, files[i], 0);
                (void)unlinkat(t->leaf.dir, files[i], 0);
        }
        close_fd(&t->leaf.dir);
        close_fd(&t->root.jobs);
        close_fd(&t->dir);
        assert_int_equal(rmdir(t->leaf_path), 0);
        assert_int_equal(rmdir(t->jobs_path), 0);
        assert_int_equal(rmdir(t->path), 0);
}

/* ---- memory ---- */

static uint64_t limit_with(const char *current) {
        char text[32] = "";
        struct tree t;

        tree_make(&t);
        put(t.leaf.dir, "memory.current", current);
        put(t.leaf.dir, "memory.max", "");
        put(t.leaf.dir, "memory.high", "");
        assert_int_equal(cgroup_leaf_limit_memory(&t.leaf), 0);
        assert_int_equal(read_file_at(t.leaf.dir, "memory.high", text, sizeof(text)), 3);
        assert_string_equal(text, "max");
        assert_true(read_file_at(t.leaf.dir, "memory.max", text, sizeof(text)) > 0);
        tree_remove(&t);
        return strtoull(text, NULL, 10);
}

/* Never near what is in use: writing that would wait for a worker's end. */
static void test_memory_limit(void **state) {
        uint64_t usual = limit_with("0\n");
        char text[32];

        assert_true(usual >= 32U << 20);
        assert_true(usual < (40U << 20) + (256U << 10) * (uint64_t)sysconf(_SC_NPROCESSORS_CONF));
        assert_int_equal(limit_with("1048576\n"), usual);
        (void)snprintf(text, sizeof(text), "%" PRIu64 "\n", usual);
        assert_true(limit_with(text) >= usual + (16U << 20));
}

static void test_memory_limit_of_none(void **state) {
        struct tree t;

        tree_make(&t);
        assert_int_equal(cgroup_leaf_limit_memory(&t.leaf), -ENOENT);
        t.leaf.foreign = true; /* a closer's has MemoryMax= */
        assert_int_equal(cgroup_leaf_limit_memory(&t.leaf), 0);
        assert_int_equal(cgroup_leaf_kill(&t.leaf), -EPERM);
        tree_remove(&t);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_memory_limit),
                checked_test(test_memory_limit_of_none),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
