/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Whose process it is that keeps a QEMU's memory, and whether I/O may be in flight: what
 * pv-reaperctl makes of /proc, with a /proc of its own in a directory. Whatever cannot be told must
 * be taken for in flight. Owns that directory.
 */

#include "fds.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/inflight.h"

#define QEMU   "qemu-system-s390x\0-name\0guest=a,,b,debug-threads=on\0-uuid\0" UUID "\0-S"
#define UUID   "0ad0e3a2-4b3c-4cf0-9a8e-0123456789ab"
#define RING   "7f0000000000-7f0000001000 rw-s 00000000 00:0f 17                 /[aio] (deleted)\n"
#define MEMORY "7f0000002000-7f0000003000 rw-p 00000000 00:00 0 \n"

static char proc[64];

/* Entries of a directory before an error; with 64-bit offsets libc calls it readdir64. */
static int readable = INT_MAX;

struct dirent *__real_readdir(DIR *dir);
struct dirent *__real_readdir64(DIR *dir);
struct dirent *__wrap_readdir(DIR *dir);
struct dirent *__wrap_readdir64(DIR *dir);

struct dirent *__wrap_readdir(DIR *dir) {
        if (readable-- > 0)
                return __real_readdir(dir);
        errno = EIO;
        return NULL;
}

struct dirent *__wrap_readdir64(DIR *dir) {
        if (readable-- > 0)
                return __real_readdir64(dir);
        errno = EIO;
        return NULL;
}

/* ---- the pure parts ---- */

static void test_inflight_helpers(void **state) {
        static const char *const others[] = {"cleanup/",       "cleanup/x",   "cleanup/12x",
                                             "xcleanup/12",    "pvr-keeperx", "",
                                             "qemu-system-x86"};
        pid_t pid = 7;

        assert_true(inflight_is_helper("pvr-keeper", &pid));
        assert_int_equal(pid, 0);
        assert_true(inflight_is_helper("pvr-guard", &pid));
        assert_true(inflight_is_helper("cleanup/12345", &pid));
        assert_int_equal(pid, 12345);
        for (size_t i = 0; i < ARRAY_SIZE(others); i++)
                assert_false(inflight_is_helper(others[i], &pid));
}

static bool named(const char *cmdline, size_t size, const char *what) {
        char *copy = malloc(size); /* so that a byte too far is noticed */
        bool r;

        memcpy(copy, cmdline, size);
        r = inflight_is_named(copy, size, what);
        free(copy);
        return r;
}

#define NAMED(cmdline, what) named(cmdline, sizeof(cmdline), what)

static void test_inflight_names(void **state) {
        assert_true(NAMED("q\0-name\0a", "a"));
        assert_true(NAMED("q\0--name\0a,process=x", "a"));
        assert_true(NAMED("q\0-name\0process=x,guest=a", "a"));
        assert_true(NAMED(QEMU, "a,b"));
        assert_true(NAMED(QEMU, UUID));
        assert_true(NAMED(QEMU, "0AD0E3A2-4b3c-4cf0-9a8e-0123456789ab"));
        assert_false(NAMED(QEMU, "a"));
        assert_false(NAMED(QEMU, "a,,b"));
        assert_false(NAMED(QEMU, ""));
        assert_false(NAMED("q\0-name\0aa", "a"));
        assert_false(NAMED("q\0-name\0a", "aa"));
        assert_false(NAMED("q\0a\0-nam\0a", "a"));
        assert_false(NAMED("q\0-name", "a"));
        assert_false(NAMED("", "a"));
        assert_false(named("q\0-name\0abc", 10, "abc")); /* cut: no NUL at the end */
}

static void test_inflight_rings(void **state) {
        assert_true(inflight_is_ring(RING));
        assert_false(inflight_is_ring(MEMORY));
        assert_false(inflight_is_ring("7f0-7f1 rw-s 0 00:0f 17 /var/x/[aio] (deleted)\n"));
}

static void test_inflight_judges(void **state) {
        const uint64_t enough = 10000000;
        struct inflight_task task = {.has_memory = true, .has_ring = true, .system_call = 7};

        assert_true(inflight_may_be(&task, 0)); /* whatever it does */
        task.has_ring = false;
        assert_false(inflight_may_be(&task, 0));
        task.system_call = SYS_io_destroy; /* the ring goes first, the I/O afterwards */
        assert_true(inflight_may_be(&task, 0));
        task.system_call = -1;
        task.cpu_nsec = 5 + enough - 1;
        assert_true(inflight_may_be(&task, 5));
        task.cpu_nsec++;
        assert_false(inflight_may_be(&task, 5));
        task = (struct inflight_task){.system_call = 7}; /* exiting: what it sleeps in is old */
        assert_true(inflight_may_be(&task, 0));
        task.cpu_nsec = enough;
        assert_false(inflight_may_be(&task, 0));
}

