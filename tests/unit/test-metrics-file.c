/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The metrics in a file, by a clock that the test moves on: when it is written, that a reader never
 * sees half of it, and what is said, once, if it cannot be written. The children that write are
 * real; the test waits for each.
 */

#include "fds.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "capture.h"
#include "daemon/metrics/metrics.h"
#include "stage.h"

static struct stage stage;
static struct metrics_file *file;
static char directory[64], path[96], temporary[128];

static void begin(void) {
        struct config_setting setting = {.key = "metrics-file", .value = path, .file = "test"};
        const char *why;

        (void)snprintf(directory, sizeof(directory), "/tmp/pv-reaper-test-metrics.XXXXXX");
        assert_non_null(mkdtemp(directory));
        (void)snprintf(path, sizeof(path), "%s/x.prom", directory);
        (void)snprintf(temporary, sizeof(temporary), "%s.tmp", path);
        assert_true(signal(SIGCHLD, SIG_IGN) != SIG_ERR); /* as main.c */
        stage_begin(&stage);
        assert_int_equal(config_set(stage.manager->config, &setting, &why), 0);
        assert_int_equal(metrics_file_new(&file, stage.manager), 0);
        assert_non_null(file);
}

static void end(void) {
        file = metrics_file_free(file);
        stage_end(&stage);
        (void)unlink(path);
        assert_int_equal(rmdir(directory), 0); /* nothing else was left */
        assert_true(signal(SIGCHLD, SIG_DFL) != SIG_ERR);
}

/* So much time passes, and whatever is written by then, is. Returns what was said. */
static const char *pass(uint64_t usec) {
        capture_begin();
        fake_time_pass(stage.manager->event, usec);
        (void)wait(NULL); /* since SIGCHLD is ignored: until no child is left */
        fake_time_pass(stage.manager->event, 0);
        return capture_end();
}

static bool is_there(void) {
        struct stat st;

        return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 07777) == 0644 &&
               st.st_size > 0;
}

static void test_no_file_is_asked_for(void **state) {
        stage_begin(&stage);
        assert_int_equal(metrics_file_new(&file, stage.manager), 0);
        assert_null(file);
        stage_end(&stage);
}

static void test_the_file_is_written_now_and_then(void **state) {
        begin();
        assert_string_equal(pass(0), "");
        assert_true(is_there());
        assert_int_equal(unlink(path), 0);
        (void)pass(14 * USEC_PER_SEC);
        assert_false(is_there());
        (void)pass(USEC_PER_SEC);
        assert_true(is_there());
        end();
}

static void test_a_trap_in_its_place_is_removed(void **state) {
        char text[64] = "";
        FILE *read;

        begin();
        assert_int_equal(symlink("/dev/full", temporary), 0);
        (void)pass(0);
        assert_true(is_there());
        read = fopen(path, "re");
        assert_non_null(read);
        assert_non_null(fgets(text, sizeof(text), read));
        assert_int_equal(fclose(read), 0);
        assert_memory_equal(text, "# HELP pvreaper_", 16);
        end();
}

static void test_a_failure_is_said_once_and_so_is_its_end(void **state) {
        const char *log;

        begin();
        assert_int_equal(rmdir(directory), 0);
        log = pass(0);
        assert_non_null(strstr(log, "cannot write"));
        assert_non_null(strstr(log, "No such file or directory"));
        assert_string_equal(pass(60 * USEC_PER_SEC), "");
        assert_int_equal(mkdir(directory, 0700), 0);
        assert_non_null(strstr(pass(15 * USEC_PER_SEC), "works again"));
        assert_true(is_there());
        assert_string_equal(pass(15 * USEC_PER_SEC), "");
        end();
}

/* Not even the child that would write: there is no pipe for its answer. */
static void test_a_child_that_cannot_be_made_is_a_failure(void **state) {
        struct rlimit before, none;
        const char *log;

        begin();
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
        capture_begin();
        (void)setrlimit(RLIMIT_NOFILE, &none);
        fake_time_pass(stage.manager->event, 0);
        (void)setrlimit(RLIMIT_NOFILE, &before);
        log = capture_end();
        assert_non_null(strstr(log, "cannot write"));
        assert_non_null(strstr(log, "Too many open files"));
        assert_non_null(strstr(pass(15 * USEC_PER_SEC), "works again"));
        end();
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_no_file_is_asked_for),
                checked_test(test_the_file_is_written_now_and_then),
                checked_test(test_a_trap_in_its_place_is_removed),
                checked_test(test_a_failure_is_said_once_and_so_is_its_end),
                checked_test(test_a_child_that_cannot_be_made_is_a_failure),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
