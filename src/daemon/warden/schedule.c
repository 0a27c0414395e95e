/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * sched_setattr(2) and sched_setaffinity(2) by number: Debian 12's libc has neither the former nor
 * struct sched_attr, later ones have both, so what is here has names of its own. The kernel takes
 * every size of the structure that it ever had; ours is the first.
 *
 * A task's nice value is kept in the kernel while its policy has none, and getpriority(2) tells it:
 * so it is not noted here, and a daemon that was restarted meanwhile restores it as well.
 *
 * SCHED_FLAG_RESET_ON_FORK is not set: a deadline task that cannot fork leaves its cap to nobody.
 */

#include "daemon/warden/schedule.h"

#include <sched.h>
#include <sys/resource.h>

#define POLICY_DEADLINE 6 /* linux/sched.h; libc's sched.h lacks it */

struct attributes {
        uint32_t size;
        uint32_t policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period; /* ns */
};

_Static_assert(sizeof(struct attributes) == 48, "SCHED_ATTR_SIZE_VER0");

static int set_attributes(pid_t pid, struct attributes *attributes) {
        attributes->size = sizeof(*attributes);
        if (pid <= 0)
                return -ESRCH; /* 0 would be ourselves */
        return syscall(SYS_sched_setattr, pid, attributes, 0) < 0 ? negative_errno() : 0;
}

int schedule_fair(pid_t pid, int policy) {
        struct attributes attributes = {.policy = (uint32_t)policy};

        if (pid <= 0)
                return -ESRCH;
        if (policy != SCHED_OTHER && policy != SCHED_BATCH && policy != SCHED_IDLE)
                return -EINVAL;
        errno = 0;
        attributes.nice = getpriority(PRIO_PROCESS, (id_t)pid);
        if (attributes.nice == -1 && errno != 0)
                return negative_errno();
        return set_attributes(pid, &attributes);
}

int schedule_deadline(pid_t pid, uint64_t runtime_nsec, uint64_t period_nsec) {
        struct attributes attributes = {
                .policy = POLICY_DEADLINE,
                .runtime = runtime_nsec,
                .deadline = period_nsec,
                .period = period_nsec,
        };

        return set_attributes(pid, &attributes);
}

int schedule_cpus(pid_t pid, const struct warden_cpus *cpus) {
        if (pid <= 0)
                return -ESRCH;
        return syscall(SYS_sched_setaffinity, pid, sizeof(cpus->bits), cpus->bits) < 0
                       ? negative_errno()
                       : 0;
}
