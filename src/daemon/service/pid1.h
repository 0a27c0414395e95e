/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Asks PID 1 over the system bus what is being stopped: the system, or our socket. Nothing here
 * waits, and a bus that is away, or does not answer, is no error: then nobody knows.
 */

#include <systemd/sd-event.h>

#include "base/util.h"

enum pid1_news {
        PID1_SILENT, /* no bus, or no answer in time */
        PID1_STOPS_NOTHING,
        PID1_STOPS_SOCKET, /* pv-reaper.socket, and us before it */
        PID1_STOPS_SYSTEM,
};

struct pid1;

/*
 * Connects, now or when there is a bus, and from then on tells news: once connected, whenever PID 1
 * queues or finishes a job for shutdown.target or pv-reaper.socket, and when asked. Not called back
 * from within pid1_new() and pid1_free().
 */
int pid1_new(struct pid1 **ret, sd_event *event, void (*tell)(void *userdata, enum pid1_news news),
             void *userdata);
struct pid1 *pid1_free(struct pid1 *pid1);

/* Whether there is a bus, or one that we are just connecting to. */
bool pid1_can_ask(const struct pid1 *pid1);

/* The answer is told within 2 s, PID1_SILENT if there is none. Call it from the loop. */
void pid1_ask(struct pid1 *pid1);
