/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * libpvsim.so, put in front of a program by LD_PRELOAD, lets it take an ordinary host for one with
 * IBM Secure Execution: it answers KVM_S390_PV_COMMAND on VM fds with the states and return codes
 * of KVM on s390 (vm.c), burns the time of the real thing inside the kernel, in the calling task
 * (burn.c), and writes down who did what (log.c). Everything else goes to the kernel untouched.
 *
 *   PVSIM_NS_PER_PAGE=N      CPU time per 4K page of a guest, 100 if unset; 0: none
 *   PVSIM_MIN_MS=N           a PERFORM lasts at least so long, sleeping where it does not burn
 *   PVSIM_LOG=PATH           absolute; a line at begin and end of each command; format: log.c
 *   PVSIM_FAIL=WHAT:ERROR[:N][,...]
 *                            WHAT is prepare or perform, ERROR a name or number; the first N times
 *                            (always if there is no N) that it would have succeeded it fails. A
 *                            PREPARE then changes nothing; a PERFORM has taken what was set aside.
 *   PVSIM_ASYNC_DESTROY=0    like the module parameter: PREPARE and PERFORM give -EINVAL
 *   PVSIM_PROTECTABLE=0      a host without protected virtualization: the commands are unknown
 *   PVSIM_STANDIN=1          use the stand-in for /dev/kvm (standin.c) even where there is one
 *
 * Whoever does not share the VM's address space gets -EIO, and from the kernel: before a command
 * the real KVM is asked a harmless question on that very fd.
 *
 * Limits. Raw system calls by-pass it. What the end of a VM costs (the last close, exit_mmap) is
 * not simulated. Guest memory is the sum of the writable memory slots of the first 512 ids, and
 * the 2 GiB limit is compared with that. A command burns in a few system calls, each a quarter of
 * the one before, not in one. While it burns, SIGSTOP and cgroup.freeze stop it, unlike a real
 * PERFORM. 64 VMs per address space. reserved fields must be 0, which KVM does not check. A filter
 * set by prctl(2) is widened (seccomp.c), so that how strict a keeper's is must be tested without.
 */

#include "sim.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 6.8; begins like struct kvm_userspace_memory_region, 160 bytes */
#define SET_USER_MEMORY_REGION2 0x40A0AE49u

#define FD_DIR    "/proc/thread-self/fd/"
#define PATH_SIZE 48
#define LINK_SIZE 64

/* An own name in C, so that the prototypes of the headers, which differ, do not matter. */
int sim_ioctl(int fd, unsigned long request, ...) __asm__("ioctl") SIM_EXPORT;

static const char *fd_path(char path[static PATH_SIZE], int fd) {
        char digits[PATH_SIZE], *p = digits + sizeof(digits) - 1;

        *p = '\0';
        do
                *--p = (char)('0' + fd % 10);
        while (fd /= 10);
        memcpy(path, FD_DIR, sizeof(FD_DIR) - 1);
        strcpy(path + sizeof(FD_DIR) - 1, p);
        return path;
}

enum sim_fd sim_fd_kind(int fd) {
        static const struct {
                const char *link;
                enum sim_fd kind;
        } kinds[] = {
                {"anon_inode:kvm-vm", SIM_FD_VM},
                {"/dev/kvm", SIM_FD_DEV},
                {"/memfd:" SIM_STANDIN_VM " (deleted)", SIM_FD_STANDIN_VM},
                {"/memfd:" SIM_STANDIN_DEV " (deleted)", SIM_FD_STANDIN_DEV},
        };
        char path[PATH_SIZE], link[LINK_SIZE];
        long n;

        if (fd < 0)
                return SIM_FD_OTHER;
        n = syscall(SYS_readlinkat, AT_FDCWD, fd_path(path, fd), link, sizeof(link) - 1);
        link[n > 0 ? n : 0] = '\0';
        for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
                if (strcmp(link, kinds[i].link) == 0)
                        return kinds[i].kind;
        return SIM_FD_OTHER;
}

static int kernel_ioctl(int fd, enum sim_fd kind, uint32_t request, void *arg) {
        long r;

        if (kind == SIM_FD_STANDIN_DEV || kind == SIM_FD_STANDIN_VM)
                return sim_standin_ioctl(fd, kind, request, arg);
        r = syscall(SYS_ioctl, fd, request, arg);
        return r < 0 ? -errno : (int)r;
}

static bool is_vm(enum sim_fd kind) {
        return kind == SIM_FD_VM || kind == SIM_FD_STANDIN_VM;
}

static int on_command(int fd, enum sim_fd kind, void *arg) {
        static const struct pv_cmd no_cmd;
        struct sim_vm *vm;
        struct pv_cmd *cmd = arg;
        int r = kernel_ioctl(fd, kind, KVM_CHECK_EXTENSION, NULL);

        if (r < 0) {
                struct sim_op op = {.fd = fd, .cmd = cmd ? cmd->cmd : 0};

                sim_log_begin(&op);
                sim_log_end(&op, r, cmd ? cmd : &no_cmd);
                return r;
        }
        vm = sim_vm_find(fd);
        if (!vm)
                return -ENOTTY;
        return cmd ? sim_vm_command(vm, fd, cmd) : -EFAULT;
}

static int on_check_extension(int fd, enum sim_fd kind, void *arg) {
        uintptr_t extension = (uintptr_t)arg;
        int r = kernel_ioctl(fd, kind, KVM_CHECK_EXTENSION, arg);

        if (r >= 0 && (extension == KVM_CAP_S390_PROTECTED || extension == PV_CAP_ASYNC_DISABLE))
                return sim_config.protectable;
        return r;
}

static int on_set_region(int fd, enum sim_fd kind, uint32_t request, void *arg) {
        int r = kernel_ioctl(fd, kind, request, arg);
        struct sim_vm *vm = r < 0 ? NULL : sim_vm_find(fd);

        if (vm) {
                const struct kvm_userspace_memory_region *region = arg;

                sim_vm_set_region(vm, region->slot, region->flags, region->memory_size);
        }
        return r;
}

static int on_create_vm(int fd, enum sim_fd kind, void *arg) {
        int r = kernel_ioctl(fd, kind, KVM_CREATE_VM, arg);

        if (r >= 0)
                sim_vm_new(r);
        return r;
}

static int dispatch(int fd, uint32_t request, void *arg) {
        enum sim_fd kind = SIM_FD_OTHER;

        if (_IOC_TYPE(request) == KVMIO) /* spare the others a readlink */
                kind = sim_fd_kind(fd);
        if (is_vm(kind) && request == PV_COMMAND && sim_config.protectable)
                return on_command(fd, kind, arg);
        if (is_vm(kind) &&
            (request == KVM_SET_USER_MEMORY_REGION || request == SET_USER_MEMORY_REGION2))
                return on_set_region(fd, kind, request, arg);
        if (kind != SIM_FD_OTHER && request == KVM_CHECK_EXTENSION)
                return on_check_extension(fd, kind, arg);
        if (kind != SIM_FD_OTHER && request == KVM_CREATE_VM)
                return on_create_vm(fd, kind, arg);
        return kernel_ioctl(fd, kind, request, arg);
}

/* KVM's requests fit in 32 bits; callers differ in whether they sign-extend them. */
int sim_ioctl(int fd, unsigned long request, ...) {
        va_list ap;
        void *arg;
        int r;

        va_start(ap, request);
        arg = va_arg(ap, void *);
        va_end(ap);
        r = dispatch(fd, (uint32_t)request, arg);
        if (r >= 0)
                return r;
        errno = -r;
        return -1;
}
