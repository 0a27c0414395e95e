/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * From the configuration to what the governor goes by.
 */

#include "daemon/governor/governor.h"

struct config;
struct manager;

/* Before anything is granted. The manager must know peers.max. */
void policy_init(struct manager *manager, const struct config *config);

/* After manager.config has changed: acts at once, also on what runs. */
void policy_apply(struct manager *manager);

/* What is in force, in µs per s; USEC_INFINITY: no limit. */
uint64_t policy_cpu_quota(const struct manager *manager);

/* Asks for a mode, or does so no longer; see governor_set_mode(). Acts at once. */
void policy_set_mode(struct manager *manager, enum governor_mode mode, bool on);
