/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A guest's size in bytes, by the memory slots that KVM was told of. Atomics only: any thread may
 * call it at any time, a signal handler as well.
 *
 * Only writable memory in the first address space counts. The second address space of x86 (system
 * management mode) shows the same memory once more, and read-only slots are firmware.
 */

#include <stdint.h>

#define SLOTS_MAX 32768 /* an id has 15 bits; the address space stands above them */

struct slots {
        _Atomic uint64_t total;
        _Atomic uint64_t bytes[SLOTS_MAX]; /* its untouched pages cost nothing */
};

/* KVM took this slot: slot and flags as in struct kvm_userspace_memory_region; 0 bytes: deleted. */
void slots_set(struct slots *slots, uint32_t slot, uint32_t flags, uint64_t bytes);

/* Another VM, without slots yet. Not while another thread is in slots_set(). */
void slots_reset(struct slots *slots);
