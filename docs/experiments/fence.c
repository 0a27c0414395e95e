/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * F20: native AIO of a dead process, with another process on its memory. A VMM with eight writes of
 * 4 KiB in flight is killed; a CLONE_VM process (the guard's place) then calls io_destroy(2).
 * Prints when the VMM's pid was gone and when io_destroy() had returned, and how many blocks had
 * landed by then and three seconds later. What is expected: pid gone at once with 0 of 8, and
 * io_destroy() only after all 8.
 *
 *   fence DEVICE FILE     DEVICE: a slow loop device; FILE: the file behind it, which is read.
 *                         Both lose their first 32 KiB.
 */

#include <err.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCKS      8
#define BLOCK_BYTES 4096UL
#define LIMIT_SEC   60

static char stack[65536] __attribute__((aligned(16)));
static aio_context_t context;
static int vmm_pidfd;
static volatile double *quiet; /* in memory that the parent shares: when io_destroy() returned */

static double now(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int guard(void *arg) {
        struct pollfd vmm = {.fd = vmm_pidfd, .events = POLLIN};

        (void)arg;
        (void)poll(&vmm, 1, -1);
        (void)syscall(SYS_io_destroy, context);
        *quiet = now();
        _exit(0);
}

static void submit(int fd) {
        static struct iocb blocks[BLOCKS];
        struct iocb *list[BLOCKS];
        void *buffer;

        if (posix_memalign(&buffer, BLOCK_BYTES, BLOCKS * BLOCK_BYTES) != 0)
                errx(1, "no memory");
        memset(buffer, 'N', BLOCKS * BLOCK_BYTES);
        for (int i = 0; i < BLOCKS; i++) {
                blocks[i] = (struct iocb){
                        .aio_lio_opcode = IOCB_CMD_PWRITE,
                        .aio_fildes = (unsigned)fd,
                        .aio_buf = (unsigned long)buffer + (unsigned long)i * BLOCK_BYTES,
                        .aio_nbytes = BLOCK_BYTES,
                        .aio_offset = (long long)i * BLOCK_BYTES,
                };
                list[i] = &blocks[i];
        }
        if (syscall(SYS_io_submit, context, BLOCKS, list) != BLOCKS)
                err(1, "io_submit");
}

static void vmm(const char *device, int ready) {
        int fd = open(device, O_WRONLY | O_DIRECT);

        if (fd < 0)
                err(1, "%s", device);
        if (syscall(SYS_io_setup, 2 * BLOCKS, &context) < 0)
                err(1, "io_setup");
        vmm_pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
        if (clone(guard, stack + sizeof(stack), CLONE_VM, NULL) < 0)
                err(1, "clone");
        submit(fd);
        if (write(ready, "x", 1) != 1)
                err(1, "write");
        (void)pause();
}

static int landed(const char *file) {
        char bytes[BLOCKS * BLOCK_BYTES];
        int fd = open(file, O_RDONLY), n = 0;

        if (fd < 0 || read(fd, bytes, sizeof(bytes)) != sizeof(bytes))
                err(1, "%s", file);
        (void)close(fd);
        for (int i = 0; i < BLOCKS; i++)
                n += bytes[i * BLOCK_BYTES] == 'N';
        return n;
}

static void clear(const char *file) {
        static const char zeroes[BLOCKS * BLOCK_BYTES];
        int fd = open(file, O_WRONLY);

        if (fd < 0 || write(fd, zeroes, sizeof(zeroes)) != sizeof(zeroes) || fsync(fd) < 0)
                err(1, "%s", file);
        (void)close(fd);
}

int main(int argc, char **argv) {
        double killed;
        int ready[2], n;
        char c;
        pid_t pid;

        if (argc != 3)
                errx(2, "usage: fence DEVICE FILE");
        quiet = mmap(NULL, sizeof(double), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                     0);
        if (quiet == MAP_FAILED || pipe(ready) < 0)
                err(1, "cannot begin");
        clear(argv[2]);
        pid = fork();
        if (pid == 0)
                vmm(argv[1], ready[1]);
        (void)close(ready[1]);
        if (read(ready[0], &c, 1) != 1)
                errx(1, "the VMM did not begin");
        (void)usleep(300000);
        killed = now();
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        printf("pid gone after %.3f s, %d of %d landed\n", now() - killed, landed(argv[2]), BLOCKS);
        while (*quiet == 0 && now() - killed < LIMIT_SEC)
                (void)usleep(20000);
        if (*quiet == 0)
                errx(1, "io_destroy() did not return");
        n = landed(argv[2]);
        (void)sleep(3);
        printf("io_destroy() returned after %.3f s, %d landed, %d three seconds later\n",
               *quiet - killed, n, landed(argv[2]));
        return 0;
}
