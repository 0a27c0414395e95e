/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A worker to be governed: it spends its CPU time inside the kernel, as a keeper does inside
 * PERFORM or exit_mmap(), and takes no part in being capped.
 *
 *   busy getrandom MIB [BATCH]   getrandom(2) of MIB at a time, until it is killed
 *   busy exit MIB                maps MIB of shared memory over and over and touches it; exits
 *   busy user                    no system call at all, until it is killed
 *
 * It says "ready" when it has what it needs, and begins at the end of its stdin. The large mappings
 * all show the same small piece of memory: page tables cost 2 MiB for each GiB, the rest nothing.
 */

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MIB   ((size_t)1 << 20)
#define PIECE (32 * MIB)

static int fail(const char *what) {
        fprintf(stderr, "busy: %s: %s\n", what, strerror(errno));
        return EXIT_FAILURE;
}

/* size bytes of address space, all of it the same PIECE. */
static void *map_repeated(size_t size) {
        char *area =
                mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        int fd = memfd_create("busy", MFD_CLOEXEC);

        if (area == MAP_FAILED || fd < 0 || ftruncate(fd, PIECE) < 0)
                return NULL;
        for (size_t at = 0; at < size; at += PIECE)
                if (mmap(area + at, PIECE, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0) == MAP_FAILED)
                        return NULL;
        close(fd);
        return area;
}

static void wait_for_go(void) {
        char c;

        puts("ready");
        fflush(stdout);
        while (read(STDIN_FILENO, &c, 1) > 0)
                ;
}

static int usage(void) {
        fprintf(stderr, "Usage: busy getrandom|exit MIB [BATCH] | busy user\n");
        return 2;
}

int main(int argc, char **argv) {
        struct sched_param batch = {};
        const char *mode = argc > 1 ? argv[1] : "";
        bool user = strcmp(mode, "user") == 0, calls = strcmp(mode, "getrandom") == 0;
        size_t size = argc > 2 ? strtoul(argv[2], NULL, 10) * MIB : 0;
        void *area = NULL;

        if (!user && (size == 0 || (!calls && strcmp(mode, "exit") != 0)))
                return usage();
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (argc > 3 && sched_setscheduler(0, SCHED_BATCH, &batch) < 0)
                return fail("SCHED_BATCH");
        size = (size + PIECE - 1) / PIECE * PIECE;
        if (!user)
                area = map_repeated(size);
        if (!user && !area)
                return fail("memory");
        wait_for_go();
        while (calls)
                (void)syscall(SYS_getrandom, area, size, 0);
        while (user)
                ;
        _exit(0);
}
