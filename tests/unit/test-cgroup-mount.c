/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where cgroup v2 is, on hosts that a test makes up: statfs(2) goes through a door in here (the
 * linker's --wrap). The list of mounts is not asked, so it does not matter what others have
 * mounted.
 */

#include "fds.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/cgroup-mount.h"
#include "base/util.h"

/* What is at /sys/fs/cgroup, and at unified below it; 0: nothing. */
static long top, unified;

int __wrap_statfs64(const char *path, struct statfs64 *ret);

int __wrap_statfs64(const char *path, struct statfs64 *ret) {
        long magic = strcmp(path, "/sys/fs/cgroup") == 0 ? top : unified;

        assert_true(magic == top || strcmp(path, "/sys/fs/cgroup/unified") == 0);
        errno = ENOENT;
        *ret = (struct statfs64){.f_type = (__typeof__(ret->f_type))magic};
        return magic == 0 ? -1 : 0;
}

static void test_cgroup_mounts(void **state) {
        static const struct {
                long top, unified;
                const char *mount;
        } hosts[] = {
                {CGROUP2_SUPER_MAGIC, 0, "/sys/fs/cgroup"},
                {CGROUP2_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, "/sys/fs/cgroup"},
                {TMPFS_MAGIC, CGROUP2_SUPER_MAGIC, "/sys/fs/cgroup/unified"},
                {TMPFS_MAGIC, 0, NULL},
                {TMPFS_MAGIC, CGROUP_SUPER_MAGIC, NULL},
                {0, 0, NULL},
        };

        for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
                const char *mount;

                top = hosts[i].top;
                unified = hosts[i].unified;
                mount = cgroup_mount();
                if (hosts[i].mount)
                        assert_string_equal(mount, hosts[i].mount);
                else
                        assert_null(mount);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_cgroup_mounts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
