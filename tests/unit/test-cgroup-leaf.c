/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which memory nodes a worker's cgroup gets, and how much memory, on directories with plain files
 * for a cgroup tree. What is written for nodes goes through a door (--wrap), behind which there is
 * a kernel that does as it is told, or not.
 */

#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "capture.h"
#include "daemon/cgroup/cgroup.h"
#include "daemon/runtime/process.h"

struct tree {
        char path[64], jobs_path[96], leaf_path[128];
        int dir;
        struct cgroup_root root;
        struct cgroup_leaf leaf;
};

/* ---- the door ---- */

static struct {
        struct tree *tree;
        char written[256]; /* in order */
        const char *error; /* the file that cannot be written */
        const char *given; /* what the kernel makes of nodes; NULL: what was written */
} fake;

static void put(int dir, const char *name, const char *text) {
        int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close_fd(&fd);
}

int __wrap_cgroup_write_at(int dir, const char *path, const char *text);

int __wrap_cgroup_write_at(int dir, const char *path, const char *text) {
        size_t n = strlen(fake.written);

        (void)snprintf(fake.written + n, sizeof(fake.written) - n, "%s/%s:%s ",
                       dir == fake.tree->leaf.dir ? "leaf" : "jobs", path, text);
        if (fake.error && strcmp(path, fake.error) == 0)
                return -EACCES;
        if (strcmp(path, "cpuset.mems") == 0)
                put(dir, "cpuset.mems.effective", fake.given ? fake.given : text);
        return 0;
}

/* ---- the tree ---- */

static void tree_make(struct tree *t, const char *nodes) {
        memset(t, 0, sizeof(*t));
        memset(&fake, 0, sizeof(fake));
        fake.tree = t;
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
        if (nodes)
                put(t->dir, "cpuset.mems.effective", nodes);
}

static void tree_remove(struct tree *t) {
        static const char *const files[] = {"cpuset.mems.effective", "memory.current",
                                            "memory.high", "memory.max"};

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

/* ---- nodes ---- */

static void test_nodes_include(void **state) {
        static const struct {
                const char *nodes, *others;
                bool include;
        } rows[] = {
                {"0-2", "1-2", true},
                {"0-2", "0-2", true},
                {"0,2", "2", true},
                {"0-3,8", "1,3,8", true},
                {"0-1023", "1023", true},
                {"1-2", "0-2", false},
                {"0,2", "1", false},
                {"0-3,8", "7-8", false},
                {"0", "0-1024", false},
                {"0-1024", "0", false},
                {"0-2", "2-1", false},
                {"0-2", "x", false},
                {"0-2", "1-", false},
                {"0-2", "1x", false},
                {"", "0", false},
                {"0-2", "-1", false},
                {"0-2", "99999999999999999999", false},
        };

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                assert_int_equal(cgroup_nodes_include(rows[i].nodes, rows[i].others),
                                 rows[i].include);
}

static int take(struct tree *t, enum cgroup_fit fit, const char **log) {
        int r;

        capture_begin();
        r = cgroup_leaf_take_nodes(&t->leaf, &t->root, "1-2", fit);
        *log = capture_end();
        return r;
}

static void test_nodes_that_are_there(void **state) {
        static const struct {
                const char *nodes; /* of PATH; NULL: no cpusets in this hierarchy */
                enum cgroup_fit fit;
        } rows[] = {
                {NULL, CGROUP_FIT_EXACT},
                {"1-2\n", CGROUP_FIT_EXACT},
                {"1-2\n", CGROUP_FIT_MORE},
                {"0-2\n", CGROUP_FIT_MORE},
        };
        const char *log;

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                struct tree t;

                tree_make(&t, rows[i].nodes);
                assert_int_equal(take(&t, rows[i].fit, &log), 0);
                assert_string_equal(fake.written, "");
                assert_int_equal(t.root.controllers | t.root.leaf_controllers, 0);
                tree_remove(&t);
        }
}

/* In PATH and PATH/jobs once, then for each worker that needs it. */
static void test_nodes_are_set(void **state) {
        struct tree t;
        const char *log;

        tree_make(&t, "0-2\n");
        assert_int_equal(take(&t, CGROUP_FIT_EXACT, &log), 0);
        assert_string_equal(fake.written, "jobs/../cgroup.subtree_control:+cpuset "
                                          "jobs/cgroup.subtree_control:+cpuset "
                                          "leaf/cpuset.mems:1-2 ");
        assert_string_equal(log, "");
        fake.written[0] = '\0';
        put(t.leaf.dir, "cpuset.mems.effective", "0-2\n");
        assert_int_equal(take(&t, CGROUP_FIT_EXACT, &log), 0);
        assert_string_equal(fake.written, "leaf/cpuset.mems:1-2 ");
        tree_remove(&t);
}

static void test_nodes_that_cannot_be_had(void **state) {
        static const struct {
                const char *error, *given, *log;
        } rows[] = {
                {"../cgroup.subtree_control", NULL, "the memory nodes 1-2: Permission denied\n"},
                {"cgroup.subtree_control", NULL, "the memory nodes 1-2: Permission denied\n"},
                {"cpuset.mems", NULL, "the memory nodes 1-2: Permission denied\n"},
                {NULL, "0\n", ""}, /* there is none of them above */
                {NULL, "1\n", ""},
        };
        const char *log;

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                struct tree t;

                tree_make(&t, "0-1\n");
                fake.error = rows[i].error;
                fake.given = rows[i].given;
                assert_int_equal(take(&t, CGROUP_FIT_EXACT, &log), -EXDEV);
                assert_true(rows[i].log[0] ? strstr(log, rows[i].log) != NULL : log[0] == '\0');
                assert_int_equal(take(&t, CGROUP_FIT_MORE, &log), -EXDEV);
                tree_remove(&t);
        }
}

/* ---- memory ---- */

static uint64_t limit_with(const char *current) {
        char text[32] = "";
        struct tree t;

        tree_make(&t, NULL);
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

        tree_make(&t, NULL);
        assert_int_equal(cgroup_leaf_limit_memory(&t.leaf), -ENOENT);
        t.leaf.foreign = true; /* a closer's has MemoryMax= */
        assert_int_equal(cgroup_leaf_limit_memory(&t.leaf), 0);
        assert_int_equal(cgroup_leaf_kill(&t.leaf), -EPERM);
        assert_string_equal(fake.written, "");
        tree_remove(&t);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_nodes_include), checked_test(test_nodes_that_are_there),
                checked_test(test_nodes_are_set), checked_test(test_nodes_that_cannot_be_had),
                checked_test(test_memory_limit),  checked_test(test_memory_limit_of_none),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
