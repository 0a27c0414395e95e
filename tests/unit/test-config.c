/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Configuration files as administrators write them, and as they should not. Files are memfds read
 * through /proc/self/fd, so nothing is left behind. Each wrong one must be an error that names file
 * and line; what inih would silently misread (long lines, NUL bytes, continuation lines) counts as
 * wrong.
 */

#include "fds.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture.h"
#include "daemon/config/config.h"
#include "daemon/cpu/enforce.h"

static struct config *config_with_defaults(void) {
        struct config *config = NULL;

        assert_int_equal(config_new(&config), 0);
        assert_non_null(config);
        return config;
}

static int set(struct config *c, const char *section, const char *key, const char *value,
               const char **ret_why) {
        return config_set(c, &(struct config_setting){section, key, value, "a test", 0}, ret_why);
}

/* What was said while the last text was read, with the file's name replaced by "F". */
static char said[4096];

static void keep_said(const char *text, const char *path) {
        size_t length = strlen(path), n = 0;

        while (*text && n < sizeof(said) - 1)
                if (strncmp(text, path, length) == 0) {
                        said[n++] = 'F';
                        text += length;
                } else {
                        said[n++] = *text++;
                }
        said[n] = '\0';
}

static int read_path(struct config *config, const char *path) {
        int r;

        capture_begin();
        r = config_read_file(config, path);
        keep_said(capture_end(), path);
        return r;
}

static int read_bytes(struct config *config, const void *bytes, size_t size) {
        int fd = memfd_create("config", MFD_CLOEXEC), r;
        char path[64];

        assert_int_equal(write(fd, bytes, size), size);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        r = read_path(config, path);
        close_fd(&fd);
        return r;
}

static int read_text(struct config *config, const char *text) {
        return read_bytes(config, text, strlen(text));
}

#define assert_said(s)                                                                             \
        do                                                                                         \
                if (!strstr(said, (s)))                                                            \
                        fail_msg("\"%s\" was not said, but: %s", (s), said);                       \
        while (0)

/* ---- values ---- */

static void assert_defaults(const struct config *c) {
        assert_string_equal(c->handoff_socket, "/run/pv-reaper/handoff.sock");
        assert_string_equal(c->control_socket, "/run/pv-reaper/control.sock");
        assert_string_equal(c->cgroup, "auto");
        assert_int_equal(c->max_concurrent, CONFIG_AUTO);
        assert_int_equal(c->boost_max_concurrent, CONFIG_AUTO);
        assert_int_equal(c->start_rate, CONFIG_INFINITY);
        assert_int_equal(c->start_burst, 10);
        assert_int_equal(c->overdue, 12 * 3600 * USEC_PER_SEC);
        assert_int_equal(c->starvation_timeout, 30 * USEC_PER_SEC);
        assert_int_equal(c->drain_time, 30 * USEC_PER_SEC);
        assert_int_equal(c->unit_connections, CONFIG_AUTO);
        assert_int_equal(c->unit_arrivals, 50 * 3600);
        assert_int_equal(c->unit_arrivals_burst, 10000);
        assert_int_equal(c->cpu_quota, CONFIG_AUTO);
        assert_int_equal(c->boost_cpu_quota, CONFIG_INFINITY);
        assert_int_equal(c->cpu_period, 20 * USEC_PER_MSEC);
        assert_int_equal(c->cpu_enforce, ENFORCE_AUTO);
        assert_int_equal(c->memory_low, CONFIG_AUTO_SIZE);
        assert_int_equal(c->memory_high, CONFIG_AUTO);
}

static void test_config_defaults(void **state) {
        _cleanup_(config_freep) struct config *c = config_with_defaults();

        assert_defaults(c);
        assert_null(config_free(NULL));
}

static void test_config_numbers(void **state) {
        static const char *const bad[] = {
                "",     "0",   "100001", "-1",   "+4", " 4",         "4 ",
                "0x10", "4.0", "1e3",    "four", "4k", "4294967297", "99999999999999999999"};
        _cleanup_(config_freep) struct config *c = config_with_defaults();
        const char *why = NULL;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                why = NULL;
                assert_int_equal(set(c, "limits", "max-concurrent", bad[i], &why), -EINVAL);
                assert_string_equal(why, "a number from 1 to 100000 or \"auto\"");
                assert_int_equal(c->max_concurrent, CONFIG_AUTO);
        }
        assert_int_equal(set(c, "limits", "max-concurrent", "1", &why), 0);
        assert_int_equal(c->max_concurrent, 1);
        assert_int_equal(set(c, "limits", "max-concurrent", "100000", &why), 0);
        assert_int_equal(c->max_concurrent, 100000);
        assert_int_equal(set(c, "limits", "max-concurrent", "007", &why), 0);
        assert_int_equal(c->max_concurrent, 7);
}

