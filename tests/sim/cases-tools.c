/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What surrounds the states: the time burnt (how much, where, in spite of signals), the log under
 * many writers, failures to order. Times are compared as ratios of CPU time, with 20 % to spare,
 * for the machine may be busy.
 */

#include "harness.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#define NO_TIME "PVSIM_NS_PER_PAGE=0"

/* 4 GiB at 400 ns per page */
#define PERFORM_US 419430
#define PREPARE_US 209715

static uint64_t system_us(void) {
        struct rusage usage;

        getrusage(RUSAGE_THREAD, &usage);
        return (uint64_t)usage.ru_stime.tv_sec * 1000000 + (uint64_t)usage.ru_stime.tv_usec;
}

static bool is_about(uint64_t us, uint64_t expected) {
        dprintf(STDERR_FILENO, "# %llu us, expected %llu: %+.1f %%\n", (unsigned long long)us,
                (unsigned long long)expected, 100.0 * (double)us / (double)expected - 100);
        return us > expected * 8 / 10 && us < expected * 12 / 10;
}

/* The CPU time of one command, which must be inside the kernel. */
static uint64_t cost(int vm, uint32_t command) {
        uint64_t cpu = cpu_us(), in_kernel = system_us();

        CHECK_EQ(pv(vm, command), 0);
        cpu = cpu_us() - cpu;
        CHECK((system_us() - in_kernel) * 10 >= cpu * 9);
        return cpu;
}

static void burns_what_it_should(void) {
        int vm = vm_make(4 * GIB);

        for (int i = 0; i < 3; i++) {
                CHECK_EQ(pv(vm, PV_ENABLE), 0);
                CHECK(is_about(cost(vm, PV_ASYNC_CLEANUP_PREPARE), PREPARE_US));
                CHECK(is_about(cost(vm, PV_ASYNC_CLEANUP_PERFORM), PERFORM_US));
        }
        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        CHECK(is_about(cost(vm, PV_DISABLE), PERFORM_US));
        close(vm);
}

static atomic_int signals;

static void on_signal(int number) {
        signals++;
}

/* Not a CPU time timer: those fire on the return to user mode. */
static void burns_through_signals(void) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
        struct itimerspec every_ms = {{0, 1000000}, {0, 1000000}};
        timer_t timer;
        int vm = vm_make(4 * GIB);

        set_aside(vm);
        signal(SIGUSR1, on_signal);
        CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
        CHECK_EQ(timer_settime(timer, 0, &every_ms, NULL), 0);
        CHECK(is_about(cost(vm, PV_ASYNC_CLEANUP_PERFORM), PERFORM_US));
        timer_delete(timer);
        CHECK(signals > 50);
        close(vm);
}

static void *burn_thread(void *vm) {
        CHECK(is_about(cost(*(int *)vm, PV_ASYNC_CLEANUP_PERFORM), PERFORM_US));
        return NULL;
}

static void burns_in_parallel(void) {
        pthread_t threads[4];
        int vm[4];

        for (size_t i = 0; i < 4; i++) {
                vm[i] = vm_make(4 * GIB);
                set_aside(vm[i]);
        }
        for (size_t i = 0; i < 4; i++)
                CHECK_EQ(pthread_create(&threads[i], NULL, burn_thread, &vm[i]), 0);
        for (size_t i = 0; i < 4; i++) {
                CHECK_EQ(pthread_join(threads[i], NULL), 0);
                close(vm[i]);
        }
}

static void min_ms(void) {
        uint64_t begin, cpu;
        int vm = vm_make(4 * GIB);

        set_aside(vm);
        begin = wall_ms();
        cpu = cpu_us();
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PERFORM), 0);
        CHECK(cpu_us() - cpu < 20000);
        CHECK(wall_ms() - begin >= 200);
        close(vm);
}

#define WRITERS       8
#define WRITER_ROUNDS 100

static int write_log(int writer) {
        int vm = vm_make(4 * GIB);

        for (int i = 0; i < WRITER_ROUNDS; i++) {
                set_aside(vm);
                CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PERFORM), 0);
        }
        return 0;
}

