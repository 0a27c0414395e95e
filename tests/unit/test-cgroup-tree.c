/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How the cgroups of workers are made, opened, found again and removed, on directories with plain
 * files for a cgroup tree. Doors (the linker's --wrap) stand before what a plain directory cannot
 * do: its file system is cgroup2, writes are noted, and a process is in the cgroup that the test
 * names.
 */

#include "capture.h"
#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "daemon/cgroup/cgroup.h"
#include "daemon/runtime/process.h"

#define CLOSER "pv-reaper-closer@1-2-3.service"

/* ---- the doors ---- */

static bool is_cgroup2;
static char written[512];         /* to the root, in order: FILE:TEXT */
static const char *process_is_in; /* NULL: the process is gone */

int __wrap_fstatfs(int fd, struct statfs *ret);
int __wrap_fstatfs64(int fd, struct statfs *ret);
int __wrap_cgroup_write_at(int dir, const char *path, const char *text);
int __wrap_process_cgroup(pid_t pid, char **ret);

int __wrap_fstatfs(int fd, struct statfs *ret) {
        *ret = (struct statfs){.f_type = is_cgroup2 ? CGROUP2_SUPER_MAGIC : TMPFS_MAGIC};
        return 0;
}

/* By its other name; the two structs are one here. */
int __wrap_fstatfs64(int fd, struct statfs *ret) {
        return __wrap_fstatfs(fd, ret);
}

int __wrap_cgroup_write_at(int dir, const char *path, const char *text) {
        size_t n = strlen(written);

        (void)snprintf(written + n, sizeof(written) - n, "%s:%s ", path, text);
        return 0;
}

int __wrap_process_cgroup(pid_t pid, char **ret) {
        if (!process_is_in)
                return -ESRCH;
        *ret = strdup(process_is_in);
        return *ret ? 0 : -ENOMEM;
}

/* ---- the tree ---- */

static char top[] = "/tmp/pvr-cgroup-tree-XXXXXX";
static struct cgroup_root *root;

static void make_directory(const char *name) {
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/%s", top, name);
        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
}

static void put(const char *name, const char *text) {
        char path[PATH_MAX];
        FILE *file;

        (void)snprintf(path, sizeof(path), "%s/%s", top, name);
        file = fopen(path, "we");
        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

/* Static, until the next one. */
static const char *get(const char *name) {
        static char text[64];
        char path[PATH_MAX];
        FILE *file;

        (void)snprintf(path, sizeof(path), "%s/%s", top, name);
        file = fopen(path, "re");
        assert_non_null(file);
        text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
        assert_int_equal(fclose(file), 0);
        return text;
}

static bool exists(const char *name) {
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/%s", top, name);
        return access(path, F_OK) == 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static void set_up(void) {
        static const char *const directories[] = {"", "jobs/"};

        strcpy(top + strlen(top) - 6, "XXXXXX");
        assert_non_null(mkdtemp(top));
        make_directory("jobs");
        for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
                char name[64];

                (void)snprintf(name, sizeof(name), "%scgroup.controllers", directories[i]);
                put(name, "cpu memory\n");
                (void)snprintf(name, sizeof(name), "%scgroup.subtree_control", directories[i]);
                put(name, i == 0 ? "cpu memory\n" : "memory\n");
                (void)snprintf(name, sizeof(name), "%scgroup.procs", directories[i]);
                put(name, "");
                (void)snprintf(name, sizeof(name), "%scgroup.type", directories[i]);
                put(name, "domain\n");
        }
        is_cgroup2 = true;
        written[0] = '\0';
        process_is_in = NULL;
}

/* With a root, which says on stderr that pids is missing. */
static void set_up_root(void) {
        int r;

        set_up();
        capture_begin();
        r = cgroup_root_new(&root, top);
        (void)capture_end();
        assert_int_equal(r, 0);
}

static void tear_down(void) {
        root = cgroup_root_free(root);
        assert_int_equal(nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- the root ---- */

static void test_tree_root(void **state) {
        char path[PATH_MAX];

        set_up_root();
        assert_string_equal(root->path, top);
        (void)snprintf(path, sizeof(path), "%s/jobs", top);
        assert_string_equal(root->jobs_path, path);
        assert_string_equal(root->closers_path, top); /* it was named: closers are in it */
        assert_int_equal(fcntl(root->jobs, F_GETFD), FD_CLOEXEC);
        assert_int_equal(fcntl(root->closers, F_GETFD), FD_CLOEXEC);
        assert_int_equal(root->controllers, CGROUP_CPU | CGROUP_MEMORY);
        assert_int_equal(root->leaf_controllers, CGROUP_MEMORY);
        assert_null(root->library_jobs);
        assert_null(cgroup_root_free(NULL));
        tear_down();
}

static void test_tree_root_refused(void **state) {
        const char *said;
        int r;

        set_up();
        is_cgroup2 = false;
        capture_begin();
        r = cgroup_root_new(&root, top);
        said = capture_end();
        assert_int_equal(r, -EMEDIUMTYPE);
        assert_non_null(strstr(said, "is not in a cgroup v2 hierarchy"));
        is_cgroup2 = true;
        capture_begin();
        r = cgroup_root_new(&root, "/nowhere/at/all");
        said = capture_end();
        assert_int_equal(r, -ENOENT);
        assert_non_null(strstr(said, "/nowhere/at/all"));
        assert_null(root);
        tear_down();
}

static void test_tree_values_for_all(void **state) {
        int fd;

        set_up_root();
        assert_int_equal(cgroup_root_set(root, "cpu.max", "max"), 0);
        assert_string_equal(written, "cpu.max:max ");
        written[0] = '\0';
        assert_int_equal(cgroup_root_enable_cpuset(root), 0);
        assert_int_equal(cgroup_root_enable_cpuset(root), 0); /* it is, by now */
        assert_string_equal(written, "../cgroup.subtree_control:+cpuset ");
        fd = cgroup_root_make_scratch(root);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        close_fd(&fd);
        fd = cgroup_root_make_scratch(root); /* or a daemon before left it */
        assert_true(fd >= 0);
        close_fd(&fd);
        assert_true(exists("probe"));
        assert_int_equal(cgroup_root_remove_scratch(root), 0);
        assert_false(exists("probe"));
        assert_int_equal(cgroup_root_remove_scratch(root), 0);
        tear_down();
}

/* ---- leaves ---- */

static void test_tree_leaf(void **state) {
        struct cgroup_leaf *leaf = NULL;
        char path[PATH_MAX], high[32];
        uint64_t usec = 0;

        set_up_root();
        make_directory("jobs/vm-7-9");
        put("jobs/vm-7-9/memory.high", "");
        put("jobs/vm-7-9/memory.swap.max", "");
        put("jobs/vm-7-9/cpu.stat", "usage_usec 123\nuser_usec 4\n");
        put("jobs/vm-7-9/cgroup.procs", "3\n7\n");
        assert_int_equal(cgroup_leaf_new(&leaf, root, 7, 9), 0);
        (void)snprintf(path, sizeof(path), "%s/jobs/vm-7-9", top);
        assert_string_equal(leaf->path, path);
        assert_string_equal(leaf->name, "vm-7-9");
        assert_int_equal(fcntl(leaf->dir, F_GETFD), FD_CLOEXEC);
        assert_false(leaf->foreign);
        (void)snprintf(high, sizeof(high), "%ld",
                       (16L << 20) + 64L * 4096 * sysconf(_SC_NPROCESSORS_CONF));
        assert_string_equal(get("jobs/vm-7-9/memory.high"), high);
        assert_string_equal(get("jobs/vm-7-9/memory.swap.max"), "0");

        assert_int_equal(cgroup_leaf_contains(leaf, 7), 1);
        assert_int_equal(cgroup_leaf_contains(leaf, 8), 0);
        assert_int_equal(cgroup_leaf_cpu_usec(leaf, &usec), 0);
        assert_int_equal(usec, 123);
        put("jobs/vm-7-9/cpu.stat", "user_usec 4\n");
        assert_int_equal(cgroup_leaf_cpu_usec(leaf, &usec), -EBADMSG);
        put("jobs/vm-7-9/cgroup.procs", "");
        assert_int_equal(cgroup_leaf_attach(leaf, 7), 0);
        assert_string_equal(get("jobs/vm-7-9/cgroup.procs"), "7");
        assert_int_equal(cgroup_leaf_kill(leaf), -ENOENT); /* Linux before 5.14 */
        put("jobs/vm-7-9/cgroup.kill", "");
        assert_int_equal(cgroup_leaf_kill(leaf), 0);
        assert_string_equal(get("jobs/vm-7-9/cgroup.kill"), "1");
        assert_int_equal(cgroup_leaf_remove(leaf, root), -ENOTEMPTY);
        leaf = cgroup_leaf_free(leaf);
        assert_null(cgroup_leaf_free(NULL));
        tear_down();
}

static void test_tree_leaf_made(void **state) {
        struct cgroup_leaf *leaf = NULL;
        const char *said;
        uint64_t usec;

        set_up_root();
        capture_begin();
        assert_int_equal(cgroup_leaf_new(&leaf, root, 7, 9), 0);
        said = capture_end();
        assert_non_null(strstr(said, "cannot limit the memory of ")); /* no such file there */
        assert_true(exists("jobs/vm-7-9"));
        assert_int_equal(cgroup_leaf_cpu_usec(leaf, &usec), -ENOENT);
        assert_int_equal(cgroup_leaf_contains(leaf, 7), -ENOENT);
        assert_int_equal(cgroup_leaf_remove(leaf, root), 0);
        assert_false(exists("jobs/vm-7-9"));
        leaf = cgroup_leaf_free(leaf);

        put("jobs/vm-1-2", ""); /* no directory: nobody's */
        assert_int_equal(cgroup_leaf_new(&leaf, root, 1, 2), -ENOTDIR);
        assert_null(leaf);
        tear_down();
}

/* ---- closers ---- */

static void test_tree_closer(void **state) {
        struct cgroup_leaf *leaf = NULL;

        set_up_root();
        make_directory(CLOSER);
        put(CLOSER "/cgroup.procs", "7\n");
        assert_int_equal(cgroup_leaf_open_closer(&leaf, root, 7), -ESRCH);
        process_is_in = "/a/vm-7-9";
        assert_int_equal(cgroup_leaf_open_closer(&leaf, root, 7), -ENOENT);
        process_is_in = "/a/pv-reaper-closer@x.service"; /* there is none of that name */
        assert_int_equal(cgroup_leaf_open_closer(&leaf, root, 7), -ENOENT);
        process_is_in = "/a/" CLOSER; /* 8 is in another one of that name */
        assert_int_equal(cgroup_leaf_open_closer(&leaf, root, 8), -ENOENT);
        assert_null(leaf);
        assert_int_equal(cgroup_leaf_open_closer(&leaf, root, 7), 0);
        assert_string_equal(leaf->name, CLOSER);
        assert_true(leaf->foreign);
        /* it is systemd's: nothing is done to it */
        assert_int_equal(cgroup_leaf_attach(leaf, 7), 0);
        assert_int_equal(cgroup_leaf_limit_memory(leaf), 0);
        assert_int_equal(cgroup_leaf_kill(leaf), -EPERM);
        assert_int_equal(cgroup_leaf_set_mark(leaf, "x"), -EOPNOTSUPP);
        assert_int_equal(cgroup_leaf_remove(leaf, root), 0);
        assert_true(exists(CLOSER));
        assert_string_equal(written, "");
        leaf = cgroup_leaf_free(leaf);
        tear_down();
}

/* ---- who is there ---- */

static char found[256]; /* "PID " of each */

static void on_found(void *userdata, pid_t pid, uint64_t starttime) {
        size_t n = strlen(found);

        assert_ptr_equal(userdata, found);
        (void)snprintf(found + n, sizeof(found) - n, "%d-%llu ", (int)pid,
                       (unsigned long long)starttime);
}

static void test_tree_scan_keepers(void **state) {
        set_up_root();
        make_directory("jobs/vm-3-4");
        make_directory("jobs/vm-5-6");
        put("jobs/vm-5-6/x", ""); /* somebody is in it */
        make_directory("jobs/other");
        put("jobs/vm-1-1", "");
        for (unsigned i = 0; i < 2; i++) { /* no call goes on where another one ended */
                found[0] = '\0';
                assert_int_equal(cgroup_root_scan_keepers(root, on_found, found), 0);
                assert_true(strcmp(found, "5-6 3-4 ") == 0 || strcmp(found, "3-4 5-6 ") == 0);
        }
        assert_true(exists("jobs/vm-3-4")); /* its mark was not read yet */
        tear_down();
}

static void test_tree_scan_closers(void **state) {
        struct task_stat stat;
        char text[64], wanted[64];

        set_up_root();
        assert_int_equal(process_read_stat(getpid(), &stat), 0);
        (void)snprintf(wanted, sizeof(wanted), "%d-%llu ", (int)getpid(),
                       (unsigned long long)stat.starttime);
        make_directory(CLOSER);
        make_directory("other.service");
        make_directory("pv-reaper-closer@9-9-9.service"); /* without a list: it is going */
        (void)snprintf(text, sizeof(text), "0\n%d\n2147483647\n", (int)getpid());
        put(CLOSER "/cgroup.procs", text);
        put("other.service/cgroup.procs", text);
        found[0] = '\0';
        assert_int_equal(cgroup_root_scan_closers(root, on_found, found), 0);
        assert_string_equal(found, wanted);
        tear_down();
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_tree_root),           checked_test(test_tree_root_refused),
                checked_test(test_tree_values_for_all), checked_test(test_tree_leaf),
                checked_test(test_tree_leaf_made),      checked_test(test_tree_closer),
                checked_test(test_tree_scan_keepers),   checked_test(test_tree_scan_closers),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
