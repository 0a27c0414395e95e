/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The side that answers, with capabilities and without memory: no allocation, no log. The loop may
 * be taken over, so nothing in a question is believed. What a worker is:
 * - at its admission it shares the address space of another process, and has one thread. No process
 *   on a host is like that but a keeper, the helper of a stock QEMU, and for microseconds the child
 *   of a vfork(2);
 * - or it is where only this warden or an earlier one moves processes to: in a cgroup below jobs;
 * - or systemd started it as a closer.
 *
 * An admitted worker is known by a pidfd, which is asked for life before anything is done to its
 * pid. A table by pid needs no search and no memory that is not used.
 *
 * Files are opened below the working directory, which is also the root directory here: cgroups are
 * there and nothing else. /proc is outside of it, an fd by which nothing can be opened
 * (system-calls.c): links are read by it, and files looked at.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "daemon/warden/question.h"
#include "daemon/warden/schedule.h"

#define PID_LIMIT (4 << 20) /* PID_MAX_LIMIT of linux/threads.h */
#define NICE_BEST (-20)

static int pidfds[PID_LIMIT]; /* 0: it is not admitted */
static char jobs_path[PATH_MAX];
static struct stat own_program;

/* ---- /proc, without opening anything there ---- */

static const char *proc_path(char buffer[static 32], pid_t pid, const char *file) {
        (void)snprintf(buffer, 32, "%d/%s", (int)pid, file);
        return buffer;
}

static int look(pid_t pid, const char *file, struct stat *ret) {
        char path[32];

        if (fstatat(WARDEN_PROC, proc_path(path, pid, file), ret, 0) >= 0)
                return 0;
        return errno == ENOENT ? -ESRCH : negative_errno();
}

/* A directory has two links, and in /proc one more for each thread. */
static int count_threads(pid_t pid) {
        struct stat st;
        int r;

        r = look(pid, "task", &st);
        return r < 0 ? r : (int)st.st_nlink - 2;
}

/* Nobody but us, or one who may be us. */
static bool is_own(pid_t pid) {
        struct stat st;

        return pid > 0 && look(pid, "", &st) >= 0 && st.st_uid == geteuid() &&
               look(pid, "exe", &st) >= 0 && st.st_dev == own_program.st_dev &&
               st.st_ino == own_program.st_ino;
}

static int read_program(pid_t pid, char *ret, size_t size) {
        char path[32];
        ssize_t n = readlinkat(WARDEN_PROC, proc_path(path, pid, "exe"), ret, size);

        if (n < 0)
                return errno == ENOENT ? -ESRCH : negative_errno();
        return (size_t)n == size ? -ENAMETOOLONG : (int)n;
}

/* Two that have none, such as zombies and kernel threads, are equal to kcmp(2). */
static int same_mm(pid_t a, pid_t b) {
        char program[PATH_MAX];
        long different;
        int r;

        different = syscall(SYS_kcmp, a, b, KCMP_VM, 0UL, 0UL);
        if (different != 0)
                return different < 0 ? negative_errno() : 0;
        r = read_program(a, program, sizeof(program));
        return r == -ESRCH ? 0 : r == -ENAMETOOLONG ? 1 : r < 0 ? r : 1;
}

static int compare(struct answer *ret, const struct question *q) {
        if (q->others.n > WARDEN_COMPARE_MAX)
                return -EINVAL;
        for (uint32_t i = 0; i < q->others.n; i++) {
                int r = same_mm(q->pid, q->others.pids[i]);

                if (r < 0 && q->others.n == 1)
                        return r;
                if (r > 0)
                        ret->same |= UINT64_C(1) << i;
        }
        return 0;
}

#define DELETED                                                                                    \
        " (deleted)" /* follows the path of a file that was replaced, by an upgrade for one */

static int tell_program(struct answer *ret, const struct question *q) {
        size_t cut = strlen(DELETED);
        int n;

        n = read_program(q->pid, ret->program, sizeof(ret->program));
        if (n < 0)
                return n;
        if ((size_t)n > cut && memcmp(ret->program + n - cut, DELETED, cut) == 0)
                n -= (int)cut;
        ret->size = (uint32_t)n;
        return 0;
}

/* ---- cgroups ---- */

static int open_procs(const char *cgroup, int flags) {
        char path[PATH_MAX];
        int fd;

        if ((size_t)snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup) >= sizeof(path))
                return -ENAMETOOLONG;
        fd = openat(AT_FDCWD, path, flags | O_CLOEXEC | O_NOFOLLOW);
        return fd < 0 ? negative_errno() : fd;
}

/* A line for each process. */
static int contains(const char *cgroup, pid_t pid) {
        _cleanup_(close_fd) int fd = open_procs(cgroup, O_RDONLY);
        char text[4096];
        bool found = false;
        pid_t other = 0;
        ssize_t n;

        if (fd < 0)
                return fd;
        while (!found && (n = read(fd, text, sizeof(text))) > 0)
                for (ssize_t i = 0; i < n; i++) {
                        found = found || (text[i] == '\n' && other == pid);
                        other = text[i] == '\n' ? 0 : 10 * other + (text[i] - '0');
                }
        return !found && n < 0 ? negative_errno() : found;
}

static int enter(const char *cgroup, pid_t pid) {
        _cleanup_(close_fd) int fd = open_procs(cgroup, O_WRONLY);
        char text[16];
        int n;

        if (fd < 0)
                return fd;
        n = snprintf(text, sizeof(text), "%d", (int)pid);
        return write(fd, text, (size_t)n) < 0 ? negative_errno() : 0;
}

