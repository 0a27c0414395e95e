/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * process.h asked about processes of which the test knows the answer: itself and its children.
 * openat(2) goes through a door in here (the linker's --wrap), for files in /proc as other hosts
 * have them.
 */

#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "children.h"
#include "daemon/runtime/process.h"

static const char *proc_text; /* what every file in /proc holds, if not NULL */

int __real_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...);

int __wrap_openat(int dir, const char *path, int flags, ...) {
        int fd;

        if (!proc_text || strncmp(path, "/proc/", 6) != 0)
                return __real_openat(dir, path, flags);
        fd = memfd_create("proc", MFD_CLOEXEC);
        if (write(fd, proc_text, strlen(proc_text)) != (ssize_t)strlen(proc_text) ||
            lseek(fd, 0, SEEK_SET) != 0)
                abort();
        return fd;
}

/* Its name where files may be large. */
int __wrap_openat64(int dir, const char *path, int flags, ...) {
        return __wrap_openat(dir, path, flags);
}

/* ---- read_file_at() ---- */

static void test_process_read_file(void **state) {
        int fd = memfd_create("file", MFD_CLOEXEC);
        char path[64], buffer[9];

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        memset(buffer, 'x', sizeof(buffer));
        assert_int_equal(read_file_at(AT_FDCWD, path, buffer, sizeof(buffer)), 0);
        assert_string_equal(buffer, "");
        assert_int_equal(write(fd, "12345678", 8), 8);
        memset(buffer, 'x', sizeof(buffer));
        assert_int_equal(read_file_at(AT_FDCWD, path, buffer, sizeof(buffer)), 8);
        assert_string_equal(buffer, "12345678");
        assert_int_equal(read_file_at(AT_FDCWD, path, buffer, 8), -EFBIG);
        assert_int_equal(read_file_at(AT_FDCWD, path, buffer, 1), -EFBIG);
        assert_int_equal(write(fd, "9", 1), 1);
        assert_int_equal(read_file_at(AT_FDCWD, path, buffer, sizeof(buffer)), -EFBIG);
        close_fd(&fd);
}

static void test_process_read_file_errors(void **state) {
        int dir = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
        char buffer[16384];

        assert_true(dir >= 0);
        assert_int_equal(read_file_at(dir, "no-such-file", buffer, sizeof(buffer)), -ENOENT);
        assert_int_equal(read_file_at(dir, "fd", buffer, sizeof(buffer)), -EISDIR);
        assert_true(read_file_at(dir, "status", buffer, sizeof(buffer)) > 0);
        assert_non_null(strstr(buffer, "Name:"));
        close_fd(&dir);
        assert_int_equal(read_file_at(-1, "status", buffer, sizeof(buffer)), -EBADF);
}

/* ---- stat ---- */

/* The n-th field (proc(5) counts from 1) of a stat line, from the third on, by its blanks. */
static unsigned long long stat_field(pid_t pid, int n) {
        char path[64], line[1024] = "", *p;
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        f = fopen(path, "re");
        assert_non_null(f);
        assert_true(fread(line, 1, sizeof(line) - 1, f) > 0);
        (void)fclose(f);
        p = strrchr(line, ')') + 1;
        for (int i = 3; i < n; i++)
                p = strchr(p + 1, ' ');
        return strtoull(p, NULL, 10);
}

static void test_process_stat_of_self(void **state) {
        struct task_stat stat = {};

        assert_int_equal(process_read_stat(getpid(), &stat), 0);
        assert_int_equal(stat.state, 'R');
        assert_int_equal(stat.ppid, getppid());
        assert_int_equal(stat.starttime, stat_field(getpid(), 22));
        assert_true(stat.starttime > 0);
        assert_int_equal(stat.n_threads, 1);
}

