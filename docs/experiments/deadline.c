/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * F31, F34: what SCHED_DEADLINE lets one do from outside to a task that is inside one system call.
 * The task is one getrandom(2) of 2 GiB after the other.
 *
 *   deadline share       sets 10, 50, 2.5, 90 % of 10 ms, then takes it back; tells what it used
 *   deadline exit        3 GiB of exit_mmap() at 2.5 %, at 50 % from its middle on, and taken back
 *   deadline bounds      which runtimes and periods the kernel takes
 *   deadline admission   how much it admits in all, 5 % at a time
 *   deadline rest        a pinned task; fork(2) with and without SCHED_FLAG_RESET_ON_FORK
 *
 * Root (CAP_SYS_NICE). admission and bounds want a host on which nobody else has deadline tasks.
 */

#include <err.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POLICY_DEADLINE 6
#define RESET_ON_FORK   1
#define PERIOD_NSEC     10000000ULL
#define CALL_SIZE       (2UL << 30)
#define FILE_SIZE       (16UL << 20)
#define EXIT_SIZE       (3UL << 30)
#define TASKS_MAX       400

struct attributes { /* struct sched_attr */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
        uint32_t util_min, util_max;
};

static double now(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_of(pid_t pid) {
        struct timespec t = {};
        clockid_t clock;

        if (clock_getcpuclockid(pid, &clock) == 0)
                (void)clock_gettime(clock, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int set(pid_t pid, const struct attributes *attributes) {
        return syscall(SYS_sched_setattr, pid, attributes, 0) < 0 ? errno : 0;
}

static int set_deadline(pid_t pid, uint64_t runtime, uint64_t period, uint64_t flags) {
        const struct attributes a = {.size = sizeof(a),
                                     .policy = POLICY_DEADLINE,
                                     .flags = flags,
                                     .runtime = runtime,
                                     .deadline = period,
                                     .period = period};

        return set(pid, &a);
}

static int set_other(pid_t pid) {
        const struct attributes a = {.size = sizeof(a)};

        return set(pid, &a);
}

static uint64_t part(double percent) {
        return (uint64_t)(percent / 100 * (double)PERIOD_NSEC);
}

static const char *word(int error) {
        return error ? strerrorname_np(error) : "ok";
}

static pid_t start_sleeper(void) {
        pid_t pid = fork();

        if (pid == 0) {
                (void)pause();
                _exit(0);
        }
        return pid;
}

/* One long system call after the other, into 2 GiB of the same 16 MiB. */
static pid_t start_worker(void) {
        pid_t pid = fork();
        int file;
        char *bytes;

        if (pid != 0)
                return pid;
        file = memfd_create("deadline", 0);
        bytes = mmap(NULL, CALL_SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (bytes == MAP_FAILED || ftruncate(file, FILE_SIZE) < 0)
                err(1, "no memory");
        for (size_t at = 0; at < CALL_SIZE; at += FILE_SIZE)
                if (mmap(bytes + at, FILE_SIZE, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_FIXED | MAP_POPULATE, file, 0) == MAP_FAILED)
                        err(1, "mmap");
        for (;;)
                (void)syscall(SYS_getrandom, bytes, CALL_SIZE, 0);
}

static void end(pid_t pid) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
}

static void tell_use(const char *what, pid_t pid, int error) {
        double begin = now(), cpu = cpu_of(pid);

        (void)usleep(1000000);
        printf("%s: %s, used %.1f %%\n", what, word(error),
               (cpu_of(pid) - cpu) / (now() - begin) * 100);
}

static void share(void) {
        static const double percents[] = {10, 50, 2.5, 90};
        pid_t pid = start_worker();
        char text[32];

        (void)usleep(300000);
        for (int i = 0; i < 4; i++) {
                (void)snprintf(text, sizeof(text), "%.1f %%", percents[i]);
                tell_use(text, pid, set_deadline(pid, part(percents[i]), PERIOD_NSEC, 0));
        }
        tell_use("taken back", pid, set_other(pid));
        end(pid);
}

/* How long the exit of EXIT_SIZE takes: at 2.5 %; change: 1 50 %, 2 nothing, 150 ms later. */
static void exit_once(int change) {
        static const char *const words[] = {"at 2.5 %", "then at 50 %", "then taken back"};
        volatile double *began =
                mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        pid_t pid = fork();
        int r = 0;

        if (pid == 0) {
                (void)mmap(NULL, EXIT_SIZE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
                (void)set_deadline(0, part(2.5), PERIOD_NSEC, 0);
                *began = now();
                _exit(0);
        }
        while (*began == 0)
                (void)usleep(1000);
        (void)usleep(150000);
        if (change == 1)
                r = set_deadline(pid, part(50), PERIOD_NSEC, 0);
        else if (change == 2)
                r = set_other(pid);
        (void)waitpid(pid, NULL, 0);
        printf("exit_mmap() of 3 GiB %s: %s, %.0f ms in all\n", words[change], word(r),
               (now() - *began) * 1e3);
}

static void exits(void) {
        for (int change = 0; change < 3; change++)
                exit_once(change);
}

static void bounds(void) {
        static const uint64_t runtimes[] = {500, 1000, 1023, 1024, 250000};
        static const uint64_t periods_usec[] = {50, 99, 100, 1000, 100000, 4000000, 5000000};
        pid_t pid = start_sleeper();

        for (int i = 0; i < 5; i++)
                printf("runtime %llu ns: %s\n", (unsigned long long)runtimes[i],
                       word(set_deadline(pid, runtimes[i], PERIOD_NSEC, 0)));
        for (int i = 0; i < 7; i++)
                printf("period %llu us: %s\n", (unsigned long long)periods_usec[i],
                       word(set_deadline(pid, periods_usec[i] * 100, periods_usec[i] * 1000, 0)));
        end(pid);
}

static void admission(void) {
        pid_t pids[TASKS_MAX];
        int n = 0, r = 0;

        while (n < TASKS_MAX && r == 0) {
                pids[n] = start_sleeper();
                r = set_deadline(pids[n++], part(5), PERIOD_NSEC, 0);
        }
        printf("%d %% in all on %ld CPUs, then %s\n", 5 * (n - 1), sysconf(_SC_NPROCESSORS_ONLN),
               word(r));
        while (n > 0)
                end(pids[--n]);
}

static void fork_under(uint64_t flags) {
        pid_t pid = fork();

        if (pid != 0) {
                (void)waitpid(pid, NULL, 0);
                return;
        }
        (void)set_deadline(0, part(10), PERIOD_NSEC, flags);
        pid = fork();
        if (pid == 0)
                _exit(0);
        printf("fork(2) %s SCHED_FLAG_RESET_ON_FORK: %s\n", flags ? "with" : "without",
               word(pid < 0 ? errno : 0));
        (void)fflush(stdout);
        _exit(0);
}

static void rest(void) {
        pid_t pid = start_sleeper();
        cpu_set_t one, all;

        (void)sched_getaffinity(pid, sizeof(all), &all);
        CPU_ZERO(&one);
        CPU_SET(0, &one);
        (void)sched_setaffinity(pid, sizeof(one), &one);
        printf("a pinned task: %s\n", word(set_deadline(pid, part(10), PERIOD_NSEC, 0)));
        (void)sched_setaffinity(pid, sizeof(all), &all);
        printf("no longer pinned: %s\n", word(set_deadline(pid, part(10), PERIOD_NSEC, 0)));
        printf("pinning a deadline task: %s\n",
               word(sched_setaffinity(pid, sizeof(one), &one) < 0 ? errno : 0));
        end(pid);
        (void)fflush(stdout);
        fork_under(0);
        fork_under(RESET_ON_FORK);
}

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                void (*run)(void);
        } modes[] = {{"share", share},
                     {"exit", exits},
                     {"bounds", bounds},
                     {"admission", admission},
                     {"rest", rest}};

        for (unsigned i = 0; argc == 2 && i < sizeof(modes) / sizeof(*modes); i++)
                if (strcmp(argv[1], modes[i].name) == 0) {
                        modes[i].run();
                        return 0;
                }
        errx(2, "usage: deadline share|exit|bounds|admission|rest");
}
