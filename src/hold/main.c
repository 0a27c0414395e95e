/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pv-reaper-hold: the ExecStart= of pv-reaper-workers.service. systemd (252 for one) removes the
 * empty cgroup of a oneshot unit as soon as its program has ended, delegated or not. Then the
 * keepers would have nowhere to live. So this program leaves one sleeping process in a leaf of that
 * cgroup:
 *
 *         pv-reaper-workers.service/        no process: the daemon enables controllers here
 *                 hold/                     the sleeper
 *                 jobs/                     made by the daemon
 *
 * When the program ends with 0 the sleeper sleeps in hold/ and has left session and fds. Only
 * SIGTERM and SIGKILL end the sleeper. The program writes hold/ and hold/cgroup.procs only: all
 * else is the daemon's.
 */

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/cgroup-mount.h"
#include "base/util.h"
#include "hold/system-calls.h"

#define EXIT_USAGE 2

static int complain(int error, const char *what) {
        (void)fprintf(stderr, "pv-reaper-hold: %s: %s\n", what, strerror(-error));
        return error;
}

/* ---- our cgroup ---- */

/* Our path below the mount, as in /proc/self/cgroup. */
static int find_path(char **ret) {
        _cleanup_(freep) char *line = NULL;
        size_t size = 0;
        int r = -ENODATA;
        ssize_t n;
        FILE *f;

        f = fopen("/proc/self/cgroup", "re");
        if (!f)
                return complain(negative_errno(), "cannot read /proc/self/cgroup");
        while (r == -ENODATA && (n = getline(&line, &size, f)) > 0) {
                if (strncmp(line, "0::/", 4) != 0)
                        continue;
                line[n - 1] = '\0';
                *ret = strdup(line + 3);
                r = *ret ? 0 : -ENOMEM;
        }
        (void)fclose(f);
        return r < 0 ? complain(r, "cannot find its cgroup v2 in /proc/self/cgroup") : 0;
}

static int open_own_cgroup(int *ret) {
        _cleanup_(freep) char *path = NULL, *full = NULL;
        const char *mount = cgroup_mount();
        _cleanup_(close_fd) int dir = -1;
        struct statfs fs;
        int r;

        r = find_path(&path);
        if (r < 0)
                return r;
        if (!mount)
                return complain(-ENOENT, "no cgroup v2 is mounted; mount it at /sys/fs/cgroup");
        /* The root is nobody's own, and what begins with /.. is not in sight from here. */
        if (path[1] == '\0' || strncmp(path, "/..", 3) == 0)
                return complain(
                        -EPERM,
                        "not in a cgroup of its own; start pv-reaper-workers.service instead");
        if (asprintf(&full, "%s%s", mount, path) < 0) {
                full = NULL;
                return complain(-ENOMEM, "cannot open its cgroup");
        }
        dir = open(full, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        if (dir < 0 || fstatfs(dir, &fs) < 0)
                return complain(negative_errno(), full);
        if (fs.f_type != CGROUP2_SUPER_MAGIC)
                return complain(-EMEDIUMTYPE, full);
        *ret = take_fd(&dir);
        return 0;
}

static int enter_hold(int cgroup) {
        _cleanup_(close_fd) int fd = -1;

        if (mkdirat(cgroup, "hold", 0755) < 0 && errno != EEXIST)
                return complain(negative_errno(), "cannot make hold/ in its cgroup");
        fd = openat(cgroup, "hold/cgroup.procs", O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) < 0)
                return complain(negative_errno(), "cannot enter hold/ in its cgroup");
        return 0;
}

/* ---- the sleeper ---- */

/* ready: a byte comes out of it if all went well, and its end when nothing is left to do. */
static _Noreturn void sleep_on(int ready, enum sandbox_mode mode) {
        sigset_t set;
        int signal;

        (void)sigfillset(&set);
        (void)sigprocmask(SIG_SETMASK, &set, NULL);
        if (setsid() < 0 || chdir("/") < 0 || dup2(ready, 0) < 0 ||
            syscall(SYS_close_range, 1U, ~0U, 0U) < 0)
                _exit(EXIT_FAILURE);
        if (sandbox_install(&sleeper_calls, mode) < 0)
                _exit(EXIT_FAILURE);
        if (write(0, "", 1) != 1)
                _exit(EXIT_FAILURE);
        (void)close(0);
        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGTERM);
        (void)sigwait(&set, &signal);
        _exit(EXIT_SUCCESS);
}

/* Forked in hold/, so that is where it is. */
static int start_sleeper(void) {
        enum sandbox_mode mode;
        int ready[2];
        pid_t pid;
        ssize_t n;
        char said;

        if (sandbox_mode_from_environment(&mode) < 0)
                return complain(-EINVAL, "set PVREAPER_SECCOMP to enforce, log or off");
        if (pipe2(ready, O_CLOEXEC) < 0)
                return complain(negative_errno(), "cannot make a pipe");
        pid = fork();
        if (pid < 0)
                return complain(negative_errno(), "cannot fork");
        if (pid == 0)
                sleep_on(ready[1], mode);
        close_fd(&ready[1]);
        n = read(ready[0], &said, 1);
        if (n == 1)
                n += read(ready[0], &said, 1);
        close_fd(&ready[0]);
        return n == 1 ? 0 : complain(-ECHILD, "the sleeping process ended too early");
}

int main(int argc, char *argv[]) {
        _cleanup_(close_fd) int cgroup = -1;

        if (argc > 1) {
                (void)fprintf(stderr, "pv-reaper-hold: takes no arguments, see pv-reaper(8)\n");
                return EXIT_USAGE;
        }
        if (open_own_cgroup(&cgroup) < 0 || enter_hold(cgroup) < 0 || start_sleeper() < 0)
                return EXIT_FAILURE;
        return EXIT_SUCCESS;
}
