/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who is a helper. Its name is a claim, and so is its parent's; what counts is that the kernel says
 * the two share their memory. The program that the parent runs is named by a path, as that process
 * sees it: a user who may make mount namespaces can have any program under that name, so the list
 * keeps out what was never meant, not who means ill (pv-reaper(8) says what that is worth).
 *
 * Everything is asked by number, between the opening of two pidfds and a look whether both
 * processes still live: then each number was its owner's all the time, and the answers are about
 * them. Without QEMU there is nothing to compare with, so a helper whose QEMU is gone is too late.
 */

#include "daemon/adopt/adopt.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/runtime/process.h"

static const char *const answers[_ADOPT_ANSWER_MAX] = {
        [ADOPT_DONE] = "Adopted",
        [ADOPT_GONE] = "NoSuchProcess",
        [ADOPT_NO_HELPER] = "NotAHelper",
        [ADOPT_VMM_GONE] = "QEMUGone",
        [ADOPT_NO_CHILD] = "NotItsParent",
        [ADOPT_OTHER_MEMORY] = "OtherMemory",
        [ADOPT_EMULATOR] = "EmulatorNotListed",
        [ADOPT_KEEPER] = "HasKeeper",
        [ADOPT_ADOPTED] = "AlreadyAdopted",
        [ADOPT_TOO_MANY] = "TooMany",
        [ADOPT_DRAINING] = "Draining",
};

const char *adopt_answer_to_string(enum adopt_answer answer) {
        return answers[answer];
}

int adopt_say(char text[static ADOPT_TEXT_MAX], enum adopt_answer answer, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(text, ADOPT_TEXT_MAX, format, ap);
        va_end(ap);
        make_printable(text); /* it has names and paths that others chose */
        return (int)answer;
}

/* -ESRCH is one of the answers. */
static int gone(int error, pid_t pid, char *text) {
        return error == -ESRCH ? adopt_say(text, ADOPT_GONE, "there is no process %d", (int)pid)
                               : error;
}

/* By the name, and who its parent is. */
static int check_helper(struct helper *h, char *text) {
        char name[PROCESS_NAME_SIZE];
        struct task_stat stat;
        int r;

        r = process_name(h->pid, name);
        if (r < 0)
                return gone(r, h->pid, text);
        h->vmm_pid = adopt_vmm_of_name(name);
        if (h->vmm_pid == 0)
                return adopt_say(
                        text, ADOPT_NO_HELPER,
                        "process %d is called \"%s\", not cleanup/PID as a QEMU's helper is",
                        (int)h->pid, name);
        h->vmm_pidfd = process_open(h->vmm_pid);
        if (h->vmm_pidfd < 0 && h->vmm_pidfd != -ESRCH)
                return h->vmm_pidfd;
        if (h->vmm_pidfd < 0 || process_alive(h->vmm_pidfd) == 0)
                return adopt_say(text, ADOPT_VMM_GONE,
                                 "process %d is called %s, but there is no process %d", (int)h->pid,
                                 name, (int)h->vmm_pid);
        r = process_read_stat(h->pid, &stat);
        if (r < 0)
                return gone(r, h->pid, text);
        if (stat.ppid != h->vmm_pid)
                return adopt_say(text, ADOPT_NO_CHILD,
                                 "process %d is called %s, but its parent is %d", (int)h->pid, name,
                                 (int)stat.ppid);
        h->starttime = stat.starttime;
        return ADOPT_DONE;
}

static int check_vmm(struct workers *ws, const char *emulators, const struct helper *h,
                     char *text) {
        _cleanup_(freep) char *program = NULL;
        const struct worker *keeper;
        int r;

        keeper = worker_find_keeper(ws, h->vmm_pid);
        if (keeper)
                return adopt_say(text, ADOPT_KEEPER,
                                 "process %d has a keeper, %d, which replaces its helper %d",
                                 (int)h->vmm_pid, (int)keeper->pid, (int)h->pid);
        r = process_program(h->vmm_pid, &program);
        if (r < 0)
                return gone(r, h->vmm_pid, text);
        if (!adopt_is_listed(emulators, program))
                return adopt_say(
                        text, ADOPT_EMULATOR,
                        "the parent %d of process %d runs %.128s, which is not in emulators=",
                        (int)h->vmm_pid, (int)h->pid, program);
        r = process_same_mm(h->pid, h->vmm_pid);
        if (r < 0)
                return gone(r, h->vmm_pid, text);
        if (r == 0)
                return adopt_say(text, ADOPT_OTHER_MEMORY,
                                 "process %d does not share the memory of its parent %d",
                                 (int)h->pid, (int)h->vmm_pid);
        return ADOPT_DONE;
}

static int both_alive(const struct helper *h, char *text) {
        int r;

        r = process_alive(h->vmm_pidfd);
        if (r <= 0)
                return gone(r < 0 ? r : -ESRCH, h->vmm_pid, text);
        r = process_alive(h->pidfd);
        if (r <= 0)
                return gone(r < 0 ? r : -ESRCH, h->pid, text);
        return ADOPT_DONE;
}

static void helper_deinit(struct helper *h) {
        close_fd(&h->pidfd);
        close_fd(&h->vmm_pidfd);
}

int adopt_check(struct workers *ws, const char *emulators, pid_t pid, struct helper *ret,
                char text[static ADOPT_TEXT_MAX]) {
        _cleanup_(helper_deinit) struct helper h = {.pid = pid, .pidfd = -1, .vmm_pidfd = -1};
        int r, alive;

        h.pidfd = process_open(pid);
        if (h.pidfd < 0)
                return gone(h.pidfd, pid, text);
        r = check_helper(&h, text);
        if (r != ADOPT_DONE)
                return r;
        if (worker_find(ws, pid, h.starttime))
                return adopt_say(text, ADOPT_ADOPTED, "process %d is adopted already", (int)pid);
        r = check_vmm(ws, emulators, &h, text);
        if (r < 0)
                return r;
        /* Whatever was found: was it about these two? */
        alive = both_alive(&h, text);
        if (r != ADOPT_DONE || alive != ADOPT_DONE)
                return alive != ADOPT_DONE ? alive : r;
        *ret = h;
        h.pidfd = h.vmm_pidfd = -1;
        return ADOPT_DONE;
}
