/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How a keeper begins: what it keeps of the VMM that it was cloned from, and what it gives up.
 * - Fds: it keeps its own few, and closes the VMM's.
 * - Rights: a VMM can write to its keeper's stack, so the VMM may do whatever the keeper may. The
 *   keeper has
 *   - no capabilities;
 *   - its own list of system calls, which opens no files: it opens here the files that it reads;
 *   - the VMM's own root directory (CLONE_FS);
 *   - the user and groups of the moment when it was made. It leaves when the VMM's change
 *     (identity.h).
 * - Scheduling: see below.
 */

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include "base/util.h"
#include "lib/keeper.h"
#include "lib/raw.h"

/* Our fds go to 3, 4, 5; all others are closed. In two steps, for an old number may be in use. */
static int keep_fds(struct keeper *k) {
        int *keep[] = {&k->bell, &k->outcomes, &k->vmm};

        for (int i = 0; i < 3; i++)
                if (syscall(SYS_dup3, *keep[i], i, O_CLOEXEC) < 0)
                        return negative_errno();
        if (syscall(SYS_close_range, 3U, ~0U, 0U) < 0)
                return negative_errno();
        for (int i = 0; i < 3; i++) {
                *keep[i] = (int)syscall(SYS_fcntl, i, F_DUPFD_CLOEXEC, 3);
                if (*keep[i] < 0)
                        return negative_errno();
        }
        return syscall(SYS_close_range, 0U, 2U, 0U) < 0 ? negative_errno() : 0;
}

/* All three sets; what an execve(2) could bring back, the filter forbids. */
static int drop_capabilities(void) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};

        return syscall(SYS_capset, &header, none) < 0 ? negative_errno() : 0;
}

/* The keeper's struct and stacks. Its text and libc's, and their data, are files: never touched. */
static void protect_own(struct keeper *k) {
        const char *start = (const char *)k - KEEPER_BELOW;

        space_add_own(&k->space, start, (size_t)((const char *)(k + 1) - start));
        /* The TLS that we borrow: errno, and what the compiler keeps at the thread pointer. */
        space_add_own(&k->space, &errno, sizeof(errno));
        space_add_own(&k->space, __builtin_thread_pointer(), 4096);
}

int keeper_start(struct keeper *k) {
        struct sched_param batch = {};
        uint64_t all = ~UINT64_C(0);
        int pidfd, r;

        k->pid = (pid_t)syscall(SYS_getpid);
        (void)syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, sizeof(all));
        (void)prctl(PR_SET_NAME, "pvr-keeper");
        r = drop_capabilities();
        if (r < 0)
                return r;
        pidfd = (int)syscall(SYS_pidfd_open, k->vmm_pid, 0);
        if (pidfd < 0)
                return negative_errno();
        /* keep_fds() overwrites 0 to 2, which are free if the VMM has closed its own. */
        k->vmm = (int)syscall(SYS_fcntl, pidfd, F_DUPFD_CLOEXEC, 3);
        if (k->vmm < 0)
                return negative_errno();
        /* Our parent is the VMM, or after its death somebody else: then the pid is not ours. */
        if (syscall(SYS_getppid) != k->vmm_pid)
                return -ESRCH;
        r = keep_fds(k);
        if (r < 0)
                return r;
        r = space_open(&k->space);
        if (r < 0)
                return r;
        k->vmm_stat_fd = raw_open(k->vmm_stat);
        protect_own(k);
        r = guard_start(k);
        if (r < 0)
                return r;
        /*
         * Or our waking up preempts the VMM inside its send(2), and the hand-off pays for it (half
         * of it, by tests/bench/handoff). The guard, which somebody waits for, has no part in it.
         */
        (void)syscall(SYS_sched_setscheduler, 0, SCHED_BATCH, &batch);
        return filter_install(&k->filter);
}
