/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The guest as KVM sees it: a real VM fd, one vCPU with its kvm_run mapped (that mapping holds the
 * VM, as in every VMM), and one memslot. The memory is reserved address space; only what
 * guest_touch() was asked for is really there.
 */

#include <stddef.h>
#include <stdint.h>

struct guest {
        int kvm_fd;
        int vm_fd;
        int vcpu_fd;
        void *run; /* the vCPU's struct kvm_run, or NULL */
        size_t run_size;
        void *map; /* what was mapped for the memory, or NULL; memory is the aligned part of it */
        size_t map_size;
        uint8_t *memory;
        uint64_t memory_size;
};

/*
 * Opens /dev/kvm and makes the VM. memory_size is rounded up to 1 MiB. Errors: those of open(2)
 * (-ENOENT, -EACCES: there is no KVM for us), of mmap(2) and of KVM. Release with guest_deinit()
 * in either case.
 */
int guest_init(struct guest *guest, uint64_t memory_size);

/* Takes what guest_init() left, also when it failed. May drop the last reference to the VM. */
void guest_deinit(struct guest *guest);

/* Writes to every page of the first size bytes. -ERANGE if there are fewer. */
int guest_touch(struct guest *guest, uint64_t size);