/* ---- a whole look ---- */

static void put(int pid, const char *name, const char *text, size_t size) {
        char path[128];
        FILE *file;

        (void)snprintf(path, sizeof(path), "%s/%d", proc, pid);
        (void)mkdir(path, 0700);
        (void)snprintf(path, sizeof(path), "%s/%d/%s", proc, pid, name);
        file = fopen(path, "we");
        assert_non_null(file);
        assert_int_equal(fwrite(text, 1, size, file), size);
        assert_int_equal(fclose(file), 0);
}

#define PUT(pid, name, text) put(pid, name, text, sizeof(text) - 1)

static void put_stat(int pid, char state, int ppid, int n_threads, int starttime) {
        char text[256];

        (void)snprintf(text, sizeof(text),
                       "%d (a) b) %c %d 1 1 0 -1 1 0 0 0 0 0 0 0 0 20 0 %d 0 %d 0 0\n", pid, state,
                       ppid, n_threads, starttime);
        put(pid, "stat", text, strlen(text));
}

static void process(int pid, const char *comm, int ppid, char state) {
        char text[256];

        put_stat(pid, state, ppid, 1, 777);
        (void)snprintf(text, sizeof(text), "%s\n", comm);
        put(pid, "comm", text, strlen(text));
        put(pid, "cmdline", QEMU, sizeof(QEMU));
        PUT(pid, "maps", MEMORY RING);
        PUT(pid, "syscall", "7 0x0 0x0\n");
        PUT(pid, "schedstat", "1000 0 1\n");
}

static void cmdline_gone(int pid) {
        PUT(pid, "cmdline", "");
        PUT(pid, "maps", "");
        PUT(pid, "syscall", "-1 0x0 0x0\n");
}

static int make_proc(void **state) {
        (void)snprintf(proc, sizeof(proc), "/tmp/pvr-unit-XXXXXX");
        assert_non_null(mkdtemp(proc));
        process(1, "systemd", 0, 'S');
        PUT(1, "cmdline", "/sbin/init");
        return fds_setup(state);
}

static int remove_proc(void **state) {
        char command[128];

        readable = INT_MAX;
        (void)snprintf(command, sizeof(command), "rm -r %s", proc);
        return system(command) == 0 ? fds_teardown(state) : -1;
}

static struct inflight *for_what(const char *what) {
        struct inflight *inflight;

        assert_int_equal(inflight_new(&inflight, proc, what), 0);
        return inflight;
}

static int look_once(const char *what) {
        struct inflight *inflight = for_what(what);
        int r = inflight_look(inflight);

        inflight_free(inflight);
        return r;
}

static void test_inflight_keeper(void **state) {
        struct inflight *inflight = for_what("a,b");

        assert_int_equal(inflight_look(inflight), 0); /* nobody */
        process(20, "pvr-keeper", 1, 'S');
        assert_int_equal(inflight_look(inflight), 1);
        assert_string_equal(inflight_why(inflight), "pvr-keeper (pid 20) keeps its memory");
        assert_int_equal(look_once(UUID), 1);
        assert_int_equal(look_once("b"), 0);
        PUT(20, "comm", "pvr-keeper"); /* no newline that could be taken off */
        assert_int_equal(inflight_look(inflight), 1);
        assert_string_equal(inflight_why(inflight), "pvr-keeper (pid 20) keeps its memory");
        PUT(20, "maps", MEMORY);
        PUT(20, "syscall", "running\n");
        assert_int_equal(inflight_look(inflight), 1);
        PUT(20, "schedstat", "10000999 0 1\n");
        assert_int_equal(inflight_look(inflight), 1);
        PUT(20, "schedstat", "10001000 0 1\n");
        assert_int_equal(inflight_look(inflight), 0);
        PUT(20, "maps", RING); /* it begins anew */
        assert_int_equal(inflight_look(inflight), 1);
        PUT(20, "maps", MEMORY);
        assert_int_equal(inflight_look(inflight), 1);
        PUT(20, "syscall", "7 0x0\n");
        assert_int_equal(inflight_look(inflight), 0);
        inflight_free(inflight);
}

