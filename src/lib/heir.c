/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The heir: the thread of the VMM that clones the keeper and inherits its duty.
 *
 * The keeper uses the TLS of the thread that it was cloned from, so that thread must not run while
 * the keeper lives. The heir waits for the keeper's end in system calls alone. All its signals are
 * blocked but glibc's own two, which setuid(2) needs.
 *
 * The clone is plain CLONE_VM with exit signal 0. CLONE_VFORK would leave a thread in D state: that
 * hangs debuggers and adds one to the load average per guest. With signal 0 the VMM's own
 * waitpid(-1) never sees the keeper.
 *
 * If the keeper ends before the VMM, a hand-off that it had accepted may still be set aside. So the
 * heir issues one PERFORM, and -EINVAL says that there was nothing (model: heir_perform). A keeper
 * that died inside PERFORM took the set-aside VM with it: that outcome is "lost", and the kernel
 * keeps the rest for the VM's end. A keeper that died behind PERFORM, before it had told the VMM,
 * left the outcome: the heir tells it. It is told twice, under one number, if the keeper died
 * between telling it and noting that.
 */

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/util.h"
#include "lib/raw.h"
#include "lib/teardown.h"
#include "lib/vm.h"

#ifndef __WALL
#define __WALL 0x40000000
#endif

#define HEIR_STACK_SIZE (64UL * 1024)

#define GUARD_LOOK_NSEC 100000L
#define GUARD_LOOKS     10000 /* a second in all */

void perform_here(struct pvr_vm *vm) {
        struct wire_outcome wire = {.ungoverned = 1};
        struct pvr_outcome outcome = {};

        if (vm->vm_fd < 0)
                return;
        vm->keeper->rings_taken = vm->keeper->rings;
        teardown_perform(vm->vm_fd, &wire, &outcome);
        /* Nothing was left, so nothing happened: not worth a word. */
        if (outcome.result != PVR_RESULT_SUPERSEDED)
                teardown_report(vm->outcomes_sink, &vm->keeper->dropped, &outcome);
}

/* Of a job that the keeper had begun: how it ended, or that nobody knows. */
static void report_last(struct pvr_vm *vm) {
        struct keeper *k = vm->keeper;
        struct pvr_outcome outcome = {
                .job = k->performing,
                .kind = PVR_KIND_REBOOT,
                .result = PVR_RESULT_LOST,
        };

        if (k->unreported)
                outcome = k->ended;
        if (outcome.job != 0)
                teardown_report(vm->outcomes_sink, &k->dropped, &outcome);
}

/*
 * glibc lets every thread of the VMM call setuid(2) and its like, by a signal. If the VMM is not
 * who it was the keeper leaves: the end of the doorbell tells it.
 */
static void look_who_it_is(const struct pvr_vm *vm) {
        if (identity_has_same_ids(&vm->keeper->identity))
                return;
        vm->keeper->differs = true;
        if (vm_has_its_fds(vm))
                (void)raw_syscall(SYS_shutdown, vm->bell, SHUT_RDWR);
}

/*
 * Until the kernel clears the keeper's tid. The wait has a timeout, or it would be begun anew
 * behind a signal handler, as waitid(2) is; and because before Linux 5.16 a keeper that dumps core
 * leaves its tid as it was.
 */
static void await_end(const struct pvr_vm *vm, pid_t keeper) {
        siginfo_t dead = {};
        long r = 0;

        while (r >= 0 && vm->keeper->tid == keeper) {
                const struct timespec look = {.tv_sec = vm->heir_look_sec};

                r = raw_syscall(SYS_futex, &vm->keeper->tid, FUTEX_WAIT, keeper, &look);
                if (r == -EINTR)
                        look_who_it_is(vm);
                if (r == -ETIMEDOUT)
                        r = raw_syscall(SYS_waitid, P_PID, keeper, &dead,
                                        WEXITED | WNOHANG | WNOWAIT | __WALL, NULL);
                if (dead.si_pid == keeper)
                        break;
                if (r == -EINTR || r == -EAGAIN)
                        r = 0;
        }
}

/*
 * A sandbox of the VMM's lets us wait neither by futex(2) nor by waitid(2), which pvreaper(3) asks
 * for. We cannot hear of the keeper's end any more, and must not run while it lives: so this thread
 * ends here, without libc, which would free the TLS that the keeper uses.
 */
static void outlast(void) {
        for (;;)
                (void)raw_syscall(SYS_exit, 0);
}

/*
 * It gets SIGKILL as the keeper ends, and its stack is in the mapping, which may be freed soon. If
 * somebody holds it up (a debugger, a freezer) the mapping is never freed.
 */
static void await_guard(struct pvr_vm *vm) {
        const struct timespec moment = {.tv_nsec = GUARD_LOOK_NSEC};

        for (unsigned i = 0; i < GUARD_LOOKS && vm->keeper->guard_tid != 0; i++)
                (void)raw_syscall(SYS_nanosleep, &moment, NULL);
        if (vm->keeper->guard_tid != 0)
                (void)vm_ref(vm);
}

/* Nothing but system calls from the clone to the keeper's end: the keeper runs on our TLS. */
static bool clone_and_wait(struct pvr_vm *vm) {
        char *stack_top = (char *)vm->keeper - KEEPER_STACK_RESERVE;
        pid_t pid;
        long r;

        pid = clone(keeper_main, stack_top,
                    CLONE_VM | CLONE_FS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID, vm->keeper,
                    &vm->keeper->tid, NULL, &vm->keeper->tid);
        if (pid < 0)
                vm->clone_error = negative_errno();
        /* From here on the doorbell's EOF tells pvr_vm_new() that there is no keeper. */
        (void)syscall(SYS_close, vm->keeper_bell);
        vm->keeper_bell = -1;
        if (pid < 0)
                return false;
        await_end(vm, pid);
        do
                r = raw_syscall(SYS_waitid, P_PID, pid, NULL, WEXITED | __WALL, NULL);
        while (r == -EINTR);
        if (r < 0 && vm->keeper->tid == pid)
                outlast();
        await_guard(vm);
        return true;
}

static void *heir_main(void *userdata) {
        struct pvr_vm *vm = userdata;
        bool had_one = clone_and_wait(vm);

        vm->keeper_gone = true;
        if (had_one && vm_has_its_fds(vm)) {
                /* Or a fork of the VMM, with a copy of the keeper's end, would let rings go on. */
                (void)shutdown(vm->bell, SHUT_RDWR);
                report_last(vm);
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
        (void)pthread_attr_setstacksize(&attr, HEIR_STACK_SIZE);
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&thread, &attr, function, userdata);
        if (r == EINVAL) { /* glibc puts the TLS of all libraries there, which may be large */
                (void)pthread_attr_setstacksize(&attr, HEIR_STACK_SIZE * 16);
                r = pthread_create(&thread, &attr, function, userdata);
        }
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
