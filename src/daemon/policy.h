/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * From the configuration's words to the numbers of governor and cap. Pure: no clock, no system
 * call; what is the host's is passed in.
 *
 * In a hurry (memory is short, somebody waits for it, an administrator hurries all, or we are on
 * our way out) the boost-* values hold, and jobs start as fast as slots become free: what
 * start-rate spares the host is spent on giving memory back.
 */

#include "daemon/config/config.h"
#include "daemon/cpu/enforce.h"
#include "daemon/governor/governor.h"

struct policy_host {
        unsigned n_cpus; /* online */
        bool yields;     /* see cgroup_root_yields() */
};

struct governor_limits policy_limits(const struct config *config, enum governor_mode mode,
                                     unsigned n_cpus);

/* max: connections, and workers, that there is room for. */
struct unit_limits policy_unit_limits(const struct config *config, unsigned max);

/* In µs per s; USEC_INFINITY: no limit. */
uint64_t policy_cpu_quota(const struct config *config, enum governor_mode mode,
                          const struct policy_host *host);

struct enforce_policy policy_enforce(const struct config *config, uint64_t quota);
