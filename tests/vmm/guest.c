/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The part of a VMM that talks to KVM.
 *
 * struct guest owns all its fds and mappings; vm_fd is lent to libpvreaper (which duplicates it)
 * and to the threads that run PERFORM as stock QEMU does. The VM is never run: teardown only cares
 * about address space, VM and memslot. Memory is aligned to 1 MiB because KVM on s390 wants that of
 * memslots (a segment); elsewhere it does no harm.
 *
 * Invariant: fds are -1 and mappings NULL unless they are ours, so guest_deinit() takes any state.
 */

#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEGMENT (1024ull * 1024)

static void guest_reset(struct guest *guest) {
        *guest = (struct guest){.kvm_fd = -1, .vm_fd = -1, .vcpu_fd = -1};
}

static int guest_map_memory(struct guest *guest, uint64_t size) {
        void *map;

        if (size == 0 || size > SIZE_MAX / 2)
                return -EINVAL;

        guest->memory_size = (size + SEGMENT - 1) & ~(SEGMENT - 1);
        guest->map_size = guest->memory_size + SEGMENT;
        map = mmap(NULL, guest->map_size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (map == MAP_FAILED)
                return -errno;

        guest->map = map;
        guest->memory = (uint8_t *)(((uintptr_t)map + SEGMENT - 1) & ~(uintptr_t)(SEGMENT - 1));
        return 0;
}

static int guest_add_memslot(struct guest *guest) {
        struct kvm_userspace_memory_region region = {
                .slot = 0,
                .guest_phys_addr = 0,
                .memory_size = guest->memory_size,
                .userspace_addr = (uintptr_t)guest->memory,
        };

        return ioctl(guest->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -errno : 0;
}

static int guest_add_vcpu(struct guest *guest) {
        void *run;
        int size;

        size = ioctl(guest->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
        if (size < 0)
                return -errno;

        guest->vcpu_fd = ioctl(guest->vm_fd, KVM_CREATE_VCPU, 0);
        if (guest->vcpu_fd < 0)
                return -errno;

        run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, guest->vcpu_fd, 0);
        if (run == MAP_FAILED)
                return -errno;

        guest->run = run;
        guest->run_size = (size_t)size;
        return 0;
}

int guest_init(struct guest *guest, uint64_t memory_size) {
        int r;

        guest_reset(guest);
        guest->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        if (guest->kvm_fd < 0)
                return -errno;

        guest->vm_fd = ioctl(guest->kvm_fd, KVM_CREATE_VM, 0);
        if (guest->vm_fd < 0)
                return -errno;

        r = guest_map_memory(guest, memory_size);
        if (r < 0)
                return r;

        r = guest_add_memslot(guest);
        if (r < 0)
                return r;

        return guest_add_vcpu(guest);
}

void guest_deinit(struct guest *guest) {
        if (guest->run)
                munmap(guest->run, guest->run_size);
        if (guest->vcpu_fd >= 0)
                close(guest->vcpu_fd);
        if (guest->vm_fd >= 0)
                close(guest->vm_fd);
        if (guest->kvm_fd >= 0)
                close(guest->kvm_fd);
        if (guest->map)
                munmap(guest->map, guest->map_size);
        guest_reset(guest);
}

int guest_touch(struct guest *guest, uint64_t size) {
        volatile uint8_t *memory = guest->memory;
        const long page = sysconf(_SC_PAGESIZE);

        if (size > guest->memory_size)
                return -ERANGE;

        for (uint64_t i = 0; i < size; i += (uint64_t)page)
                memory[i] = 1;
        return 0;
}
