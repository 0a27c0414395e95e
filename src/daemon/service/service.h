/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The daemon as a service: its signals, what it says to systemd, how it reloads and how it stops.
 */

#include "base/util.h"

struct manager;
struct service;

/* From here on signals are obeyed. They must be blocked. */
int service_new(struct service **ret, struct manager *manager);
struct service *service_free(struct service *service);

/* All is set up: says so, in the log as well, and begins to show the status. */
void service_ready(struct service *service);

/*
 * Why it drains (no new VMs, and jobs run at the boosted limit): "administrator",
 * "pv-reaper.socket", "system"; NULL: it does not, as governor_mode() says, too.
 */
const char *service_drain_reason(const struct service *service);

/* Drains until service_resume(), or until the daemon ends. */
void service_drain(struct service *service);

/* -EBUSY: still draining, for something is being stopped. */
int service_resume(struct service *service);

/* Reads the configuration again. Negative: it cannot be used (logged), the old one stays. */
int service_reload(struct service *service);
