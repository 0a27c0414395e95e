/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * F17: process_mrelease(2) of a process that is being killed. A VMM of many threads, so that its
 * exit takes a moment, is killed twenty times, and the call comes right after the signal: without
 * anybody beside it, then with a CLONE_VM process (the keeper's place). Prints how often the call
 * said what. ESRCH only means that it came too late.
 *
 *   mrelease
 */

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRIES   20
#define THREADS 200
#define SIZE    (256UL << 20)

#ifndef SYS_process_mrelease
#define SYS_process_mrelease 448
#endif

static char stack[65536] __attribute__((aligned(16)));

static int keeper(void *arg) {
        (void)arg;
        (void)sleep(2);
        _exit(0);
}

static void *sleeper(void *arg) {
        (void)pause();
        return arg;
}

static void vmm(bool with_keeper, int ready) {
        pthread_t thread;

        if (mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
                 0) == MAP_FAILED)
                err(1, "mmap");
        for (int i = 0; i < THREADS; i++)
                if (pthread_create(&thread, NULL, sleeper, NULL) != 0)
                        errx(1, "pthread_create");
        if (with_keeper && clone(keeper, stack + sizeof(stack), CLONE_VM, NULL) < 0)
                err(1, "clone");
        (void)!write(ready, "x", 1);
        (void)pause();
}

/* What process_mrelease(2) said: 0 or an errno. */
static int try(bool with_keeper) {
        int ready[2], pidfd, r;
        pid_t pid;
        char c;

        if (pipe(ready) < 0)
                err(1, "pipe");
        pid = fork();
        if (pid == 0)
                vmm(with_keeper, ready[1]);
        (void)!read(ready[0], &c, 1);
        pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        (void)kill(pid, SIGKILL);
        r = syscall(SYS_process_mrelease, pidfd, 0) < 0 ? errno : 0;
        (void)waitpid(pid, NULL, 0);
        (void)close(pidfd);
        (void)close(ready[0]);
        (void)close(ready[1]);
        return r;
}

static void tell(bool with_keeper) {
        unsigned done = 0, invalid = 0, late = 0, other = 0;

        for (int i = 0; i < TRIES; i++) {
                int r = try(with_keeper);

                done += r == 0;
                invalid += r == EINVAL;
                late += r == ESRCH;
                other += r != 0 && r != EINVAL && r != ESRCH;
        }
        printf("%s: done %u, EINVAL %u, ESRCH %u, other %u\n",
               with_keeper ? "with a CLONE_VM process" : "alone", done, invalid, late, other);
}

int main(void) {
        tell(false);
        tell(true);
        return 0;
}
