/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon's side of the closer: a worker with one job. */

#include "closer/receive.h"

/*
 * From here on SIGTERM and SIGINT do not end this process. They make the returned fd readable; the
 * fd is the caller's. Or a negative errno.
 */
int work_open_signals(void);

/*
 * Waits for the daemon's grant, the end of the grace time, or SIGTERM. Then tries PERFORM and
 * closes release->vm_fd. Then reports, for a while. Blocks for as long as all that takes. 0: the VM
 * fd is closed. Negative errno: nothing was begun.
 */
int work(struct release *release, int signals);
