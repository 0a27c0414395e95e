/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The system calls that the closer may make once it has its connection, and why. Its client may be
 * anybody in the socket's group. Any other call kills the closer. The kernel then tears the VM down
 * in the same cgroup: the VM is destroyed; only its result is unrecorded.
 */

#include "closer/system-calls.h"

#include "base/kvm-pv.h"
#include "base/util.h"

#define ANY SANDBOX_ANY, 0, 0

static const struct sandbox_call calls[] = {
        /* client and daemon */
        {"recvmsg", ANY},
        {"recvfrom", ANY}, /* not recv(3): on s390x that is a call of its own, by socketcall(2) */
        {"sendto", ANY},
        {"sendmsg", ANY},
        {"setsockopt", ANY}, /* the rest of its queue: empty packets, too */
        {"getsockopt", ANY}, /* whom a line in the journal is about */
        {"shutdown", ANY},
        {"socket", ANY}, /* s390x: no arguments can be checked; AF_UNIX by the unit */
        {"connect", ANY},
        {"poll", ANY},
        {"ppoll", ANY}, /* where there is no poll */
        {"restart_syscall", ANY},
        {"clock_gettime", ANY}, /* where the vDSO has none */
        {"write", ANY},         /* the journal */
        {"getpid", ANY},

        /* SIGTERM as an fd */
        {"rt_sigprocmask", ANY},
        {"signalfd4", ANY},
        {"read", ANY},

        /* is it a VM: the name of the fd, and nothing else */
        {"readlink", ANY},
        {"readlinkat", ANY}, /* where there is no readlink */

        /* the job */
        {"ioctl", 1, UINT32_MAX, PV_COMMAND},
        {"close", ANY},

        /* malloc(3), and its and our randomness */
        {"brk", ANY},
        {"mmap", ANY},
        {"munmap", ANY},
        {"getrandom", ANY},

        /* the end */
        {"rt_sigreturn", ANY},
        {"exit_group", ANY},
};

const struct sandbox_list closer_calls = {SANDBOX_KILL, ARRAY_SIZE(calls), calls};
