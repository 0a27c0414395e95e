/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The sum of the memory slots. Each slot's size is exchanged at once and the difference added to
 * the total, so whatever order threads come in, the total is the sum in the end. It may wrap on
 * the way, if a smaller size overtakes a larger one, and wraps back.
 */

#include "preload/slots.h"

#include <linux/kvm.h>
#include <stdatomic.h>

void slots_set(struct slots *slots, uint32_t slot, uint32_t flags, uint64_t bytes) {
        uint64_t before;

        if (slot >= SLOTS_MAX)
                return;
        if (flags & KVM_MEM_READONLY)
                bytes = 0;
        before = atomic_exchange(&slots->bytes[slot], bytes);
        atomic_fetch_add(&slots->total, bytes - before);
}

void slots_reset(struct slots *slots) {
        for (uint32_t i = 0; i < SLOTS_MAX; i++)
                if (slots->bytes[i] > 0)
                        slots->bytes[i] = 0;
        slots->total = 0;
}