/* Its guard, too, has to be past the end: one of them waits, the other sees no ring any more. */
static void test_inflight_two_of_one(void **state) {
        char destroys[32];

        process(20, "pvr-keeper", 1, 'S');
        process(21, "pvr-guard", 20, 'D');
        PUT(20, "maps", MEMORY);
        PUT(21, "maps", MEMORY);
        (void)snprintf(destroys, sizeof(destroys), "%d 0x7f\n", SYS_io_destroy);
        put(21, "syscall", destroys, strlen(destroys));
        assert_int_equal(look_once("a,b"), 1);
        PUT(21, "syscall", "7 0x0\n");
        assert_int_equal(look_once("a,b"), 0);
}

static void test_inflight_living_qemu(void **state) {
        process(10, "emulator", 1, 'S');
        process(20, "pvr-keeper", 10, 'S');
        process(21, "pvr-guard", 20, 'S');
        PUT(20, "maps", MEMORY);
        PUT(21, "maps", MEMORY);
        assert_int_equal(look_once("a,b"), 1);
        assert_int_equal(look_once("pid=10"), 1);
        assert_int_equal(look_once("pid=21"), 1);
        assert_int_equal(look_once("pid=11"), 0);
        assert_int_equal(look_once("b"), 0);
        process(10, "emulator", 1, 'Z');
        PUT(10, "cmdline", "");
        assert_int_equal(look_once("a,b"), 0);
}

static void test_inflight_qemu_alone(void **state) {
        struct inflight *by_name = for_what("a,b"), *by_pid = for_what("pid=10");
        struct inflight *other = for_what("b");

        process(10, "qemu-system-s39", 1, 'S');
        assert_int_equal(inflight_look(by_name), 1);
        assert_string_equal(inflight_why(by_name), "qemu-system-s39 (pid 10) lives");
        assert_true(inflight_knows(by_name));
        assert_int_equal(inflight_look(by_pid), 1);
        assert_int_equal(inflight_look(other), 0);
        assert_false(inflight_knows(other));
        assert_int_equal(look_once(UUID), 1);
        assert_int_equal(look_once("pid=11"), 0);
        assert_int_equal(look_once("pid=1"), 1);
        process(10, "kvm", 1, 'S');
        assert_int_equal(look_once("a,b"), 1);
        process(10, "pv-reaper-close", 1, 'S'); /* it has a VM fd, but no VMM */
        assert_int_equal(look_once("pid=10"), 0);

        /* Its first thread is gone, others exit: they may wait for its I/O. */
        process(10, "qemu-system-s39", 1, 'S');
        PUT(10, "cmdline", "");
        put_stat(10, 'Z', 1, 2, 777);
        assert_int_equal(inflight_look(by_name), 1);
        assert_int_equal(inflight_look(by_pid), 1);
        assert_int_equal(inflight_look(other), 0);
        assert_int_equal(look_once("b"), 1);
        put_stat(10, 'Z', 1, 1, 777);
        assert_int_equal(inflight_look(by_name), 0);
        assert_int_equal(inflight_look(by_pid), 0);
        assert_true(inflight_knows(by_name));

        /* Another process has its pid by now. */
        put_stat(10, 'S', 1, 1, 888);
        assert_int_equal(inflight_look(by_pid), 0);
        inflight_free(by_name);
        inflight_free(by_pid);
        inflight_free(other);
}

/* What is not sure is not told for a fact; and a fact before it. */
static void test_inflight_why(void **state) {
        struct inflight *inflight = for_what("b");

        process(20, "pvr-keeper", 1, 'S');
        cmdline_gone(20);
        assert_int_equal(inflight_look(inflight), 1);
        assert_string_equal(inflight_why(inflight),
                            "pvr-keeper (pid 20) may keep its memory: whose it is cannot be told");
        assert_false(inflight_knows(inflight));
        for (int pid = 19; pid <= 21; pid += 2) {
                process(pid, "qemu-system-s39", 1, 'S');
                put(pid, "cmdline", "q\0-name\0b", sizeof("q\0-name\0b"));
        }
        assert_int_equal(inflight_look(inflight), 1);
        assert_non_null(strstr(inflight_why(inflight), " lives"));
        inflight_free(inflight);
}

