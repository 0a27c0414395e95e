/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The warden's answers, by a real one. Each test is a child of the program, since whoever starts a
 * warden loses its capabilities. What it does to cgroups, and what an attacker can do who has taken
 * one side over, is tests/integration/warden/test-warden.py's.
 */

#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "children.h"
#include "daemon/warden/capabilities.h"
#include "daemon/warden/question.h"

/* In a child, where a failed assertion would go on with the rest of the tests. */
#define expect(condition)                                                                          \
        do                                                                                         \
                if (!(condition)) {                                                                \
                        (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);      \
                        _exit(EXIT_FAILURE);                                                       \
                }                                                                                  \
        while (0)

static const struct warden_config no_cgroups = {.root = -1};

static void run(void (*test)(void)) {
        pid_t pid = fork();

        if (pid == 0) {
                expect(warden_start(&no_cgroups) == 0);
                test();
                warden_stop();
                _exit(EXIT_SUCCESS);
        }
        assert_int_equal(wait_for_exit(pid), 0);
}

/* ---- a process that shares our memory, as a keeper does ---- */

struct keeper {
        pid_t pid;
        char stack[65536] __attribute__((aligned(64)));
};

static int keeper_main(void *userdata) {
        for (;;)
                (void)syscall(SYS_pause);
        return 0;
}

static void keeper_begin(struct keeper *k) {
        k->pid = clone(keeper_main, k->stack + sizeof(k->stack), CLONE_VM | SIGCHLD, NULL);
        expect(k->pid > 0);
}

static void keeper_end(struct keeper *k) {
        expect(kill(k->pid, SIGKILL) == 0);
        expect(waitpid(k->pid, NULL, 0) == k->pid);
}

/* ---- address spaces ---- */

static const char *no_kcmp(void) {
        pid_t pid = fork();

        if (pid == 0)
                _exit(syscall(SYS_kcmp, getpid(), getpid(), 1, 0UL, 0UL) < 0 ? 1 : 0);
        return wait_for_exit(pid) == 0 ? NULL : "kcmp(2) does not work here";
}

/* A thread with fds of its own: it is the memory that counts. */
static void *thread_main(void *userdata) {
        int *r = userdata;

        *r = unshare(CLONE_FILES) < 0 ? negative_errno() : warden_same_mm(getpid(), gettid());
        return NULL;
}

static void same_mm(void) {
        struct child child;
        pthread_t thread;
        int r = -1;

        expect(warden_same_mm(getpid(), getpid()) == 1);
        expect(pthread_create(&thread, NULL, thread_main, &r) == 0);
        expect(pthread_join(thread, NULL) == 0);
        expect(r == 1);
        child = child_new("child", NULL);
        expect(warden_same_mm(getpid(), child.pid) == 0);
        expect(warden_same_mm(child.pid, getpid()) == 0);
        expect(warden_same_mm(child.pid, child.pid) == 1);
        child_end(&child);
}

static void test_warden_same_mm(void **state) {
        run(same_mm);
}

/* Who has no address space shares none, with nobody. */
static void same_mm_of_zombies(void) {
        struct child a, b;

        a = child_new("a", NULL);
        child_make_zombie(&a); /* now, or b would inherit its gate */
        b = child_new("b", NULL);
        child_make_zombie(&b);
        expect(warden_same_mm(getpid(), a.pid) == 0);
        expect(warden_same_mm(a.pid, b.pid) == 0);
        expect(warden_admit(a.pid, b.pid) <= 0);
        child_end(&a);
        child_end(&b);
        expect(warden_same_mm(a.pid, getpid()) == -ESRCH);
        expect(warden_same_mm(getpid(), a.pid) == -ESRCH);
}

static void test_warden_same_mm_of_zombies(void **state) {
        run(same_mm_of_zombies);
}

