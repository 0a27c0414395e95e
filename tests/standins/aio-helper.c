/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * aio-helper COMM DEVICE [ARGUMENT...]: a VMM with native AIO, eight writes of 4 KiB to DEVICE, and
 * a process COMM that shares its memory. The arguments are there to be seen in /proc. It says
 * "ready <pid of COMM>" once they are submitted. When the VMM is gone COMM waits for a byte on
 * stdin, ends the I/O as a keeper does, says "quiet", and leaves at the end of stdin.
 *
 * For COMM "cleanup/" the VMM's pid is appended, as QEMU does, and nothing is ended: it leaves.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK    4096
#define N_BLOCKS 8

static char stack[64 * 1024] __attribute__((aligned(16)));
static aio_context_t context;
static int vmm_pidfd;
static char comm[16];

/* Shares memory and TLS with a VMM that sleeps, so it must not leave through libc. */
static int helper_main(void *userdata) {
        struct pollfd vmm = {.fd = vmm_pidfd, .events = POLLIN};
        char order;

        prctl(PR_SET_NAME, comm);
        while (poll(&vmm, 1, -1) <= 0)
                ;
        if (strncmp(comm, "cleanup/", 8) != 0 && read(STDIN_FILENO, &order, 1) == 1) {
                syscall(SYS_io_destroy, context);
                (void)!write(STDOUT_FILENO, "quiet\n", 6);
                (void)!read(STDIN_FILENO, &order, 1);
        }
        _exit(0);
}

static int submit(const char *device) {
        struct iocb blocks[N_BLOCKS] = {}, *list[N_BLOCKS];
        int fd = open(device, O_WRONLY | O_DIRECT | O_CLOEXEC);
        char *data = aligned_alloc(BLOCK, BLOCK);

        if (fd < 0 || !data)
                return -1;
        memset(data, 'N', BLOCK);
        for (int i = 0; i < N_BLOCKS; i++) {
                blocks[i].aio_lio_opcode = IOCB_CMD_PWRITE;
                blocks[i].aio_fildes = (unsigned)fd;
                blocks[i].aio_buf = (unsigned long)data;
                blocks[i].aio_nbytes = BLOCK;
                blocks[i].aio_offset = (long long)i * BLOCK;
                list[i] = &blocks[i];
        }
        return syscall(SYS_io_submit, context, N_BLOCKS, list) == N_BLOCKS ? 0 : -1;
}

int main(int argc, char *argv[]) {
        pid_t pid;

        if (argc < 3)
                return 2;
        (void)snprintf(comm, sizeof(comm), "%s", argv[1]);
        if (strcmp(comm, "cleanup/") == 0)
                (void)snprintf(comm, sizeof(comm), "cleanup/%d", (int)getpid());
        vmm_pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
        if (vmm_pidfd < 0 || syscall(SYS_io_setup, N_BLOCKS, &context) < 0)
                return 1;
        pid = clone(helper_main, stack + sizeof(stack), CLONE_VM, NULL);
        if (pid < 0 || submit(argv[2]) < 0)
                return 1;
        printf("ready %d\n", (int)pid);
        (void)fflush(stdout);
        close(STDIN_FILENO); /* its bytes are the helper's to read */
        while (pause() < 0)
                ;
}