/* A path of n bytes. Static. */
static const char *path_of(size_t n) {
        static char path[PATH_MAX + 2];

        memset(path, 'p', sizeof(path));
        path[0] = '/';
        path[n] = '\0';
        return path;
}

static void test_config_number_or_auto(void **state) {
        static const char *const bad[] = {"", "0", "100001", "none", "Auto", "auto ", "-1"};
        _cleanup_(config_freep) struct config *c = config_with_defaults();
        const char *why;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                assert_int_equal(set(c, "limits", "boost-max-concurrent", bad[i], &why), -EINVAL);
                assert_string_equal(why, "a number from 1 to 100000 or \"auto\"");
        }
        assert_int_equal(set(c, "limits", "boost-max-concurrent", "100000", &why), 0);
        assert_int_equal(c->boost_max_concurrent, 100000);
        assert_int_equal(set(c, "limits", "boost-max-concurrent", "auto", &why), 0);
        assert_int_equal(c->boost_max_concurrent, CONFIG_AUTO);
        assert_int_equal(set(c, "limits", "start-burst", "auto", &why), -EINVAL);
        assert_int_equal(set(c, "limits", "drain-time", "0", &why), 0);
        assert_int_equal(c->drain_time, 0);
        assert_int_equal(set(c, "limits", "drain-time", "86401", &why), -EINVAL);
}

static void test_config_sockets(void **state) {
        static const char *const names[] = {"handoff", "control"};
        static const char *const bad[] = {"",          "relative", "./x", " /x",
                                          "@abstract", "none",     "auto"};
        _cleanup_(config_freep) struct config *c = config_with_defaults();
        const char *why = NULL;

        for (size_t n = 0; n < 2; n++) {
                char **place = n == 0 ? &c->handoff_socket : &c->control_socket;

                for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                        why = NULL;
                        assert_int_equal(set(c, "sockets", names[n], bad[i], &why), -EINVAL);
                        assert_non_null(strstr(why, "absolute path"));
                }
                assert_int_equal(set(c, "sockets", names[n], path_of(108), &why), -EINVAL);
                assert_non_null(strstr(*place, "/run/pv-reaper/"));
                assert_int_equal(set(c, "sockets", names[n], "/a b", &why), 0);
                assert_string_equal(*place, "/a b");
        }
}

static void test_config_cgroup(void **state) {
        static const char *const bad[] = {"", "relative", "None", "automatic", "no"};
        static const char *const good[] = {"none", "auto", "/", "/sys/fs/cgroup/x"};
        _cleanup_(config_freep) struct config *c = config_with_defaults();
        const char *why = NULL;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(set(c, "cgroup", "path", bad[i], &why), -EINVAL);
        assert_int_equal(set(c, "cgroup", "path", path_of(PATH_MAX), &why), -EINVAL);
        assert_string_equal(c->cgroup, "auto");
        for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
                assert_int_equal(set(c, "cgroup", "path", good[i], &why), 0);
                assert_string_equal(c->cgroup, good[i]);
        }
        assert_int_equal(set(c, "cgroup", "path", path_of(PATH_MAX - 1), &why), 0);
}

static void test_config_no_such_key(void **state) {
        _cleanup_(config_freep) struct config *c = config_with_defaults();
        const char *why = NULL;

        assert_int_equal(set(c, "limits", "handoff", "/x", &why), -ENOKEY);
        assert_int_equal(set(c, "", "max-concurrent", "1", &why), -ENOKEY);
        assert_int_equal(set(c, "Limits", "max-concurrent", "1", &why), -ENOKEY);
        assert_int_equal(set(c, "limits", "max-concurrent2", "1", &why), -ENOKEY);
        assert_non_null(why); /* the contract: a text with every error */
        assert_defaults(c);
}

/* ---- files that are right ---- */

static void test_config_file_of_nothing(void **state) {
        static const char *const texts[] = {
                "",           "\n",          "\n\n\n",
                "# a remark", "; another\n", "[limits]",
                "[limits]\n", "   \n\t\n",   "\xef\xbb\xbf[limits]\n",
        };

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                _cleanup_(config_freep) struct config *c = config_with_defaults();

                assert_int_equal(read_text(c, texts[i]), 0);
                assert_string_equal(said, "");
                assert_defaults(c);
        }
}

