/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the public functions answer to arguments and to moments that are wrong. Instead of a VM fd
 * this uses one of /dev/null, which refuses every ioctl with -ENOTTY: the library does not look,
 * and passes on what the kernel says.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "helper.h"

#ifdef __s390x__
#define CLONE_FLAGS_ARG 1
#else
#define CLONE_FLAGS_ARG 0
#endif
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define LOW_WORD 4
#else
#define LOW_WORD 0
#endif

static void test_new(void) {
        struct pvr_vm *vm = NULL;
        uint8_t uuid[16] = {1, 2, 3};
        char name[300];
        struct pvr_vm_options options = {.size = sizeof(options), .name = name, .uuid = uuid};

        memset(name, 'x', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        check(pvr_vm_new(NULL, &options) == -EINVAL);
        check(pvr_vm_new(&vm, NULL) == 0 && vm);
        check(pvr_vm_free(vm) == NULL);
        check(pvr_vm_new(&vm, &options) == 0);
        check(pvr_vm_free(vm) == NULL);
        options.name = "";
        check(pvr_vm_new(&vm, &options) == 0);
        check(pvr_vm_free(vm) == NULL);
        check(pvr_vm_free(NULL) == NULL);
        await_threads(1);
        check(find_keeper() == 0);
}

/* Callers that were compiled with another version of the header. */
static void test_options(void) {
        struct {
                struct pvr_vm_options known;
                uint64_t later;
        } options = {.known = {.size = sizeof(options), .name = "options"}};
        struct pvr_vm *vm = NULL;

        check(pvr_vm_new(&vm, &options.known) == 0);
        check(pvr_vm_free(vm) == NULL);
        options.later = 1;
        check(pvr_vm_new(&vm, &options.known) == -EINVAL);
        options.known.size = sizeof(options.known) - 1;
        check(pvr_vm_new(&vm, &options.known) == -EINVAL);
        options.known = (struct pvr_vm_options){.size = sizeof(options.known), .flags = 2};
        check(pvr_vm_new(&vm, &options.known) == -EINVAL);
        options.known = (struct pvr_vm_options){.size = sizeof(options.known), .reserved = 1};
        check(pvr_vm_new(&vm, &options.known) == -EINVAL);
        check(pvr_version() == PVR_VERSION);
}

static void test_strings(void) {
        static const char *const names[] = {NULL,          "done",       "ungoverned",
                                            "interrupted", "superseded", "failed",
                                            "foreign",     "lost",       NULL};

        for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (names[i])
                        check(strcmp(pvr_result_to_string(i), names[i]) == 0);
                else
                        check(pvr_result_to_string(i) == NULL);
        check(pvr_result_to_string(UINT32_MAX) == NULL);
}

static void test_too_early(struct helper *helper) {
        struct pvr_outcome outcome = {.job = 77};

        check(new_vm(&helper->vm, "errors") == 0);
        check(pvr_vm_handoff(helper->vm) == -ENOTCONN);
        check(pvr_vm_disable_async(helper->vm) == -ENOTCONN);
        check(pvr_vm_next_outcome(helper->vm, &outcome, sizeof(outcome)) == 0 && outcome.job == 77);
        check(pvr_vm_next_outcome(helper->vm, &outcome, sizeof(outcome) - 1) == -EINVAL);
        check(fcntl(pvr_vm_get_fd(helper->vm), F_GETFD) & FD_CLOEXEC);
        check(pvr_vm_set_fd(helper->vm, -1, 1) == -EBADF);
        check(pvr_vm_set_fd(helper->vm, 1000, 1) == -EBADF);
        check(pvr_vm_handoff(helper->vm) == -ENOTCONN);
}

static void test_fd(struct helper *helper, int fd) {
        unsigned n_fds;

        check(pvr_vm_set_fd(helper->vm, fd, 1) == 0);
        n_fds = count_numbers("/proc/self/fd");
        check(pvr_vm_set_fd(helper->vm, fd, 2) == 0);
        check(pvr_vm_set_fd(helper->vm, -1, 3) == -EBADF); /* the first one stays */
        check(fcntl(fd, F_GETFD) != -1);
        check(count_numbers("/proc/self/fd") <=
              n_fds); /* the heir may have closed one of its own */
        check(pvr_vm_disable_async(helper->vm) == -ENOTTY);
        check(pvr_vm_handoff(helper->vm) == 0);
        check(helper_await(helper, PVR_RESULT_FAILED).error == -ENOTTY);
}

/* A keeper that does not read: set_fd() is refused before rings, which never are, have no room. */
static void test_stopped(struct helper *helper, int fd) {
        pid_t keeper = find_keeper();
        int r, n = 0;

        stop_process(keeper);
        do
                r = pvr_vm_set_fd(helper->vm, fd, 1);
        while (r == 0 && ++n < 10000);
        check(r == -EAGAIN && n > 0);
        for (int i = 0; i < 10000; i++)
                check(pvr_vm_handoff(helper->vm) == 0);
        check(pvr_vm_set_fd(helper->vm, fd, 1) == -EAGAIN);
        check(kill(keeper, SIGCONT) == 0);
        check(helper_await(helper, PVR_RESULT_FAILED).error == -ENOTTY);
        check(pvr_vm_set_fd(helper->vm, fd, 1) == 0);
}

static void test_killed(struct helper *helper, int fd) {
        struct pvr_outcome outcome;

        check(kill(find_keeper(), SIGKILL) == 0);
        await_threads(1);
        /* The heir tried, too, and says what it met. */
        outcome = helper_await(helper, PVR_RESULT_FAILED);
        check(outcome.job == 0 && outcome.error == -ENOTTY);
        check(pvr_vm_handoff(helper->vm) == -EPIPE);
        check(pvr_vm_set_fd(helper->vm, fd, 1) == -EPIPE);
        check(pvr_vm_disable_async(helper->vm) == -ENOTTY);
        check(pvr_vm_next_outcome(helper->vm, &outcome, sizeof(outcome)) == 0);
        check(fcntl(fd, F_GETFD) != -1);
        helper->vm = pvr_vm_free(helper->vm);
}

/* Whatever number of fds there is room for, pvr_vm_new() needs all of its own. */
static void test_no_fds(struct helper *helper) {
        unsigned n_fds = count_numbers("/proc/self/fd") - 1; /* opendir()'s own */
        struct rlimit limit, old;
        int fd;

        check(getrlimit(RLIMIT_NOFILE, &old) == 0);
        fd = dup(STDERR_FILENO);
        check(fd >= 0 && close(fd) == 0); /* the lowest free number */
        for (unsigned room = 0; room < 4; room++) {
                limit = (struct rlimit){.rlim_cur = (rlim_t)fd + room, .rlim_max = old.rlim_max};
                check(setrlimit(RLIMIT_NOFILE, &limit) == 0);
                check(new_vm(&helper->vm, "fds") == -EMFILE && !helper->vm);
        }
        check(setrlimit(RLIMIT_NOFILE, &old) == 0);
        check(count_numbers("/proc/self/fd") - 1 == n_fds);
}

/*
 * A user who may have no other task, or none but the heir. In a child, since there is no way back,
 * and as a user that runs nothing else, if we may become one.
 */
static void test_no_tasks(rlim_t n_tasks) {
        uid_t uid = 60000 + (uid_t)getpid() % 5000;
        struct rlimit limit = {.rlim_cur = n_tasks, .rlim_max = n_tasks};
        struct pvr_vm *vm = NULL;
        unsigned n_fds;
        pid_t child;
        int status;

        if (geteuid() != 0)
                return;
        child = fork();
        check(child >= 0);
        if (child > 0) {
                check(waitpid(child, &status, 0) == child && status == 0);
                return;
        }
        check(setgroups(0, NULL) == 0 && setgid(uid) == 0 && setuid(uid) == 0);
        check(setrlimit(RLIMIT_NPROC, &limit) == 0);
        n_fds = count_numbers("/proc/self/fd");
        check(new_vm(&vm, "tasks") == -EAGAIN && !vm);
        await_threads(1);
        check(count_numbers("/proc/self/fd") == n_fds);
        _exit(EXIT_SUCCESS);
}

/* A sandbox like QEMU's, but gentle: no new processes. The header asks to be called before it. */
static void test_sandbox(struct helper *helper) {
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                         offsetof(struct seccomp_data, args[CLONE_FLAGS_ARG]) + LOW_WORD),
                BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
        unsigned n_fds = count_numbers("/proc/self/fd");

        check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
        check(new_vm(&helper->vm, "late") == -EPERM && !helper->vm);
        await_threads(1);
        check(count_numbers("/proc/self/fd") == n_fds);
}

