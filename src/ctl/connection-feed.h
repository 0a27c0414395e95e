/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A connection that stays. It passes on signals as they come, and the daemon's state after them. A
 * lost connection is made again. These functions never block, and print nothing.
 */

#include <systemd/sd-event.h>

#include "ctl/record.h"

struct feed;

struct feed_user {
        void *userdata;

        /* May take both lists and leave empty ones. NULL: the user wants signals only. */
        void (*state)(void *userdata, struct record_list *status, struct record_list *jobs);

        /* name: "JobQueued", "JobStarted" or "JobFinished". job: as GetJob returns it. */
        void (*job)(void *userdata, const char *name, const struct record *job);

        /* Called on each change. error: 0, the daemon answers now; -errno, it no longer does. */
        void (*reached)(void *userdata, int error);
};

/* Copies path, but not user. Callbacks come from the event loop only. */
int feed_new(struct feed **ret, sd_event *event, const char *path, const struct feed_user *user);
struct feed *feed_free(struct feed *feed);

/* Asks for the state soon, within the limits of connection-feed.c. */
void feed_refresh(struct feed *feed);
