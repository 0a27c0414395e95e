/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Small things every layer uses. libc only; no allocation, no logging. */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))

#define _cleanup_(f)   __attribute__((__cleanup__(f)))
#define _printf_(a, b) __attribute__((__format__(printf, a, b)))

#define USEC_PER_SEC  UINT64_C(1000000)
#define USEC_PER_MSEC UINT64_C(1000)
#define NSEC_PER_USEC UINT64_C(1000)
#define USEC_INFINITY UINT64_MAX

/* Moving an fd to its next owner: the old place is -1 from then on. */
static inline int take_fd(int *fd) {
        int taken = *fd;

        *fd = -1;
        return taken;
}

/* Closes *fd unless it is -1, and sets it to -1. Keeps errno. Never for somebody else's VM fd. */
static inline void close_fd(int *fd) {
        int saved = errno;

        if (*fd >= 0)
                (void)close(*fd);
        *fd = -1;
        errno = saved;
}

/*
 * Moves *fd away from 0 to 2. In a program that loads a library these may be closed, and other code
 * there must not take the library's fd for stdin, stdout or stderr. *fd stays the caller's also on
 * failure.
 */
static inline int above_stdio(int *fd) {
        int r;

        if (*fd > 2)
                return 0;
        r = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
        if (r < 0)
                return -errno;
        close_fd(fd);
        *fd = r;
        return 0;
}

/* The same for a pointer: the old place is NULL from then on. */
#define take_ptr(p)                                                                                \
        ({                                                                                         \
                __typeof__(*(p)) taken_ptr = *(p);                                                 \
                                                                                                   \
                *(p) = NULL;                                                                       \
                taken_ptr;                                                                         \
        })

/* Text of others, to be shown: anything but printable ASCII becomes "?". */
static inline void make_printable(char *text) {
        for (; *text; text++)
                if (*text < ' ' || *text > '~')
                        *text = '?';
}

/* For _cleanup_(): frees what the local pointer at p points to. */
static inline void freep(void *p) {
        free(*(void **)p);
}

/* Beside x_free(): x_freep(), the same for _cleanup_(). */
#define DEFINE_FREEP(x)                                                                            \
        static inline void x##_freep(struct x **p) {                                               \
                x##_free(*p);                                                                      \
        }

/* After a failed call that sets errno; never returns 0, whatever errno says. */
static inline int negative_errno(void) {
        int r = -errno;

        return r < 0 ? r : -EIO;
}

static inline uint64_t clock_usec(clockid_t clock) {
        struct timespec ts;

        (void)clock_gettime(clock, &ts);
        return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}

/* CLOCK_MONOTONIC in µs. */
static inline uint64_t now_usec(void) {
        return clock_usec(CLOCK_MONOTONIC);
}

/* µs since 1970. */
static inline uint64_t realtime_usec(void) {
        return clock_usec(CLOCK_REALTIME);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b) {
        return a > b ? a : b;
}
