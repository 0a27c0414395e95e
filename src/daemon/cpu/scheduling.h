/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Scheduling policies of somebody else's task, from outside: also in the middle of a long system
 * call or of exit_mmap(). All of them act at once and none blocks. They go by pid, which is only a
 * number: a caller with a pidfd asks process_alive() before *and* afterwards. Errors are negative
 * errnos, and sched_why() says in words what they mean here:
 *
 *   -ESRCH   it is gone
 *   -EPERM   no CAP_SYS_NICE; or, for SCHED_DEADLINE, its CPU mask is not all CPUs
 *   -EBUSY   SCHED_DEADLINE: more than the kernel admits
 *   -EINVAL  SCHED_DEADLINE: a runtime or period that the kernel does not take
 */

#include <sys/types.h>

#include "daemon/cpu/share.h"

enum sched_sort {
        SCHED_SORT_FAIR, /* SCHED_OTHER, SCHED_BATCH */
        SCHED_SORT_IDLE,
        SCHED_SORT_DEADLINE,
        SCHED_SORT_REALTIME,
};

struct sched_state {
        int policy; /* as in sched(7) */
        enum sched_sort sort;
        int nice;           /* also of a task whose policy has none: what it would go back to */
        struct share share; /* SCHED_SORT_DEADLINE */
};

/* The CPUs that a task may run on. Opaque; free(). */
struct sched_cpus;

/* Those that are online. */
unsigned sched_count_cpus(void);

/* Of the host: CPUs, tick, and what SCHED_DEADLINE admits. Reads /proc/sys; never fails: what
 * cannot be read gets the kernel's default. */
void sched_read_host(struct share_host *ret);

int sched_look(pid_t pid, struct sched_state *ret);

/*
 * To SCHED_DEADLINE, or another share of it. It cannot fork then. Its CPU mask must be all CPUs of
 * the host: see sched_free_cpus().
 */
int sched_set_deadline(pid_t pid, const struct share *share);

/* To SCHED_OTHER, SCHED_BATCH or SCHED_IDLE, with the nice value it had. */
int sched_set_fair(pid_t pid, int policy);

/* Lets it run on all CPUs. *ret, unless NULL, is what it had: the caller's, with free(). */
int sched_free_cpus(pid_t pid, struct sched_cpus **ret);
int sched_set_cpus(pid_t pid, const struct sched_cpus *cpus);

/*
 * The CPUs that a task may run on, as a list ("0-3,8"); "" if they are all that are online.
 * -ERANGE: the list is longer than size.
 */
int sched_list_cpus(pid_t pid, char *buffer, size_t size);

/* From such a list, which must not be empty: *ret is the caller's, with free(). -EBADMSG: it is
 * none. */
int sched_parse_cpus(struct sched_cpus **ret, const char *list);

/* Why such a call failed with error, in a few words. Static text; to be asked at once. */
const char *sched_why(pid_t pid, int error);
