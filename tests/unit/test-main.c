/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * main.c as a function: in which order the daemon is made, that the faces watch the core when it
 * runs, which exit code which failure has, and that each way out gives back all there was. The loop
 * runs as long as a test wants it to.
 */

#include "fds.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "capture.h"
#include "daemon/manager.h"

int daemon_main(int argc, char *argv[]);
int __wrap_manager_run(struct manager *manager);

static char directory[64], handoff[128], control[128], configuration[128];

/* ---- while it runs ---- */

static struct {
        unsigned n; /* times that it ran */
        unsigned n_watchers;
        bool listens;
        int result;
} run;

static bool is_socket(const char *path) {
        struct stat st;

        return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

int __wrap_manager_run(struct manager *m) {
        const struct manager_watcher *watcher;

        run.n++;
        TAILQ_FOREACH (watcher, &m->watchers, link)
                run.n_watchers++;
        run.listens = is_socket(handoff) && is_socket(control);
        for (unsigned i = 0; i < 20; i++)
                assert_true(sd_event_run(m->event, 0) >= 0);
        return run.result;
}

/* ---- a daemon from its command line to its exit code ---- */

static void write_configuration(const char *text) {
        FILE *file = fopen(configuration, "we");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void begin(void) {
        (void)snprintf(directory, sizeof(directory), "/tmp/pv-reaper-test-main.XXXXXX");
        assert_non_null(mkdtemp(directory));
        (void)snprintf(handoff, sizeof(handoff), "%s/handoff", directory);
        (void)snprintf(control, sizeof(control), "%s/control", directory);
        (void)snprintf(configuration, sizeof(configuration), "%s/conf", directory);
        write_configuration("[daemon]\nseccomp=off\n[cpu]\ncpu-enforce=off\n");
        assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
        memset(&run, 0, sizeof(run));
}

static void end(void) {
        (void)unlink(configuration);
        assert_int_equal(rmdir(directory), 0); /* the daemon has removed its sockets */
}

/* With sockets and configuration of our own, and one more argument. */
static int run_daemon(const char *more, const char **ret_said) {
        char arguments[5][192];
        char *argv[6];
        int r;

        (void)snprintf(arguments[0], sizeof(arguments[0]), "pv-reaperd");
        (void)snprintf(arguments[1], sizeof(arguments[1]), "--config=%s", configuration);
        (void)snprintf(arguments[2], sizeof(arguments[2]), "--handoff-socket=%s", handoff);
        (void)snprintf(arguments[3], sizeof(arguments[3]), "--control-socket=%s", control);
        (void)snprintf(arguments[4], sizeof(arguments[4]), "%s", more);
        for (size_t i = 0; i < 5; i++)
                argv[i] = arguments[i];
        argv[5] = NULL;
        optind = 0;
        capture_begin();
        r = daemon_main(5, argv);
        *ret_said = capture_end();
        return r;
}

/* What this option prints on stdout. */
static const char *printed_by(const char *option) {
        int file = memfd_create("stdout", MFD_CLOEXEC), saved;
        static char text[16 * 1024];
        const char *said;
        ssize_t n;

        (void)fflush(stdout);
        saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        assert_true(file >= 0 && saved >= 0 && dup2(file, STDOUT_FILENO) >= 0);
        assert_int_equal(run_daemon(option, &said), 0);
        (void)fflush(stdout);
        assert_int_equal(dup2(saved, STDOUT_FILENO), STDOUT_FILENO);
        assert_int_equal(close(saved), 0);
        assert_string_equal(said, "");
        n = pread(file, text, sizeof(text) - 1, 0);
        assert_int_equal(close(file), 0);
        assert_true(n >= 0);
        text[n] = '\0';
        return text;
}

static void test_options_that_only_print(void **state) {
        begin();
        assert_string_equal(printed_by("--version"), "pv-reaper " PVR_VERSION_TEXT "\n");
        assert_non_null(strstr(printed_by("--help"), "--print-defaults"));
        assert_non_null(strstr(printed_by("--print-defaults"), "[limits]"));
        assert_int_equal(run.n, 0);
        end();
}

static void test_all_faces_are_made_and_given_back(void **state) {
        const char *said;

        begin();
        assert_int_equal(run_daemon("--cgroup=none", &said), 0);
        assert_int_equal(run.n, 1);
        assert_int_equal(run.n_watchers, 2); /* service and bus */
        assert_true(run.listens);
        assert_non_null(strstr(said, "ready: at most 4 at once"));
        assert_false(is_socket(handoff) || is_socket(control));
        end();
}

static void test_a_loop_that_fails_is_exit_1(void **state) {
        const char *said;

        begin();
        run.result = -EIO;
        assert_int_equal(run_daemon("--cgroup=none", &said), 1);
        assert_int_equal(run.n, 1);
        end();
}

static void test_what_cannot_listen_does_not_run(void **state) {
        const char *said;

        begin();
        assert_int_equal(mkdir(control, 0700), 0);
        assert_int_equal(run_daemon("--cgroup=none", &said), 1);
        assert_int_equal(run.n, 0);
        assert_non_null(strstr(said, "is no socket; remove it"));
        assert_false(is_socket(handoff));
        assert_int_equal(rmdir(control), 0);
        end();
}

static void test_no_cgroup_is_exit_1(void **state) {
        const char *said;

        begin();
        assert_int_equal(run_daemon("--cgroup=/nowhere/at/all", &said), 1);
        assert_int_equal(run.n, 0);
        end();
}

static void test_wrong_usage_and_values_are_exit_2(void **state) {
        const char *said;

        begin();
        assert_int_equal(run_daemon("--max-concurrent=0", &said), 2);
        assert_non_null(strstr(said, "--max-concurrent=0: must be a number from 1 to 100000"));
        assert_int_equal(run_daemon("--no-such-option", &said), 2);
        assert_int_equal(run_daemon("word", &said), 2);
        assert_non_null(strstr(said, "unexpected argument \"word\""));
        write_configuration("[limits]\nmax-concurrent=none\n");
        assert_int_equal(run_daemon("--cgroup=none", &said), 2);
        assert_int_equal(run.n, 0);
        end();
}

static void test_a_check_does_not_run(void **state) {
        const char *said;

        begin();
        assert_int_equal(run_daemon("--check-config", &said), 0);
        assert_string_equal(said, "");
        assert_int_equal(run.n, 0);
        write_configuration("[limits]\nmax-concurrent=none\n");
        assert_int_equal(run_daemon("--check-config", &said), 2);
        assert_non_null(
                strstr(said, "conf:2: max-concurrent=none: must be a number from 1 to 100000"));
        end();
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_options_that_only_print),
                checked_test(test_all_faces_are_made_and_given_back),
                checked_test(test_a_loop_that_fails_is_exit_1),
                checked_test(test_what_cannot_listen_does_not_run),
                checked_test(test_no_cgroup_is_exit_1),
                checked_test(test_wrong_usage_and_values_are_exit_2),
                checked_test(test_a_check_does_not_run),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
