/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The daemon finds out for itself who it talks to (G7). A worker connects itself, so the peer of
 * its socket *is* the process to be governed: SO_PEERPIDFD (Linux 6.5) names it without a race;
 * before that, the pid of SO_PEERCRED may have been re-used by the time pidfd_open(2) gets it,
 * which comparing the peer's start time with the connection's cannot tell either. There the
 * worker's own checks must hold: it has to share its parent's address space, and the pidfd is asked
 * for life after each use of the number.
 */

#include "daemon/runtime/process.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-login.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* asm-generic/socket.h of Linux 6.5; the same on x86 and s390x */
#endif

ssize_t read_file_at(int dir, const char *path, char *buffer, size_t size) {
        _cleanup_(close_fd) int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
        size_t n = 0;

        if (fd < 0)
                return negative_errno();
        while (n < size) {
                ssize_t k = read(fd, buffer + n, size - n);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return negative_errno();
                if (k == 0) {
                        buffer[n] = '\0';
                        return (ssize_t)n;
                }
                n += (size_t)k;
        }
        return -EFBIG;
}

static ssize_t read_proc(pid_t pid, const char *file, char *buffer, size_t size) {
        char path[64];
        ssize_t n;

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
        n = read_file_at(AT_FDCWD, path, buffer, size);
        return n == -ENOENT ? -ESRCH : n;
}

int process_read_stat(pid_t pid, struct task_stat *ret) {
        char text[1024];
        ssize_t n;

        n = read_proc(pid, "stat", text, sizeof(text));
        return n < 0 ? (int)n : task_stat_parse(ret, text, (size_t)n);
}

int process_open(pid_t pid) {
        int fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -ESRCH;

        /* A thread, not a process, is EINVAL; from Linux 6.15 on ENOENT. */
        if (fd == -1)
                fd = errno == EINVAL || errno == ENOENT ? -ESRCH : negative_errno();
        return fd;
}

static int pid_of_pidfd(int pidfd, pid_t *ret) {
        char path[64], buffer[1024];
        const char *p;
        ssize_t n;

        (void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
        n = read_file_at(AT_FDCWD, path, buffer, sizeof(buffer));
        if (n < 0)
                return (int)n;
        p = strstr(buffer, "\nPid:");
        if (!p)
                return -EBADMSG;
        *ret = (pid_t)strtol(p + 5, NULL, 10);
        return *ret > 0 ? 0 : -ESRCH; /* -1: reaped; 0: in another pid namespace */
}

/* Before Linux 6.5: by number, which may have found a new owner since the connection was made. */
static int pidfd_by_credentials(int socket, int *ret_pidfd, pid_t *ret_pid) {
        struct ucred cred;
        socklen_t size = sizeof(cred);
        int pidfd;

        if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
                return negative_errno();
        pidfd = process_open(cred.pid);
        if (pidfd < 0)
                return pidfd;
        *ret_pid = cred.pid;
        *ret_pidfd = pidfd;
        return 0;
}

int process_of_peer(int socket, int *ret_pidfd, pid_t *ret_pid) {
        _cleanup_(close_fd) int pidfd = -1;
        socklen_t size = sizeof(pidfd);
        pid_t pid;
        int r;

        if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0) {
                pidfd = -1;
                if (errno == ENOPROTOOPT)
                        return pidfd_by_credentials(socket, ret_pidfd, ret_pid);
                /* A kernel that knows the option and has nobody to name: it is gone. */
                return errno == EINVAL || errno == ENODATA ? -ESRCH : negative_errno();
        }
        r = pid_of_pidfd(pidfd, &pid);
        if (r < 0)
                return r;
        *ret_pid = pid;
        *ret_pidfd = take_fd(&pidfd);
        return 0;
}

int process_alive(int pidfd) {
        struct pollfd p = {.fd = pidfd, .events = POLLIN};
        int r;

        do
                r = poll(&p, 1, 0);
        while (r < 0 && errno == EINTR); /* it can be, even without waiting */
        return r < 0 ? negative_errno() : r == 0;
}

int process_same_mm(pid_t a, pid_t b) {
        char statm[128];
        long r;
        ssize_t n;

        r = syscall(SYS_kcmp, a, b, KCMP_VM, 0UL, 0UL);
        if (r != 0)
                return r < 0 ? negative_errno() : 0;
        /* Two that have none are equal, to kcmp(2). */
        n = read_proc(a, "statm", statm, sizeof(statm));
        return n < 0 ? (int)n : strncmp(statm, "0 ", 2) != 0;
}

