/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Output to stdout, in a child that has one of its own: a file, a full disk, nothing at all, a
 * reader that has gone, or a terminal with a pager. Which pager it is, and whether there are
 * colours, is test-ctl.py's. A child that hangs is ended by a signal, and fails.
 */

#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "capture.h"
#include "ctl/output.h"

#define HANGS_SEC 20
#define MUCH      (1 << 20) /* more than a pipe takes */

/* In the child: the fd becomes its stdout. */
static void set_stdout(int fd) {
        if (dup2(fd, STDOUT_FILENO) < 0)
                _exit(100);
        (void)close(fd);
}

static void check_child(int (*function)(void)) {
        pid_t pid;

        (void)fflush(NULL);
        pid = fork();
        if (pid == 0) {
                (void)alarm(HANGS_SEC);
                (void)signal(SIGPIPE, SIG_IGN); /* as main.c */
                _exit(function());
        }
        assert_int_equal(wait_for_exit(pid), 0);
}

/* ---- a file, a pipe ---- */

static int write_to_file(void) {
        int file = memfd_create("stdout", MFD_CLOEXEC);
        char text[8] = "";

        set_stdout(fcntl(file, F_DUPFD, 3));
        if (output_write("text", 4) != 0)
                return 1;
        if (fcntl(STDOUT_FILENO, F_GETFD) >= 0)
                return 2; /* not closed */
        return pread(file, text, sizeof(text), 0) == 4 && strcmp(text, "text") == 0 ? 0 : 3;
}

static int write_to_nothing(void) {
        (void)close(STDOUT_FILENO);
        capture_begin();
        if (output_write("", 0) != -EBADF)
                return 1; /* the close has failed */
        if (output_write("text", 4) != -EBADF)
                return 2;
        return strstr(capture_end(), "cannot write the output: Bad file descriptor") ? 0 : 3;
}

static int write_to_a_full_disk(void) {
        set_stdout(open("/dev/full", O_WRONLY));
        capture_begin();
        if (output_write("text", 4) != -ENOSPC)
                return 1;
        return strstr(capture_end(), "cannot write the output: No space left") ? 0 : 2;
}

static int write_to_nobody(void) {
        int fds[2];

        if (pipe(fds) < 0)
                return 1;
        (void)close(fds[0]);
        set_stdout(fds[1]);
        capture_begin();
        if (output_write("text", 4) != -EPIPE)
                return 2;
        return strcmp(capture_end(), "") == 0 ? 0 : 3; /* it has seen enough */
}

static void test_output_write(void **state) {
        check_child(write_to_file);
        check_child(write_to_nothing);
        check_child(write_to_a_full_disk);
        check_child(write_to_nobody);
}

/* ---- a terminal ---- */

/* stdout is a terminal from now on. Returns its other end. */
static int make_terminal(void) {
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

        if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
                _exit(101);
        set_stdout(open(ptsname(master), O_RDWR | O_NOCTTY));
        (void)setenv("TERM", "xterm", 1);
        return master;
}

/* Whether the terminal shows it now. */
static bool shows(int master, const char *text) {
        char shown[4096] = "";
        ssize_t n;

        (void)fcntl(master, F_SETFL, O_NONBLOCK);
        n = read(master, shown, sizeof(shown) - 1);
        return n >= 0 && strstr(shown, text);
}

static int page_through(void) {
        int master = make_terminal();

        (void)setenv("SYSTEMD_PAGER", "sed s/x/paged/", 1);
        if (output_page("x", 1) != 0)
                return 1;
        return shows(master, "paged") ? 0 : 2;
}

static int page_without_a_pager(void) {
        int master = make_terminal();

        (void)setenv("SYSTEMD_PAGER", "/nowhere/at/all", 1);
        capture_begin(); /* sh(1) says that there is none */
        if (output_page("x-y", 3) != 0)
                return 1;
        (void)capture_end();
        return shows(master, "x-y") ? 0 : 2;
}

/* It reads nothing, so what is not in the pipe by then is not written. */
static int page_to_one_that_leaves(void) {
        char *text = calloc(1, MUCH);
        int master = make_terminal(), next = dup(master);

        (void)close(next);
        (void)setenv("SYSTEMD_PAGER", "exit 0", 1);
        if (!text || output_page(text, MUCH) != 0)
                return 1;
        free(text);
        return dup(master) == next ? 0 : 2; /* nothing of it is left open */
}

static void test_output_page(void **state) {
        check_child(page_through);
        check_child(page_without_a_pager);
        check_child(page_to_one_that_leaves);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_output_write),
                checked_test(test_output_page),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