/* ---- pvr_release_vm_fd(), as far as it needs no closer ---- */

/* A socket that is bound and has this backlog, or is none to connect to: -1. */
static int bind_socket(const char *path, int backlog) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        check(fd >= 0 && strlen(path) < sizeof(address.sun_path));
        strcpy(address.sun_path, path);
        (void)unlink(path);
        check(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
        check(backlog < 0 || listen(fd, backlog) == 0);
        return fd;
}

/* Nobody accepts: it gives up in time. And while it waits there is no room for a second one. */
static void test_release_timeout(const char *path, int fd) {
        struct timespec begin, end;
        int listener = bind_socket(path, 0);
        pid_t child;
        int status;

        child = fork();
        check(child >= 0);
        if (child == 0) {
                clock_gettime(CLOCK_MONOTONIC, &begin);
                check(pvr_release_vm_fd(path, fd, NULL, 0) == -ETIMEDOUT);
                clock_gettime(CLOCK_MONOTONIC, &end);
                check(end.tv_sec - begin.tv_sec >= 9 && end.tv_sec - begin.tv_sec <= 12);
                _exit(EXIT_SUCCESS);
        }
        check(poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, 30000) == 1);
        check(pvr_release_vm_fd(path, fd, NULL, 0) == -EAGAIN);
        check(waitpid(child, &status, 0) == child && status == 0);
        close(listener);
}

