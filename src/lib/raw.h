/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * System calls without libc. Keeper and guard run at the same time on the TLS of one thread, the
 * heir. So one of them must leave errno alone: the guard, and all functions that both call.
 *
 * raw_syscall(nr, ...): up to six arguments, integers or pointers. Returns the kernel's value: a
 * result, or a negative errno from -4095 to -1.
 */

#include <fcntl.h>
#include <sys/syscall.h>

#if defined(__x86_64__)

static inline long raw_syscall6(long nr, const long args[6]) {
        register long r10 __asm__("r10") = args[3];
        register long r8 __asm__("r8") = args[4];
        register long r9 __asm__("r9") = args[5];
        long r;

        __asm__ volatile("syscall"
                         : "=a"(r)
                         : "a"(nr), "D"(args[0]), "S"(args[1]), "d"(args[2]), "r"(r10), "r"(r8),
                           "r"(r9)
                         : "rcx", "r11", "memory");
        return r;
}

#elif defined(__s390x__)

static inline long raw_syscall6(long nr, const long args[6]) {
        register long r1 __asm__("1") = nr;
        register long r2 __asm__("2") = args[0];
        register long r3 __asm__("3") = args[1];
        register long r4 __asm__("4") = args[2];
        register long r5 __asm__("5") = args[3];
        register long r6 __asm__("6") = args[4];
        register long r7 __asm__("7") = args[5];

        __asm__ volatile("svc 0"
                         : "+d"(r2)
                         : "d"(r1), "d"(r3), "d"(r4), "d"(r5), "d"(r6), "d"(r7)
                         : "memory");
        return r2;
}

#elif defined(__aarch64__)

static inline long raw_syscall6(long nr, const long args[6]) {
        register long x8 __asm__("x8") = nr;
        register long x0 __asm__("x0") = args[0];
        register long x1 __asm__("x1") = args[1];
        register long x2 __asm__("x2") = args[2];
        register long x3 __asm__("x3") = args[3];
        register long x4 __asm__("x4") = args[4];
        register long x5 __asm__("x5") = args[5];

        __asm__ volatile("svc #0"
                         : "+r"(x0)
                         : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                         : "memory");
        return x0;
}

#else
#error "no system calls for this machine: add them here"
#endif

#define raw_syscall(...) raw_syscall_filled(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define raw_syscall_filled(nr, a, b, c, d, e, f, ...)                                              \
        raw_syscall6((long)(nr), (const long[]){(long)(a), (long)(b), (long)(c), (long)(d),        \
                                                (long)(e), (long)(f)})

/* For reading. An fd or a negative errno. */
static inline int raw_open(const char *path) {
        return (int)raw_syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
}

/* close_fd() of util.h for the keeper, where close(2) of libc would be a cancellation point. */
static inline void raw_close(int *fd) {
        if (*fd >= 0)
                (void)raw_syscall(SYS_close, *fd);
        *fd = -1;
}
