/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * F6, F7: a CLONE_VM process made with CLONE_VFORK, and one made without, whose parent thread waits
 * in waitid(2). Told are the state of both threads (D adds to the load average, and hangs
 * debuggers), whether the VMM's waitpid(-1) sees the processes (exit signal 0), and whose errno it
 * is that the plain one writes.
 *
 *   clone-flags
 */

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct parent {
        int flags;
        volatile pid_t tid, child;
        char stack[65536] __attribute__((aligned(16)));
        volatile int child_errno_written;
        volatile int errno_seen;
};

static volatile int leave;

static int child(void *arg) {
        struct parent *p = arg;

        p->child = (pid_t)syscall(SYS_getpid);
        errno = 4711;
        p->child_errno_written = 1;
        while (!leave)
                (void)usleep(1000);
        _exit(3);
}

static void *parent(void *arg) {
        struct parent *p = arg;
        pid_t pid;

        p->tid = (pid_t)syscall(SYS_gettid);
        errno = 0;
        pid = clone(child, p->stack + sizeof(p->stack), CLONE_VM | p->flags, p);
        if (pid < 0)
                err(1, "clone");
        (void)syscall(SYS_waitid, P_PID, pid, NULL, WEXITED | __WALL, NULL);
        p->errno_seen = errno;
        return NULL;
}

static int state_of(pid_t tid) {
        char path[64], text[256] = "";
        const char *name_end;
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
        f = fopen(path, "r");
        if (!f)
                return '?';
        (void)!fgets(text, sizeof(text), f);
        (void)fclose(f);
        name_end = strrchr(text, ')');
        return name_end ? name_end[2] : '?';
}

int main(void) {
        static struct parent plain = {.flags = 0}, vfork = {.flags = CLONE_VFORK};
        pthread_t threads[2];

        if (pthread_create(&threads[0], NULL, parent, &plain) != 0 ||
            pthread_create(&threads[1], NULL, parent, &vfork) != 0)
                errx(1, "pthread_create");
        while (!plain.child_errno_written || !vfork.child_errno_written)
                (void)usleep(1000);
        (void)usleep(100000);
        printf("parent thread: plain %c, CLONE_VFORK %c\n", state_of(plain.tid),
               state_of(vfork.tid));
        leave = 1;
        (void)pthread_join(threads[0], NULL);
        (void)pthread_join(threads[1], NULL);
        printf("waitpid(-1) of the VMM: %s\n",
               waitpid(-1, NULL, WNOHANG) < 0 ? strerrorname_np(errno) : "sees one");
        printf("errno of the plain one's parent thread: %d (4711 is what the child wrote)\n",
               plain.errno_seen);
        return 0;
}