static void test_release(int fd) {
        char directory[] = "/tmp/pvr-api-XXXXXX", path[64], name[300];
        unsigned n_fds = count_numbers("/proc/self/fd");
        int bound;

        check(mkdtemp(directory));
        (void)snprintf(path, sizeof(path), "%s/sock", directory);
        memset(name, 'x', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        check(pvr_release_vm_fd(path, -1, NULL, 0) == -EBADF);
        check(pvr_release_vm_fd(path, 1000, NULL, 0) == -EBADF);
        check(pvr_release_vm_fd(name, fd, name, UINT64_MAX) == -ENAMETOOLONG);
        check(pvr_release_vm_fd(path, fd, name, UINT64_MAX) == -ENOENT);
        bound = bind_socket(path, -1);
        check(pvr_release_vm_fd(path, fd, NULL, 0) == -ECONNREFUSED);
        close(bound);
        test_release_timeout(path, fd);
        check(fcntl(fd, F_GETFD) != -1);
        check(count_numbers("/proc/self/fd") == n_fds);
        (void)unlink(path);
        (void)rmdir(directory);
}

int main(void) {
        struct helper helper = {};
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        check(fd >= 0);
        test_new();
        test_options();
        test_strings();
        test_too_early(&helper);
        test_fd(&helper, fd);
        test_stopped(&helper, fd);
        test_killed(&helper, fd);
        test_release(fd);
        test_no_fds(&helper);
        test_no_tasks(1);
        test_no_tasks(2);
        test_sandbox(&helper);
        _exit(EXIT_SUCCESS); /* a sanitizer's exit handler would want to make a process */
}
