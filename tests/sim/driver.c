/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The driver of the tests of libpvsim.
 *
 *   test-sim LIBPVSIM kvm|standin [CASE...]     runs the cases, prints TAP
 *   test-sim --case NAME                        is one case, with the library preloaded
 *   test-sim --stranger FD                      tries PERFORM on an inherited VM fd: its errno
 *
 * The driver itself has no library preloaded. It makes a directory for the log of each case and
 * removes it, and reaps what a case leaves behind (cases make orphans on purpose); what does not
 * leave by itself is killed, and fails the case.
 */

#include "harness.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define CASE_SECONDS 60
#define ORPHAN_MS    20000

static const struct test_case *const tables[] = {
        state_cases,
        process_cases,
        tool_cases,
        host_cases,
};

static int count_fds(void) {
        DIR *dir = opendir("/proc/self/fd");
        int n = 0;

        while (dir && readdir(dir))
                n++;
        closedir(dir);
        return n;
}

static const struct test_case *find_case(const char *name) {
        for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++)
                for (const struct test_case *c = tables[i]; c->name; c++)
                        if (strcmp(c->name, name) == 0)
                                return c;
        return NULL;
}

static int be_case(const char *name) {
        const struct test_case *c = find_case(name);
        int fds = count_fds();

        alarm(CASE_SECONDS);
        c->run();
        CHECK_EQ(count_fds(), fds);
        return EXIT_SUCCESS;
}

static void exec_case(const struct test_case *c, const char *library, bool standin, char *log) {
        if (setenv("LD_PRELOAD", library, 1) < 0 || setenv("PVSIM_LOG", log, 1) < 0)
                _exit(EXIT_FAILURE);
        if (standin)
                setenv("PVSIM_STANDIN", "1", 1);
        setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1);
        for (size_t i = 0; c->environment[i]; i++)
                putenv((char *)(uintptr_t)c->environment[i]);
        execl("/proc/self/exe", "test-sim", "--case", c->name, (char *)NULL);
        _exit(EXIT_FAILURE);
}

static void kill_children(void) {
        FILE *f = fopen("/proc/thread-self/children", "re");
        int pid;

        while (f && fscanf(f, "%d", &pid) == 1)
                kill(pid, SIGKILL);
        if (f)
                fclose(f);
}

/* Orphans of a case come to us. False: one was still there after a while, and had to be killed. */
static bool reap_orphans(void) {
        uint64_t deadline = wall_ms() + ORPHAN_MS;
        bool in_time = true;
        pid_t pid;

        while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) >= 0) {
                if (pid > 0)
                        continue;
                if (wall_ms() > deadline) {
                        in_time = false;
                        kill_children();
                }
                sleep_ms(2);
        }
        return in_time;
}

/* The case's wait status. Its orphans must be gone too before its directory goes. */
static int run_case(const struct test_case *c, const char *library, bool standin) {
        char dir[] = "/tmp/test-sim.XXXXXX", log[sizeof(dir) + 8];
        int status;
        pid_t pid;

        CHECK(mkdtemp(dir));
        snprintf(log, sizeof(log), "%s/log", dir);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
                exec_case(c, library, standin, log);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        if (!reap_orphans())
                status = status ? status : EXIT_FAILURE << 8;
        unlink(log);
        rmdir(dir);
        return status;
}

static bool wanted(const char *name, char **names) {
        if (!*names)
                return true;
        for (; *names; names++)
                if (strcmp(*names, name) == 0)
                        return true;
        return false;
}

/* One line of TAP; returns whether it says failure. */
static bool report(int number, const char *name, int status, const char *reason) {
        bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED;
        bool failed = status != 0 && !skipped;

        printf("%sok %d - %s", failed ? "not " : "", number, name);
        if (skipped)
                printf(" # SKIP %s", reason ? reason : "see stderr");
        printf("\n");
        fflush(stdout);
        return failed;
}

static int drive(const char *library, bool standin, char **names) {
        const char *reason = NULL;
        int n = 0, failed = 0;

        if (!standin && access("/dev/kvm", R_OK | W_OK) < 0)
                reason = strerror(errno);
        for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++)
                for (const struct test_case *c = tables[i]; c->name; c++) {
                        int status = EXIT_SKIPPED << 8;

                        if (!wanted(c->name, names))
                                continue;
                        if (!reason)
                                status = run_case(c, library, standin);
                        failed += report(++n, c->name, status, reason);
                }
        printf("1..%d\n", n);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv) {
        if (argc == 3 && strcmp(argv[1], "--case") == 0)
                return be_case(argv[2]);
        if (argc == 3 && strcmp(argv[1], "--stranger") == 0)
                return -pv(atoi(argv[2]), PV_ASYNC_CLEANUP_PERFORM);
        if (argc < 3)
                return EXIT_FAILURE;
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        return drive(argv[1], strcmp(argv[2], "standin") == 0, argv + 3);
}
