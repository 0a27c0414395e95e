/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* /proc/PID/stat. Without stdio and without allocation: keepers and guards use it, too. */

#include <sys/types.h>

#include "base/util.h"

struct task_stat {
        char state; /* as in proc(5): 'Z' zombie, ... */
        pid_t ppid;
        bool exiting;       /* PF_EXITING, of its first thread */
        unsigned n_threads; /* dead ones that were not yet waited for included */
        uint64_t starttime; /* clock ticks since boot; with the pid, an identity */
};

/* text: size bytes. -EBADMSG, and *ret is left alone. */
int task_stat_parse(struct task_stat *ret, const char *text, size_t size);
