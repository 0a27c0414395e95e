/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A VMM that forks. In a child every call is refused with -ECHILD, and pvr_vm_free() there touches
 * nothing of the parent's. The second child lives on with copies of everything the VMM had open
 * until its stdin ends. Says "ready child=PID" once it may be killed.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper.h"

_Noreturn static void play_refused_child(struct helper *helper) {
        struct pvr_outcome outcome = {.job = 77};

        check(pvr_vm_handoff(helper->vm) == -ECHILD);
        check(pvr_vm_disable_async(helper->vm) == -ECHILD);
        check(pvr_vm_set_fd(helper->vm, helper->guest.vm_fd, 1) == -ECHILD);
        check(pvr_vm_get_fd(helper->vm) == -ECHILD);
        check(pvr_vm_next_outcome(helper->vm, &outcome, sizeof(outcome)) == -ECHILD);
        check(outcome.job == 77);
        check(pvr_vm_free(helper->vm) == NULL);
        _exit(EXIT_SUCCESS);
}

_Noreturn static void play_long_lived_child(void) {
        char c;

        while (read(STDIN_FILENO, &c, 1) > 0)
                ;
        _exit(EXIT_SUCCESS);
}

int main(void) {
        struct helper helper = {};
        pid_t child;
        int status;

        helper_start(&helper, "forker");
        child = fork();
        if (child == 0)
                play_refused_child(&helper);
        check(child > 0 && waitpid(child, &status, 0) == child && status == 0);
        check(find_keeper() > 0);
        helper_reboot(&helper);
        helper_await(&helper, PVR_RESULT_DONE);

        child = fork();
        if (child == 0)
                play_long_lived_child();
        check(child > 0);
        printf("ready child=%d keeper=%d\n", child, find_keeper());
        fflush(stdout);
        for (;;)
                pause();
}
