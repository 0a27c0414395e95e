/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is open is read from /proc/self/fd, each fd with what it leads to: an fd that was closed and
 * whose number came back as something else is seen too. Everything is static, so that looking
 * allocates nothing and valgrind sees only what the tests themselves do.
 */

#include "fds.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FDS_MAX 256

struct entry {
        int fd;
        char target[128];
};

struct snapshot {
        unsigned n;
        struct entry entries[FDS_MAX];
};

static struct snapshot before;

static void take_snapshot(struct snapshot *s) {
        DIR *directory = opendir("/proc/self/fd");
        struct dirent *d;

        memset(s, 0, sizeof(*s));
        if (!directory)
                abort();
        while ((d = readdir(directory))) {
                struct entry *e = &s->entries[s->n];

                if (d->d_name[0] == '.' || atoi(d->d_name) == dirfd(directory))
                        continue;
                e->fd = atoi(d->d_name);
                if (readlinkat(dirfd(directory), d->d_name, e->target, sizeof(e->target) - 1) < 0)
                        e->target[0] = '?';
                if (++s->n == FDS_MAX)
                        abort();
        }
        (void)closedir(directory);
}

static bool has(const struct snapshot *s, const struct entry *e) {
        for (unsigned i = 0; i < s->n; i++)
                if (s->entries[i].fd == e->fd && strcmp(s->entries[i].target, e->target) == 0)
                        return true;
        return false;
}

static bool has_fd(const struct snapshot *s, int fd) {
        for (unsigned i = 0; i < s->n; i++)
                if (s->entries[i].fd == fd)
                        return true;
        return false;
}

static unsigned compare(FILE *stream) {
        static struct snapshot now;
        unsigned n = 0;

        take_snapshot(&now);
        for (unsigned i = 0; i < now.n; i++) {
                const struct entry *e = &now.entries[i];

                if (has(&before, e))
                        continue;
                n++;
                if (stream)
                        (void)fprintf(stream, "fd %d leads to %s: %s\n", e->fd, e->target,
                                      has_fd(&before, e->fd) ? "it was another one" : "left open");
        }
        for (unsigned i = 0; i < before.n; i++) {
                const struct entry *e = &before.entries[i];

                if (has_fd(&now, e->fd))
                        continue;
                n++;
                if (stream)
                        (void)fprintf(stream, "fd %d, which led to %s: closed, and not ours\n",
                                      e->fd, e->target);
        }
        return n;
}

void fds_remember(void) {
        take_snapshot(&before);
}

unsigned fds_changed(void) {
        return compare(stderr);
}

unsigned fds_count_changed(void) {
        return compare(NULL);
}

/* Reaps the dead ones; the living are left alone. */
static bool has_children(void) {
        bool found = false;
        pid_t pid;

        do {
                pid = waitpid(-1, NULL, WNOHANG | __WALL);
                found = found || pid >= 0;
        } while (pid > 0);
        return found;
}

/* What an earlier test left behind is that test's failure, not this one's. */
static bool had_children;

int fds_setup(void **state) {
        had_children = has_children();
        fds_remember();
        return 0;
}

int fds_teardown(void **state) {
        unsigned n = fds_changed();

        if (has_children() && !had_children) {
                (void)fprintf(stderr, "a child process was left behind\n");
                n++;
        }
        return n == 0 ? 0 : -1;
}

static void skipped(void **state) {
}

struct CMUnitTest fds_skippable(const char *why, const char *name, CMUnitTestFunction f) {
        static char names[64][160];
        static unsigned n;

        if (!why)
                return (struct CMUnitTest){name, f, fds_setup, fds_teardown, NULL};
        if (n == sizeof(names) / sizeof(names[0]))
                abort();
        (void)snprintf(names[n], sizeof(names[n]), "%s # SKIP %s", name, why);
        return (struct CMUnitTest){names[n++], skipped, NULL, NULL, NULL};
}

bool is_emulated(void) {
        struct msghdr mh = {};
        bool asked;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        asked = recvmsg(fds[0], &mh, MSG_PEEK | MSG_DONTWAIT) < 0;
        (void)close(fds[0]);
        (void)close(fds[1]);
        return !asked;
}

const char *no_pidfd_open(void) {
        int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

        if (fd < 0)
                return "no pidfd_open(2) here (valgrind 3.19 has none)";
        (void)close(fd);
        return NULL;
}

int wait_for_exit(int pid) {
        int status;

        if (waitpid(pid, &status, 0) != pid)
                return -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
