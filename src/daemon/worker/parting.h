/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Connections that brought fds, on their way out. To close one may run a VM's whole teardown, so a
 * child does it, and few at a time. Until that has ended the connection is its unit's, as if it
 * were open: a unit that sends fds is soon refused, and others are not.
 */

#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "daemon/governor/unit.h"

#define PARTING_CHILDREN_MAX 32 /* at once: far below TasksMax= of pv-reaper.service */

LIST_HEAD(parting_list, parting);

/* All zero but for the event: there are none. */
struct partings {
        sd_event *event; /* borrowed */

        /* owned */
        struct parting_list waiting; /* for a child to be made */
        struct parting_list leaving; /* a child closes it */
        unsigned n, n_leaving;       /* n: of both; each has an fd */
        sd_event_source *retry_timer;
};

/* Takes over *fd, a connection that was shut down, and *charge. Does not block. */
void partings_add(struct partings *partings, int *fd, struct charge *charge);

/*
 * Waits for none of them. Those for which no child can be made stay open until the process ends;
 * all charges are given back.
 */
void partings_deinit(struct partings *partings);
