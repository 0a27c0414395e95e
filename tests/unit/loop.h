/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Time that passes only when a test says so. The loop is sd-event itself; it and everything else in
 * the program ask clock_gettime(), and that is ours:
 *
 *         fake_time_begin();
 *         ...                                        a sd_event, sources, whatever is tested
 *         fake_time_pass(event, 0);                  all that can happen now, has
 *         fake_time_pass(event, 15 * USEC_PER_SEC);  ... and what timers do in these 15 s
 *         assert_int_equal(sd_event_get_exit_code(event, &code), -ENODATA);
 *         ...
 *         fake_time_end();
 *
 * Time passes in steps of 10 ms, so a timer is up to 10 ms late, and a periodic one goes off as
 * often as in real time. In each step the loop runs until it rests: what an fd has to say in the
 * first is read in the first. now_usec(), loop_now() and sd_event_now() agree. A real child, or
 * another thread, is not waited for: fake time does not pass for those.
 *
 * For a test that uses it, unit_loop_dep is among the dependencies in meson.build. CLOCK_REALTIME
 * stays real.
 */

#include <systemd/sd-event.h>

#include "base/util.h"

/* Time stands still from here on, at a moment that is the same in each run. */
void fake_time_begin(void);

/* It is real again. */
void fake_time_end(void);

/* Lets so many µs pass, and the loop run; ends early if the loop does (sd_event_exit()). */
void fake_time_pass(sd_event *event, uint64_t usec);
