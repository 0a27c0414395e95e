/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A system bus for one user of service/system-bus.c, which is played here: a socket pair, of which
 * the test answers at the other end. It connects when the test says so, and does not come back.
 *
 *         assert_int_equal(pid1_new(&pid1, event, on_news, NULL), 0);
 *         ends_connect(event, true, on_bus_message);
 *         fake_time_pass(event, 0);
 *         assert_int_equal(ends.n_ready, 1);
 *         pid1_free(pid1);
 *         ends_close();
 *
 * For a test that uses it, unit_ends_dep is among the dependencies in meson.build, and
 * unit_ends_calls are the calls.
 */

#include "daemon/service/system-bus.h"

extern struct ends {
        struct system_bus_user user;
        sd_bus *link; /* the user's end; NULL: away */
        sd_bus *bus;  /* the other one */
        unsigned n_ready, n_dropped;
        int why; /* of the last system_bus_drop() */
} ends;

/*
 * Another connection. hello: the user's end is a bus client, whose Hello is to be answered.
 * handler: what the other end does with a message, as of sd_bus_add_filter().
 */
void ends_connect(sd_event *event, bool hello, sd_bus_message_handler_t handler);

/* The user loses its end. */
void ends_lose(int why);

/* Once the user is gone. */
void ends_close(void);
