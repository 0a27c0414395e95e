/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * For a host without /dev/kvm: gives a QEMU with -accel tcg a VM, the simulator's stand-in, so that
 * the memory of a real QEMU is that of a VM to whoever interposes ioctl(2). Preloaded behind
 * libpvreaper-preload.so and before libpvsim.so.
 *
 * QEMU maps each block of guest memory into a hole that it reserved: MAP_FIXED, writable. Such a
 * mapping of 64 MiB and more is a memory slot; the first one makes the VM as well, in the process
 * that will run the guest, at about the moment when QEMU with KVM would. Owns the VM fd, for the
 * process's life. QEMU maps its memory in one thread.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLOT_MIN (UINT64_C(64) << 20)

void *in_tcg_mmap(void *address, size_t size, int protection, int flags, int fd,
                  off_t offset) __asm__("mmap") __attribute__((visibility("default")));
void *in_tcg_mmap64(void *address, size_t size, int protection, int flags, int fd,
                    off_t offset) __asm__("mmap64") __attribute__((visibility("default")));

static void add_slot(const void *address, size_t size) {
        static int vm_fd = -1;
        static struct kvm_userspace_memory_region region;
        int kvm_fd;

        if (vm_fd < 0) {
                kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
                vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
                close(kvm_fd);
        }
        region.guest_phys_addr += region.memory_size;
        region.memory_size = size;
        region.userspace_addr = (uintptr_t)address;
        if (ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
                _exit(99);
        region.slot++;
}

void *in_tcg_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
        long r = syscall(SYS_mmap, address, size, protection, flags, fd, offset);
        int saved = errno;

        if (r != -1 && size >= SLOT_MIN && flags & MAP_FIXED && protection & PROT_WRITE)
                add_slot((const void *)r, size);
        errno = saved;
        return (void *)r;
}

void *in_tcg_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
        return in_tcg_mmap64(address, size, protection, flags, fd, offset);
}
