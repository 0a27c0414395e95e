/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A program that locks itself up in a seccomp filter, as the keeper does, knows nothing of the
 * system calls the simulator makes in its name. So prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER) gets
 * the kernel a longer program: first it allows what is in calls[], where the architecture is the
 * native one; all else falls through to the caller's program as it was, its own check of the
 * architecture included. Jumps in BPF are relative, so nothing in it needs to be changed.
 *
 * What it refuses is in the kernel's log, so that a test sees what should never be.
 *
 * Only prctl(2) through libc is seen, not seccomp(2). A filter too long to be extended goes to the
 * kernel as it is. Every other prctl passes straight on.
 */

#include "sim.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__s390x__)
#define NATIVE_ARCH AUDIT_ARCH_S390X
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#else
#error "libpvsim: add this architecture's AUDIT_ARCH"
#endif

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define LOW_WORD 4
#else
#define LOW_WORD 0
#endif

#define FILTER_MAX 768 /* 6 KiB of the caller's stack */

#define LOAD(offset)           BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define UNLESS(value, skip)    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)
#define ALLOW                  BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define LOAD_NR                LOAD(offsetof(struct seccomp_data, nr))
#define LOAD_ARG(i)            LOAD(offsetof(struct seccomp_data, args) + 8 * (i) + LOW_WORD)
#define CALL(nr)               UNLESS(nr, 1), ALLOW
#define CALL_ARG(nr, i, value) UNLESS(nr, 4), LOAD_ARG(i), UNLESS(value, 1), ALLOW, LOAD_NR

/* What burn.c, log.c, vm.c, ioctl.c and standin.c call. */
static const struct sock_filter calls[] = {
        LOAD_NR,
        CALL(SYS_openat),
        CALL(SYS_close),
        CALL(SYS_write),
        CALL(SYS_readv),
        CALL(SYS_getrandom),
        CALL(SYS_pread64),
        CALL(SYS_readlinkat),
        CALL(SYS_kcmp),
        CALL(SYS_getpid),
        CALL(SYS_gettid),
        CALL(SYS_clock_gettime),
        CALL(SYS_clock_nanosleep),
        CALL_ARG(SYS_kill, 1, 0),
        CALL_ARG(SYS_fcntl, 1, F_GETSIG),
        CALL_ARG(SYS_prctl, 0, PR_GET_NAME),
        CALL_ARG(SYS_ioctl, 1, KVM_CHECK_EXTENSION),
};

#define N_CALLS (sizeof(calls) / sizeof(*calls))

static const struct sock_filter native_only[] = {
        LOAD(offsetof(struct seccomp_data, arch)),
        UNLESS(NATIVE_ARCH, N_CALLS),
};

#define N_ADDED (N_CALLS + sizeof(native_only) / sizeof(*native_only))

int sim_prctl(int option, ...) __asm__("prctl") SIM_EXPORT;

static int set_filter(const struct sock_fprog *caller) {
        struct sock_filter filter[FILTER_MAX];
        struct sock_fprog program = {.len = (unsigned short)(caller->len + N_ADDED),
                                     .filter = filter};

        memcpy(filter, native_only, sizeof(native_only));
        memcpy(filter + N_ADDED - N_CALLS, calls, sizeof(calls));
        memcpy(filter + N_ADDED, caller->filter, caller->len * sizeof(*filter));
        return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG,
                            &program);
}

int sim_prctl(int option, ...) {
        unsigned long arg[4];
        va_list ap;

        va_start(ap, option);
        for (size_t i = 0; i < sizeof(arg) / sizeof(*arg); i++)
                arg[i] = va_arg(ap, unsigned long);
        va_end(ap);
        if (option == PR_SET_SECCOMP && arg[0] == SECCOMP_MODE_FILTER && arg[1]) {
                const struct sock_fprog *caller = (const struct sock_fprog *)arg[1];

                if (caller->len > 0 && caller->len + N_ADDED <= FILTER_MAX)
                        return set_filter(caller);
        }
        return (int)syscall(SYS_prctl, option, arg[0], arg[1], arg[2], arg[3]);
}
