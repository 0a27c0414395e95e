/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * libcgroup is asked about our hierarchy only, never without a controller (it would do nothing and
 * say 0), and its errors are understood. Its answers come through doors (the linker's --wrap),
 * since what it finds mounted is this host's business.
 */

#include "fds.h"

#include <errno.h>
#include <libcgroup.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/cgroup/cgroup.h"

static struct {
        const char *mount; /* where it finds any controller */
        int error;         /* what its calls give */
        int last_errno;
} fake;

int __wrap_cgroup_init(void);
int __wrap_cgroup_get_subsys_mount_point(const char *controller, char **ret);
int __wrap_cgroup_modify_cgroup(struct cgroup *group);
int __wrap_cgroup_attach_task_pid(struct cgroup *group, pid_t pid);
int __wrap_cgroup_get_last_errno(void);

int __wrap_cgroup_init(void) {
        return 0;
}

int __wrap_cgroup_get_subsys_mount_point(const char *controller, char **ret) {
        if (!fake.mount)
                return ECGROUPNOTEXIST;
        *ret = strdup(fake.mount);
        return 0;
}

int __wrap_cgroup_modify_cgroup(struct cgroup *group) {
        char *value = NULL;
        int r = cgroup_get_value_string(cgroup_get_controller(group, "pids"), "pids.max", &value);

        assert_int_equal(r, 0);
        assert_string_equal(value, "1");
        free(value);
        return fake.error;
}

int __wrap_cgroup_attach_task_pid(struct cgroup *group, pid_t pid) {
        assert_non_null(cgroup_get_controller(group, "pids"));
        return fake.error;
}

int __wrap_cgroup_get_last_errno(void) {
        return fake.last_errno;
}

/* By the file system, not by name alone: a controller of v1 is mounted elsewhere, or over ours. */
static void test_cgroup_library_names(void **state) {
        struct stat st;

        memset(&fake, 0, sizeof(fake));
        assert_int_equal(stat("/proc", &st), 0);
        assert_null(cgroup_library_name("pids", "/proc/jobs", st.st_dev));
        fake.mount = "/proc";
        assert_string_equal(cgroup_library_name("pids", "/proc/a/jobs", st.st_dev), "/a/jobs");
        assert_null(cgroup_library_name("pids", "/proc/a/jobs", st.st_dev + 1));
        assert_null(cgroup_library_name("pids", "/process/jobs", st.st_dev));
        assert_null(cgroup_library_name("pids", "/sys/a/jobs", st.st_dev));
        fake.mount = "/nowhere";
        assert_null(cgroup_library_name("pids", "/nowhere/a", st.st_dev));
}

static void test_cgroup_library_errors(void **state) {
        static const struct {
                int error, last_errno, r;
        } rows[] = {
                {0, EBUSY, 0},
                {ECGOTHER, ESRCH, -ESRCH},
                {ECGOTHER, 0, -EIO},
                {ECGROUPNOTMOUNTED, ESRCH, -ENODEV},
                {ECGROUPNOTEXIST, 0, -ENOENT},
                {ECGROUPVALUENOTEXIST, 0, -ENOENT},
                {ECGROUPNOTALLOWED, 0, -EACCES},
                {ECGROUPNOTOWNER, 0, -EPERM},
                {ECGINVAL, 0, -EIO},
        };

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                fake.error = rows[i].error;
                fake.last_errno = rows[i].last_errno;
                assert_int_equal(cgroup_library_set("/a", "pids", "pids.max", "1"), rows[i].r);
                assert_int_equal(cgroup_library_attach("/a", "pids", 1), rows[i].r);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_cgroup_library_names),
                checked_test(test_cgroup_library_errors),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
