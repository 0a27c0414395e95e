/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Using up CPU time inside the kernel, in the calling task, the way a PERFORM does.
 *
 * The work is readv(2) from /dev/urandom: 1024 pieces that are all the same 2 MiB of memory, so
 * that one system call lasts up to 2 GiB of random numbers (seconds) and costs no more memory, no
 * mappings and no resident set. Where /dev/urandom cannot be opened it is getrandom(2), 2 MiB at a
 * time. Both check for signals and reschedule at every page, and are throttled as the kernel at
 * hand throttles a system call.
 *
 * The amount is CPU time of the calling thread (so a throttled task takes longer in wall time, and
 * time given to others does not count): after each call the clock is read and the speed is learnt
 * anew, and the next call asks for 3/4 of the rest, down to a page. A signal makes a call
 * shorter, never the amount; only a fatal one ends it.
 *
 * Owns: sink, whose content means nothing and which everybody may write at the same time. Speed is
 * shared by all tasks of the address space; any value in it is only a guess.
 */

#include "sim.h"
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SINK_SIZE   (UINT64_C(2) << 20)
#define SINK_PIECES 1024 /* UIO_MAXIOV */
#define PROBE_SIZE  (UINT64_C(256) << 10)
#define NS_PER_SEC  UINT64_C(1000000000)
#define NS_PER_US   UINT64_C(1000)
#define CLOSE_NS    UINT64_C(10000) /* near enough: less than a page of random numbers takes */

static unsigned char sink[SINK_SIZE];
static _Atomic uint_least64_t bytes_per_ms; /* 0: not known yet */

static uint64_t cpu_now(void) {
        struct timespec ts = {};

        syscall(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, &ts);
        return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* Constant, and not on the stack: a keeper's may be small. */
static const struct iovec pieces[SINK_PIECES] = {
        [0 ... SINK_PIECES - 1] = {.iov_base = sink, .iov_len = SINK_SIZE},
};

/* One system call for about so many bytes; how many it made, or -1. */
static long churn(int urandom_fd, uint64_t bytes) {
        uint64_t n = bytes / SINK_SIZE;

        if (n == 0 || urandom_fd < 0)
                return syscall(SYS_getrandom, sink, n == 0 ? bytes : SINK_SIZE, 0);
        return syscall(SYS_readv, urandom_fd, pieces, n < SINK_PIECES ? n : SINK_PIECES);
}

/* Where the kernel refuses both calls nothing is learnt, and the loop burns in user mode. */
static void learn_speed(long bytes, uint64_t ns) {
        if (bytes >= (long)SIM_PAGE_SIZE && ns >= NS_PER_US)
                atomic_store(&bytes_per_ms, (uint64_t)bytes * NS_PER_US / (ns / NS_PER_US));
}

void sim_burn(uint64_t ns) {
        uint64_t now = cpu_now(), end = now + ns;
        int fd;

        if (ns == 0)
                return;
        fd = (int)syscall(SYS_openat, AT_FDCWD, "/dev/urandom", O_RDONLY | O_CLOEXEC);
        while (now + CLOSE_NS < end) {
                uint64_t speed = atomic_load(&bytes_per_ms), before = now, bytes;
                long made;

                bytes = speed > 0 ? (end - now) / NS_PER_US * 3 / 4 * speed / 1000 : PROBE_SIZE;
                made = churn(fd, bytes > SIM_PAGE_SIZE ? bytes : SIM_PAGE_SIZE);
                now = cpu_now();
                learn_speed(made, now - before);
        }
        if (fd >= 0)
                syscall(SYS_close, fd);
}
