/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A child waits for the end of a pipe, the gate, whose writing end is the test's: so it ends when
 * the test closes it, and when the test program dies. It says on a second pipe when it has done all
 * that it was asked to, so that a test never looks too early.
 */

#include "children.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "fds.h"

struct child child_new(const char *name, const struct sockaddr_un *address) {
        struct child child;
        int gate[2], ready[2];
        char c = 0;

        assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        child.pid = fork();
        if (child.pid == 0) {
                int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

                (void)close(gate[1]);
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void)prctl(PR_SET_NAME, name);
                if (address && connect(fd, (const void *)address, sizeof(*address)) < 0)
                        _exit(EXIT_FAILURE);
                (void)!write(ready[1], &c, 1);
                (void)!read(gate[0], &c, 1);
                _exit(EXIT_SUCCESS);
        }
        close_fd(&gate[0]);
        close_fd(&ready[1]);
        assert_int_equal(read(ready[0], &c, 1), 1);
        close_fd(&ready[0]);
        child.gate = gate[1];
        return child;
}

void child_make_zombie(struct child *child) {
        siginfo_t info;

        close_fd(&child->gate);
        assert_int_equal(waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOWAIT), 0);
}

void child_end(struct child *child) {
        close_fd(&child->gate);
        assert_int_equal(wait_for_exit(child->pid), 0);
}
