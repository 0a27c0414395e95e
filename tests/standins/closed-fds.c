/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * closed-fds FILE: a VMM whose fds 0 to 2 are closed, as those of some daemons are. The library
 * must leave these numbers alone (something else, stdio say, would take its sockets for its own),
 * and work with a VM that has one of them. What goes wrong is written to FILE.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "helper.h"

#define REPORT_FD 100

int main(int argc, char **argv) {
        struct helper helper = {};
        int fd;

        check(argc == 2);
        fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        check(fd >= 0);
        check_fd = fcntl(fd, F_DUPFD_CLOEXEC, REPORT_FD);
        check(check_fd >= REPORT_FD);
        close(fd);
        for (fd = 0; fd <= 2; fd++)
                close(fd);

        check(new_vm(&helper.vm, "closed") == 0);
        for (fd = 0; fd <= 2; fd++)
                check(fcntl(fd, F_GETFD) == -1 && errno == EBADF);

        helper_make_guest(&helper);
        check(helper.guest.kvm_fd == 0 && helper.guest.vm_fd == 1 && helper.guest.vcpu_fd == 2);
        check(pvr_vm_set_fd(helper.vm, helper.guest.vm_fd, HELPER_BYTES) == 0);
        check(pvr_vm_get_fd(helper.vm) > 2);
        for (int i = 1; i <= 3; i++) {
                helper_reboot(&helper);
                check(helper_await(&helper, PVR_RESULT_UNGOVERNED).job == (uint64_t)i);
        }
        check(find_keeper() > 0);

        helper.vm = pvr_vm_free(helper.vm);
        await_threads(1);
        check(find_keeper() == 0);
        for (fd = 0; fd <= 2; fd++)
                check(fcntl(fd, F_GETFD) != -1);
        return EXIT_SUCCESS;
}
