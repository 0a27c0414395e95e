/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon's side of the closer: a worker with one job. */

#include "closer/receive.h"

/*
 * From here on SIGTERM and SIGINT do not end us: they make the fd readable that this returns, which
 * is the caller's. Or a negative errno.
 */
int work_open_signals(void);

/*
 * Waits for the daemon's leave, or the end of the grace time, or SIGTERM; then tries PERFORM and
 * closes release->vm_fd; then reports, for a while. Blocks for as long as all that takes. 0: the VM
 * fd is closed; negative: nothing was begun.
 */
int work(struct release *release, int signals);
