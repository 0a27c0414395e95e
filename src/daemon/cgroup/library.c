/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What libcgroup does for us, once per worker: its limits, and its move. Everything else is plain
 * files in directories that we hold: libcgroup cannot make a cgroup without writing to all its
 * ancestors, which are systemd's, and reading cpu.stat by it costs twice as much, each second.
 *
 * It goes by paths from where it found a controller mounted, and that may be a v1 hierarchy. So it
 * is asked only for controllers that it found in ours, by names that lead to what we hold; where it
 * cannot be used, or fails, the caller writes to the file itself. It reads /proc/cgroups and the
 * list of mounts and is not thread-safe; all that concerns nobody here, as the loop is one thread.
 */

#include "daemon/cgroup/cgroup.h"

#include <libcgroup.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void cgroup_freep(struct cgroup **group) {
        if (*group)
                cgroup_free(group);
}

/* Its log would go to stdout. The caller of what failed logs that. */
static void on_message(void *userdata, int level, const char *format, va_list ap) {
}

static int to_errno(int error) {
        switch (error) {
        case 0:
                return 0;
        case ECGOTHER:
                return cgroup_get_last_errno() > 0 ? -cgroup_get_last_errno() : -EIO;
        case ECGROUPNOTOWNER:
                return -EPERM;
        case ECGROUPNOTALLOWED:
                return -EACCES;
        case ECGROUPNOTEXIST:
        case ECGROUPVALUENOTEXIST:
                return -ENOENT;
        case ECGROUPNOTMOUNTED:
        case ECGROUPSUBSYSNOTMOUNTED:
                return -ENODEV; /* the former also for a controller that is not enabled there */
        default:
                return -EIO;
        }
}

int cgroup_library_init(void) {
        static int result = 1;

        if (result > 0) {
                cgroup_set_logger(on_message, CGROUP_LOG_ERROR, NULL);
                result = to_errno(cgroup_init());
        }
        return result;
}

const char *cgroup_library_name(const char *controller, const char *path, dev_t device) {
        _cleanup_(freep) char *mount = NULL;
        struct stat st;
        size_t n;

        if (cgroup_library_init() < 0 || cgroup_get_subsys_mount_point(controller, &mount) != 0)
                return NULL;
        /* A hybrid host has it in v1, that is, on another file system. */
        if (stat(mount, &st) < 0 || st.st_dev != device)
                return NULL;
        n = strlen(mount);
        return strncmp(path, mount, n) == 0 && path[n] == '/' ? path + n : NULL;
}

static int new_group(const char *name, const char *controller, struct cgroup **ret,
                     struct cgroup_controller **ret_controller) {
        *ret = cgroup_new_cgroup(name);
        if (!*ret)
                return -ENOMEM;
        *ret_controller = cgroup_add_controller(*ret, controller);
        return *ret_controller ? 0 : -ENOMEM;
}

int cgroup_library_set(const char *name, const char *controller, const char *key,
                       const char *value) {
        _cleanup_(cgroup_freep) struct cgroup *group = NULL;
        struct cgroup_controller *c;
        int r;

        r = new_group(name, controller, &group, &c);
        if (r < 0)
                return r;
        r = to_errno(cgroup_add_value_string(c, key, value));
        return r < 0 ? r : to_errno(cgroup_modify_cgroup(group));
}

/* Without a controller it would say 0 and move nothing. */
int cgroup_library_attach(const char *name, const char *controller, pid_t pid) {
        _cleanup_(cgroup_freep) struct cgroup *group = NULL;
        struct cgroup_controller *c;
        int r;

        r = new_group(name, controller, &group, &c);
        return r < 0 ? r : to_errno(cgroup_attach_task_pid(group, pid));
}
