/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The tests of libpvsim. Each case is a process of its own, with libpvsim.so preloaded and its own
 * environment, run by driver.c, which prints TAP. A case passes by returning with as
 * many fds open as at its begin. A failed CHECK ends it; so does a minute.
 */

#include "sim.h"
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

#define GIB UINT64_C(0x40000000)
#define MIB UINT64_C(0x100000)

#define EXIT_SKIPPED 77

struct test_case {
        const char *name;
        void (*run)(void);
        const char *environment[4]; /* "PVSIM_...=..." */
};

/* Ends with an empty row. */
extern const struct test_case state_cases[], process_cases[], tool_cases[], host_cases[];

#define CHECK(condition)                                                                           \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        test_failed(__FILE__, __LINE__, #condition);                               \
        } while (0)

#define CHECK_EQ(value, expected)                                                                  \
        do {                                                                                       \
                long long v_ = (value), e_ = (expected);                                           \
                if (v_ != e_)                                                                      \
                        test_differs(__FILE__, __LINE__, #value, v_, e_);                          \
        } while (0)

_Noreturn void test_failed(const char *file, int line, const char *condition);
_Noreturn void test_differs(const char *file, int line, const char *what, long long value,
                            long long expected);
_Noreturn void test_skip(const char *reason);

bool test_is_standin(void); /* PVSIM_STANDIN=1: not the real KVM */

/* A new VM with so much memory at guest address 0 (none is used); the caller closes the fd. */
int vm_make(uint64_t bytes);
void vm_set_memory(int vm_fd, uint64_t bytes); /* of slot 0 */

/* The command with all else 0: 0 or negative errno. */
int pv(int vm_fd, uint32_t command);
int pv_full(int vm_fd, struct pv_cmd *cmd);

/* ENABLE and PREPARE, which must succeed. */
void set_aside(int vm_fd);

/* Lines of PVSIM_LOG that have all these words ("cmd=PERFORM"), at most 6, then NULL. */
int log_count(const char *word, ...) __attribute__((sentinel));
#define LOG_COUNT(...) log_count(__VA_ARGS__, (char *)NULL)
void log_wait(const char *word, const char *second); /* until there is such a line */

uint64_t wall_ms(void);
uint64_t cpu_us(void); /* of this thread, user and system */
void sleep_ms(unsigned ms);

/*
 * A process that shares our memory but not our fds, as libpvreaper's keeper: it closes everything
 * but its end of a socket, and runs run() with the fd it gets there. It shares the TLS of the
 * thread that makes it, which should do little but wait.
 */
struct keeper {
        pid_t pid;
        int sock;
        int (*run)(int vm_fd, int sock);
        int their_sock;
};

void keeper_start(struct keeper *keeper, int (*run)(int vm_fd, int sock));
void keeper_send(struct keeper *keeper, int fd);
int keeper_wait(struct keeper *keeper); /* wait status; closes the socket */

/* fork() and run(); wait status */
int in_fork(int (*run)(int fd), int fd);

/* Runs the case of that name in a process of its own; what it wrote to stderr, cut to size. */
void capture_stderr(char *text, size_t size, const char *name);