static void compare(void) {
        struct child child = child_new("child", NULL);
        pid_t others[WARDEN_COMPARE_MAX + 1] = {child.pid, getpid(), -1};
        struct keeper keeper;
        uint64_t same = 0;

        keeper_begin(&keeper);
        others[WARDEN_COMPARE_MAX - 1] = keeper.pid;
        expect(warden_compare_mm(getpid(), others, WARDEN_COMPARE_MAX, &same) == 0);
        expect(same == (UINT64_C(1) << (WARDEN_COMPARE_MAX - 1) | 2));
        expect(warden_compare_mm(getpid(), others, WARDEN_COMPARE_MAX + 1, &same) == -E2BIG);
        keeper_end(&keeper);
        child_end(&child);
}

static void test_warden_compare(void **state) {
        run(compare);
}

/* ---- programs ---- */

static const char *no_own_program(void) {
        const char *preload = getenv("LD_PRELOAD");
        char path[PATH_MAX];

        if (preload && strstr(preload, "valgrind"))
                return "the program is valgrind";
        return realpath("/proc/self/exe", path) && strstr(path, "qemu") ? "the program is qemu-user"
                                                                        : NULL;
}

static void program(void) {
        char path[PATH_MAX], *said = NULL;
        struct child child = child_new("child", NULL);

        expect(realpath("/proc/self/exe", path));
        expect(warden_program(child.pid, &said) == 0);
        expect(strcmp(said, path) == 0);
        free(said);
        said = NULL;
        child_make_zombie(&child);
        expect(warden_program(child.pid, &said) == -ESRCH);
        expect(!said);
        child_end(&child);
        expect(warden_program(child.pid, &said) == -ESRCH);
        expect(warden_program(-1, &said) == -ESRCH);
        expect(warden_program(0, &said) == -ESRCH);
}

static void test_warden_program(void **state) {
        run(program);
}

/* ---- who is admitted ---- */

static void admit(void) {
        struct child child = child_new("child", NULL);
        struct keeper keeper;

        keeper_begin(&keeper);
        expect(warden_set_fair(keeper.pid, SCHED_BATCH) == -EPERM);
        expect(warden_admit(keeper.pid, getpid()) == 1);
        expect(warden_set_fair(keeper.pid, SCHED_BATCH) == 0);
        expect(sched_getscheduler(keeper.pid) == SCHED_BATCH);
        expect(warden_admit(keeper.pid, keeper.pid) == 0);
        expect(warden_admit(child.pid, getpid()) == 0);
        expect(warden_admit(child.pid, child.pid) == 0);
        expect(warden_admit(2, child.pid) <= 0); /* kthreadd, or somebody */
        expect(warden_admit(0, 0) == -ESRCH && warden_admit(-1, -1) == -ESRCH);
        expect(warden_admit(INT32_MAX, getpid()) == -ESRCH);
        expect(warden_set_fair(child.pid, SCHED_BATCH) == -EPERM);
        expect(warden_set_fair(getpid(), SCHED_BATCH) == -EPERM);
        keeper_end(&keeper);
        expect(warden_set_fair(keeper.pid, SCHED_BATCH) < 0);
        child_end(&child);
}

static void test_warden_admits_keepers_only(void **state) {
        run(admit);
}

static void *wait_main(void *userdata) {
        (void)pthread_mutex_lock(userdata);
        (void)pthread_mutex_unlock(userdata);
        return NULL;
}

/* A VMM shares the memory of its keeper, too. */
static void admit_vmm(void) {
        static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        struct keeper keeper;
        pthread_t thread;

        keeper_begin(&keeper);
        (void)pthread_mutex_lock(&mutex);
        expect(pthread_create(&thread, NULL, wait_main, &mutex) == 0);
        expect(warden_admit(getpid(), keeper.pid) == -EUSERS);
        expect(warden_admit(keeper.pid, getpid()) == 1);
        (void)pthread_mutex_unlock(&mutex);
        (void)pthread_join(thread, NULL);
        keeper_end(&keeper);
}

static void test_warden_admits_no_vmm(void **state) {
        run(admit_vmm);
}

