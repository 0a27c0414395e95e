/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * F24: how long a guest_memfd (the memory of SEV-SNP, TDX and CCA guests) holds its VMM's pid, and
 * who releases it. A VMM with a guest_memfd of GIB is killed. Beside it there is nobody (none), a
 * CLONE_VM process as today's keeper (vm), or one that also holds a dup of the guest_memfd (fd),
 * which then punches holes of 64 MiB and closes it. Prints how long waitpid(2) took after SIGKILL;
 * for fd also how long the punching, its worst slice and the last close took.
 *
 *   guest-memfd none|vm|fd GIB      real /dev/kvm, Linux 6.8
 */

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Fall-backs for headers before Linux 6.8, under names of our own. */
struct create_guest_memfd {
        uint64_t size, flags, reserved[6];
};
#define CREATE_GUEST_MEMFD  _IOWR(KVMIO, 0xd4, struct create_guest_memfd)
#define FLAGS_OF_A_PLAIN_VM 3U /* MMAP, INIT_SHARED: Linux 6.18 */

struct memory_region2 {
        uint32_t slot, flags;
        uint64_t guest_phys_addr, memory_size, userspace_addr, guest_memfd_offset;
        uint32_t guest_memfd, pad1;
        uint64_t pad2[14];
};
#define SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct memory_region2)
#define MEM_GUEST_MEMFD         4U

#define VM_SW_PROTECTED 1UL
#define SLICE           (64ULL << 20)
#define FILL            (256ULL << 20)

static char stack[65536] __attribute__((aligned(16)));
static const char *mode;
static uint64_t size;
static int vmm_pidfd;

static volatile struct {
        double punched, worst, closed;
        int ended;
} * report; /* in memory that the parent shares; times in ms */

static double now(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void release(int fd) {
        double begin = now();

        for (uint64_t at = 0; at < size; at += SLICE) {
                double slice = now();

                if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
                              (off_t)SLICE) < 0)
                        break;
                slice = now() - slice;
                if (slice > report->worst)
                        report->worst = slice;
        }
        report->punched = now() - begin;
        begin = now();
        (void)close(fd);
        report->closed = now() - begin;
}

static int keeper(void *arg) {
        struct pollfd vmm = {.fd = vmm_pidfd, .events = POLLIN};
        int fd = *(int *)arg, keep = strcmp(mode, "fd") == 0 ? fd : -1;

        for (int i = 3; i < 64; i++) /* its own table: no CLONE_FILES */
                if (i != keep && i != vmm_pidfd)
                        (void)close(i);
        (void)poll(&vmm, 1, -1);
        if (keep >= 0)
                release(keep);
        report->ended = 1;
        _exit(0);
}

static int make_guest_memfd(void) {
        struct create_guest_memfd create = {.size = size};
        int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, fd;
        struct memory_region2 region = {.flags = MEM_GUEST_MEMFD, .memory_size = size};
        void *shared;

        vm = ioctl(kvm, KVM_CREATE_VM, VM_SW_PROTECTED);
        if (vm < 0)
                vm = ioctl(kvm, KVM_CREATE_VM, 0UL);
        if (vm < 0)
                err(77, "/dev/kvm");
        fd = ioctl(vm, CREATE_GUEST_MEMFD, &create);
        if (fd < 0) {
                create.flags = FLAGS_OF_A_PLAIN_VM;
                fd = ioctl(vm, CREATE_GUEST_MEMFD, &create);
        }
        if (fd < 0)
                err(77, "guest_memfd");
        shared = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        region.userspace_addr = (uintptr_t)shared;
        region.guest_memfd = (uint32_t)fd;
        if (ioctl(vm, SET_USER_MEMORY_REGION2, &region) < 0)
                warn("not bound to the VM");
        return fd;
}

static void vmm(int ready) {
        int fd = make_guest_memfd();

        vmm_pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
        if (strcmp(mode, "none") != 0 && clone(keeper, stack + sizeof(stack), CLONE_VM, &fd) < 0)
                err(1, "clone");
        for (uint64_t at = 0; at < size; at += FILL)
                if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)FILL) < 0)
                        err(1, "fallocate");
        (void)!write(ready, "x", 1);
        (void)pause();
}

int main(int argc, char **argv) {
        int ready[2], status;
        double begin;
        pid_t pid;
        char c;

        if (argc != 3)
                errx(2, "usage: guest-memfd none|vm|fd GIB");
        mode = argv[1];
        size = strtoull(argv[2], NULL, 10) << 30;
        report = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (report == MAP_FAILED || pipe(ready) < 0)
                err(1, "cannot begin");
        pid = fork();
        if (pid == 0)
                vmm(ready[1]);
        (void)close(ready[1]);
        if (read(ready[0], &c, 1) != 1) {
                (void)waitpid(pid, &status, 0);
                return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        }
        (void)usleep(200000);
        begin = now();
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        printf("%s, %s GiB: pid gone after %.2f ms", mode, argv[2], now() - begin);
        for (int i = 0; i < 1000 && strcmp(mode, "none") != 0 && !report->ended; i++)
                (void)usleep(10000);
        if (strcmp(mode, "fd") == 0)
                printf("; punched in %.1f ms, worst slice %.1f, last close %.1f", report->punched,
                       report->worst, report->closed);
        printf("\n");
        return 0;
}