static void test_config_file_with_all_keys(void **state) {
        static const char text[] = "# pv-reaper.conf\n"
                                   "[sockets]\nhandoff=/a/h\ncontrol = /a/c   ; a remark\n\n"
                                   "[cgroup]\npath =none\n; a remark\n"
                                   "[limits]\nboost-max-concurrent=18\ndrain-time=19\n"
                                   "start-rate=6/min\nstart-burst=21\noverdue=1h 30min\n"
                                   "unit-connections=22\nunit-arrivals=23\n"
                                   "unit-arrivals-burst=24\n"
                                   "[cpu]\ncpu-quota=26%\n"
                                   "boost-cpu-quota=270%\ncpu-period=28ms\n"
                                   "cpu-enforce=deadline\n"
                                   "[memory]\nmemory-low=16G\nmemory-high=17G\n"
                                   "[limits]\nmax-concurrent= 17"; /* no newline */
        _cleanup_(config_freep) struct config *c = config_with_defaults();

        assert_int_equal(read_text(c, text), 0);
        assert_string_equal(said, "");
        assert_string_equal(c->handoff_socket, "/a/h");
        assert_string_equal(c->control_socket, "/a/c");
        assert_string_equal(c->cgroup, "none");
        assert_int_equal(c->max_concurrent, 17);
        assert_int_equal(c->boost_max_concurrent, 18);
        assert_int_equal(c->drain_time, 19 * USEC_PER_SEC);
        assert_int_equal(c->start_rate, 360);
        assert_int_equal(c->start_burst, 21);
        assert_int_equal(c->overdue, 5400 * USEC_PER_SEC);
        assert_int_equal(c->unit_connections, 22);
        assert_int_equal(c->unit_arrivals, 23 * 3600);
        assert_int_equal(c->unit_arrivals_burst, 24);
        assert_int_equal(c->cpu_quota, 26);
        assert_int_equal(c->boost_cpu_quota, 270);
        assert_int_equal(c->cpu_period, 28 * USEC_PER_MSEC);
        assert_int_equal(c->cpu_enforce, ENFORCE_DEADLINE);
        assert_int_equal(c->memory_low, UINT64_C(16) << 30);
        assert_int_equal(c->memory_high, UINT64_C(17) << 30);
}

static void test_config_file_last_wins(void **state) {
        _cleanup_(config_freep) struct config *c = config_with_defaults();

        assert_int_equal(read_text(c, "[limits]\nmax-concurrent=5\nmax-concurrent=6\n"
                                      "[sockets]\nhandoff=/one\n"
                                      "[limits]\nmax-concurrent=7\n[sockets]\nhandoff=/two\n"),
                         0);
        assert_int_equal(c->max_concurrent, 7);
        assert_string_equal(c->handoff_socket, "/two");
        assert_string_equal(c->control_socket, "/run/pv-reaper/control.sock");
}

static void test_config_file_crlf(void **state) {
        _cleanup_(config_freep) struct config *c = config_with_defaults();

        assert_int_equal(read_text(c, "[limits]\r\nmax-concurrent=5\r\n\r\n# end\r\n"), 0);
        assert_string_equal(said, "");
        assert_int_equal(c->max_concurrent, 5);
}

static void test_config_file_unknown_keys(void **state) {
        _cleanup_(config_freep) struct config *c = config_with_defaults();

        assert_int_equal(read_text(c, "orphan=1\n[limits]\nmax-concurent=5\nmax-concurrent=6\n"
                                      "[future]\nkey=value\n[limts]\n[limits]\n"),
                         0);
        assert_said("F:1: unknown key \"orphan\" outside of sections");
        assert_said("F:3: unknown key \"max-concurent\" in section [limits]");
        assert_said("F:6: unknown key \"key\" in section [future]");
        assert_said("F:5: unknown section [future]");
        assert_said("F:7: unknown section [limts]");
        assert_null(strstr(said, "error"));
        assert_int_equal(c->n_unknown, 5);
        assert_int_equal(c->max_concurrent, 6);
}

