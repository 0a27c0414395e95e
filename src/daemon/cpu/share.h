/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * From a quota to numbers: what each running worker gets of it as SCHED_DEADLINE runtime and
 * period, and what cpu.max says. Pure: no clock, no system call, no floating point; whatever is
 * rounded is rounded so that the sum of what is given never exceeds the quota.
 */

#include "base/util.h"

#define SHARE_UNLIMITED USEC_INFINITY /* as a quota: no cap */

/* What the kernel sets; sched_read_host() fills it. */
struct share_host {
        unsigned n_cpus;     /* online */
        uint64_t tick_nsec;  /* SCHED_DEADLINE is enforced that often: 4 ms at HZ=250 */
        uint64_t admissible; /* µs per s, of all CPUs; SHARE_UNLIMITED: no admission control */
        uint64_t period_min_nsec; /* what SCHED_DEADLINE accepts */
        uint64_t period_max_nsec;
};

enum share_kind {
        SHARE_FREE,     /* the quota is no limit for so few workers: they need no cap */
        SHARE_DEADLINE, /* *ret is what each of them gets */
        SHARE_TOO_MUCH, /* more than the kernel would ever admit: no deadline */
        SHARE_TOO_TINY, /* less than it can express: no deadline */
};

struct share {
        uint64_t runtime_nsec;
        uint64_t period_nsec;
};

/*
 * quota: µs of CPU time per s for all n workers together (1,000,000 is one CPU), or
 * SHARE_UNLIMITED. period_usec: the period wanted; it is made longer until a share of it lasts a
 * tick, as long as the kernel takes that. *ret is written for SHARE_DEADLINE only.
 */
enum share_kind share_compute(struct share *ret, const struct share_host *host, uint64_t quota,
                              uint64_t period_usec, unsigned n);

/* part/SHARE_PARTS of a share, for one that is not admitted whole. false: nothing is left of it. */
#define SHARE_PARTS 32U
bool share_part(struct share *ret, const struct share *whole, unsigned part);

/*
 * "quota period" for cpu.max: the period, made longer until it holds the quota's least value (1 ms,
 * the kernel's), at most 1 s. "max PERIOD" for SHARE_UNLIMITED.
 */
#define SHARE_CPU_MAX_SIZE 48
void share_cpu_max(char buffer[static SHARE_CPU_MAX_SIZE], uint64_t quota, uint64_t period_usec);
