/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A client of the system bus that comes back: it connects when there is a bus, gives up a bus that
 * does not answer within 20 s, and tries again after 1 s, 2 s, ... up to a minute. Nothing here
 * waits, and a bus that is away is no error.
 *
 * Who uses it has a connection of its own: one user must go on if what another one asks is not
 * answered.
 */

#include <systemd/sd-bus.h>

#include "base/util.h"

struct system_bus;

struct system_bus_user {
        /*
         * A new connection: asks for what the user needs of it. That is sent when the bus lets us
         * in. Negative: not with this connection. When all is answered, the user calls
         * system_bus_ready(). Calls without _async would wait, for up to 90 s.
         */
        int (*begin)(void *userdata, sd_bus *link);

        /* A message, before anything else looks at it. Whether it was for the user. */
        bool (*message)(void *userdata, sd_bus_message *message);

        /*
         * The connection is lost, or none could be made (then link is NULL). why is a negative
         * errno. link is closed afterwards.
         */
        void (*lost)(void *userdata, sd_bus *link, int why);

        void *userdata;
};

/* Calls nothing of the user's before the loop runs. priority is of sd_event_source_set_priority().
 */
int system_bus_new(struct system_bus **ret, sd_event *event, int64_t priority,
                   const struct system_bus_user *user);

/* lost() is not called. Takes NULL. */
struct system_bus *system_bus_free(struct system_bus *bus);

/* The connection, perhaps not ready yet; NULL: there is none. */
sd_bus *system_bus_link(const struct system_bus *bus);

/* The user has got all it asked for. */
void system_bus_ready(struct system_bus *bus);

/* This connection is of no use: lost() is called, and another one made later. */
void system_bus_drop(struct system_bus *bus, int why);
