/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The CPU limits of the workers on this host: enforce.c with our cgroup below it, and the probe
 * that tells which way of enforcing works here. Nothing here fails for good; what cannot be had is
 * logged.
 */

#include "daemon/cpu/enforce.h"

struct manager;
struct worker;
struct cap;

/* The manager must have its cgroup, if it has one, and its event loop. */
int cap_new(struct cap **ret, struct manager *manager);
struct cap *cap_free(struct cap *cap);

/* Acts at once, on running workers, too. cpus: for cpuset.cpus; "": all. */
void cap_set(struct cap *cap, const struct enforce_policy *policy, const char *cpus);

/* The worker runs from now on; does so no longer. */
void cap_add(struct cap *cap, struct worker *worker);
void cap_remove(struct worker *worker);

/* About once a second, while a worker runs. Returns whether it wants to be called again. */
bool cap_tick(struct cap *cap);

/* For the status. */
const struct enforce *cap_get_enforce(const struct cap *cap);