/* Each is one warning, which names the key that does its work now. */
static void test_config_file_keys_that_are_gone(void **state) {
        static const char text[] = "[cpu]\ncpus=0-3\ncpu-weight=20\ncpu-idle=yes\n"
                                   "cpu-quota=7%\n[limits]\ncpus=0\n"
                                   "[metrics]\nmetrics-file=/x\nmetrics-interval=15s\n";
        _cleanup_(config_freep) struct config *c = config_with_defaults();

        assert_int_equal(read_text(c, text), 0);
        assert_said("F:2: cpus= is gone: AllowedCPUs= in a drop-in of pvreaper.slice");
        assert_said("F:3: cpu-weight= is gone: CPUWeight= in a drop-in of pvreaper.slice");
        assert_said("F:4: cpu-idle= is gone: CPUWeight=idle in a drop-in of pvreaper.slice");
        assert_said("F:7: unknown key \"cpus\" in section [limits]");
        assert_said("F:9: metrics-file= is gone: systemctl enable --now pv-reaper-metrics.timer");
        assert_said("F:10: metrics-interval= is gone: OnCalendar= in a drop-in of");
        assert_null(strstr(said, "unknown section"));
        assert_int_equal(c->n_unknown, 6);
        assert_int_equal(c->cpu_quota, 7);
}

/* ---- files that are wrong ---- */

struct wrong {
        const char *text;
        size_t size; /* 0: strlen(text) */
        int error;
        const char *said;
};

static const struct wrong wrongs[] = {
        {"[limits]\n\nmax-concurrent=0\n", 0, -EINVAL,
         "error: F:3: max-concurrent=0: must be a number from 1 to 100000"},
        {"[limits]\nmax-concurrent=\n", 0, -EINVAL,
         "error: F:2: max-concurrent=: must be a number"},
        {"[limits]\nmax-concurrent=4 5\n", 0, -EINVAL,
         "error: F:2: max-concurrent=4 5: must be a number"},
        {"[sockets]\nhandoff=x\n", 0, -EINVAL, "error: F:2: handoff=x: must be an absolute path"},
        {"[cgroup]\npath=x\n", 0, -EINVAL, "error: F:2: path=x: must be an absolute path"},
        {"[limits]\nmax-concurrent\n", 0, -EBADMSG, "error: F:2: neither [section] nor key=value"},
        {"[limits]\n\nnonsense\nmore\n", 0, -EBADMSG, "error: F:3: neither"},
        {"[limits\nmax-concurrent=5\n", 0, -EBADMSG, "error: F:1: neither"},
        {"[limits]\nmax-concurrent=5\0 6\n", 29, -EBADMSG, "error: F:2: NUL byte"},
        {"\0", 1, -EBADMSG, "error: F:1: NUL byte"},
        /* to inih all these would be second lines of the value before */
        {"[sockets]\nhandoff=/a\n /b\n", 0, -EBADMSG, "error: F:3: indented line"},
        {"[sockets]\nhandoff=/a\n\t/b\n", 0, -EBADMSG, "error: F:3: indented line"},
        {"[sockets]\nhandoff=/a\n\v/b\n", 0, -EBADMSG, "error: F:3: indented line"},
        {"[sockets]\nhandoff=/a\n\f/b\n", 0, -EBADMSG, "error: F:3: indented line"},
        {"[sockets]\nhandoff=/a\n\r/b\n", 0, -EBADMSG, "error: F:3: indented line"},
        {"[limits]\n max-concurrent=5\n", 0, -EBADMSG, "error: F:2: indented line"},
};

static void test_config_file_wrong(void **state) {
        for (size_t i = 0; i < ARRAY_SIZE(wrongs); i++) {
                const struct wrong *w = &wrongs[i];
                _cleanup_(config_freep) struct config *c = config_with_defaults();
                int r = read_bytes(c, w->text, w->size ? w->size : strlen(w->text));

                if (r != w->error)
                        fail_msg("%s: returns %d, expected %d", w->said, r, w->error);
                assert_said(w->said);
        }
}

/* Every bad value is told, not only the first one; the error is the first one's. */
static void test_config_file_tells_all(void **state) {
        _cleanup_(config_freep) struct config *c = config_with_defaults();

        assert_int_equal(read_text(c, "[limits]\nmax-concurrent=x\n indented\n"
                                      "[sockets]\nhandoff=y\ncontrol=/z\n"),
                         -EINVAL);
        assert_said("F:2: max-concurrent=x");
        assert_said("F:3: indented line");
        assert_said("F:5: handoff=y");
        assert_null(strstr(said, "F:6"));
}

/* A syntax error is told too where a value was wrong before it. */
static void test_config_file_tells_syntax_too(void **state) {
        _cleanup_(config_freep) struct config *c = config_with_defaults();

        assert_int_equal(read_text(c, "[limits]\nmax-concurrent=x\nnonsense\n"), -EINVAL);
        assert_said("F:2: max-concurrent=x");
        assert_said("F:3: neither [section] nor key=value");
}

