/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * All running workers get the same share. It is kept in parts per 10^9 of a CPU, rounded down, and
 * the runtime is rounded down again: the sum over all workers stays at or below the quota, by less
 * than n * (1e-9 + 1 ns / period).
 *
 * The period follows from the tick. A deadline task is stopped by the tick, so a burst lasts at
 * least one, however short the runtime; what it took too much it owes, and stands still for tick /
 * share. A period of that length makes the burst the runtime and leaves no debt but the overshoot
 * of the last tick. Shorter ones would be no smoother.
 */

#include "daemon/cpu/share.h"

#include <inttypes.h>
#include <stdio.h>

#define NSEC_PER_SEC       UINT64_C(1000000000)
#define PARTS              UINT64_C(1000000000)
#define RUNTIME_MIN_NSEC   1024                          /* the kernel's: DL_SCALE */
#define QUOTA_MAX          (USEC_PER_SEC * USEC_PER_SEC) /* a million CPUs: no overflow */
#define CPU_MAX_QUOTA_MIN  (1 * USEC_PER_MSEC)
#define CPU_MAX_PERIOD_MIN (1 * USEC_PER_MSEC)
#define CPU_MAX_PERIOD_MAX USEC_PER_SEC

static uint64_t clamp(uint64_t value, uint64_t min, uint64_t max) {
        return max_u64(min, min_u64(value, max));
}

static uint64_t divide_up(uint64_t a, uint64_t b) {
        return a / b + (a % b != 0);
}

static uint64_t period_for(const struct share_host *host, uint64_t period_usec, uint64_t parts) {
        uint64_t wanted = min_u64(period_usec, host->period_max_nsec / NSEC_PER_USEC);
        uint64_t needed = divide_up(host->tick_nsec * PARTS, parts);

        return clamp(max_u64(wanted * NSEC_PER_USEC, needed), host->period_min_nsec,
                     host->period_max_nsec);
}

enum share_kind share_compute(struct share *ret, const struct share_host *host, uint64_t quota,
                              uint64_t period_usec, unsigned n) {
        uint64_t parts;
        struct share share;

        if (quota == SHARE_UNLIMITED || n == 0 || quota >= n * USEC_PER_SEC ||
            quota >= host->n_cpus * USEC_PER_SEC)
                return SHARE_FREE;
        if (quota > host->admissible)
                return SHARE_TOO_MUCH;
        parts = quota * (PARTS / USEC_PER_SEC) / n;
        if (parts == 0)
                return SHARE_TOO_TINY;
        share.period_nsec = period_for(host, period_usec, parts);
        share.runtime_nsec = parts * share.period_nsec / PARTS;
        if (share.runtime_nsec < RUNTIME_MIN_NSEC)
                return SHARE_TOO_TINY;
        *ret = share;
        return SHARE_DEADLINE;
}

bool share_part(struct share *ret, const struct share *whole, unsigned part) {
        struct share share = *whole;

        share.runtime_nsec = whole->runtime_nsec * part / SHARE_PARTS;
        if (share.runtime_nsec < RUNTIME_MIN_NSEC)
                return false;
        *ret = share;
        return true;
}

void share_cpu_max(char buffer[static SHARE_CPU_MAX_SIZE], uint64_t quota, uint64_t period_usec) {
        uint64_t period = clamp(period_usec, CPU_MAX_PERIOD_MIN, CPU_MAX_PERIOD_MAX);

        if (quota == SHARE_UNLIMITED) {
                (void)snprintf(buffer, SHARE_CPU_MAX_SIZE, "max %" PRIu64, period);
                return;
        }
        quota = clamp(quota, 1, QUOTA_MAX);
        period = clamp(divide_up(CPU_MAX_QUOTA_MIN * USEC_PER_SEC, quota), period,
                       CPU_MAX_PERIOD_MAX);
        (void)snprintf(buffer, SHARE_CPU_MAX_SIZE, "%" PRIu64 " %" PRIu64,
                       max_u64(quota * period / USEC_PER_SEC, CPU_MAX_QUOTA_MIN), period);
}
