/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The CPU limits of the workers on this host: enforce.c with our cgroup below it, and the probe
 * that tells which way of enforcing works here. Nothing here fails for good; what cannot be had is
 * logged.
 */

#include <systemd/sd-event.h>

#include "daemon/cpu/enforce.h"

struct cap;
struct cgroup_root;

/* cgroup: NULL, or borrowed: where the workers are. */
int cap_new(struct cap **ret, sd_event *event, struct cgroup_root *cgroup);
struct cap *cap_free(struct cap *cap);

/* Acts at once, on running workers, too. */
void cap_set(struct cap *cap, const struct enforce_policy *policy);

/* About once a second, while a worker runs. Returns whether it wants to be called again. */
bool cap_tick(struct cap *cap);

/* For those who add workers, and for the status. */
struct enforce *cap_get_enforce(const struct cap *cap);
