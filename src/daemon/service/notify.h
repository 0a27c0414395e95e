/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the daemon says to systemd, see sd_notify(3). Without NOTIFY_SOCKET nobody listens, and
 * nothing is said. Nothing here blocks: what PID 1 does not read is said again later. If systemd
 * wants signs of life (WATCHDOG_USEC), the loop gives them, as long as it runs.
 */

#include <systemd/sd-event.h>

#include "base/util.h"

#define NOTIFY_STATUS_MAX 160

struct notify;

/* describe: the status line, asked for whenever one may be sent. */
int notify_new(struct notify **ret, sd_event *event,
               void (*describe)(void *userdata, char *buffer, size_t size), void *userdata);
struct notify *notify_free(struct notify *notify);

/* At once, if PID 1 reads: READY=1, and the status with it; RELOADING=1; STOPPING=1. */
void notify_ready(struct notify *notify);
void notify_reloading(struct notify *notify);
void notify_stopping(struct notify *notify);

/*
 * The status may have changed: it is sent if it has, now if a second has passed since the last
 * line, else when it has. Cheap.
 */
void notify_changed(struct notify *notify);

/* More time to start or stop, from then on when it is sent: with the status, at most a second on.
 */
void notify_extend(struct notify *notify, uint64_t usec);

/* systemd keeps the fd for the next daemon, the only one of that name. fd: borrowed until
 * notify_free(). */
void notify_store(struct notify *notify, int fd, const char *name);
