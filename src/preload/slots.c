/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The sum of the memory slots. Each slot's size is exchanged at once, and the difference is added
 * to the total. So in the end the total is the sum, in whatever order threads come. On the way the
 * total may wrap, if a smaller size overtakes a larger one; it wraps back.
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