static int leaf_path(char ret[static PATH_MAX], pid_t pid, uint64_t starttime) {
        if (!*jobs_path)
                return -ENOENT;
        return (size_t)snprintf(ret, PATH_MAX, "%s/" WARDEN_LEAF, jobs_path, (int)pid, starttime) <
                               PATH_MAX
                       ? 0
                       : -ENAMETOOLONG;
}

/* ---- workers ---- */

void answer_forget(pid_t pid) {
        if (pid <= 0 || pid >= PID_LIMIT || pidfds[pid] == 0)
                return;
        (void)close(pidfds[pid]);
        pidfds[pid] = 0;
}

static bool lives(int pidfd) {
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        return poll(&p, 1, 0) == 0;
}

static int check_worker(pid_t pid) {
        if (pid <= 0 || pid >= PID_LIMIT)
                return -ESRCH;
        if (pidfds[pid] == 0)
                return -EPERM;
        if (lives(pidfds[pid]))
                return 0;
        answer_forget(pid);
        return -ESRCH;
}

static int shares_mm(const struct question *q) {
        int r;

        if (q->pid == q->other)
                return 0;
        r = same_mm(q->pid, q->other);
        if (r <= 0)
                return r;
        r = count_threads(q->pid);
        return r < 0 ? r : r == 1 ? 1 : -EUSERS;
}

static int is_found(const struct question *q) {
        char path[PATH_MAX];
        int r;

        r = leaf_path(path, q->pid, q->starttime);
        return r < 0 ? r : contains(path, q->pid);
}

static int is_closer(const struct question *q) {
        const char *name = q->closer;

        if (!*jobs_path || !memchr(name, '\0', sizeof(q->closer)) || strchr(name, '/') ||
            strncmp(name, WARDEN_CLOSER, strlen(WARDEN_CLOSER)) != 0)
                return -EPERM;
        return contains(name, q->pid);
}

static int prove(const struct question *q) {
        switch (q->type) {
        case QUESTION_ADMIT:
                return shares_mm(q);
        case QUESTION_ADMIT_FOUND:
                return is_found(q);
        default:
                return is_closer(q);
        }
}

/* The pidfd first, and asked for life last: all in between was about its process. */
static int admit(const struct question *q) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = -q->pid};
        int fd, r;

        if (q->pid <= 0 || q->pid >= PID_LIMIT)
                return -ESRCH;
        fd = (int)syscall(SYS_pidfd_open, q->pid, 0);
        if (fd < 0)
                return negative_errno();
        r = prove(q);
        if (r > 0 && !lives(fd))
                r = -ESRCH;
        if (r > 0 && epoll_ctl(WARDEN_EPOLL, EPOLL_CTL_ADD, fd, &event) < 0)
                r = negative_errno();
        if (r <= 0) {
                close_fd(&fd);
                return r;
        }
        answer_forget(q->pid); /* it may be another of that number */
        pidfds[q->pid] = fd;
        return 1;
}

static int move(const struct question *q) {
        char path[PATH_MAX];
        int r;

        r = check_worker(q->pid);
        if (r >= 0)
                r = leaf_path(path, q->pid, q->starttime);
        return r < 0 ? r : enter(path, q->pid);
}

static int set_fair(const struct question *q) {
        int r = check_worker(q->pid);

        return r < 0 ? r : schedule_fair(q->pid, q->policy);
}

static int set_deadline(const struct question *q) {
        int r = check_worker(q->pid);

        return r < 0 ? r : schedule_deadline(q->pid, q->deadline.runtime, q->deadline.period);
}

static int set_cpus(const struct question *q) {
        int r = check_worker(q->pid);

        return r < 0 ? r : schedule_cpus(q->pid, &q->cpus);
}

/* ---- the probe ---- */

static int move_probe(const struct question *q) {
        char path[PATH_MAX];

        if (!*jobs_path || !is_own(q->pid))
                return -EPERM;
        if ((size_t)snprintf(path, sizeof(path), "%s/../probe", jobs_path) >= sizeof(path))
                return -ENAMETOOLONG;
        return enter(path, q->pid);
}

static int hurry_probe(const struct question *q) {
        if (!is_own(q->pid))
                return -EPERM;
        return setpriority(PRIO_PROCESS, (id_t)q->pid, NICE_BEST) < 0 ? negative_errno() : 0;
}

/* ---- all of them ---- */

int answer_prepare(const char *jobs) {
        (void)snprintf(jobs_path, sizeof(jobs_path), "%s", jobs ? jobs : "");
        return look(getpid(), "exe", &own_program);
}

static int answer(struct answer *ret, const struct question *q) {
        switch (q->type) {
        case QUESTION_COMPARE:
                return compare(ret, q);
        case QUESTION_PROGRAM:
                return tell_program(ret, q);
        case QUESTION_ADMIT:
        case QUESTION_ADMIT_FOUND:
        case QUESTION_ADMIT_CLOSER:
                return admit(q);
        case QUESTION_MOVE:
                return move(q);
        case QUESTION_SET_FAIR:
                return set_fair(q);
        case QUESTION_SET_DEADLINE:
                return set_deadline(q);
        case QUESTION_SET_CPUS:
                return set_cpus(q);
        case QUESTION_MOVE_PROBE:
                return move_probe(q);
        case QUESTION_HURRY_PROBE:
                return hurry_probe(q);
        default:
                return -EINVAL;
        }
}

void answer_question(struct answer *ret, const struct question *q) {
        ret->size = 0;
        ret->same = 0;
        ret->result = answer(ret, q);
}
