/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A stand-in for /dev/kvm where it cannot be opened (or PVSIM_STANDIN=1): enough for a small VMM
 * that creates a VM, gives it memory and never runs a vCPU. Says so once on stderr.
 *
 * Its fds are memfds, told by their names. A VM's holds the cookie of the address space that made
 * it; the cookie in memory lies in a page that the kernel wipes in the child of a fork, and stays
 * in one that shares memory, so that the answer to "may I use this VM?" is KVM's: -EIO for
 * everybody else. A vCPU's memfd is only there to be mapped. The end of a VM and vCPU ioctls mean
 * nothing; an ioctl that is not named below gets the memfd's -ENOTTY.
 */

#include "sim.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEV_KVM        "/dev/kvm"
#define VCPU_MMAP_SIZE (3 * SIM_PAGE_SIZE)
#define VCPUS_MAX      64
#define MEMSLOTS_MAX   512

int sim_open(const char *path, int flags, ...) __asm__("open") SIM_EXPORT;
int sim_open64(const char *path, int flags, ...) __asm__("open64") SIM_EXPORT;
int sim_openat(int dir, const char *path, int flags, ...) __asm__("openat") SIM_EXPORT;
int sim_openat64(int dir, const char *path, int flags, ...) __asm__("openat64") SIM_EXPORT;
int sim_open_2(const char *path, int flags) __asm__("__open_2") SIM_EXPORT;
int sim_open64_2(const char *path, int flags) __asm__("__open64_2") SIM_EXPORT;
int sim_openat_2(int dir, const char *path, int flags) __asm__("__openat_2") SIM_EXPORT;
int sim_openat64_2(int dir, const char *path, int flags) __asm__("__openat64_2") SIM_EXPORT;

static _Atomic uint64_t *cookie; /* a page of its own, made by the constructor */

__attribute__((constructor)) static void make_cookie_page(void) {
        void *p = mmap(NULL, SIM_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                       0);

        if (p == MAP_FAILED || madvise(p, SIM_PAGE_SIZE, MADV_WIPEONFORK) < 0)
                return;
        cookie = p;
}

/* This address space's cookie, made when first asked for; 0 if there cannot be one. */
static uint64_t own_cookie(void) {
        uint64_t old = 0, new = 0;

        if (!cookie)
                return 0;
        syscall(SYS_getrandom, &new, sizeof(new), 0);
        new |= 1;
        return atomic_compare_exchange_strong(cookie, &old, new) ? new : old;
}

static int make_memfd(const char *name, uint32_t flags) {
        int fd = (int)syscall(SYS_memfd_create, name, flags);

        return fd < 0 ? -errno : fd;
}

static int create_vm(void) {
        uint64_t own = own_cookie();
        int fd = make_memfd(SIM_STANDIN_VM, MFD_CLOEXEC);

        if (fd >= 0 && syscall(SYS_pwrite64, fd, &own, sizeof(own), 0) != sizeof(own)) {
                syscall(SYS_close, fd);
                return -ENOMEM;
        }
        return fd;
}

static int create_vcpu(void) {
        int fd = make_memfd("kvm-vcpu", MFD_CLOEXEC);

        if (fd >= 0 && syscall(SYS_ftruncate, fd, VCPU_MMAP_SIZE) < 0) {
                syscall(SYS_close, fd);
                return -ENOMEM;
        }
        return fd;
}

static int check_mm(int fd) {
        uint64_t vm = 0;

        if (syscall(SYS_pread64, fd, &vm, sizeof(vm), 0) != sizeof(vm) || vm == 0)
                return -EIO;
        return vm == own_cookie() ? 0 : -EIO;
}

static int check_extension(uintptr_t extension) {
        switch (extension) {
        case KVM_CAP_USER_MEMORY:
        case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
                return 1;
        case KVM_CAP_NR_MEMSLOTS:
                return MEMSLOTS_MAX;
        case KVM_CAP_NR_VCPUS:
        case KVM_CAP_MAX_VCPUS:
                return VCPUS_MAX;
        default:
                return 0;
        }
}

