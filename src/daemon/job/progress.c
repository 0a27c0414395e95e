/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A rate is measured over windows of at least a second, since a worker under a CPU cap runs in
 * bursts, and each window counts for half: a cap that is lifted shows within seconds. The first
 * window is used however short it is.
 */

#include "daemon/job/progress.h"

#define WINDOW_USEC USEC_PER_SEC

void progress_begin(struct progress *p, uint64_t now, uint64_t bytes) {
        *p = (struct progress){
                .left = bytes, .told_at = now, .window_left = bytes, .window_at = now};
}

/* The numbers are claims of any size. */
static uint64_t per_second(uint64_t bytes, uint64_t usec) {
        double rate = (double)bytes * (double)USEC_PER_SEC / (double)usec;

        return rate < 0x1p63 ? (uint64_t)rate : UINT64_C(1) << 63;
}

static void measure(struct progress *p, uint64_t now) {
        uint64_t usec = now - p->window_at, rate;

        if (usec == 0)
                return;
        rate = per_second(p->window_left - p->left, usec);
        if (usec < WINDOW_USEC) {
                if (p->rate == 0)
                        p->rate = rate;
                return;
        }
        p->rate = p->rate == 0 ? rate : p->rate / 2 + rate / 2;
        p->window_left = p->left;
        p->window_at = now;
}

bool progress_tell(struct progress *p, uint64_t now, uint64_t bytes_left) {
        bool moved = bytes_left < p->left;

        p->left = min_u64(p->left, bytes_left);
        p->told_at = now;
        measure(p, now);
        return moved;
}

uint64_t progress_rate(const struct progress *p) {
        return p->rate == 0 ? USEC_INFINITY : p->rate;
}

uint64_t progress_eta(const struct progress *p, uint64_t now) {
        double usec;

        if (p->rate == 0)
                return USEC_INFINITY;
        usec = (double)p->left * (double)USEC_PER_SEC / (double)p->rate;
        if (usec >= 0x1p63)
                return USEC_INFINITY;
        return (uint64_t)usec > now - p->told_at ? (uint64_t)usec - (now - p->told_at) : 0;
}
