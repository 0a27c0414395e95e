/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * sd-event's timers, as this daemon uses them: one-shot, and exact, for an accuracy of 0 means 250
 * ms to sd-event. Setting one neither allocates nor fails: sd-event keeps a source in its queues
 * from its birth, whether it is on or off. Owns nothing.
 */

#include "daemon/runtime/loop.h"

uint64_t loop_now(sd_event *event) {
        uint64_t now = 0;

        (void)sd_event_now(event, CLOCK_MONOTONIC, &now);
        return now;
}

int loop_add_timer(sd_event_source **ret, sd_event *event, sd_event_time_handler_t handler,
                   void *userdata) {
        int r;

        r = sd_event_add_time(event, ret, CLOCK_MONOTONIC, USEC_INFINITY, 1, handler, userdata);
        return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

void loop_timer_at(sd_event_source *timer, uint64_t when) {
        if (!timer)
                return;
        (void)sd_event_source_set_time(timer, when);
        (void)sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

void loop_timer_in(sd_event_source *timer, uint64_t usec) {
        if (timer)
                loop_timer_at(timer, loop_now(sd_event_source_get_event(timer)) + usec);
}

void loop_timer_start(sd_event_source *timer, uint64_t when) {
        if (timer && sd_event_source_get_enabled(timer, NULL) == 0)
                loop_timer_at(timer, when);
}

void loop_timer_off(sd_event_source *timer) {
        if (timer)
                (void)sd_event_source_set_enabled(timer, SD_EVENT_OFF);
}