static void test_process_nodes(void **state) {
        char nodes[4096] = "", command[8192];

        assert_int_equal(process_nodes(getpid(), nodes, sizeof(nodes)), 0);
        (void)snprintf(command, sizeof(command),
                       "grep -Fxq \"$(printf 'Mems_allowed_list:\\t%%s' '%s')\" /proc/%d/status",
                       nodes, (int)getpid());
        assert_int_equal(system(command), 0);
        assert_int_equal(process_nodes(getpid(), nodes, 1), -ERANGE);
        assert_int_equal(process_nodes(0, nodes, sizeof(nodes)), -ESRCH);
}

static void test_process_stat_of_nasty_names(void **state) {
        static const char *const names[] = {
                "plain", ") R 1 ( x", ")", "(((", "a) Z 1 1 1 1 1", "\n) Z 0", "", " S 1 ", "%s%n"};

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                struct child child = child_new(names[i], NULL);
                struct task_stat stat = {};

                assert_int_equal(process_read_stat(child.pid, &stat), 0);
                assert_true(stat.state == 'S' || stat.state == 'R');
                assert_int_equal(stat.ppid, getpid());
                assert_int_equal(stat.starttime, stat_field(child.pid, 22));
                child_end(&child);
        }
}

static const char *const bad_stats[] = {
        "",
        "\n",
        "1",
        "1 (a",
        "1 (a)",
        "1 (a) S",
        "1 (a) S x 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 7",
        "1 (a) S 2 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0", /* ends one field before the start time */
};

static void test_process_stat_in_pieces(void **state) {
        struct task_stat stat = {};
        int r;

        proc_text = "1 (a b) c) D 22 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 3 0 18446744073709551614 9 9\n";
        r = process_read_stat(1, &stat);
        proc_text = NULL;
        assert_int_equal(r, 0);
        assert_int_equal(stat.state, 'D');
        assert_int_equal(stat.ppid, 22);
        assert_true(stat.starttime == UINT64_MAX - 1);
        assert_int_equal(stat.n_threads, 3);
        for (size_t i = 0; i < ARRAY_SIZE(bad_stats); i++) {
                proc_text = bad_stats[i];
                r = process_read_stat(1, &stat);
                proc_text = NULL;
                assert_int_equal(r, -EBADMSG);
        }
}

static void test_process_stat_of_a_zombie(void **state) {
        struct child child = child_new("zombie", NULL);
        struct task_stat alive, dead;

        assert_int_equal(process_read_stat(child.pid, &alive), 0);
        child_make_zombie(&child);
        assert_int_equal(process_read_stat(child.pid, &dead), 0);
        assert_int_equal(dead.state, 'Z');
        assert_int_equal(dead.ppid, getpid());
        assert_int_equal(dead.starttime, alive.starttime);
        child_end(&child);
}

/* ---- CPU, cgroup, unit ---- */

static const char *no_schedstat(void) {
        uint64_t cpu;

        return process_cpu_usec(getpid(), &cpu) == -ESRCH ? "no schedstat in this kernel" : NULL;
}

static uint64_t own_cpu_usec(void) {
        struct timespec ts;

        assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts), 0);
        return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}

/* Burns until the clock of our own has moved that far, in at most 20 s. */
static void burn_until(uint64_t usec) {
        time_t deadline = time(NULL) + 20;
        volatile unsigned n = 0;

        while (own_cpu_usec() < usec && time(NULL) < deadline)
                for (int i = 0; i < 100000; i++)
                        n = n + 1;
}

static void test_process_cpu_grows(void **state) {
        uint64_t begin, end, clock = own_cpu_usec();

        assert_int_equal(process_cpu_usec(getpid(), &begin), 0);
        assert_true(begin <= own_cpu_usec());
        burn_until(clock + 60 * USEC_PER_MSEC);
        assert_int_equal(process_cpu_usec(getpid(), &end), 0);
        /* the file is brought up to date by the tick: it may be one behind */
        assert_true(end - begin >= 30 * USEC_PER_MSEC);
        assert_true(end <= own_cpu_usec());
}