/* More workers than it holds fds of others: it forgets those that ended. */
static void forget(void) {
        struct keeper keeper;
        struct rlimit limit;

        expect(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        for (int i = 0; i < 64; i++) {
                keeper_begin(&keeper);
                expect(warden_admit(keeper.pid, getpid()) == 1);
                keeper_end(&keeper);
                expect(warden_set_fair(keeper.pid, SCHED_OTHER) < 0);
        }
}

static void test_warden_forgets_the_dead(void **state) {
        struct rlimit limit = {.rlim_cur = 32, .rlim_max = 32};
        pid_t pid = fork();

        if (pid == 0) {
                expect(setrlimit(RLIMIT_NOFILE, &limit) == 0);
                expect(warden_start(&no_cgroups) == 0);
                forget();
                warden_stop();
                _exit(EXIT_SUCCESS);
        }
        assert_int_equal(wait_for_exit(pid), 0);
}

/* ---- cgroups, of which there are none ---- */

static void no_place(void) {
        struct keeper keeper;

        keeper_begin(&keeper);
        expect(warden_admit_found(keeper.pid, 1) == -ENOENT);
        expect(warden_admit_closer(keeper.pid, WARDEN_CLOSER "1.service") == -EPERM);
        expect(warden_move(keeper.pid, 1) == -EPERM);
        expect(warden_admit(keeper.pid, getpid()) == 1);
        expect(warden_move(keeper.pid, 1) == -ENOENT);
        expect(warden_move_probe(keeper.pid) == -EPERM);
        keeper_end(&keeper);
}

static void test_warden_without_cgroups(void **state) {
        run(no_place);
}

/* ---- cgroups, which are plain files here ---- */

static char tree[32];

static void put(const char *file, const char *text) {
        char path[256];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/%s", tree, file);
        fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
        expect(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
        (void)close(fd);
}

static const char *get(const char *file) {
        static char text[64];
        char path[256];
        ssize_t n;
        int fd;

        (void)snprintf(path, sizeof(path), "%s/%s", tree, file);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = read(fd, text, sizeof(text) - 1);
        expect(n >= 0);
        text[n] = '\0';
        (void)close(fd);
        return text;
}

static void make(const char *directory) {
        char path[256];

        (void)snprintf(path, sizeof(path), "%s/%s", tree, directory);
        expect(mkdir(path, 0700) == 0);
        (void)snprintf(path, sizeof(path), "%s/cgroup.procs", directory);
        put(path, "");
}

static void remove_tree(void) {
        char command[64];

        (void)snprintf(command, sizeof(command), "rm -r %s", tree);
        assert_int_equal(system(command), 0);
}

static void places(void) {
        struct child child = child_new("child", NULL);
        char leaf[64], procs[96], own[32], others[96];
        struct keeper keeper;

        keeper_begin(&keeper);
        (void)snprintf(own, sizeof(own), "%d", (int)keeper.pid);
        (void)snprintf(others, sizeof(others), "1\n%d\n%d0\n1%d\n", (int)child.pid, (int)keeper.pid,
                       (int)keeper.pid);
        (void)snprintf(leaf, sizeof(leaf), "jobs/vm-%d-77", (int)keeper.pid);
        (void)snprintf(procs, sizeof(procs), "%s/cgroup.procs", leaf);
        make(leaf);
        expect(warden_admit(keeper.pid, getpid()) == 1);
        expect(warden_move(keeper.pid, 78) == -ENOENT);
        expect(warden_move(keeper.pid, 77) == 0);
        expect(strcmp(get(procs), own) == 0);

        put(procs, others); /* it is not among these */
        expect(warden_admit_found(keeper.pid, 77) == 0);
        expect(warden_admit_found(keeper.pid, 1) == -ENOENT);
        (void)snprintf(others, sizeof(others), "1\n%d\n", (int)keeper.pid);
        put(procs, others);
        expect(warden_admit_found(keeper.pid, 77) == 1);
        expect(warden_admit_found(child.pid, 77) == -ENOENT); /* the name is another's */

        (void)snprintf(others, sizeof(others), "%d\n", (int)child.pid);
        put(WARDEN_CLOSER "1.service/cgroup.procs", others);
        put("other.service/cgroup.procs", others);
        expect(warden_admit_closer(child.pid, "other.service") == -EPERM);
        expect(warden_admit_closer(child.pid, WARDEN_CLOSER "2.service") == -ENOENT);
        expect(warden_admit_closer(child.pid, WARDEN_CLOSER "1.service/../other.service") ==
               -EPERM);
        expect(warden_admit_closer(keeper.pid, WARDEN_CLOSER "1.service") == 0);
        expect(warden_set_fair(child.pid, SCHED_BATCH) == -EPERM);
        expect(warden_admit_closer(child.pid, WARDEN_CLOSER "1.service") == 1);
        expect(warden_set_fair(child.pid, SCHED_BATCH) == 0);

        expect(warden_move_probe(1) == -EPERM);
        expect(warden_move_probe(child.pid) == 0);
        (void)snprintf(own, sizeof(own), "%d", (int)child.pid);
        expect(strcmp(get("probe/cgroup.procs"), own) == 0);
        keeper_end(&keeper);
        child_end(&child);
}

static void test_warden_moves_workers_to_their_places(void **state) {
        pid_t pid;

        (void)snprintf(tree, sizeof(tree), "/tmp/test-warden.XXXXXX");
        assert_non_null(mkdtemp(tree));
        pid = fork();
        if (pid == 0) {
                struct warden_config config = {.root = open(tree, O_DIRECTORY), .jobs = "jobs"};

                make("jobs");
                make("probe");
                make("other.service");
                make(WARDEN_CLOSER "1.service");
                expect(warden_start(&config) == 0);
                (void)close(config.root);
                places();
                warden_stop();
                _exit(EXIT_SUCCESS);
        }
        pid = wait_for_exit(pid);
        remove_tree();
        assert_int_equal(pid, 0);
}

/* ---- scheduling ---- */

static void schedule(void) {
        struct warden_cpus none = {};
        struct keeper keeper;

        keeper_begin(&keeper);
        expect(warden_admit(keeper.pid, getpid()) == 1);
        expect(warden_set_fair(keeper.pid, SCHED_FIFO) == -EINVAL);
        expect(warden_set_fair(keeper.pid, SCHED_RR) == -EINVAL);
        expect(warden_set_fair(keeper.pid, 6) == -EINVAL);
        expect(warden_set_deadline(keeper.pid, 2, 1) == -EINVAL);
        expect(warden_set_cpus(keeper.pid, &none) == -EINVAL);
        expect(sched_getscheduler(keeper.pid) == SCHED_OTHER);
        expect(warden_set_fair(keeper.pid, SCHED_IDLE) == 0);
        expect(sched_getscheduler(keeper.pid) == SCHED_IDLE);
        keeper_end(&keeper);
}

static void test_warden_schedules_workers(void **state) {
        run(schedule);
}

/* ---- what is our own ---- */

static void own(void) {
        struct child child = child_new("judge", NULL);

        expect(warden_hurry_probe(child.pid) == 0);
        expect(getpriority(PRIO_PROCESS, (id_t)child.pid) == -20);
        expect(warden_hurry_probe(1) == -EPERM);
        expect(getpriority(PRIO_PROCESS, 1) != -20);
        child_end(&child);
}

static void test_warden_hurries_its_own_program_only(void **state) {
        run(own);
}

static void ask_in_child(void) {
        pid_t pid = fork();

        if (pid == 0) {
                expect(warden_use_in_child(0) == 0);
                expect(syscall(SYS_close_range, 3U, ~0U, 0U) == 0);
                expect(warden_same_mm(getpid(), getpid()) == 1);
                expect(warden_use_in_child(0) == -ENOTCONN);
                _exit(EXIT_SUCCESS);
        }
        for (int i = 0; i < 1000; i++)
                expect(warden_same_mm(getpid(), pid) == 0 || warden_same_mm(1, pid) < 0);
        expect(wait_for_exit(pid) == 0);
        expect(warden_same_mm(getpid(), getpid()) == 1); /* the child's end is not ours */
}

static void test_warden_answers_a_child(void **state) {
        run(ask_in_child);
}

/* ---- life and death ---- */

static void no_capabilities(void) {
        uint64_t set = 1;

        expect(capabilities_get(&set) == 0);
        expect(set == 0);
        expect(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_SYS_NICE, 0, 0) == 0);
}

static void test_warden_takes_the_capabilities(void **state) {
        run(no_capabilities);
}

static void on_dead(void) {
        _exit(42);
}

static pid_t only_child(void) {
        char path[64], text[32] = "";
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)gettid());
        f = fopen(path, "re");
        expect(f && fgets(text, sizeof(text), f));
        (void)fclose(f);
        return (pid_t)strtol(text, NULL, 10);
}

