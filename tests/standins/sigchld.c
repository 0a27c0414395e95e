/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * sigchld ignore|handle: a VMM with children of its own, which ignores SIGCHLD or counts it. Its
 * waitpid(-1) must never see, wait for or reap the keeper, no SIGCHLD may come from it, and its
 * heir must learn of its death all the same.
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper.h"

static volatile sig_atomic_t n_signals;

static void on_sigchld(int number) {
        n_signals = n_signals + 1;
}

/* Nor does it block, as it would if there were a child that lives. */
static void no_child(void) {
        check(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
        check(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
}

static void run_child(bool ignored) {
        pid_t child = fork();
        int status;

        check(child >= 0);
        if (child == 0)
                _exit(7);
        if (ignored)
                no_child(); /* waits until the child is gone */
        else
                check(waitpid(-1, &status, 0) == child && WEXITSTATUS(status) == 7);
        no_child();
}

int main(int argc, char **argv) {
        bool ignored = argc == 2 && strcmp(argv[1], "ignore") == 0;
        struct helper helper = {};
        struct pvr_outcome outcome;
        uint64_t told;

        check(signal(SIGCHLD, ignored ? SIG_IGN : on_sigchld) != SIG_ERR);
        helper_start(&helper, "sigchld");
        no_child();
        run_child(ignored);
        helper_reboot(&helper);
        told = helper_await(&helper, PVR_RESULT_UNGOVERNED).job;
        no_child();
        check(find_keeper() > 0);
        check(n_signals == (ignored ? 0 : 1));

        check(kill(find_keeper(), SIGKILL) == 0);
        await_threads(1); /* the heir has reaped it and is done */
        check(find_keeper() == 0);
        no_child();
        check(pvr_vm_handoff(helper.vm) == -EPIPE);
        helper_reboot(&helper);
        do /* a keeper that dies here may be followed by a heir that tells its last outcome, too */
                outcome = helper_await(&helper, PVR_RESULT_UNGOVERNED);
        while (outcome.job == told);
        check(outcome.job == 0);
        run_child(ignored);
        check(n_signals == (ignored ? 0 : 2));
        pvr_vm_free(helper.vm);
        return EXIT_SUCCESS;
}