/* The number of lines that are whole. */
static int count_whole_lines(void) {
        FILE *f = fopen(getenv("PVSIM_LOG"), "re");
        unsigned long long t;
        char line[512], event[8], rest[256];
        int n = 0, pid, end;

        CHECK(f);
        for (; fgets(line, sizeof(line), f); n++) {
                end = 0;
                CHECK_EQ(sscanf(line,
                                "t=%llu ev=%7s cmd=%*s pid=%d tid=%*d fd=%*d vm=%*d.%*d seq=%*u "
                                "aside=%*u comm=%255[^\n]%n",
                                &t, event, &pid, rest, &end),
                         4);
                CHECK(line[end] == '\n' && line[end + 1] == '\0');
                CHECK_EQ(!strcmp(event, "end"), strstr(rest, " ret=0 rc=") != NULL);
                CHECK(!strstr(rest, "t=") || strstr(rest, " ret=0") + 3 == strstr(rest, "t="));
        }
        fclose(f);
        return n;
}

static void log_has_whole_lines(void) {
        pid_t pids[WRITERS];
        int status;

        prctl(PR_SET_NAME, "a b=c");
        for (int i = 0; i < WRITERS; i++) {
                pids[i] = fork();
                CHECK(pids[i] >= 0);
                if (pids[i] == 0)
                        _exit(write_log(i));
        }
        for (int i = 0; i < WRITERS; i++) {
                CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
                CHECK_EQ(status, 0);
        }
        CHECK_EQ(count_whole_lines(), WRITERS * WRITER_ROUNDS * 6);
        CHECK_EQ(LOG_COUNT("ev=begin"), WRITERS * WRITER_ROUNDS * 3);
        CHECK_EQ(LOG_COUNT("ev=end", "cmd=PERFORM", "ret=0", "seq=100"), WRITERS);
        CHECK_EQ(LOG_COUNT("comm=a_b=c"), WRITERS * WRITER_ROUNDS * 6);
}

static void failures_to_order(void) {
        int vm = vm_make(4 * GIB);

        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PREPARE), -EINVAL); /* does not count */
        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PREPARE), -EIO);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PREPARE), -EIO);
        CHECK_EQ(pv(vm, PV_ENABLE), -EINVAL); /* still protected */
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PREPARE), 0);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PERFORM), -ENOMEM);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PERFORM), -EINVAL); /* taken */
        set_aside(vm);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PERFORM), -ENOMEM);
        close(vm);
}

static void complains(void) {
        char text[1024];

        setenv("PVSIM_FAIL", "prepare:EIO,destroy:5,perform:EWHAT", 1);
        setenv("PVSIM_NS_PER_PAGE", "12x", 1);
        setenv("PVSIM_LOG", "relative", 1);
        capture_stderr(text, sizeof(text), "extensions are there");
        CHECK(!strstr(text, "prepare:EIO\""));
        CHECK(strstr(text, "PVSIM_FAIL: cannot use \"destroy:5\""));
        CHECK(strstr(text, "PVSIM_FAIL: cannot use \"perform:EWHAT\""));
        CHECK(strstr(text, "PVSIM_NS_PER_PAGE: cannot use \"12x\""));
        CHECK(strstr(text, "PVSIM_LOG: cannot use \"relative\""));
}

const struct test_case tool_cases[] = {
        {"burns CPU inside the kernel", burns_what_it_should, {"PVSIM_NS_PER_PAGE=400"}},
        {"burns on through signals", burns_through_signals, {"PVSIM_NS_PER_PAGE=400"}},
        {"burns in parallel", burns_in_parallel, {"PVSIM_NS_PER_PAGE=400"}},
        {"PVSIM_MIN_MS", min_ms, {NO_TIME, "PVSIM_MIN_MS=200"}},
        {"PVSIM_LOG has whole lines", log_has_whole_lines, {NO_TIME}},
        {"PVSIM_FAIL", failures_to_order, {NO_TIME, "PVSIM_FAIL=prepare:EIO:2,perform:12"}},
        {"unknown words are named", complains, {NO_TIME}},
        {},
};
