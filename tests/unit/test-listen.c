/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The listening sockets, without systemd: our own in a directory of the test, and some that a child
 * is handed as systemd would do it (fds from 3 on, LISTEN_FDS). What goes wrong must leave neither
 * an fd nor a path behind.
 */

#include "fds.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "capture.h"
#include "daemon/service/listen.h"

static int rename_error; /* what rename(2) says instead of working: see --wrap in meson.build */

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);

int __wrap_rename(const char *from, const char *to) {
        errno = rename_error;
        return rename_error ? -1 : __real_rename(from, to);
}

/* ---- a directory for each test ---- */

static char directory[64];
static char handoff[192], control[192];
static struct config config = {.handoff_socket = handoff, .control_socket = control};

static int setup(void **state) {
        const char *tmp = getenv("TMPDIR");

        (void)snprintf(directory, sizeof(directory), "%s/pvr-listen-XXXXXX",
                       tmp && strlen(tmp) < 40 ? tmp : "/tmp");
        if (!mkdtemp(directory))
                return -1;
        (void)snprintf(handoff, sizeof(handoff), "%s/handoff.sock", directory);
        (void)snprintf(control, sizeof(control), "%s/control.sock", directory);
        return fds_setup(state);
}

/* Removes what is left in the directory, which should be nothing. Returns how many there were. */
static int leftovers(void) {
        DIR *d = opendir(directory);
        struct dirent *entry;
        int n = 0;

        while (d && (entry = readdir(d)))
                if (entry->d_name[0] != '.') {
                        (void)fprintf(stderr, "left behind: %s\n", entry->d_name);
                        (void)unlinkat(dirfd(d), entry->d_name, 0);
                        n++;
                }
        if (d)
                (void)closedir(d);
        return n;
}

static int teardown(void **state) {
        int r = fds_teardown(state);

        if (leftovers() > 0)
                r = -1;
        return rmdir(directory) < 0 ? -1 : r;
}

#define listen_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static const char *said;

static int open_listeners(struct listeners *ret) {
        int r;

        capture_begin();
        r = listeners_open(ret, &config);
        said = capture_end();
        return r;
}

static void listeners_close(struct listeners *l) {
        close_fd(&l->handoff);
        close_fd(&l->control);
}

static bool exists(const char *path) {
        struct stat st;

        return lstat(path, &st) == 0;
}

/* 0 if somebody listens there, or a negative errno. */
static int try_connect(const char *path, int type) {
        _cleanup_(close_fd) int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        assert_true(strlen(path) < sizeof(address.sun_path));
        memcpy(address.sun_path, path, strlen(path));
        return connect(fd, (const void *)&address, sizeof(address)) < 0 ? negative_errno() : 0;
}

static void touch(const char *path) {
        int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        close_fd(&fd);
}

/* ---- our own ---- */

