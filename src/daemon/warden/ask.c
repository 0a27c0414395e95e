/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The side that asks: one question, one answer, and no other in between. Nothing here is
 * privileged. Without an answer nothing can be done right any more, so that is the end of the
 * program, if its owner (on_dead) says so: the next daemon has a warden that answers.
 */

#include <poll.h>
#include <string.h>

#include "daemon/warden/question.h"

#define ANSWER_MSEC 5000 /* the watchdog's limit is 10 s */

static int link_fd = -1, child_link_fd = -1;
static void (*tell_dead)(void);

void warden_connect(int fd, int child_fd) {
        link_fd = fd;
        child_link_fd = child_fd;
}

void warden_on_dead(void (*on_dead)(void)) {
        tell_dead = on_dead;
}

void warden_disconnect(void) {
        close_fd(&link_fd);
        close_fd(&child_link_fd);
}

int warden_get_fd(void) {
        return link_fd;
}

int warden_use_in_child(int fd) {
        if (child_link_fd < 0)
                return -ENOTCONN;
        if (dup2(child_link_fd, fd) < 0)
                return negative_errno();
        link_fd = fd;
        child_link_fd = -1;
        tell_dead = NULL;
        return 0;
}

/* ---- a question ---- */

static int receive(struct answer *ret) {
        struct pollfd p = {.fd = link_fd, .events = POLLIN};
        ssize_t n;
        int r;

        do
                r = poll(&p, 1, ANSWER_MSEC);
        while (r < 0 && errno == EINTR);
        if (r <= 0)
                return r < 0 ? negative_errno() : -ETIMEDOUT;
        n = read(link_fd, ret, sizeof(*ret));
        if (n < 0)
                return negative_errno();
        return (size_t)n == offsetof(struct answer, program) + ret->size ? 0 : -EPIPE;
}

int warden_await_start(void) {
        struct answer answer = {};
        int r;

        r = receive(&answer);
        return r < 0 ? r : answer.result;
}

static int ask(const struct question *question, struct answer *ret) {
        int r = 0;

        ret->size = 0;
        if (link_fd < 0)
                return -ENOTCONN;
        if (write(link_fd, question, sizeof(*question)) < 0)
                r = negative_errno();
        if (r >= 0)
                r = receive(ret);
        if (r >= 0)
                return ret->result;
        if (tell_dead)
                tell_dead();
        return -EPIPE;
}

static int ask_simply(const struct question *question) {
        struct answer answer;

        return ask(question, &answer);
}

/* ---- those that there are ---- */

int warden_compare_mm(pid_t pid, const pid_t *others, unsigned n, uint64_t *ret) {
        struct question q = {.type = QUESTION_COMPARE, .pid = pid, .others.n = n};
        struct answer answer;
        int r;

        if (n > WARDEN_COMPARE_MAX)
                return -E2BIG;
        for (unsigned i = 0; i < n; i++)
                q.others.pids[i] = others[i];
        r = ask(&q, &answer);
        if (r >= 0)
                *ret = answer.same;
        return r;
}

int warden_same_mm(pid_t a, pid_t b) {
        uint64_t same;
        int r;

        r = warden_compare_mm(a, &b, 1, &same);
        return r < 0 ? r : (int)same;
}

int warden_program(pid_t pid, char **ret) {
        struct question q = {.type = QUESTION_PROGRAM, .pid = pid};
        struct answer answer;
        int r;

        r = ask(&q, &answer);
        if (r < 0)
                return r;
        *ret = strndup(answer.program, answer.size);
        return *ret ? 0 : -ENOMEM;
}

int warden_admit(pid_t pid, pid_t other) {
        return ask_simply(&(struct question){.type = QUESTION_ADMIT, .pid = pid, .other = other});
}

int warden_admit_found(pid_t pid, uint64_t starttime) {
        return ask_simply(&(struct question){
                .type = QUESTION_ADMIT_FOUND, .pid = pid, .starttime = starttime});
}

int warden_admit_closer(pid_t pid, const char *name) {
        struct question q = {.type = QUESTION_ADMIT_CLOSER, .pid = pid};

        if (strlen(name) >= sizeof(q.closer))
                return -ENAMETOOLONG;
        memcpy(q.closer, name, strlen(name) + 1);
        return ask_simply(&q);
}

int warden_move(pid_t pid, uint64_t starttime) {
        return ask_simply(
                &(struct question){.type = QUESTION_MOVE, .pid = pid, .starttime = starttime});
}

int warden_set_fair(pid_t pid, int policy) {
        return ask_simply(
                &(struct question){.type = QUESTION_SET_FAIR, .pid = pid, .policy = policy});
}

int warden_set_deadline(pid_t pid, uint64_t runtime_nsec, uint64_t period_nsec) {
        return ask_simply(&(struct question){.type = QUESTION_SET_DEADLINE,
                                             .pid = pid,
                                             .deadline = {runtime_nsec, period_nsec}});
}

int warden_set_cpus(pid_t pid, const struct warden_cpus *cpus) {
        return ask_simply(&(struct question){.type = QUESTION_SET_CPUS, .pid = pid, .cpus = *cpus});
}

int warden_move_probe(pid_t pid) {
        return ask_simply(&(struct question){.type = QUESTION_MOVE_PROBE, .pid = pid});
}

int warden_hurry_probe(pid_t pid) {
        return ask_simply(&(struct question){.type = QUESTION_HURRY_PROBE, .pid = pid});
}