int process_cpu_usec(pid_t pid, uint64_t *ret) {
        char buffer[128];
        uint64_t nsec;
        ssize_t n;

        n = read_proc(pid, "schedstat", buffer, sizeof(buffer));
        if (n < 0)
                return (int)n;
        if (sscanf(buffer, "%" SCNu64, &nsec) != 1)
                return -EBADMSG;
        *ret = nsec / NSEC_PER_USEC;
        return 0;
}

int process_name(pid_t pid, char ret[static PROCESS_NAME_SIZE]) {
        char buffer[2 * PROCESS_NAME_SIZE];
        ssize_t n;

        n = read_proc(pid, "comm", buffer, sizeof(buffer));
        if (n < 0)
                return (int)n;
        if (n > 0 && buffer[n - 1] == '\n')
                buffer[n - 1] = '\0';
        if (strlen(buffer) >= PROCESS_NAME_SIZE)
                return -EBADMSG; /* a kernel thread: no other may be that long */
        memcpy(ret, buffer, strlen(buffer) + 1);
        return 0;
}

/* A file that was replaced since, by an upgrade for one, is followed by this. */
#define DELETED " (deleted)"

int process_program(pid_t pid, char **ret) {
        char path[64], target[PATH_MAX];
        size_t cut = strlen(DELETED);
        ssize_t n;

        (void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
        n = readlink(path, target, sizeof(target));
        if (n < 0)
                return errno == ENOENT ? -ESRCH : negative_errno();
        if ((size_t)n == sizeof(target))
                return -ENAMETOOLONG;
        if ((size_t)n > cut && memcmp(target + n - cut, DELETED, cut) == 0)
                n -= (ssize_t)cut;
        *ret = strndup(target, (size_t)n);
        return *ret ? 0 : -ENOMEM;
}

int process_rss(pid_t pid, uint64_t *ret) {
        char statm[128];
        uint64_t pages;
        ssize_t n;

        n = read_proc(pid, "statm", statm, sizeof(statm));
        if (n < 0)
                return (int)n;
        if (sscanf(statm, "%*u %" SCNu64, &pages) != 1)
                return -EBADMSG;
        *ret = pages * (uint64_t)sysconf(_SC_PAGESIZE);
        return 0;
}

/* Line by line: the list of groups may be of any length, and is somebody else's to make. */
int process_nodes(pid_t pid, char *ret, size_t size) {
        static const char key[] = "Mems_allowed_list:\t";
        _cleanup_(freep) char *line = NULL;
        char path[64];
        size_t space = 0;
        int r = -ENODATA;
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
        f = fopen(path, "re");
        if (!f)
                return errno == ENOENT ? -ESRCH : negative_errno();
        while (r == -ENODATA && getline(&line, &space, f) >= 0)
                if (strncmp(line, key, strlen(key)) == 0) {
                        line[strcspn(line, "\n")] = '\0';
                        r = strlen(line + strlen(key)) < size ? 0 : -ERANGE;
                }
        if (r == 0)
                memcpy(ret, line + strlen(key), strlen(line + strlen(key)) + 1);
        else if (ferror(f))
                r = -ESRCH; /* all that reading it can say */
        (void)fclose(f);
        return r;
}

int process_cgroup(pid_t pid, char **ret) {
        char buffer[8192], *line, *end;
        ssize_t n;

        n = read_proc(pid, "cgroup", buffer, sizeof(buffer));
        if (n < 0)
                return (int)n;
        line = strncmp(buffer, "0::", 3) == 0 ? buffer : strstr(buffer, "\n0::");
        if (!line)
                return -ENODATA;
        line = strchr(line, '/');
        if (!line)
                return -EBADMSG;
        end = strchr(line, '\n');
        *ret = strndup(line, end ? (size_t)(end - line) : strlen(line));
        return *ret ? 0 : -ENOMEM;
}

int process_unit(pid_t pid, char **ret) {
        int r;

        if (pid <= 0) /* to sd_pid_get_unit() 0 is the caller */
                return -ESRCH;
        r = sd_pid_get_unit(pid, ret);
        if (r < 0)
                r = process_cgroup(pid, ret);
        if (r >= 0)
                make_printable(*ret); /* its owner makes cgroups of any name */
        return r < 0 ? r : 0;
}
