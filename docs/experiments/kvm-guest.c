/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * F86: is there a KVM that runs a guest? One page of real-mode code that writes a digit to a serial
 * port and halts. Prints what it wrote, and which capabilities about guest_memfd the kernel has.
 * For a machine of kvm-in-tcg; it says the same on a host with /dev/kvm.
 *
 *   kvm-guest
 */

#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define START           0x1000
#define CAP_GUEST_MEMFD 234 /* Linux 6.8 */
#define CAP_VM_TYPES    235

/* mov $0x3f8, %dx; add %bl, %al; add $'0', %al; out %al, (%dx); mov $'\n', %al; out; hlt */
static const unsigned char code[] = {0xba, 0xf8, 0x03, 0x00, 0xd8, 0x04,
                                     '0',  0xee, 0xb0, '\n', 0xee, 0xf4};

static void run(int vcpu, struct kvm_run *run) {
        for (;;) {
                if (ioctl(vcpu, KVM_RUN, 0) < 0)
                        err(1, "KVM_RUN");
                if (run->exit_reason == KVM_EXIT_HLT)
                        return;
                if (run->exit_reason != KVM_EXIT_IO)
                        errx(1, "exit reason %u", run->exit_reason);
                (void)putchar(*((char *)run + run->io.data_offset));
        }
}

int main(void) {
        struct kvm_userspace_memory_region region = {.guest_phys_addr = START,
                                                     .memory_size = 0x1000};
        struct kvm_regs regs = {.rip = START, .rax = 2, .rbx = 2, .rflags = 2};
        int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu, run_size;
        struct kvm_sregs sregs;
        void *memory, *shared;

        if (kvm < 0)
                err(77, "/dev/kvm");
        vm = ioctl(kvm, KVM_CREATE_VM, 0UL);
        if (vm < 0)
                err(1, "KVM_CREATE_VM");
        memory = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
                err(1, "mmap");
        memcpy(memory, code, sizeof(code));
        region.userspace_addr = (uintptr_t)memory;
        if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
                err(1, "KVM_SET_USER_MEMORY_REGION");
        vcpu = ioctl(vm, KVM_CREATE_VCPU, 0UL);
        run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
        shared = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
        if (shared == MAP_FAILED || ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
                err(1, "vCPU");
        sregs.cs.base = 0;
        sregs.cs.selector = 0;
        if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
                err(1, "registers");
        printf("the guest wrote ");
        run(vcpu, shared);
        printf("guest_memfd: %d, types of VMs: 0x%x\n",
               ioctl(vm, KVM_CHECK_EXTENSION, CAP_GUEST_MEMFD),
               (unsigned)ioctl(vm, KVM_CHECK_EXTENSION, CAP_VM_TYPES));
        return 0;
}
