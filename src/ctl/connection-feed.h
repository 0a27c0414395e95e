/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A connection that stays: signals as they come, the daemon's state after them, and another try
 * whenever it is lost. Nothing here waits, and nothing is told to the user.
 */

#include <systemd/sd-event.h>

#include "ctl/record.h"

struct feed;

struct feed_user {
        void *userdata;

        /* Both lists may be taken: an empty one is left then. NULL: only signals are wanted. */
        void (*state)(void *userdata, struct record_list *status, struct record_list *jobs);

        /* name: "JobQueued", "JobStarted", "JobFinished"; job: what GetJob says of it. */
        void (*job)(void *userdata, const char *name, const struct record *job);

        /* The daemon answers now; or (-errno) does not any more. Told when it changes. */
        void (*reached)(void *userdata, int error);
};

/* path is copied; user is not. Callbacks come from the loop only. */
int feed_new(struct feed **ret, sd_event *event, const char *path, const struct feed_user *user);
struct feed *feed_free(struct feed *feed);

/* Asks for the state, soon: not more often than it is answered quickly. */
void feed_refresh(struct feed *feed);