static void check_socket(int fd, const char *path, int type) {
        socklen_t size = sizeof(int);
        struct stat st;
        int value = 0, accepted;

        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size), 0);
        assert_int_equal(value, type);
        assert_int_equal(accept4(fd, NULL, NULL, SOCK_CLOEXEC), -1);
        assert_int_equal(errno, EAGAIN);
        assert_int_equal(try_connect(path, type), 0);
        accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        assert_true(accepted >= 0);
        close_fd(&accepted);
        assert_int_equal(lstat(path, &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(st.st_mode & 07777, 0660);
}

static void test_listen_own(void **state) {
        static const mode_t masks[] = {022, 0, 0777};

        for (size_t i = 0; i < ARRAY_SIZE(masks); i++) {
                mode_t old = umask(masks[i]);
                struct listeners l;

                assert_int_equal(open_listeners(&l), 0);
                (void)umask(old);
                assert_string_equal(l.handoff_path, handoff);
                assert_string_equal(said, "");
                assert_true(l.own_handoff && l.own_control);
                check_socket(l.handoff, handoff, SOCK_SEQPACKET);
                check_socket(l.control, control, SOCK_STREAM);
                listeners_unlink(&l, &config);
                assert_true(l.handoff >= 0); /* the fds are not touched */
                listeners_close(&l);
                assert_false(exists(handoff));
                assert_false(exists(control));
        }
}

/* A dead daemon's socket is in the way of nobody. */
static void test_listen_replaces(void **state) {
        struct listeners l;

        assert_int_equal(open_listeners(&l), 0);
        listeners_close(&l);
        assert_int_equal(try_connect(handoff, SOCK_SEQPACKET), -ECONNREFUSED);
        assert_int_equal(open_listeners(&l), 0);
        assert_int_equal(try_connect(handoff, SOCK_SEQPACKET), 0);
        check_socket(l.control, control, SOCK_STREAM);
        listeners_unlink(&l, &config);
        listeners_close(&l);
}

/* A living one's stays its own, whatever else it does. */
static void test_listen_already_running(void **state) {
        struct listeners old, new;
        char pid[32];

        (void)snprintf(pid, sizeof(pid), "already running, pid %d", (int)getpid());
        assert_int_equal(open_listeners(&old), 0);
        assert_int_equal(open_listeners(&new), -EADDRINUSE);
        assert_non_null(strstr(said, pid));
        assert_non_null(strstr(said, handoff));
        assert_int_equal(try_connect(handoff, SOCK_SEQPACKET), 0);
        assert_int_equal(unlink(handoff), 0); /* it has the other one, still */
        assert_int_equal(open_listeners(&new), -EADDRINUSE);
        assert_non_null(strstr(said, control));
        assert_false(exists(handoff));               /* what was made on the way */
        assert_int_equal(listen(old.control, 0), 0); /* its backlog is full soon */
        while (try_connect(control, SOCK_STREAM) == 0)
                ;
        assert_int_equal(open_listeners(&new), -EADDRINUSE);
        assert_non_null(strstr(said, "already running, and hanging"));
        listeners_unlink(&old, &config);
        listeners_close(&old);
}

/* The one that goes takes its own sockets along, not those of the one that came. */
static void test_listen_unlinks_only_its_own(void **state) {
        struct listeners old, new;
        int r;

        assert_int_equal(open_listeners(&old), 0);
        listeners_close(&old);
        assert_int_equal(open_listeners(&new), 0);
        listeners_unlink(&old, &config);
        r = try_connect(handoff, SOCK_SEQPACKET);
        listeners_unlink(&new, &config);
        listeners_close(&new);
        assert_int_equal(r, 0);
}

/* ---- what cannot be ---- */

static void check_in_the_way(const char *path) {
        struct listeners l = {.handoff = 1234, .control = 5678};

        assert_int_equal(open_listeners(&l), -EEXIST);
        assert_non_null(strstr(said, "is no socket; remove it"));
        assert_non_null(strstr(said, path));
        assert_int_equal(l.handoff, 1234);
        assert_int_equal(l.control, 5678);
        assert_true(exists(path));
        assert_true(exists(handoff) == (path == handoff));
        assert_int_equal(fds_changed(), 0);
}

static void test_listen_something_in_the_way(void **state) {
        const char *const paths[] = {handoff, control};

        for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
                touch(paths[i]);
                check_in_the_way(paths[i]);
                assert_int_equal(unlink(paths[i]), 0);
                assert_int_equal(mkdir(paths[i], 0700), 0);
                check_in_the_way(paths[i]);
                assert_int_equal(rmdir(paths[i]), 0);
                assert_int_equal(symlink("nowhere", paths[i]), 0);
                check_in_the_way(paths[i]);
                assert_int_equal(unlink(paths[i]), 0);
        }
}

/* At the last step: what was made on the way is gone. */
static void test_listen_rename_fails(void **state) {
        struct listeners l;
        int r;

        rename_error = EXDEV;
        r = open_listeners(&l);
        rename_error = 0;
        assert_int_equal(r, -EXDEV);
        assert_non_null(strstr(said, "error: cannot listen on"));
        assert_int_equal(fds_changed(), 0);
}

static void test_listen_no_directory(void **state) {
        struct listeners l;

        (void)snprintf(control, sizeof(control), "%s/missing/control.sock", directory);
        assert_int_equal(open_listeners(&l), -ENOENT);
        assert_non_null(strstr(said, "error: cannot listen on"));
        assert_false(exists(handoff));
}

/* Makes handoff a path of n bytes. */
static void long_path(size_t n) {
        size_t length = strlen(handoff);

        assert_true(n >= length && n < sizeof(handoff));
        memset(handoff + length, 'p', n - length);
        handoff[n] = '\0';
}

