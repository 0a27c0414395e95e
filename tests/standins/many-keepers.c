/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * many-keepers N: N VMMs, processes with a keeper each, as small as they can be. Any fd does for a
 * VM here, since nothing is ever set aside: what is tried is the daemon's end. One line, "ready",
 * says that all keepers were made. All VMMs end with this process, and their keepers then ask for
 * their last job, the release of the address space, as ever.
 */

#include <fcntl.h>
#include <pvreaper.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

_Noreturn static void fail(const char *what) {
        perror(what);
        exit(EXIT_FAILURE);
}

/* In the child. One byte to the pipe says that it has its keeper, '!' that it has none. */
_Noreturn static void be_vmm(int number, int report_fd) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        struct pvr_vm *vm = NULL;
        char name[32], answer;
        const struct pvr_vm_options options = {.size = sizeof(options), .name = name};

        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                fail("prctl");
        (void)snprintf(name, sizeof(name), "vm-%04d", number);
        answer = pvr_vm_new(&vm, &options) < 0 || pvr_vm_set_fd(vm, fd, 1 << 20) < 0 ? '!' : '+';
        if (write(report_fd, &answer, 1) != 1)
                fail("write");
        close(report_fd);
        for (;;)
                pause();
}

int main(int argc, char **argv) {
        int n = argc == 2 ? atoi(argv[1]) : 0, fds[2];
        char byte;

        if (n <= 0 || pipe(fds) < 0)
                fail("many-keepers N");
        for (int i = 0; i < n; i++) {
                pid_t pid = fork();

                if (pid < 0)
                        fail("fork");
                if (pid == 0)
                        be_vmm(i, fds[1]);
        }
        close(fds[1]);
        for (int i = 0; i < n; i++)
                if (read(fds[0], &byte, 1) != 1 || byte != '+')
                        fail("one of them could not make a keeper");
        puts("ready");
        fflush(stdout);
        for (;;)
                pause();
}
