/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the warden may ask of the kernel once it answers. It has capabilities, so all that its
 * answers do not need kills it. Files are opened below its root directory alone, never by an fd;
 * by its one fd of a directory, /proc, nothing is opened.
 */

#include <linux/kcmp.h>
#include <stdint.h>

#include "base/util.h"
#include "daemon/warden/question.h"

#define ANY SANDBOX_ANY, 0, 0

static const struct sandbox_call calls[] = {
        /* packets, and the ends of workers */
        {"epoll_wait", ANY},
        {"epoll_pwait", ANY}, /* where there is no epoll_wait */
        {"epoll_ctl", ANY},
        {"read", ANY},
        {"write", ANY},
        {"close", ANY},
        {"pidfd_open", ANY},
        {"poll", ANY},
        {"ppoll", ANY}, /* where there is no poll */
        {"restart_syscall", ANY},
        {"rt_sigreturn", ANY},
        {"exit_group", ANY},

        /* processes */
        {"kcmp", 2, UINT32_MAX, KCMP_VM},
        {"readlinkat", 0, UINT32_MAX, WARDEN_PROC},
        {"newfstatat", 0, UINT32_MAX, WARDEN_PROC},
        {"geteuid", ANY},

        /* cgroups */
        {"openat", 0, UINT32_MAX, (uint32_t)AT_FDCWD},

        /* scheduling */
        {"sched_setattr", ANY},
        {"sched_setaffinity", ANY},
        {"getpriority", ANY},
        {"setpriority", ANY},
};

const struct sandbox_list warden_calls = {SANDBOX_KILL, ARRAY_SIZE(calls), calls};