/* "0::/..." of /proc/PID/cgroup, or NULL; static. */
static const char *cgroup_line(pid_t pid) {
        static char line[8192];
        const char *found = NULL;
        char path[64];
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
        f = fopen(path, "re");
        assert_non_null(f);
        while (!found && fgets(line, sizeof(line), f))
                if (line[0] == '0' && line[1] == ':') {
                        line[strcspn(line, "\n")] = '\0';
                        found = line + 3;
                }
        (void)fclose(f);
        return found;
}

static void test_process_cgroup(void **state) {
        struct child child = child_new("child", NULL);
        const char *expected = cgroup_line(child.pid);
        char *path = NULL;
        int r = process_cgroup(child.pid, &path);

        child_end(&child);
        if (!expected) {
                assert_int_equal(r, -ENODATA);
                assert_null(path);
                return;
        }
        assert_int_equal(r, 0);
        assert_string_equal(path, expected);
        free(path);
}

struct cgroup_file {
        const char *text;
        int r;
        const char *path;
};

static const struct cgroup_file cgroup_files[] = {
        {"0::/\n", 0, "/"},
        {"0::/a/b.scope\n", 0, "/a/b.scope"},
        {"0::/a", 0, "/a"},
        {"9:name=systemd:/x\n4:memory:/y\n0::/a b\n", 0, "/a b"},
        {"0::/a\n9:name=systemd:/x\n", 0, "/a"},
        {"9:name=0::/x:/x\n0::/a\n", 0, "/a"},
        {"10::/x\n0::/a\n", 0, "/a"},
        {"0::/a (deleted)\n", 0, "/a (deleted)"},
        {"", -ENODATA, NULL},
        {"9:name=systemd:/x\n", -ENODATA, NULL},
        {"10::/x\n", -ENODATA, NULL},
        {"0::", -EBADMSG, NULL},
        {"0::\n", -EBADMSG, NULL},
};

static void test_process_cgroup_of_other_hosts(void **state) {
        for (size_t i = 0; i < ARRAY_SIZE(cgroup_files); i++) {
                char *path = NULL;
                int r;

                proc_text = cgroup_files[i].text;
                r = process_cgroup(1, &path);
                proc_text = NULL;
                assert_int_equal(r, cgroup_files[i].r);
                if (cgroup_files[i].path)
                        assert_string_equal(path, cgroup_files[i].path);
                else
                        assert_null(path);
                free(path);
        }
}

/* Whoever may make cgroups may call them as he likes. */
static void test_process_unit_is_printable(void **state) {
        char *unit = NULL;
        int r;

        proc_text = "0::/a\033[31m\xff\001/b\n";
        r = process_unit(INT32_MAX, &unit); /* libsystemd finds nobody of that number */
        proc_text = NULL;
        assert_int_equal(r, 0);
        assert_string_equal(unit, "/a?[31m?"
                                  "?/b");
        free(unit);
}

static const char *no_cgroup(void) {
        return cgroup_line(getpid()) ? NULL : "no cgroup v2 here";
}

static void test_process_unit(void **state) {
        const char *expected = cgroup_line(getpid());
        char *unit = NULL;

        assert_int_equal(process_unit(getpid(), &unit), 0);
        /* a unit is part of the path that leads to it */
        assert_true(strlen(unit) > 0);
        assert_non_null(strstr(expected, unit));
        free(unit);
}

/* ---- name, program, memory ---- */

static void test_process_name(void **state) {
        struct child child = child_new("cleanup/4194304", NULL); /* as long as a name can be */
        char name[PROCESS_NAME_SIZE];

        assert_int_equal(process_name(child.pid, name), 0);
        assert_string_equal(name, "cleanup/4194304");
        child_make_zombie(&child);
        assert_int_equal(process_name(child.pid, name), 0);
        assert_string_equal(name, "cleanup/4194304");
        child_end(&child);
        proc_text = "kworker/u8:2-events_unbound\n";
        assert_int_equal(process_name(1, name), -EBADMSG);
        proc_text = "a\nb\n"; /* a name may hold anything */
        assert_int_equal(process_name(1, name), 0);
        assert_string_equal(name, "a\nb");
        proc_text = NULL;
}

