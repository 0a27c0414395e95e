/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * F8, F9, F26: what a process on a dead VMM's memory can still do, and what it shares with it
 * before. A VMM makes a CLONE_VM process (the keeper's place), and exits; its parent leaves it a
 * zombie. Told are: whose oom_score_adj is whose, whether the keeper can read its maps, what
 * kcmp(2) says of it and the zombie, how long the VMM's memory takes in slices; and what kcmp(2)
 * says of two zombies that shared nothing.
 *
 *   after-death [GIB]
 */

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLICE (64UL << 20)

static char stack[65536] __attribute__((aligned(16)));
static char *ram;
static size_t ram_size;
static pid_t vmm_pid;
static int vmm_pidfd, report = STDOUT_FILENO;

static volatile int *wrote; /* the keeper its oom_score_adj; in memory that all share */

static double now(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int read_first_line(const char *path, char *buffer, size_t size) {
        int fd = open(path, O_RDONLY);
        ssize_t n = fd < 0 ? -1 : read(fd, buffer, size - 1);

        if (fd >= 0)
                (void)close(fd);
        buffer[n < 0 ? 0 : n] = '\0';
        buffer[strcspn(buffer, "\n")] = '\0';
        return n < 0 ? -errno : 0;
}

static void write_score(const char *value) {
        int fd = open("/proc/self/oom_score_adj", O_WRONLY);

        if (fd < 0 || write(fd, value, strlen(value)) < 0)
                err(1, "oom_score_adj");
        (void)close(fd);
}

/* ---- the keeper: no stdio's buffers, which are the dead VMM's ---- */

static void tell_maps(void) {
        char bytes[4096];
        ssize_t n, sum = 0;
        int fd = open("/proc/self/maps", O_RDONLY);

        while ((n = read(fd, bytes, sizeof(bytes))) > 0)
                sum += n;
        (void)close(fd);
        (void)dprintf(report, "its maps: %zd bytes, %s\n", sum, n < 0 ? strerror(errno) : "whole");
}

static void tell_slices(void) {
        char before[64], after[64];
        double begin;

        (void)read_first_line("/proc/self/statm", before, sizeof(before));
        begin = now();
        for (size_t at = 0; at < ram_size; at += SLICE)
                if (madvise(ram + at, SLICE, MADV_DONTNEED) < 0)
                        (void)dprintf(report, "madvise: %s\n", strerror(errno));
        begin = now() - begin;
        (void)read_first_line("/proc/self/statm", after, sizeof(after));
        (void)dprintf(report, "%zu GiB in slices: %.1f ms; statm \"%s\", then \"%s\"\n",
                      ram_size >> 30, begin * 1e3, before, after);
}

static int keeper(void *arg) {
        struct pollfd vmm = {.fd = vmm_pidfd, .events = POLLIN};
        long r;

        (void)arg;
        write_score("777");
        *wrote = 1;
        (void)poll(&vmm, 1, -1);
        (void)usleep(20000);
        tell_maps();
        r = syscall(SYS_kcmp, getpid(), vmm_pid, KCMP_VM, 0, 0);
        (void)dprintf(report, "kcmp(KCMP_VM) with the zombie: %ld (0 would be \"the same\")\n", r);
        tell_slices();
        _exit(0);
}

/* ---- the VMM ---- */

static void vmm(int release_fd) {
        char score[16];
        char c;

        vmm_pid = getpid();
        vmm_pidfd = (int)syscall(SYS_pidfd_open, vmm_pid, 0);
        ram = mmap(NULL, ram_size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (ram == MAP_FAILED)
                err(1, "%zu GiB", ram_size >> 30);
        if (clone(keeper, stack + sizeof(stack), CLONE_VM, NULL) < 0)
                err(1, "clone");
        while (!*wrote)
                (void)usleep(1000);
        (void)read_first_line("/proc/self/oom_score_adj", score, sizeof(score));
        (void)dprintf(report, "the keeper wrote 777 to its oom_score_adj; the VMM's is %s\n",
                      score);
        (void)!read(release_fd, &c, 1);
        _exit(0);
}

/* Two children that have exited, not waited for. */
static void tell_two_zombies(void) {
        pid_t pids[2];
        long r;

        for (int i = 0; i < 2; i++) {
                pids[i] = fork();
                if (pids[i] == 0)
                        _exit(0);
        }
        (void)usleep(50000);
        r = syscall(SYS_kcmp, pids[0], pids[1], KCMP_VM, 0, 0);
        printf("kcmp(KCMP_VM) of two zombies that shared nothing: %ld\n", r);
        for (int i = 0; i < 2; i++)
                (void)waitpid(pids[i], NULL, 0);
}

int main(int argc, char **argv) {
        int release_fds[2];
        pid_t pid;

        ram_size = (size_t)(argc > 1 ? atoi(argv[1]) : 1) << 30;
        wrote = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (wrote == MAP_FAILED || pipe(release_fds) < 0)
                err(1, "cannot begin");
        (void)setvbuf(stdout, NULL, _IOLBF, 0);
        pid = fork();
        if (pid == 0)
                vmm(release_fds[0]);
        while (!*wrote && waitpid(pid, NULL, WNOHANG) == 0)
                (void)usleep(1000);
        (void)usleep(100000);
        (void)!write(release_fds[1], "x", 1); /* it exits, and stays a zombie */
        (void)sleep(2);
        (void)waitpid(pid, NULL, 0);
        tell_two_zombies();
        return 0;
}
