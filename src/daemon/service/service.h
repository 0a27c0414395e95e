/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The daemon as a service: its signals, what it says to systemd, how it reloads and how it stops.
 */

#include "base/util.h"

struct config;
struct config_listener;
struct manager;
struct service;

/* Somebody who asks for something. */
struct service_caller {
        const char *who;                        /* for the log: "uid 0, pid 77" */
        const struct config_listener *listener; /* of what changes; NULL: none */
};

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

/* Drains until service_resume(), or until the daemon ends. who: for the log. */
void service_drain(struct service *service, const char *who);

/* -EBUSY: still draining, for something is being stopped. */
int service_resume(struct service *service, const char *who);

/* Reads the configuration again. Negative: it cannot be used (logged), the old one stays. */
int service_reload(struct service *service, const struct service_caller *caller);

/* Another configuration is in force from now on; wanted holds what was before. */
void service_configure(struct service *service, struct config *wanted,
                       const struct service_caller *caller);
