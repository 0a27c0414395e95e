/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The checker that every other unit test trusts: it must see an fd that was left open, one that was
 * closed, one that was exchanged, and a child left behind, and it must be able to fail a test. That
 * last thing is shown by whole groups of bad tests, run in a child whose output nobody reads.
 */

#include "fds.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "capture.h"

static int null_fd(void) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

/* ---- seeing ---- */

static void test_fds_sees_nothing_in_nothing(void **state) {
        int fd;

        assert_int_equal(fds_count_changed(), 0);
        fd = null_fd();
        close_fd(&fd);
        assert_int_equal(fds_count_changed(), 0);
}

static void test_fds_sees_a_leak(void **state) {
        int a = null_fd(), b = null_fd();

        assert_int_equal(fds_count_changed(), 2);
        close_fd(&a);
        assert_int_equal(fds_count_changed(), 1);
        close_fd(&b);
        assert_int_equal(fds_count_changed(), 0);
}

static void test_fds_sees_a_foreign_close(void **state) {
        int fd = null_fd();

        fds_remember();
        close_fd(&fd);
        assert_int_equal(fds_count_changed(), 1);
        fds_remember();
}

static void test_fds_sees_an_exchange(void **state) {
        int fd = null_fd(), pipes[2];

        fds_remember();
        assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
        assert_int_equal(dup2(pipes[0], fd), fd);
        close_fd(&pipes[0]);
        close_fd(&pipes[1]);
        assert_int_equal(fds_count_changed(), 1);
        close_fd(&fd);
        fds_remember();
}

static void test_fds_names_what_it_sees(void **state) {
        int fd = null_fd();
        const char *text;
        unsigned n;

        capture_begin();
        close_fd(&fd);
        fd = null_fd();
        n = fds_changed(); /* the capture's own copy of stderr, the exchanged stderr, and fd */
        text = capture_end();
        assert_int_equal(n, 3);
        assert_non_null(strstr(text, "leads to /dev/null: left open"));
        assert_non_null(strstr(text, "fd 2 leads to /memfd:stderr"));
        close_fd(&fd);
}

static void test_fds_capture_gives_back(void **state) {
        capture_begin();
        (void)write(STDERR_FILENO, "hello", 5);
        assert_string_equal(capture_end(), "hello");
        capture_begin();
        assert_string_equal(capture_end(), "");
        assert_int_equal(fds_count_changed(), 0);
}

/* ---- failing a test ---- */

static void bad_leak(void **state) {
        (void)null_fd();
}

static void bad_close(void **state) {
        (void)close(STDIN_FILENO);
}

static void bad_child(void **state) {
        if (fork() == 0)
                _exit(EXIT_SUCCESS);
}

static void good(void **state) {
        int fd = null_fd();

        close_fd(&fd);
}

/* How many tests of the group failed, as a child saw it. */
static int failures_of(const struct CMUnitTest *test) {
        pid_t pid = fork();

        if (pid == 0) {
                const struct CMUnitTest tests[] = {*test};
                int fd = null_fd();

                (void)dup2(fd, STDIN_FILENO);
                (void)dup2(fd, STDOUT_FILENO);
                (void)dup2(fd, STDERR_FILENO);
                _exit(cmocka_run_group_tests(tests, NULL, NULL));
        }
        return wait_for_exit(pid);
}

static void test_fds_fails_bad_tests(void **state) {
        const struct CMUnitTest bad[] = {
                checked_test(bad_leak),
                checked_test(bad_close),
                checked_test(bad_child),
        };
        const struct CMUnitTest fine = checked_test(good);

        assert_int_equal(failures_of(&fine), 0);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(failures_of(&bad[i]), 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_fds_sees_nothing_in_nothing),
                checked_test(test_fds_sees_a_leak),
                checked_test(test_fds_sees_a_foreign_close),
                checked_test(test_fds_sees_an_exchange),
                checked_test(test_fds_names_what_it_sees),
                checked_test(test_fds_capture_gives_back),
                checked_test(test_fds_fails_bad_tests),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