static void test_listen_too_long(void **state) {
        struct listeners l;

        long_path(108);
        assert_int_equal(open_listeners(&l), -ENAMETOOLONG);
        assert_non_null(strstr(said, "error: cannot listen on"));
        assert_int_equal(fds_changed(), 0);
}

/* config.c takes paths of up to 103 bytes: unix(7) has 107, and the name begins with a suffix. */
static void test_listen_longest(void **state) {
        for (size_t n = 100; n <= 103; n++) {
                struct listeners l = {.handoff = -1, .control = -1};
                int r;

                long_path(n);
                r = open_listeners(&l);
                if (r == 0) {
                        r = try_connect(handoff, SOCK_SEQPACKET);
                        listeners_unlink(&l, &config);
                        listeners_close(&l);
                }
                if (r != 0)
                        fail_msg("a path of %zu bytes: %d", n, r);
        }
}

/* A name that we use in passing may be somebody's file. */
static void test_listen_spares_other_files(void **state) {
        char beside[256];
        struct listeners l;
        bool spared;
        int r;

        (void)snprintf(beside, sizeof(beside), "%s.new", handoff);
        touch(beside);
        r = open_listeners(&l);
        spared = exists(beside);
        (void)unlink(beside);
        if (r == 0) {
                listeners_unlink(&l, &config);
                listeners_close(&l);
        }
        assert_true(spared);
}

/* ---- systemd's ---- */

static int make_socket(int type, bool listening) {
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        if (listening && (bind(fd, (void *)&address, sizeof(sa_family_t)) < 0 || listen(fd, 1) < 0))
                abort();
        return fd;
}

/* What a child does with the fds 3 .. 2 + n as systemd's. Returns its exit status. */
static int with_passed(int (*f)(void), const int *fds, int n, const char *names) {
        pid_t pid = fork();
        char text[32];

        if (pid != 0)
                return wait_for_exit(pid);
        for (int i = 0; i < n; i++) /* out of the way first */
                if (dup2(fds[i], 100 + i) < 0)
                        _exit(99);
        for (int i = 0; i < n; i++)
                if (dup2(100 + i, 3 + i) < 0 || close(100 + i) < 0)
                        _exit(99);
        (void)snprintf(text, sizeof(text), "%d", (int)getpid());
        (void)setenv("LISTEN_PID", text, 1);
        (void)snprintf(text, sizeof(text), "%d", n);
        (void)setenv("LISTEN_FDS", text, 1);
        if (names)
                (void)setenv("LISTEN_FDNAMES", names, 1);
        _exit(f());
}

static bool is_ready(int fd, int expected) {
        return fd == expected && fcntl(fd, F_GETFD) == FD_CLOEXEC &&
               (fcntl(fd, F_GETFL) & O_NONBLOCK) && accept4(fd, NULL, NULL, SOCK_CLOEXEC) == -1 &&
               errno == EAGAIN;
}

static int expect_handoff_then_control(void) {
        struct listeners l;

        if (open_listeners(&l) != 0)
                return 1;
        if (!is_ready(l.handoff, 3) || !is_ready(l.control, 4))
                return 2;
        if (l.own_handoff || l.own_control || getenv("LISTEN_FDS") || l.handoff_path[0] != '\0')
                return 3; /* of an abstract address nothing is told */
        touch(handoff);   /* not ours, so it stays */
        listeners_unlink(&l, &config);
        return exists(handoff) && unlink(handoff) == 0 ? 0 : 4;
}

static int expect_control_then_handoff(void) {
        struct listeners l;

        return open_listeners(&l) == 0 && is_ready(l.control, 3) && is_ready(l.handoff, 4) ? 0 : 1;
}

static int expect_control_and_own_handoff(void) {
        struct listeners l;

        if (open_listeners(&l) != 0 || !is_ready(l.control, 3) || l.own_control || !l.own_handoff)
                return 1;
        if (try_connect(handoff, SOCK_SEQPACKET) != 0 || exists(control))
                return 2;
        listeners_unlink(&l, &config);
        return exists(handoff) ? 3 : 0;
}

/* Its unit failed, or was turned off. Workers do not need it. */
static int expect_handoff_alone(void) {
        struct listeners l;

        if (open_listeners(&l) != 0 || !is_ready(l.handoff, 3) || l.control != -1 || l.own_control)
                return 1;
        if (exists(control) || !strstr(said, "no control socket"))
                return 2;
        listeners_unlink(&l, &config);
        return 0;
}

