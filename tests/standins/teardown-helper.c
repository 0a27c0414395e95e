/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What QEMU's -async-teardown amounts to, without QEMU: a process with a child that shares its
 * memory, is called cleanup/<pid of its parent>, holds no fd, and exits after its parent. Prints
 * "ready <pid of the child>", then obeys lines:
 *
 *   keeper       makes a keeper with a VM, any fd will do, and prints "keeper"
 *   bind NODE    takes as much memory once more, bound to a memory node, touches half of it, and
 *                prints where it is
 *   fill         touches the other half, and prints "filled"
 *   fork NAME    makes a child with memory of its own that is called NAME, and prints its pid
 *   thread NAME  the same with the memory shared
 *
 * and ends at EOF. teardown-helper BYTES: so much memory is touched.
 */

#include <linux/mempolicy.h>
#include <pvreaper.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"

#define STACK_SIZE 65536

/* At the far end of its stack. */
struct child {
        pid_t parent;
        char name[16];
};

/* It may share our memory, and be in here while we run: nothing but system calls. */
static int outlive_parent(void *data) {
        const struct child *child = data;
        sigset_t hangup;

        (void)sigemptyset(&hangup);
        (void)sigaddset(&hangup, SIGHUP);
        (void)sigprocmask(SIG_BLOCK, &hangup, NULL);
        (void)prctl(PR_SET_NAME, child->name);
        (void)prctl(PR_SET_PDEATHSIG, SIGHUP);
        (void)syscall(SYS_close_range, 0U, ~0U, 0U);
        while (getppid() == child->parent)
                (void)sigtimedwait(&hangup, NULL, &(struct timespec){.tv_sec = 1});
        _exit(EXIT_SUCCESS);
}

static pid_t make_child(const char *name, int flags) {
        char *stack =
                mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct child *child = (struct child *)(void *)stack;
        pid_t pid;

        check(stack != MAP_FAILED);
        child->parent = getpid();
        (void)snprintf(child->name, sizeof(child->name), "%s", name);
        pid = clone(outlive_parent, stack + STACK_SIZE, flags, child);
        check(pid > 0);
        return pid;
}

static size_t bytes;
static char *bound;

static void touch(void) {
        char *memory;

        if (bytes == 0)
                return;
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(memory != MAP_FAILED);
        memset(memory, 1, bytes);
}

static void bind_to(unsigned node) {
        unsigned long mask = 1UL << node;

        bound = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(bound != MAP_FAILED);
        check(syscall(SYS_mbind, bound, bytes, MPOL_BIND, &mask, sizeof(mask) * 8, 0) == 0);
        memset(bound, 1, bytes / 2);
        (void)printf("%lx\n", (unsigned long)(uintptr_t)bound);
}

static void obey(char *line) {
        struct pvr_vm *vm;

        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "keeper") == 0) {
                check(new_vm(&vm, "with-keeper") == 0);
                check(pvr_vm_set_fd(vm, memfd_create("vm", MFD_CLOEXEC), 0) == 0);
                (void)puts("keeper");
        } else if (strncmp(line, "bind ", 5) == 0) {
                bind_to((unsigned)strtoul(line + 5, NULL, 10));
        } else if (strcmp(line, "fill") == 0) {
                memset(bound + bytes / 2, 1, bytes / 2);
                (void)puts("filled");
        } else if (strncmp(line, "fork ", 5) == 0) {
                (void)printf("%d\n", (int)make_child(line + 5, 0));
        } else {
                check(strncmp(line, "thread ", 7) == 0);
                (void)printf("%d\n", (int)make_child(line + 7, CLONE_VM));
        }
}

int main(int argc, char **argv) {
        char name[16], line[64];

        (void)setvbuf(stdout, NULL, _IONBF, 0);
        bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
        touch();
        (void)snprintf(name, sizeof(name), "cleanup/%d", (int)getpid());
        (void)printf("ready %d\n", (int)make_child(name, CLONE_VM));
        while (fgets(line, sizeof(line), stdin))
                obey(line);
        return EXIT_SUCCESS;
}
