/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the warden does to a worker's scheduling. 0 or a negative errno; nothing blocks. */

#include "daemon/warden/warden.h"

/* SCHED_OTHER, SCHED_BATCH or SCHED_IDLE, with the nice value that it has. */
int schedule_fair(pid_t pid, int policy);

/* SCHED_DEADLINE; it cannot fork then. */
int schedule_deadline(pid_t pid, uint64_t runtime_nsec, uint64_t period_nsec);

int schedule_cpus(pid_t pid, const struct warden_cpus *cpus);
