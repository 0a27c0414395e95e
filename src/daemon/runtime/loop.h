/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The clock of the loop, and its timers. Times are CLOCK_MONOTONIC µs. Nothing here blocks.
 *
 * A timer goes off once each time it is set, exact to 1 µs, and is off then; a handler that wants
 * to be called periodically sets it again. The source is the caller's, who gives it up by
 * sd_event_source_disable_unref(). A timer may be NULL (its owner is on its way in or out): then
 * nothing happens.
 */

#include <systemd/sd-event.h>

#include "base/util.h"

/* The time at which this round of events began; before the first one, now. */
uint64_t loop_now(sd_event *event);

/* Makes a timer, which is off. */
int loop_add_timer(sd_event_source **ret, sd_event *event, sd_event_time_handler_t handler,
                   void *userdata);

/* Sets it, whether it is on or not: to a time, of which USEC_INFINITY is never; or from now on. */
void loop_timer_at(sd_event_source *timer, uint64_t when);
void loop_timer_in(sd_event_source *timer, uint64_t usec);

/* Sets it to a time, unless it is on already. */
void loop_timer_start(sd_event_source *timer, uint64_t when);

void loop_timer_off(sd_event_source *timer);
