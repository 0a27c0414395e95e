/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The guard: a second process on the VMM's memory. It does the work at the VMM's end that must not
 * wait for the keeper, since the keeper may be inside PERFORM for minutes:
 * - It leaves the VMM's working directory, which takes no time.
 * - The fence comes next: the guard waits for native AIO that the VMM had submitted. The kernel
 *   waits only when the last task leaves the address space, so a keeper puts that off. Without the
 *   fence a dead VMM's writes would land on a disk that somebody else uses already.
 * - Then it gives back, ungoverned, what others may be waiting for: devices, huge pages, files,
 *   polls of an io_uring.
 * Then it ends. It stays in the VMM's cgroup, as the VMM's own exit would.
 *
 * It shares the keeper's table of fds and, with the keeper, the TLS of the heir. So while the
 * keeper runs the guard never touches errno and never calls libc (raw.h). It ends with the keeper
 * (PR_SET_PDEATHSIG). If it dies before its time the keeper does its work.
 *
 * The doorbell ends when the VMM's last thread closes its files, a moment before the VMM's pid can
 * be waited for. If that thread is the only one left, nobody uses the memory any more, and the
 * guard begins: somebody may be waiting for the huge pages as soon as the pid is gone. If other
 * threads are left, they have given their files up already and are gone in a moment; the guard
 * looks again.
 */

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/task-stat.h"
#include "base/util.h"
#include "lib/keeper.h"
#include "lib/lines.h"
#include "lib/raw.h"

#define ALONE_LOOKS 100 /* 20 us each */

#ifndef __WALL
#define __WALL 0x40000000
#endif

enum vmm_life vmm_look(int stat_fd) {
        struct task_stat stat = {};
        struct lines lines;
        const char *line;
        size_t size;

        lines_begin(&lines, stat_fd);
        if (lines_next(&lines, &line, &size) <= 0 || task_stat_parse(&stat, line, size) < 0)
                return VMM_UNKNOWN;
        if (!stat.exiting)
                return VMM_LIVES;
        return stat.n_threads == 1 ? VMM_EXITED : VMM_EXITING;
}

static bool is_alone_soon(const struct keeper *k) {
        enum vmm_life life = VMM_EXITING;

        for (int i = 0; i < ALONE_LOOKS && life == VMM_EXITING; i++)
                life = vmm_look(k->guard_stat);
        return life == VMM_EXITED;
}

/* false: it cannot be waited for. */
static bool await_end(const struct keeper *k) {
        struct pollfd fds[] = {
                {.fd = k->vmm, .events = POLLIN}, {.fd = k->bell}, /* its end alone */
        };

        for (;;) {
                long r = raw_syscall(SYS_ppoll, fds, ARRAY_SIZE(fds), NULL, NULL, 0);

                if (r < 0 && r != -EINTR)
                        return false;
                if (r <= 0)
                        continue;
                if (fds[0].revents)
                        return fds[0].revents & POLLIN;
                fds[1].fd = -1;
                if (is_alone_soon(k))
                        return true;
        }
}

/* The keeper says it again, and to the next daemon; but it may be inside PERFORM. */
static void tell_quiet(struct keeper *k) {
        union wire_message m = {};
        int size = wire_encode(&m, k->link.version, WIRE_QUIET);

        if (k->quiet && k->performing != 0 && k->link.state == LINK_WELCOMED && size > 0)
                (void)raw_syscall(SYS_sendto, k->link.fd, &m, size, MSG_DONTWAIT | MSG_NOSIGNAL,
                                  NULL, 0);
}

/*
 * With CLONE_FS the VMM's working directory is ours, and would keep its mount busy until our turn.
 * The root directory stays: it holds us.
 */
static void leave_directory(void) {
        (void)raw_syscall(SYS_chdir, "/");
}

/* If it cannot be done the VM is not quiet before the keeper has gone: exit_aio() is the fence. */
static void fence(struct keeper *k) {
        k->quiet = space_fence(&k->space) >= 0;
        k->fenced = true;
}

static void give_back(struct keeper *k) {
        space_give_back(&k->space);
        k->gave_back = true;
}

static int guard_main(void *arg) {
        struct keeper *k = arg;

        (void)raw_syscall(SYS_prctl, PR_SET_NAME, "pvr-guard");
        if (raw_syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL) < 0 ||
            raw_syscall(SYS_getppid) != k->pid)
                return 0;
        k->guard_stat = raw_open(k->vmm_stat);
        if (filter_install(&k->filter) < 0)
                return 0;
        if (await_end(k)) {
                leave_directory();
                fence(k);
                give_back(k);
                tell_quiet(k);
        }
        (void)raw_syscall(SYS_exit_group, 0);
        return 0;
}

int guard_start(struct keeper *k) {
        char *stack_top = (char *)k - KEEPER_STACK_SIZE - KEEPER_GUARD_SIZE - KEEPER_STACK_RESERVE;

        k->guard_pid = clone(guard_main, stack_top,
                             CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_PARENT_SETTID |
                                     CLONE_CHILD_CLEARTID,
                             k, &k->guard_tid, NULL, &k->guard_tid);
        if (k->guard_pid < 0)
                return negative_errno();
        k->guard = (int)syscall(SYS_pidfd_open, k->guard_pid, 0);
        return k->guard < 0 ? negative_errno() : 0;
}

void guard_reap(struct keeper *k) {
        (void)raw_syscall(SYS_wait4, k->guard_pid, NULL, WNOHANG | __WALL, NULL);
        raw_close(&k->guard);
}

void guard_finish(struct keeper *k) {
        leave_directory();
        if (!k->fenced)
                fence(k);
        if (!k->gave_back)
                give_back(k);
}
