/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may be a worker: of those that register, and of those that an earlier daemon left. */

#include "daemon/worker/worker.h"

struct task_stat;

/*
 * A worker for a process that registered, of which /proc says stat; takes *pidfd over. Verifies
 * that it is in a closer's cgroup, or else that it shares its address space with its parent, the
 * VMM; then it makes and enters its cgroup. -EPERM: it is not for us to govern; -EEXIST: its VMM
 * or cgroup has another worker; -ESRCH: it is gone; -EDQUOT: its unit has its share of workers;
 * -EUSERS: it has more than one thread.
 */
int worker_new(struct worker **ret, struct workers *workers, pid_t pid,
               const struct task_stat *stat, int *pidfd);

/* A worker found in our cgroups after a restart; counts from now on. -ESRCH: it is gone. */
int worker_new_found(struct worker **ret, struct workers *workers, pid_t pid, uint64_t starttime);

/*
 * One that is gone and left its cgroup. What the cgroup says of a job that ran is reported; then
 * the cgroup is removed, or workers.purge is set. -EBUSY: it lives, and nothing is done; other
 * errors: nothing was reported.
 */
int worker_new_left(struct workers *workers, pid_t pid, uint64_t starttime);