static void killed(void) {
        expect(kill(only_child(), SIGKILL) == 0);
        expect(warden_same_mm(getpid(), getpid()) == -EPIPE);
        warden_on_dead(on_dead);
        (void)warden_same_mm(getpid(), getpid());
}

static void test_warden_is_missed(void **state) {
        pid_t pid = fork();

        if (pid == 0) {
                expect(warden_start(&no_cgroups) == 0);
                killed();
                _exit(EXIT_SUCCESS);
        }
        assert_int_equal(wait_for_exit(pid), 42);
}

static void test_warden_without_one(void **state) {
        char *path;

        assert_int_equal(warden_same_mm(1, 1), -ENOTCONN);
        assert_int_equal(warden_program(1, &path), -ENOTCONN);
        assert_int_equal(warden_use_in_child(0), -ENOTCONN);
        assert_int_equal(warden_get_fd(), -1);
        warden_stop();
}

/* What is no question ends the warden; what is an unknown one does not. */
static void nonsense(void) {
        struct question q = {.type = _QUESTION_MAX};
        struct answer answer;
        char c;

        expect(write(warden_get_fd(), &q, sizeof(q)) == sizeof(q));
        expect(read(warden_get_fd(), &answer, sizeof(answer)) == offsetof(struct answer, program));
        expect(answer.result == -EINVAL);
        q.type = QUESTION_COMPARE;
        q.others.n = UINT32_MAX;
        expect(write(warden_get_fd(), &q, sizeof(q)) == sizeof(q));
        expect(read(warden_get_fd(), &answer, sizeof(answer)) == offsetof(struct answer, program));
        expect(answer.result == -EINVAL);
        expect(write(warden_get_fd(), &q, sizeof(q) - 1) == sizeof(q) - 1);
        expect(read(warden_get_fd(), &c, 1) <= 0);
}

static void test_warden_and_nonsense(void **state) {
        run(nonsense);
}

int main(void) {
        const char *why = no_kcmp(), *not_root = why;

        if (geteuid() != 0)
                not_root = "not root";
        const struct CMUnitTest tests[] = {
                checked_test_unless(why, test_warden_same_mm),
                checked_test_unless(why, test_warden_same_mm_of_zombies),
                checked_test_unless(why, test_warden_compare),
                checked_test_unless(no_own_program(), test_warden_program),
                checked_test_unless(why, test_warden_admits_keepers_only),
                checked_test_unless(why, test_warden_admits_no_vmm),
                checked_test_unless(why, test_warden_forgets_the_dead),
                checked_test_unless(why, test_warden_without_cgroups),
                checked_test_unless(not_root, test_warden_moves_workers_to_their_places),
                checked_test_unless(why, test_warden_schedules_workers),
                checked_test_unless(not_root, test_warden_hurries_its_own_program_only),
                checked_test_unless(why, test_warden_answers_a_child),
                checked_test_unless(why, test_warden_takes_the_capabilities),
                checked_test_unless(why, test_warden_is_missed),
                checked_test(test_warden_without_one),
                checked_test_unless(why, test_warden_and_nonsense),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