static void test_process_program(void **state) {
        char path[PATH_MAX], *program = NULL;
        struct child child = child_new("child", NULL);

        assert_non_null(realpath("/proc/self/exe", path));
        assert_int_equal(process_program(child.pid, &program), 0);
        assert_string_equal(program, path);
        free(program);
        program = NULL;
        child_make_zombie(&child);
        assert_int_equal(process_program(child.pid, &program), -ESRCH);
        assert_null(program);
        child_end(&child);
}

static void test_process_rss(void **state) {
        const size_t size = 16 << 20;
        uint64_t before, after;
        char *memory;

        assert_int_equal(process_rss(getpid(), &before), 0);
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(memory, MAP_FAILED);
        memset(memory, 1, size);
        assert_int_equal(process_rss(getpid(), &after), 0);
        assert_true(after >= before + size / 2); /* the kernel counts in batches */
        (void)munmap(memory, size);
}

static void test_process_rss_of_a_zombie(void **state) {
        struct child child = child_new("zombie", NULL);
        uint64_t rss = 1;

        child_make_zombie(&child);
        assert_int_equal(process_rss(child.pid, &rss), 0);
        assert_int_equal(rss, 0);
        child_end(&child);
}

/* ---- nobody ---- */

static void check_nobody(pid_t pid) {
        struct task_stat stat, untouched;
        uint64_t cpu = 1;
        char *path = NULL, name[PROCESS_NAME_SIZE];

        memset(&stat, 0x5a, sizeof(stat));
        untouched = stat;
        assert_int_equal(process_read_stat(pid, &stat), -ESRCH);
        assert_memory_equal(&stat, &untouched, sizeof(stat));
        assert_int_equal(process_cpu_usec(pid, &cpu), -ESRCH);
        assert_int_equal(cpu, 1);
        assert_int_equal(process_cgroup(pid, &path), -ESRCH);
        assert_int_equal(process_unit(pid, &path), -ESRCH);
        assert_int_equal(process_program(pid, &path), -ESRCH);
        assert_int_equal(process_name(pid, name), -ESRCH);
        assert_int_equal(process_rss(pid, &cpu), -ESRCH);
        assert_null(path);
}

static void test_process_gone(void **state) {
        struct child child = child_new("child", NULL);

        child_end(&child);
        check_nobody(child.pid);
}

/* No number of these is anybody; 0 in particular is not "myself". */
static void test_process_no_number(void **state) {
        check_nobody(-1);
        check_nobody(-12345);
        check_nobody(0);
        check_nobody(INT32_MAX);
}

static const char *no_own_stat(void) {
        struct task_stat stat = {};

        (void)process_read_stat(getpid(), &stat);
        return stat.state == '0' ? "/proc/self/stat is made up of zeroes (qemu-user)" : NULL;
}

static const char *no_own_program(void) {
        const char *preload = getenv("LD_PRELOAD");

        if (preload && strstr(preload, "valgrind"))
                return "the program is valgrind";
        return no_own_stat() ? "the program is qemu-user" : NULL;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_process_read_file),
                checked_test(test_process_read_file_errors),
                checked_test_unless(no_own_stat(), test_process_stat_of_self),
                checked_test(test_process_nodes),
                checked_test(test_process_stat_of_nasty_names),
                checked_test(test_process_stat_in_pieces),
                checked_test(test_process_stat_of_a_zombie),
                checked_test_unless(no_schedstat(), test_process_cpu_grows),
                checked_test(test_process_cgroup),
                checked_test(test_process_cgroup_of_other_hosts),
                checked_test_unless(no_cgroup(), test_process_unit),
                checked_test(test_process_unit_is_printable),
                checked_test(test_process_name),
                checked_test_unless(no_own_program(), test_process_program),
                checked_test(test_process_rss),
                checked_test(test_process_rss_of_a_zombie),
                checked_test(test_process_gone),
                checked_test(test_process_no_number),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