static int expect_wrong_type(void) {
        struct listeners l;

        if (open_listeners(&l) != -EINVAL || !strstr(said, "neither a listening"))
                return 1;
        return exists(handoff) || exists(control) ? 2 : 0;
}

static int expect_second_of_a_kind(void) {
        struct listeners l;

        return open_listeners(&l) == -EINVAL && strstr(said, "second socket of its kind") ? 0 : 1;
}

static void test_listen_passed(void **state) {
        int a = make_socket(SOCK_SEQPACKET, true), b = make_socket(SOCK_STREAM, true);

        assert_int_equal(with_passed(expect_handoff_then_control, (int[]){a, b}, 2, NULL), 0);
        assert_int_equal(
                with_passed(expect_handoff_then_control, (int[]){a, b}, 2, "handoff:control"), 0);
        assert_int_equal(
                with_passed(expect_control_then_handoff, (int[]){b, a}, 2, "control:handoff"), 0);
        assert_int_equal(with_passed(expect_control_and_own_handoff, &b, 1, "control"), 0);
        assert_int_equal(with_passed(expect_handoff_alone, &a, 1, "handoff"), 0);
        close_fd(&a);
        close_fd(&b);
}

static void test_listen_passed_wrong_type(void **state) {
        int sockets[] = {
                make_socket(SOCK_DGRAM, false),
                make_socket(SOCK_SEQPACKET, false),
                make_socket(SOCK_STREAM, false),
                socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                open("/dev/null", O_RDWR | O_CLOEXEC),
        };

        for (size_t i = 0; i < ARRAY_SIZE(sockets); i++) {
                assert_int_equal(with_passed(expect_wrong_type, &sockets[i], 1, "handoff"), 0);
                close_fd(&sockets[i]);
        }
}

static int expect_history(void) {
        struct listeners l;
        struct stat st;
        int r;

        r = open_listeners(&l);
        listeners_unlink(&l, &config);
        return r == 0 && l.history == 3 && fstat(3, &st) == 0 && S_ISREG(st.st_mode) &&
                               fcntl(3, F_GETFD) == FD_CLOEXEC && l.own_handoff
                       ? 0
                       : 1;
}

static int expect_handoff_elsewhere(void) {
        struct listeners l;

        return open_listeners(&l) == 0 && strcmp(l.handoff_path, control) == 0 ? 0 : 1;
}

/* Its path is systemd's, not the configuration's. */
static void test_listen_passed_elsewhere(void **state) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        memcpy(address.sun_path, control, strlen(control));
        assert_int_equal(bind(fd, (void *)&address, sizeof(address)), 0);
        assert_int_equal(listen(fd, 1), 0);
        assert_int_equal(with_passed(expect_handoff_elsewhere, &fd, 1, "handoff"), 0);
        assert_int_equal(unlink(control), 0);
        close_fd(&fd);
}

/* What systemd kept of an earlier daemon. */
static void test_listen_passed_history(void **state) {
        int fd = memfd_create("history", MFD_CLOEXEC);

        assert_int_equal(with_passed(expect_history, &fd, 1, "history"), 0);
        assert_int_equal(with_passed(expect_wrong_type, (int[]){fd, fd}, 2, "history:history"), 0);
        close_fd(&fd);
}

static void test_listen_passed_twice(void **state) {
        int a = make_socket(SOCK_SEQPACKET, true), b = make_socket(SOCK_SEQPACKET, true);

        assert_int_equal(with_passed(expect_second_of_a_kind, (int[]){a, b}, 2, "handoff:handoff"),
                         0);
        close_fd(&a);
        close_fd(&b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                listen_test(test_listen_own),
                listen_test(test_listen_replaces),
                listen_test(test_listen_already_running),
                listen_test(test_listen_unlinks_only_its_own),
                listen_test(test_listen_something_in_the_way),
                listen_test(test_listen_rename_fails),
                listen_test(test_listen_no_directory),
                listen_test(test_listen_too_long),
                listen_test(test_listen_longest),
                listen_test(test_listen_spares_other_files),
                listen_test(test_listen_passed),
                listen_test(test_listen_passed_wrong_type),
                listen_test(test_listen_passed_elsewhere),
                listen_test(test_listen_passed_history),
                listen_test(test_listen_passed_twice),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