static int dev_ioctl(uint32_t request, void *arg) {
        switch (request) {
        case KVM_GET_API_VERSION:
                return KVM_API_VERSION;
        case KVM_CREATE_VM:
                return create_vm();
        case KVM_CHECK_EXTENSION:
                return check_extension((uintptr_t)arg);
        case KVM_GET_VCPU_MMAP_SIZE:
                return VCPU_MMAP_SIZE;
        default:
                return -ENOTTY;
        }
}

static int vm_ioctl(int fd, uint32_t request, void *arg) {
        int r = check_mm(fd);

        if (r < 0)
                return r;
        switch (request) {
        case KVM_CHECK_EXTENSION:
                return check_extension((uintptr_t)arg);
        case KVM_CREATE_VCPU:
                return create_vcpu();
        case KVM_SET_USER_MEMORY_REGION:
                return arg ? 0 : -EFAULT;
        default:
                return -ENOTTY;
        }
}

int sim_standin_ioctl(int fd, enum sim_fd kind, uint32_t request, void *arg) {
        return kind == SIM_FD_STANDIN_DEV ? dev_ioctl(request, arg) : vm_ioctl(fd, request, arg);
}

static void say_so(void) {
        static const char absent[] = "libpvsim: no /dev/kvm here: standing in for it\n";
        static const char forced[] = "libpvsim: PVSIM_STANDIN: standing in for /dev/kvm\n";
        static atomic_bool said;

        if (atomic_exchange(&said, true))
                return;
        if (sim_config.standin)
                syscall(SYS_write, STDERR_FILENO, forced, sizeof(forced) - 1);
        else
                syscall(SYS_write, STDERR_FILENO, absent, sizeof(absent) - 1);
}

static int open_any(int dir, const char *path, int flags, mode_t mode) {
        bool is_kvm = path && strcmp(path, DEV_KVM) == 0;
        int fd = -1;

        if (!is_kvm || !sim_config.standin)
                fd = (int)syscall(SYS_openat, dir, path, flags, mode);
        if (fd >= 0 || !is_kvm || errno == EMFILE || errno == ENFILE || errno == EINTR)
                return fd;
        say_so();
        fd = make_memfd(SIM_STANDIN_DEV, flags & O_CLOEXEC ? MFD_CLOEXEC : 0);
        if (fd >= 0)
                return fd;
        errno = -fd;
        return -1;
}

static bool has_mode(int flags) {
        return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
}

/* The mode is an argument of open(2) only where a file can be made. */
#define OPEN(dir, path, flags)                                                                     \
        ({                                                                                         \
                mode_t mode_ = 0;                                                                  \
                va_list ap_;                                                                       \
                                                                                                   \
                va_start(ap_, flags);                                                              \
                if (has_mode(flags))                                                               \
                        mode_ = va_arg(ap_, mode_t);                                               \
                va_end(ap_);                                                                       \
                open_any(dir, path, flags, mode_);                                                 \
        })

int sim_open(const char *path, int flags, ...) {
        return OPEN(AT_FDCWD, path, flags);
}

int sim_open64(const char *path, int flags, ...) {
        return OPEN(AT_FDCWD, path, flags);
}

int sim_openat(int dir, const char *path, int flags, ...) {
        return OPEN(dir, path, flags);
}

int sim_openat64(int dir, const char *path, int flags, ...) {
        return OPEN(dir, path, flags);
}

int sim_open_2(const char *path, int flags) {
        return open_any(AT_FDCWD, path, flags, 0);
}

int sim_open64_2(const char *path, int flags) {
        return open_any(AT_FDCWD, path, flags, 0);
}

int sim_openat_2(int dir, const char *path, int flags) {
        return open_any(dir, path, flags, 0);
}

int sim_openat64_2(int dir, const char *path, int flags) {
        return open_any(dir, path, flags, 0);
}