/* Of one that exits nothing tells whose it is, unless it was seen before, or its name does. */
static void test_inflight_exiting(void **state) {
        struct inflight *before = for_what("a,b"), *other = for_what("b");

        process(20, "cleanup/10", 1, 'S');
        assert_int_equal(inflight_look(before), 1);
        assert_int_equal(inflight_look(other), 0);
        cmdline_gone(20);
        assert_int_equal(inflight_look(before), 1);
        assert_int_equal(inflight_look(other), 0);
        assert_int_equal(look_once("b"), 1);
        assert_int_equal(look_once("pid=10"), 1);
        assert_int_equal(look_once("pid=11"), 0);
        process(20, "cleanup/10", 1, 'Z');
        assert_int_equal(inflight_look(before), 0);
        inflight_free(before);
        inflight_free(other);
}

/* A keeper's parent tells as long as it lives; afterwards it could be anybody's. */
static void test_inflight_by_pid(void **state) {
        struct inflight *before = for_what("pid=10"), *other = for_what("pid=11");

        process(10, "qemu-system-s39", 1, 'S');
        process(20, "pvr-keeper", 10, 'S');
        assert_int_equal(inflight_look(before), 1);
        assert_int_equal(inflight_look(other), 0);
        process(10, "qemu-system-s39", 1, 'Z');
        PUT(10, "cmdline", "");
        assert_int_equal(inflight_look(before), 1);
        assert_int_equal(inflight_look(other), 0);
        assert_int_equal(look_once("pid=11"), 1);
        inflight_free(before);
        inflight_free(other);
}

/* Others come and go: whoever was not there at first is not waited for, unless it is known. */
static void test_inflight_late(void **state) {
        struct inflight *by_name = for_what("a,b"), *by_pid = for_what("pid=10");

        process(20, "pvr-keeper", 1, 'S');
        assert_int_equal(inflight_look(by_name), 1);
        assert_int_equal(inflight_look(by_pid), 1);
        process(21, "pvr-guard", 20, 'S'); /* a child of one that is perhaps meant */
        process(20, "pvr-keeper", 1, 'Z');
        assert_int_equal(inflight_look(by_name), 1);
        assert_int_equal(inflight_look(by_pid), 1);
        process(21, "pvr-guard", 1, 'Z');
        process(22, "pvr-keeper", 1, 'S');
        assert_int_equal(inflight_look(by_name), 1);
        assert_int_equal(inflight_look(by_pid), 0);
        process(22, "pvr-keeper", 1, 'Z');
        process(23, "pvr-keeper", 1, 'S');
        cmdline_gone(23);
        assert_int_equal(inflight_look(by_name), 0);
        inflight_free(by_name);
        inflight_free(by_pid);
}

static void test_inflight_may_not_look(void **state) {
        char path[128];

        process(20, "pvr-keeper", 1, 'S');
        (void)snprintf(path, sizeof(path), "%s/20/maps", proc);
        assert_int_equal(remove(path), 0);
        assert_int_equal(mkdir(path, 0700), 0); /* for root, too, it cannot be read */
        assert_int_equal(look_once("a,b"), -EISDIR);
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(look_once("a,b"), 0); /* it went while we looked */
        (void)strcat(proc, "x");
        assert_int_equal(look_once("a,b"), -ENOENT);
        proc[strlen(proc) - 1] = '\0';
}

/* Neither is an end that is none one of /proc, nor does such a look count as the first. */
static void test_inflight_unreadable(void **state) {
        struct inflight *inflight = for_what("b");

        process(20, "pvr-keeper", 1, 'S');
        readable = 0;
        assert_int_equal(inflight_look(inflight), -EIO);
        readable = INT_MAX;
        cmdline_gone(20);
        assert_int_equal(inflight_look(inflight), 1);
        inflight_free(inflight);
}

#define with_proc(test) cmocka_unit_test_setup_teardown(test, make_proc, remove_proc)

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_inflight_helpers),   checked_test(test_inflight_names),
                checked_test(test_inflight_rings),     checked_test(test_inflight_judges),
                with_proc(test_inflight_keeper),       with_proc(test_inflight_two_of_one),
                with_proc(test_inflight_living_qemu),  with_proc(test_inflight_qemu_alone),
                with_proc(test_inflight_why),          with_proc(test_inflight_exiting),
                with_proc(test_inflight_by_pid),       with_proc(test_inflight_late),
                with_proc(test_inflight_may_not_look), with_proc(test_inflight_unreadable),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
