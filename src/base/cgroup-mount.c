/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * systemd has these two paths in its code, and our cgroups are units of systemd's. A host without
 * systemd names its cgroup (--cgroup=PATH). Nothing is owned or kept here: what is mounted may
 * change until the next question.
 */

#include "base/cgroup-mount.h"

#include <linux/magic.h>
#include <stddef.h>
#include <sys/vfs.h>

#include "base/util.h"

const char *cgroup_mount(void) {
        static const char *const paths[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
        struct statfs fs;

        for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
                if (statfs(paths[i], &fs) >= 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
                        return paths[i];
        return NULL;
}
