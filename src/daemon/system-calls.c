/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the daemon may ask of the kernel once it has started, and why. It is privileged, and speaks
 * to processes that a guest may have broken out into: an attacker who controls it shall not find a
 * way to run a program, load or trace anything, change users, namespaces or mounts, or get at the
 * network. Its children (the probe; those that close what may block) inherit the list.
 *
 * Found by strace(1) over the integration suite, and for what that does not reach (the probe, other
 * versions of libraries, kernels and architectures) by reading. A name that has no number on one of
 * the two architectures is left out there.
 */

#include "daemon/system-calls.h"

#include <linux/kcmp.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#include "base/util.h"

#define ANY SANDBOX_ANY, 0, 0

/* fork(2), and the probe's without a signal at its end: no thread, no namespace. */
#define NOT_FORK (~(uint32_t)(CSIGNAL | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID))

static const struct sandbox_call calls[] = {
        /* the loop */
        {"epoll_wait", ANY},
        {"epoll_pwait", ANY},  /* where there is no epoll_wait */
        {"epoll_pwait2", ANY}, /* newer libsystemd */
        {"epoll_ctl", ANY},
        {"epoll_create1", ANY},  /* a clock's timers share one, made when first needed */
        {"timerfd_create", ANY}, /* likewise */
        {"timerfd_settime", ANY},
        {"poll", ANY}, /* does a pidfd's process live; sd-bus */
        {"ppoll", ANY},
        {"clock_gettime", ANY},  /* where the vDSO has none */
        {"rt_sigprocmask", ANY}, /* fork(2) */
        {"signalfd4", ANY},      /* once more when a signal is added */
        {"rt_sigreturn", ANY},
        {"restart_syscall", ANY}, /* after SIGSTOP and SIGCONT */
        {"futex", ANY},           /* once-only initialisation in libraries */

        /* workers, pv-reaperctl, the bus, the journal, the service manager */
        {"accept4", ANY},
        {"socket", ANY}, /* s390x: no arguments can be checked; AF_UNIX by the unit */
        {"connect", ANY},
        {"getsockopt", ANY},
        {"setsockopt", ANY},
        {"getsockname", ANY},
        {"recvmsg", ANY},
        {"sendmsg", ANY},
        {"sendto", ANY},
        {"shutdown", ANY},
        {"close", ANY},
        {"fcntl", ANY},
        {"memfd_create", ANY},            /* a large journal entry goes as a file */
        {"ioctl", 1, UINT32_MAX, TCGETS}, /* stdio(3): is it a terminal */

        /* who a worker is: /proc, pidfds, kcmp(2) */
        {"pidfd_open", ANY},
        {"kcmp", 2, UINT32_MAX, KCMP_VM},
        {"readlink", ANY},
        {"readlinkat", ANY},

        /* cgroups: their values, and directories of workers with a mark each; reload: files */
        {"openat", ANY},
        {"read", ANY},
        {"write", ANY},
        {"lseek", ANY}, /* fclose(3) of what was not read to its end */
        {"fstat", ANY},
        {"newfstatat", ANY},
        {"statfs", ANY},
        {"fstatfs", ANY},
        {"statfs64", SANDBOX_S390X, 0, 0}, /* which libc calls there */
        {"fstatfs64", SANDBOX_S390X, 0, 0},
        {"getdents64", ANY},
        {"mkdirat", ANY},
        {"unlinkat", ANY}, /* and rmdir(3); the sockets at the end */
        {"unlink", ANY},
        {"fsetxattr", ANY},
        {"fgetxattr", ANY},

        /* the CPU cap */
        {"sched_setattr", ANY},
        {"sched_getattr", ANY},
        {"sched_setaffinity", ANY},
        {"sched_getaffinity", ANY},
        {"getpriority", ANY},
        {"setpriority", ANY},
        {"sysinfo", ANY}, /* a part of the memory as a size */

        /* memory */
        {"brk", ANY},
        {"mmap", ANY},
        {"munmap", ANY},
        {"mremap", ANY},
        {"madvise", ANY},
        {"mprotect", ANY},
        {"getrandom", ANY}, /* hash tables; the probe's work */

        /* children and the end */
        {"clone", SANDBOX_CLONE_FLAGS, NOT_FORK, 0},
        {"clone3", SANDBOX_ABSENT, 0, 0}, /* its flags cannot be seen: clone(2) it is */
        {"set_robust_list", ANY},
        {"getpid", ANY},
        {"gettid", ANY},
        {"getuid", ANY},
        {"geteuid", ANY},
        {"getgid", ANY},
        {"getegid", ANY},
        {"pipe2", ANY},
        {"dup2", ANY},
        {"dup3", ANY},
        {"close_range", ANY},
        {"prctl", 0, UINT32_MAX, PR_SET_PDEATHSIG}, /* the probe dies with its parent */
        {"rt_sigaction", ANY},
        {"nanosleep", ANY},
        {"clock_nanosleep", ANY},
        {"prlimit64", ANY}, /* sysconf(3) */
        {"kill", ANY},      /* a probe that takes too long */
        {"wait4", ANY},
        {"waitid", ANY},
        {"exit_group", ANY},
};

const struct sandbox_list daemon_calls = {SANDBOX_ERROR, ARRAY_SIZE(calls), calls};
