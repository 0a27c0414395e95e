/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The system calls that a keeper may make, and why. A guest that broke out into QEMU can write to
 * the keeper's memory, and the keeper stands outside QEMU's own sandbox. So the keeper gets a list
 * of its own. The kernel answers all other calls with EPERM: a keeper that meets a surprise should
 * report it rather than die with a VM set aside. ioctl(2) is allowed for the one KVM command only,
 * madvise(2) for MADV_DONTNEED only. The keeper opens the files that it reads before it installs
 * the filter.
 *
 * The list forbids in particular sched_*() (a worker must not take itself out of its CPU cap),
 * prctl(2), clone(2), execve(2), ptrace(2), kill(2) and every kind of opening and writing files.
 */

#include "lib/filter.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/kvm-pv.h"
#include "base/util.h"

#if defined(__x86_64__)
#define FILTER_ARCH AUDIT_ARCH_X86_64
#elif defined(__s390x__)
#define FILTER_ARCH AUDIT_ARCH_S390X
#elif defined(__aarch64__)
#define FILTER_ARCH AUDIT_ARCH_AARCH64
#else
#error "no seccomp architecture for this machine: add it here"
#endif

/* A 64-bit argument's low half: all our argument checks are about 32-bit values. */
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define ARG_LOW(n) (offsetof(struct seccomp_data, args) + (n)*8 + 4)
#else
#define ARG_LOW(n) (offsetof(struct seccomp_data, args) + (n)*8)
#endif

struct rule {
        int nr;
        int arg;       /* -1: no check */
        uint32_t mask; /* of the argument's low half */
        uint32_t value;
};

#define ANY -1, 0, 0

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1 /* Linux 5.11 */
#endif

static const struct rule rules[] = {
/* the loop */
#ifdef SYS_poll
        {SYS_poll, ANY}, /* wait for VMM, doorbell and daemon */
#endif
        {SYS_ppoll, ANY},           /* the same where there is no poll(2) */
        {SYS_restart_syscall, ANY}, /* a poll(2) that was stopped and continued */
        {SYS_clock_gettime, ANY},   /* where the vDSO has none */
        /* doorbell, outcomes, daemon */
        {SYS_recvmsg, ANY},
        {SYS_sendto, ANY},
        {SYS_socket, 0, ~0U, 1 /* AF_UNIX */},
        {SYS_connect, ANY},
        {SYS_close, ANY},
        /* the work */
        {SYS_ioctl, 1, ~0U, PV_COMMAND},
        {SYS_io_destroy, ANY}, /* waits for a dead VMM's native AIO */
        {SYS_userfaultfd, 0, ~0U, O_CLOEXEC | UFFD_USER_MODE_ONLY}, /* asks who watches memory */
        {SYS_ioctl, 1, ~0U, UFFDIO_API},
        {SYS_ioctl, 1, ~0U, UFFDIO_REGISTER},
        {SYS_ioctl, 1, ~0U, (uint32_t)UFFDIO_UNREGISTER},
        {SYS_madvise, 2, ~0U, MADV_DONTNEED}, /* of a dead VMM's memory, slice by slice */
        {SYS_munmap, ANY},                    /* and of what others wait for */
        {SYS_lseek, ANY},                     /* /proc/self/maps and others, from the start */
        {SYS_read, ANY},
        {SYS_statx, ANY}, /* is this still the root directory */
        {SYS_chdir, ANY}, /* out of a dead VMM's working directory */
        /* the end */
        {SYS_exit_group, ANY},
        {SYS_exit, ANY},
        {SYS_wait4, ANY}, /* for the guard, the keeper's only child */
};

static void emit(struct filter *f, struct sock_filter insn) {
        f->code[f->n++] = insn;
}

static void emit_load_nr(struct filter *f) {
        emit(f, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, nr)));
}

static void emit_rule(struct filter *f, const struct rule *rule) {
        if (rule->arg < 0) {
                emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)rule->nr,
                                                     0, 1));
                emit(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
                return;
        }
        /* the call itself, then its argument; a mismatch goes on with the call's other rules */
        emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)rule->nr, 0, 5));
        emit(f, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             (uint32_t)ARG_LOW((size_t)rule->arg)));
        emit(f, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, rule->mask));
        emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rule->value, 0, 1));
        emit(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
        emit_load_nr(f);
}

void filter_build(struct filter *ret) {
        _Static_assert(6 * ARRAY_SIZE(rules) + 5 <= FILTER_MAX,
                       "a rule is at most six instructions");

        ret->n = 0;
        emit(ret, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                               offsetof(struct seccomp_data, arch)));
        emit(ret, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 1, 0));
        emit(ret, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
        emit_load_nr(ret);
        for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
                emit_rule(ret, &rules[i]);
        emit(ret, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
}

int filter_install(const struct filter *filter) {
        struct sock_filter code[FILTER_MAX];
        struct sock_fprog program = {.len = filter->n, .filter = code};

        for (unsigned short i = 0; i < filter->n; i++)
                code[i] = filter->code[i];
        /* Through libc, so that a simulator can add its own calls; errno is set on failure. */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
                return negative_errno();
        return 0;
}
