/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Clock and percentiles for the programs that measure the hand-off. Nanoseconds of
 * CLOCK_MONOTONIC throughout; a percentile is a value that was measured (nearest rank), never an
 * interpolated one.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t now_ns(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline int compare_ns(const void *a, const void *b) {
        const uint64_t *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

static inline void sort_ns(uint64_t *samples, size_t n) {
        qsort(samples, n, sizeof(*samples), compare_ns);
}

/* samples: sorted, n > 0. percent: 0 .. 100. */
static inline uint64_t percentile_ns(const uint64_t *samples, size_t n, unsigned percent) {
        size_t rank = (n * percent + 99) / 100;

        return samples[rank > 0 ? rank - 1 : 0];
}
