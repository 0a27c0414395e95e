/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Capabilities by their two system calls: libcap would be one library more, for these alone.
 * Nothing is owned, and nothing is remembered. The kernel looks at the version in the header, and
 * takes two words for each set.
 */

#include "daemon/warden/capabilities.h"

#include <linux/capability.h>

#include "base/util.h"

struct sets {
        struct __user_cap_header_struct header;
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
};

static int get(struct sets *ret) {
        *ret = (struct sets){.header.version = _LINUX_CAPABILITY_VERSION_3};
        return syscall(SYS_capget, &ret->header, ret->data) < 0 ? negative_errno() : 0;
}

static int set(struct sets *sets) {
        return syscall(SYS_capset, &sets->header, sets->data) < 0 ? negative_errno() : 0;
}

int capabilities_get(uint64_t *ret) {
        struct sets sets;
        int r;

        r = get(&sets);
        if (r < 0)
                return r;
        *ret = sets.data[0].permitted | (uint64_t)sets.data[1].permitted << 32;
        return 0;
}

int capabilities_rest(void) {
        struct sets sets;
        int r;

        r = get(&sets);
        if (r < 0)
                return r;
        sets.data[0].effective = sets.data[1].effective = 0;
        return set(&sets);
}

int capabilities_keep(uint64_t set_wanted) {
        struct sets sets;
        int r;

        r = get(&sets);
        if (r < 0)
                return r;
        for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
                sets.data[i].permitted &= (uint32_t)(set_wanted >> 32 * i);
                sets.data[i].effective = sets.data[i].permitted;
                sets.data[i].inheritable = 0;
        }
        return set(&sets);
}
