/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Helpers for the cases: making a VM and giving it commands, reading the log, clocks, keepers and
 * forked children. Whoever makes an fd closes it; a keeper's socket belongs to struct keeper until
 * keeper_wait(). A helper that cannot do its part fails the case.
 */

#include "harness.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define WORDS_MAX  6
#define MEMORY_MAX (16 * GIB)
#define STACK_SIZE (256 << 10)

void test_failed(const char *file, int line, const char *condition) {
        dprintf(STDERR_FILENO, "# %s:%d: not so: %s\n", file, line, condition);
        _exit(EXIT_FAILURE);
}

void test_differs(const char *file, int line, const char *what, long long value,
                  long long expected) {
        dprintf(STDERR_FILENO, "# %s:%d: %s is %lld, not %lld\n", file, line, what, value,
                expected);
        _exit(EXIT_FAILURE);
}

void test_skip(const char *reason) {
        dprintf(STDERR_FILENO, "# skipped: %s\n", reason);
        _exit(EXIT_SKIPPED);
}

bool test_is_standin(void) {
        return getenv("PVSIM_STANDIN") != NULL;
}

static void set_region(int vm_fd, uint64_t bytes) {
        static void *memory;
        struct kvm_userspace_memory_region region = {.memory_size = bytes};

        if (!memory)
                memory = mmap(NULL, MEMORY_MAX, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHECK(memory != MAP_FAILED && bytes <= MEMORY_MAX);
        region.userspace_addr = (uintptr_t)memory;
        CHECK_EQ(ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region), 0);
}

void vm_set_memory(int vm_fd, uint64_t bytes) {
        set_region(vm_fd, 0); /* KVM cannot resize */
        set_region(vm_fd, bytes);
}

int vm_make(uint64_t bytes) {
        int dev = open("/dev/kvm", O_RDWR | O_CLOEXEC), fd;

        CHECK(dev >= 0);
        fd = ioctl(dev, KVM_CREATE_VM, 0);
        CHECK(fd >= 0);
        close(dev);
        if (bytes > 0)
                set_region(fd, bytes);
        return fd;
}

int pv_full(int vm_fd, struct pv_cmd *cmd) {
        return ioctl(vm_fd, PV_COMMAND, cmd) < 0 ? -errno : 0;
}

int pv(int vm_fd, uint32_t command) {
        struct pv_cmd cmd = {.cmd = command};

        return pv_full(vm_fd, &cmd);
}

void set_aside(int vm_fd) {
        CHECK_EQ(pv(vm_fd, PV_ENABLE), 0);
        CHECK_EQ(pv(vm_fd, PV_ASYNC_CLEANUP_PREPARE), 0);
}

/* " a b c\n" has " b" before a blank or the end */
static bool has_word(const char *line, const char *word) {
        size_t n = strlen(word);

        for (const char *p = line; (p = strstr(p, word)); p++)
                if ((p == line || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\n'))
                        return true;
        return false;
}

static int count_lines(const char *const words[static WORDS_MAX]) {
        FILE *f = fopen(getenv("PVSIM_LOG"), "re");
        char line[512];
        int count = 0;

        while (f && fgets(line, sizeof(line), f)) {
                bool all = true;

                for (size_t i = 0; i < WORDS_MAX && words[i]; i++)
                        all = all && has_word(line, words[i]);
                count += all;
        }
        if (f)
                fclose(f);
        return count;
}

int log_count(const char *word, ...) {
        const char *words[WORDS_MAX] = {word};
        va_list ap;

        va_start(ap, word);
        for (size_t i = 1; i < WORDS_MAX && words[i - 1]; i++)
                words[i] = va_arg(ap, const char *);
        va_end(ap);
        return count_lines(words);
}

void log_wait(const char *word, const char *second) {
        while (LOG_COUNT(word, second) == 0)
                sleep_ms(2);
}

uint64_t wall_ms(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t cpu_us(void) {
        struct timespec ts;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
        return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void sleep_ms(unsigned ms) {
        struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

        while (nanosleep(&ts, &ts) < 0)
                ;
}

static int receive_fd(int sock) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control;
        char byte;
        struct iovec iov = {.iov_base = &byte, .iov_len = 1};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
        int fd;

        if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) <= 0 || !CMSG_FIRSTHDR(&msg))
                return -1;
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
        return fd;
}

static int keeper_main(void *userdata) {
        struct keeper *keeper = userdata;
        int sock = dup2(keeper->their_sock, STDERR_FILENO + 1);

        close_range((unsigned)sock + 1, ~0U, 0);
        syscall(SYS_exit_group, keeper->run(receive_fd(sock), sock)); /* no hook of a sanitizer */
        return 0;
}

void keeper_start(struct keeper *keeper, int (*run)(int vm_fd, int sock)) {
        int pair[2];
        char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

        CHECK(stack != MAP_FAILED);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        keeper->sock = pair[0];
        keeper->their_sock = pair[1];
        keeper->run = run;
        keeper->pid = clone(keeper_main, stack + STACK_SIZE, CLONE_VM | SIGCHLD, keeper);
        CHECK(keeper->pid > 0);
        close(pair[1]); /* ours: fd tables are not shared */
}

void keeper_send(struct keeper *keeper, int fd) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov = {.iov_base = keeper, .iov_len = 1};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};

        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        CHECK_EQ(sendmsg(keeper->sock, &msg, MSG_NOSIGNAL), 1);
}

int keeper_wait(struct keeper *keeper) {
        int status;

        CHECK_EQ(waitpid(keeper->pid, &status, 0), keeper->pid);
        close(keeper->sock);
        return status;
}

int in_fork(int (*run)(int fd), int fd) {
        pid_t pid = fork();
        int status;

        CHECK(pid >= 0);
        if (pid == 0)
                _exit(run(fd));
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        return status;
}

void capture_stderr(char *text, size_t size, const char *name) {
        int pair[2], status;
        ssize_t n;
        pid_t pid;

        CHECK_EQ(pipe2(pair, O_CLOEXEC), 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                dup2(pair[1], STDERR_FILENO);
                execl("/proc/self/exe", "test-sim", "--case", name, (char *)NULL);
                _exit(1);
        }
        close(pair[1]);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
        n = read(pair[0], text, size - 1);
        close(pair[0]);
        text[n > 0 ? n : 0] = '\0';
}
