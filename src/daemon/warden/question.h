/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between the files of this room: one packet each way, in memory order. */

#include <limits.h>

#include "daemon/warden/warden.h"

enum question_type {
        QUESTION_COMPARE,
        QUESTION_PROGRAM,
        QUESTION_ADMIT,
        QUESTION_ADMIT_FOUND,
        QUESTION_ADMIT_CLOSER,
        QUESTION_MOVE,
        QUESTION_SET_FAIR,
        QUESTION_SET_DEADLINE,
        QUESTION_SET_CPUS,
        QUESTION_MOVE_PROBE,
        QUESTION_HURRY_PROBE,
        _QUESTION_MAX,
};

struct question {
        uint32_t type; /* enum question_type */
        int32_t pid;
        union {
                struct {
                        uint32_t n;
                        int32_t pids[WARDEN_COMPARE_MAX];
                } others;
                int32_t other;
                uint64_t starttime;
                char closer[NAME_MAX + 1];
                int32_t policy;
                struct {
                        uint64_t runtime, period; /* ns */
                } deadline;
                struct warden_cpus cpus;
        };
};

/* A packet ends with the last field that its question asks for. */
struct answer {
        int32_t result; /* of the functions in warden.h */
        uint32_t size;  /* of program; 0: none */
        uint64_t same;  /* QUESTION_COMPARE */
        char program[PATH_MAX];
};

/* ---- the client, ask.c ---- */

/* Its connections, and those of its children; they become the client's. */
void warden_connect(int fd, int child_fd);
void warden_disconnect(void);

/* Waits for the packet that says how the warden's start went. */
int warden_await_start(void);

/* ---- the warden, answer.c ---- */

/* The fds that it has; a packet goes by the first two. */
enum {
        WARDEN_LINK = 3,
        WARDEN_CHILD_LINK,
        WARDEN_PROC, /* O_PATH */
        WARDEN_EPOLL,
        WARDEN_N_FDS,
};

/* Before the first answer. jobs as in struct warden_config; NULL: there are no cgroups. */
int answer_prepare(const char *jobs);

void answer_question(struct answer *ret, const struct question *q);

/* It has exited. */
void answer_forget(pid_t pid);

/* ---- the warden, warden.c ---- */

/* What a warden does before it answers. link, child_link: its ends of the connections. */
int warden_confine(const struct warden_config *config, int link, int child_link);

/* All that a warden needs once it answers. */
extern const struct sandbox_list warden_calls;
