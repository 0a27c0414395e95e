/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Takes the place of library.c where there is no libcgroup: RHEL 9 removed it.
 *
 * It says of no cgroup that libcgroup can be used for it. So its callers go on by plain files,
 * which can do all of it.
 */

#include "daemon/cgroup/cgroup.h"

int cgroup_library_init(void) {
        return 0;
}

const char *cgroup_library_name(const char *controller, const char *path, dev_t device) {
        return NULL;
}

int cgroup_library_set(const char *name, const char *controller, const char *key,
                       const char *value) {
        return -EOPNOTSUPP;
}

int cgroup_library_attach(const char *name, const char *controller, pid_t pid) {
        return -EOPNOTSUPP;
}
