/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * F43, F44: a task that is inside exit_mmap(), and its cgroup. A process with 2 GiB in cgroup a
 * slows its own exit down by SCHED_DEADLINE (2.5 % of a CPU), and exits. Told are: what a write of
 * its pid into b/cgroup.procs says, in which of the two it is then, what cgroup.events says, and
 * whether a can be removed.
 *
 *   exiting DIRECTORY      an empty cgroup v2 directory that is ours; root
 */

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE            (2UL << 30)
#define POLICY_DEADLINE 6

struct attributes { /* struct sched_attr */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
        uint32_t util_min, util_max;
};

static const char *directory;

static int open_in(const char *cgroup, const char *file, int flags) {
        char path[4096];

        (void)snprintf(path, sizeof(path), "%s/%s/%s", directory, cgroup, file);
        return open(path, flags);
}

/* The file's first line, or what open(2) or read(2) said. */
static const char *first_line(const char *cgroup, const char *file) {
        static char text[256];
        int fd = open_in(cgroup, file, O_RDONLY);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

        if (n < 0)
                return strerrorname_np(errno);
        (void)close(fd);
        text[n] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return n == 0 ? "nobody" : text;
}

static const char *enter(const char *cgroup, pid_t pid) {
        int fd = open_in(cgroup, "cgroup.procs", O_WRONLY);
        char text[16];

        (void)snprintf(text, sizeof(text), "%d", (int)pid);
        if (fd < 0 || write(fd, text, strlen(text)) < 0)
                return strerrorname_np(errno);
        (void)close(fd);
        return "ok";
}

static void make(const char *cgroup) {
        char path[4096];

        (void)snprintf(path, sizeof(path), "%s/%s", directory, cgroup);
        if (mkdir(path, 0755) < 0)
                err(1, "%s", path);
}

static const char *drop(const char *cgroup) {
        char path[4096];

        (void)snprintf(path, sizeof(path), "%s/%s", directory, cgroup);
        return rmdir(path) < 0 ? strerrorname_np(errno) : "ok";
}

static void leave_slowly(void) {
        const struct attributes slow = {.size = sizeof(slow),
                                        .policy = POLICY_DEADLINE,
                                        .runtime = 250000,
                                        .deadline = 10000000,
                                        .period = 10000000};

        if (mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
                 0) == MAP_FAILED)
                err(1, "mmap");
        if (syscall(SYS_sched_setattr, 0, &slow, 0) < 0)
                err(1, "SCHED_DEADLINE");
        _exit(0);
}

/* Its memory is no longer its own: it is past exit_mm(), in exit_mmap(). 1: so it is; 0: not yet.
 */
static int is_exiting(pid_t pid) {
        char path[64], text[64] = "";
        int fd;

        (void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
        fd = open(path, O_RDONLY);
        if (fd < 0)
                return 0;
        (void)!read(fd, text, sizeof(text) - 1);
        (void)close(fd);
        return strncmp(text, "0 ", 2) == 0;
}

int main(int argc, char **argv) {
        int status;
        pid_t pid;

        if (argc != 2)
                errx(2, "usage: exiting DIRECTORY");
        directory = argv[1];
        make("a");
        make("b");
        pid = fork();
        if (pid == 0) {
                if (strcmp(enter("a", getpid()), "ok") != 0)
                        errx(1, "cannot enter");
                leave_slowly();
        }
        while (!is_exiting(pid) && waitpid(pid, &status, WNOHANG) == 0)
                (void)usleep(1000);
        printf("process %d is in exit_mmap(); its move says %s\n", (int)pid, enter("b", pid));
        printf("a: %s", first_line("a", "cgroup.procs"));
        printf(", threads %s", first_line("a", "cgroup.threads"));
        printf(", %s\n", first_line("a", "cgroup.events"));
        printf("b: %s", first_line("b", "cgroup.procs"));
        printf(", %s\n", first_line("b", "cgroup.events"));
        printf("rmdir of a: %s\n", drop("a"));
        (void)waitpid(pid, NULL, 0);
        printf("afterwards: a %s, b %s\n", drop("a"), drop("b"));
        return 0;
}
