/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Numbers that look random and are the same in every run: xorshift64. */

#include <stdint.h>

struct rng {
        uint64_t state; /* not 0 */
};

static inline uint64_t rng_next(struct rng *rng) {
        rng->state ^= rng->state << 13;
        rng->state ^= rng->state >> 7;
        rng->state ^= rng->state << 17;
        return rng->state * UINT64_C(0x2545F4914F6CDD1D);
}

/* 0 .. n - 1 */
static inline uint32_t rng_below(struct rng *rng, uint32_t n) {
        return (uint32_t)(rng_next(rng) >> 33) % n;
}
