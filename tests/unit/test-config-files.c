/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which configuration files count. Each test has a root directory of its own, with the three
 * directories below it filled as it likes, and removes it. Which file won is seen from
 * max-concurrent, what was wrong from the messages.
 */

#include "fds.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture.h"
#include "daemon/config/files.h"

#define RUN "/run/pv-reaper"

static char root[] = "/tmp/pvr-config-XXXXXX";
static const char *said;

static int on_remove(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static int setup(void **state) {
        strcpy(root + sizeof(root) - 7, "XXXXXX");
        return mkdtemp(root) ? fds_setup(state) : -1;
}

static int teardown(void **state) {
        if (nftw(root, on_remove, 8, FTW_DEPTH | FTW_PHYS) < 0)
                return -1;
        return fds_teardown(state);
}

/* root/directory/name, with all directories that it needs. Static. */
static const char *make_path(const char *directory, const char *name) {
        static char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s%s/%s", root, directory, name);
        for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
                *p = '\0';
                (void)mkdir(path, 0700);
                *p = '/';
        }
        return path;
}

static void put_text(const char *directory, const char *name, const char *text) {
        FILE *file = fopen(make_path(directory, name), "we");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

/* A file that sets max-concurrent. */
static void put(const char *directory, const char *name, unsigned n) {
        char text[64];

        (void)snprintf(text, sizeof(text), "[limits]\nmax-concurrent=%u\n", n);
        put_text(directory, name, text);
}

static void put_link(const char *directory, const char *name, const char *target) {
        assert_int_equal(symlink(target, make_path(directory, name)), 0);
}

/* max-concurrent as read, or the error. */
static int read_all(void) {
        _cleanup_(config_freep) struct config *config = NULL;
        int r;

        assert_int_equal(config_new(&config), 0);
        capture_begin();
        r = config_read_host(config, root);
        said = capture_end();
        return r < 0 ? r : (int)config->max_concurrent;
}

static void assert_reads(int wanted) {
        assert_int_equal(read_all(), wanted);
        assert_string_equal(said, "");
}

#define assert_said(s)                                                                             \
        do                                                                                         \
                if (!strstr(said, (s)))                                                            \
                        fail_msg("\"%s\" was not said, but: %s", (s), said);                       \
        while (0)

/* ---- which of them ---- */

static void test_files_none(void **state) {
        assert_reads(CONFIG_AUTO);
        (void)make_path(CONFIG_SYSCONF_DIR "/pv-reaper.conf.d", "x");
        assert_reads(CONFIG_AUTO);
}

/* The highest main file wins, and the lower ones are not even read. */
static void test_files_main(void **state) {
        put(CONFIG_VENDOR_DIR, "pv-reaper.conf", 10);
        assert_reads(10);
        put(RUN, "pv-reaper.conf", 11);
        assert_reads(11);
        put(CONFIG_SYSCONF_DIR, "pv-reaper.conf", 12);
        assert_reads(12);
        put_text(CONFIG_VENDOR_DIR, "pv-reaper.conf", "nonsense\n");
        put_text(RUN, "pv-reaper.conf", "nonsense\n");
        assert_reads(12);
        put_text(CONFIG_SYSCONF_DIR, "pv-reaper.conf", "[limits]\n#nothing\n");
        assert_reads(CONFIG_AUTO);
}

static void test_files_main_masked(void **state) {
        put(CONFIG_VENDOR_DIR, "pv-reaper.conf", 10);
        put_link(CONFIG_SYSCONF_DIR, "pv-reaper.conf", "/dev/null");
        assert_reads(CONFIG_AUTO);
}

/* By name, wherever they are, and all of them over the main file. */
static void test_files_drop_ins_in_order(void **state) {
        put(CONFIG_SYSCONF_DIR, "pv-reaper.conf", 10);
        put(CONFIG_SYSCONF_DIR "/pv-reaper.conf.d", "20-b.conf", 20);
        assert_reads(20);
        put(CONFIG_SYSCONF_DIR "/pv-reaper.conf.d", "10-a.conf", 21);
        assert_reads(20);
        put(RUN "/pv-reaper.conf.d", "30-c.conf", 22);
        assert_reads(22);
        put(CONFIG_VENDOR_DIR "/pv-reaper.conf.d", "40-d.conf", 23);
        assert_reads(23);
        put(CONFIG_VENDOR_DIR "/pv-reaper.conf.d", "00-e.conf", 24);
        assert_reads(23);
        put_text(CONFIG_SYSCONF_DIR "/pv-reaper.conf.d", "99-f.conf", "[limits]\ndrain-time=1s\n");
        assert_reads(23);
}

/* Bytes count, not a language's order. */
static void test_files_drop_ins_by_bytes(void **state) {
        put(RUN "/pv-reaper.conf.d", "a.conf", 20);
        put(RUN "/pv-reaper.conf.d", "B.conf", 21);
        assert_reads(20);
        put(RUN "/pv-reaper.conf.d", "100.conf", 22);
        put(RUN "/pv-reaper.conf.d", "20.conf", 23);
        assert_reads(20);
}

static void test_files_drop_in_replaced(void **state) {
        put(CONFIG_VENDOR_DIR "/pv-reaper.conf.d", "x.conf", 20);
        put_text(RUN "/pv-reaper.conf.d", "x.conf", "[limits]\ndrain-time=1s\n");
        assert_reads(CONFIG_AUTO); /* the vendor's is not read at all */
        put(CONFIG_SYSCONF_DIR "/pv-reaper.conf.d", "x.conf", 22);
        assert_reads(22);
}

static void test_files_drop_in_masked(void **state) {
        put(CONFIG_VENDOR_DIR "/pv-reaper.conf.d", "x.conf", 20);
        put(CONFIG_VENDOR_DIR "/pv-reaper.conf.d", "y.conf", 21);
        put_link(CONFIG_SYSCONF_DIR "/pv-reaper.conf.d", "y.conf", "/dev/null");
        assert_reads(20);
        put_text(RUN "/pv-reaper.conf.d", "x.conf", "");
        assert_reads(CONFIG_AUTO);
}

static void test_files_other_names(void **state) {
        static const char *const names[] = {".x.conf", "x.conf~",         "x.conf.dpkg-new",
                                            ".conf",   "README",          "x.Conf",
                                            "xconf",   "x.conf.d/y.conf", "#x.conf#"};

        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                put_text(CONFIG_SYSCONF_DIR "/pv-reaper.conf.d", names[i], "nonsense\n");
        assert_reads(CONFIG_AUTO);
}

/* ---- what is wrong ---- */

/* All files are read in spite of an error, each error is told, and the first one returned. */
static void test_files_errors(void **state) {
        put_text(CONFIG_SYSCONF_DIR, "pv-reaper.conf", "[limits]\n\nmax-concurrent=0\n");
        put_text(RUN "/pv-reaper.conf.d", "a.conf", "nonsense\n");
        put_text(CONFIG_SYSCONF_DIR "/pv-reaper.conf.d", "b.conf", "[cpu]\ncpu-period=x\n");
        put_text(CONFIG_VENDOR_DIR "/pv-reaper.conf.d", "c.conf", "nonsense\n");
        assert_int_equal(read_all(), -EINVAL);
        assert_said(CONFIG_SYSCONF_DIR
                    "/pv-reaper.conf:3: max-concurrent=0: must be a number from 1");
        assert_said("/run/pv-reaper/pv-reaper.conf.d/a.conf:1: neither");
        assert_said("/pv-reaper.conf.d/b.conf:2: cpu-period=x: must be a time span such as");
        assert_said(root);
}

static void test_files_dangling_drop_in(void **state) {
        put(CONFIG_VENDOR_DIR "/pv-reaper.conf.d", "x.conf", 20);
        put_link(RUN "/pv-reaper.conf.d", "x.conf", "nowhere");
        assert_int_equal(read_all(), -ENOENT);
        assert_said("/run/pv-reaper/pv-reaper.conf.d/x.conf: No such file");
}

/* A FIFO without a writer would hang us, /dev/zero has no end. */
static void test_files_special(void **state) {
        assert_int_equal(mkfifo(make_path(RUN "/pv-reaper.conf.d", "x.conf"), 0600), 0);
        assert_int_equal(read_all(), -ENOTSUP);
        assert_said("cannot read");
        assert_said("x.conf: Operation not supported");
        assert_int_equal(remove(make_path(RUN "/pv-reaper.conf.d", "x.conf")), 0);
        put_link(RUN "/pv-reaper.conf.d", "x.conf", "/dev/zero");
        assert_int_equal(read_all(), -ENOTSUP);
        assert_int_equal(remove(make_path(RUN "/pv-reaper.conf.d", "x.conf")), 0);
        (void)make_path(RUN "/pv-reaper.conf.d/x.conf", "y");
        assert_int_equal(read_all(), -EISDIR);
}

static void test_files_no_directory(void **state) {
        put_text(RUN, "pv-reaper.conf.d", "");
        assert_int_equal(read_all(), -ENOTDIR);
        assert_said("/run/pv-reaper/pv-reaper.conf.d: Not a directory");
}

static void put_many(const char *directory, unsigned first, unsigned n) {
        char name[32];

        for (unsigned i = first; i < first + n; i++) {
                (void)snprintf(name, sizeof(name), "%03u.conf", i);
                put(directory, name, i + 1);
        }
}

static void test_files_too_many(void **state) {
        put_many(RUN "/pv-reaper.conf.d", 0, CONFIG_DROP_INS_MAX / 2);
        put_many(CONFIG_SYSCONF_DIR "/pv-reaper.conf.d", CONFIG_DROP_INS_MAX / 2,
                 CONFIG_DROP_INS_MAX / 2);
        assert_reads(CONFIG_DROP_INS_MAX);
        put_many(CONFIG_VENDOR_DIR "/pv-reaper.conf.d", 0, 10); /* replaced ones do not count */
        assert_reads(CONFIG_DROP_INS_MAX);
        put(CONFIG_VENDOR_DIR "/pv-reaper.conf.d", "one-more.conf", 1);
        assert_int_equal(read_all(), -E2BIG);
        assert_said("more than 256 drop-ins");
}

static void put_large(size_t size) {
        FILE *file = fopen(make_path(CONFIG_SYSCONF_DIR, "pv-reaper.conf"), "we");
        static const char last[] = "[limits]\nmax-concurrent=9\n";

        assert_non_null(file);
        assert_true(fputs("#\n", file) >= 0);
        for (size_t i = strlen(last) + 2; i < size; i++)
                assert_true(fputc('\n', file) >= 0);
        assert_true(fputs(last, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void test_files_too_large(void **state) {
        put_large(1 << 20);
        assert_reads(9);
        put_large((1 << 20) + 1);
        assert_int_equal(read_all(), -EFBIG);
        assert_said("file too large");
}

static void test_files_long_root(void **state) {
        _cleanup_(config_freep) struct config *config = NULL;
        char path[PATH_MAX];

        memset(path, 'x', sizeof(path) - 1);
        path[0] = '/';
        path[sizeof(path) - 1] = '\0';
        assert_int_equal(config_new(&config), 0);
        capture_begin();
        assert_int_equal(config_read_host(config, path), -ENAMETOOLONG);
        (void)capture_end();
}

#define rooted_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                rooted_test(test_files_none),
                rooted_test(test_files_main),
                rooted_test(test_files_main_masked),
                rooted_test(test_files_drop_ins_in_order),
                rooted_test(test_files_drop_ins_by_bytes),
                rooted_test(test_files_drop_in_replaced),
                rooted_test(test_files_drop_in_masked),
                rooted_test(test_files_other_names),
                rooted_test(test_files_errors),
                rooted_test(test_files_dangling_drop_in),
                rooted_test(test_files_special),
                rooted_test(test_files_no_directory),
                rooted_test(test_files_too_many),
                rooted_test(test_files_too_large),
                rooted_test(test_files_long_root),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
