/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the library asks of the kernel in the VMM's own threads once a sandbox may be there, for
 * test-harmless.py, who traces this: everything between two getpriority(2). The kernel's answers to
 * the commands of protected virtualization are made up here, by an ioctl() of this program's own.
 * In between it waits for a line twice: before the first its keeper works, before the second it is
 * killed.
 */

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"

#define PV_COMMAND_REQUEST 0xC020AEC5u

int ioctl(int fd, unsigned long request, ...) {
        va_list ap;
        void *arg;
        long r;

        va_start(ap, request);
        arg = va_arg(ap, void *);
        va_end(ap);
        r = syscall(SYS_ioctl, fd, request, arg);
        return (uint32_t)request == PV_COMMAND_REQUEST ? 0 : (int)r;
}

static void mark(void) {
        (void)getpriority(PRIO_PROCESS, 0);
}

static void wait_for_line(const char *word) {
        char c;

        check(write(STDOUT_FILENO, word, 2) == 2);
        check(read(STDIN_FILENO, &c, 1) == 1);
}

int main(void) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        struct pvr_outcome outcome;
        struct pvr_vm *vm;

        check(fd >= 0 && new_vm(&vm, "calls") == 0);
        mark();
        check(pvr_vm_set_fd(vm, fd, 1) == 0 && pvr_vm_set_fd(vm, fd, 2) == 0);
        pvr_vm_set_mem(vm, 3);
        check(pvr_vm_handoff(vm) == 0 && pvr_vm_disable_async(vm) == 0);
        wait_for_line("1\n");
        check(pvr_vm_get_fd(vm) >= 0);
        check(pvr_vm_next_outcome(vm, &outcome, sizeof(outcome)) == 1);
        wait_for_line("2\n"); /* the heir is at its end now, too */
        check(pvr_vm_disable_async(vm) == 0);
        wait_for_line("3\n"); /* a thread of its own has done it */
        check(pvr_vm_free(vm) == NULL);
        mark();
        return EXIT_SUCCESS;
}
