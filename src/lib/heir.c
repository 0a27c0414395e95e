/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The heir: the thread of the VMM that clones the keeper and inherits its duty.
 *
 * The keeper uses the TLS of the thread it was cloned from, so that thread must not run while the
 * keeper lives: it waits for the keeper's end inside one system call, with all signals blocked (but
 * glibc's own two, which setuid(2) needs). Plain CLONE_VM with exit signal 0: CLONE_VFORK would
 * leave a thread in D state, which hangs debuggers and adds one to the load average per guest, and
 * with signal 0 the VMM's own waitpid(-1) never sees the keeper.
 *
 * If the keeper ends before the VMM, whatever it had accepted may still be set aside: the heir
 * issues one PERFORM, and -EINVAL says there was nothing (model: heir_perform). A keeper that died
 * inside PERFORM took the set-aside VM with it: that outcome is "lost", and the kernel keeps the
 * rest for the VM's end.
 */

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/util.h"
#include "lib/teardown.h"
#include "lib/vm.h"

#ifndef __WALL
#define __WALL 0x40000000
#endif

void perform_here(struct pvr_vm *vm) {
        struct pvr_outcome outcome = {};

        if (vm->vm_fd < 0)
                return;
        teardown_perform(vm->vm_fd, false, &outcome);
        /* Nothing was left, so nothing happened: not worth a word. */
        if (outcome.result != PVR_RESULT_SUPERSEDED)
                teardown_report(vm->outcomes_sink, &vm->keeper->dropped, &outcome);
}

static void report_lost(struct pvr_vm *vm) {
        struct pvr_outcome outcome = {
                .job = vm->keeper->performing,
                .kind = PVR_KIND_REBOOT,
                .result = PVR_RESULT_LOST,
        };

        if (outcome.job != 0)
                teardown_report(vm->outcomes_sink, &vm->keeper->dropped, &outcome);
}

/* Nothing but system calls from the clone to the keeper's end: the keeper runs on our TLS. */
static bool clone_and_wait(struct pvr_vm *vm) {
        char *stack_top = (char *)vm->keeper - KEEPER_STACK_RESERVE;
        pid_t pid;
        long r;

        pid = clone(keeper_main, stack_top, CLONE_VM, vm->keeper);
        if (pid < 0)
                vm->clone_error = negative_errno();
        /* From here on the doorbell's EOF tells pvr_vm_new() that there is no keeper. */
        (void)syscall(SYS_close, vm->keeper_bell);
        vm->keeper_bell = -1;
        if (pid < 0)
                return false;
        do
                r = syscall(SYS_waitid, P_PID, pid, NULL, WEXITED | __WALL, NULL);
        while (r < 0 && errno != ECHILD); /* the keeper writes to our errno, too */
        return true;
}

static void *heir_main(void *userdata) {
        struct pvr_vm *vm = userdata;

        if (clone_and_wait(vm)) {
                vm->keeper_gone = true;
                report_lost(vm);
                perform_here(vm);
        }
        vm_unref(vm);
        return NULL;
}

int start_thread(void *(*function)(void *), void *userdata) {
        pthread_attr_t attr;
        pthread_t thread;
        sigset_t all, old;
        int r;

        r = pthread_attr_init(&attr);
        if (r != 0)
                return -r;
        (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&thread, &attr, function, userdata);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
        (void)pthread_attr_destroy(&attr);
        return -r;
}

int heir_start(struct pvr_vm *vm) {
        int r;

        r = start_thread(heir_main, vm_ref(vm));
        if (r < 0)
                vm_unref(vm);
        return r;
}