/* "[cgroup]\npath=/ppp...": a second line of n bytes, newline included or not. */
static int read_line_of(struct config *c, size_t n, bool newline) {
        char text[1024];
        int start = snprintf(text, sizeof(text), "[cgroup]\n%s", "path=/");

        memset(text + start, 'p', sizeof(text) - (size_t)start);
        text[9 + n - (newline ? 1 : 0)] = '\0';
        if (newline)
                strcat(text, "\n[limits]\nmax-concurrent=9\n");
        return read_text(c, text);
}

static void test_config_file_long_lines(void **state) {
        for (size_t n = 190; n <= 410; n++)
                for (int newline = 0; newline <= 1; newline++) {
                        _cleanup_(config_freep) struct config *c = config_with_defaults();
                        int r = read_line_of(c, n, newline);

                        assert_int_equal(r, n <= 198 ? 0 : -EBADMSG);
                        if (r < 0) {
                                assert_said("error: F:2: line too long");
                                assert_string_equal(c->cgroup, "auto");
                        } else {
                                assert_string_equal(said, "");
                                assert_int_equal(strlen(c->cgroup), n - 5 - (newline ? 1 : 0));
                        }
                        /* the rest of the file is read all the same */
                        assert_int_equal(c->max_concurrent, newline ? 9 : CONFIG_AUTO);
                }
}

/* What is in a long line's tail must not become a key of its own. */
static void test_config_file_long_line_tail(void **state) {
        _cleanup_(config_freep) struct config *c = config_with_defaults();
        char text[512] = "[limits]\n#";

        memset(text + 10, 'x', 300);
        for (size_t at = 180; at < 220; at++) {
                memset(text + 10, 'x', 300);
                (void)strcpy(text + 9 + at, "\rmax-concurrent=9\n");
                (void)read_text(c, text);
                assert_int_equal(c->max_concurrent, CONFIG_AUTO);
        }
}

static void test_config_file_line_numbers(void **state) {
        _cleanup_(config_freep) struct config *c = config_with_defaults();
        char text[4096] = "[limits]\n";

        for (int i = 0; i < 1000; i++)
                strcat(text, i % 3 ? "\n" : "#\n");
        strcat(text, "max-concurrent=x\n");
        assert_int_equal(read_text(c, text), -EINVAL);
        assert_said("F:1002: max-concurrent=x");
}

/* ---- no file ---- */

static void test_config_file_missing(void **state) {
        _cleanup_(config_freep) struct config *c = config_with_defaults();

        assert_int_equal(read_path(c, "/proc/self/no-such-file"), -ENOENT);
        assert_string_equal(said, "");
        assert_defaults(c);
}

static void test_config_file_not_a_file(void **state) {
        _cleanup_(config_freep) struct config *c = config_with_defaults();

        assert_int_equal(read_path(c, "/proc/self/status/x"), -ENOTDIR);
        assert_said("cannot read F: Not a directory");
        assert_true(read_path(c, "/proc/self") < 0);
        assert_said("cannot read F");
        assert_defaults(c);
}

/* As root nothing is unreadable: so a child becomes somebody else first. */
static void test_config_file_unreadable(void **state) {
        int fd = memfd_create("config", MFD_CLOEXEC);
        char path[64];
        pid_t pid;

        assert_int_equal(fchmod(fd, 0), 0);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        pid = fork();
        if (pid == 0) {
                struct config *c = config_with_defaults();
                int r;

                if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
                        _exit(2);
                r = read_path(c, path);
                config_free(c);
                _exit(r == -EACCES && strstr(said, "cannot read F: Permission denied") ? 0 : 1);
        }
        assert_int_equal(wait_for_exit(pid), 0);
        close_fd(&fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_config_defaults),
                checked_test(test_config_numbers),
                checked_test(test_config_number_or_auto),
                checked_test(test_config_sockets),
                checked_test(test_config_cgroup),
                checked_test(test_config_no_such_key),
                checked_test(test_config_file_of_nothing),
                checked_test(test_config_file_with_all_keys),
                checked_test(test_config_file_last_wins),
                checked_test(test_config_file_crlf),
                checked_test(test_config_file_unknown_keys),
                checked_test(test_config_file_keys_that_are_gone),
                checked_test(test_config_file_wrong),
                checked_test(test_config_file_tells_all),
                checked_test(test_config_file_tells_syntax_too),
                checked_test(test_config_file_long_lines),
                checked_test(test_config_file_long_line_tail),
                checked_test(test_config_file_line_numbers),
                checked_test(test_config_file_missing),
                checked_test(test_config_file_not_a_file),
                checked_test(test_config_file_unreadable),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
