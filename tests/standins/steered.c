/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * steered DIRECTORY FILE SOCKET, for test-harmless.py: a VMM makes DIRECTORY its root, and then its
 * guest breaks out. It writes to the keeper's stack: the next that the keeper does is
 * on_breakout(). That must not get what the VMM itself cannot reach any more, neither the FILE nor
 * the SOCKET, both outside of DIRECTORY. Exits 0 if it does not.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "helper.h"
#include "lib/vm.h"

#define WAIT_MSEC 5000

extern char __executable_start, etext; /* the linker's: where this program's code is */

static const char *file;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static volatile long opened, connected; /* a result, or a negative errno */
static volatile int over;

static long result(long r) {
        return r < 0 ? -errno : r;
}

/* In the process that is steered. */
static void on_breakout(void) {
        long fd = syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);

        opened = result(syscall(SYS_openat, AT_FDCWD, file, O_RDONLY));
        connected = result(syscall(SYS_connect, fd, &address, sizeof(address)));
        over = 1;
        (void)syscall(SYS_exit_group, 0);
}

/* All that may be a return address on this stack; top is behind its last byte. */
static void steer(char *top) {
        uintptr_t *words = (uintptr_t *)(void *)(top - KEEPER_STACK_SIZE);
        unsigned n = 0;

        for (size_t i = 0; i < KEEPER_STACK_SIZE / sizeof(*words); i++)
                if (words[i] >= (uintptr_t)&__executable_start && words[i] < (uintptr_t)&etext) {
                        words[i] = (uintptr_t)on_breakout;
                        n++;
                }
        check(n > 0);
}

/* The root directory of a process, as an inode. */
static ino_t root_of(int proc, pid_t process) {
        struct stat st;
        char path[32];

        (void)snprintf(path, sizeof(path), "%d/root/", process);
        check(fstatat(proc, path, &st, 0) == 0);
        return st.st_ino;
}

int main(int argc, char **argv) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct stat root;
        struct pvr_vm *vm;

        check(argc == 4 && fd >= 0 && proc >= 0);
        file = argv[2];
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", argv[3]);
        check(new_vm(&vm, "steered") == 0 && pvr_vm_set_fd(vm, fd, 1 << 20) == 0);
        (void)poll(NULL, 0, 200); /* for the keeper to have it, and to sleep */
        check(chroot(argv[1]) == 0 && stat("/", &root) == 0);
        check(open(file, O_RDONLY) < 0 && errno == ENOENT);
        printf("roots: %lu %lu %lu\n", (unsigned long)root.st_ino,
               (unsigned long)root_of(proc, vm->keeper->pid),
               (unsigned long)root_of(proc, vm->keeper->guard_pid));
        check(root_of(proc, vm->keeper->pid) == root.st_ino);
        check(root_of(proc, vm->keeper->guard_pid) == root.st_ino);
        steer((char *)vm->keeper);
        (void)pvr_vm_handoff(vm);
        for (int i = 0; i < WAIT_MSEC / 10 && !over; i++)
                (void)poll(NULL, 0, 10);
        printf("opened: %ld, connected: %ld\n", opened, connected);
        check(over && opened < 0 && connected < 0);
        _exit(EXIT_SUCCESS);
}
