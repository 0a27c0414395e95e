/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who may use a VM, and which VM an fd means: processes that share the VM's address space and
 * others, several VMs and several fds of one, and what is left when a task dies in the middle.
 * Each case forks its own processes and ends them.
 */

#include "harness.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define NO_TIME "PVSIM_NS_PER_PAGE=0"

static bool exited(int status, int code) {
        return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

static int run_perform(int vm, int sock) {
        return -pv(vm, PV_ASYNC_CLEANUP_PERFORM);
}

static void keeper_performs(void) {
        struct keeper keeper;
        char pid[32];
        int vm;

        keeper_start(&keeper, run_perform);
        vm = vm_make(4 * GIB);
        set_aside(vm);
        keeper_send(&keeper, vm);
        CHECK(exited(keeper_wait(&keeper), 0));
        snprintf(pid, sizeof(pid), "pid=%d", (int)keeper.pid);
        CHECK_EQ(LOG_COUNT("cmd=PERFORM", "ev=end", "ret=0", pid), 1);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PERFORM), -EINVAL);
        close(vm);
}

static int try_perform(int vm) {
        return -pv(vm, PV_ASYNC_CLEANUP_PERFORM);
}

static int try_extension(int vm) {
        return ioctl(vm, KVM_CHECK_EXTENSION, PV_CAP_ASYNC_DISABLE) < 0 ? errno : 0;
}

static int try_own_vm(int vm) {
        int own = vm_make(4 * GIB);

        set_aside(own);
        return -pv(own, PV_ASYNC_CLEANUP_PERFORM);
}

static int be_stranger(int vm) {
        char number[16];

        snprintf(number, sizeof(number), "%d", vm);
        fcntl(vm, F_SETFD, 0);
        execl("/proc/self/exe", "test-sim", "--stranger", number, (char *)NULL);
        return 0;
}

static void others_get_eio(void) {
        int vm = vm_make(4 * GIB);

        set_aside(vm);
        CHECK(exited(in_fork(try_perform, vm), EIO));
        CHECK(exited(in_fork(try_extension, vm), EIO));
        CHECK(exited(in_fork(be_stranger, vm), EIO));
        CHECK(exited(in_fork(try_own_vm, vm), 0));
        CHECK_EQ(LOG_COUNT("cmd=PERFORM", "ev=end", "ret=-5", "vm=-"), 2);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PERFORM), 0);
        close(vm);
}

static void vms_are_told_apart(void) {
        int a = vm_make(4 * GIB), b = vm_make(4 * GIB), a2 = dup(a), b2;
        struct keeper keeper;

        CHECK_EQ(pv(a, PV_ENABLE), 0);
        CHECK_EQ(pv(b, PV_ASYNC_CLEANUP_PREPARE), -EINVAL);
        CHECK_EQ(pv(a2, PV_ASYNC_CLEANUP_PREPARE), 0);
        b2 = dup2(b, a); /* the number that was A's is B's now */
        CHECK_EQ(pv(b2, PV_ASYNC_CLEANUP_PERFORM), -EINVAL);
        keeper_start(&keeper, run_perform);
        keeper_send(&keeper, b);
        CHECK(exited(keeper_wait(&keeper), EINVAL));
        keeper_start(&keeper, run_perform);
        keeper_send(&keeper, a2);
        CHECK(exited(keeper_wait(&keeper), 0));
        close(a2);
        close(b);
        close(b2);
}

/* waits until the VMM is gone, which the socket tells */
static int perform_after_vmm(int vm, int sock) {
        char byte;

        while (read(sock, &byte, 1) > 0)
                ;
        return -pv(vm, PV_ASYNC_CLEANUP_PERFORM);
}

/* Never returns: two VMs, both set aside, a keeper for each, and death. */
static int vmm_with_two(int ignored) {
        static struct keeper keepers[2];
        int vm[2] = {vm_make(4 * GIB), vm_make(4 * GIB)};

        for (size_t i = 0; i < 2; i++) {
                set_aside(vm[i]);
                keeper_start(&keepers[i], perform_after_vmm);
                keeper_send(&keepers[i], vm[i]);
        }
        raise(SIGKILL);
        return 0;
}

static void keeper_outlives_vmm(void) {
        CHECK_EQ(in_fork(vmm_with_two, -1), SIGKILL);
        while (LOG_COUNT("cmd=PERFORM", "ev=end") < 2)
                sleep_ms(2);
        CHECK_EQ(LOG_COUNT("cmd=PERFORM", "ev=end", "ret=0"), 2);
}

static int vmm_in_prepare(int ignored) {
        static struct keeper keeper;
        int vm = vm_make(4 * GIB);

        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        keeper_start(&keeper, perform_after_vmm);
        keeper_send(&keeper, vm);
        return pv(vm, PV_ASYNC_CLEANUP_PREPARE);
}

/* It dies with the VM's lock, and is not even reaped; in the kernel the lock would be free. */
static void vmm_dies_in_prepare(void) {
        siginfo_t info;
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0)
                _exit(vmm_in_prepare(-1));
        log_wait("cmd=PREPARE", "ev=begin");
        CHECK_EQ(kill(pid, SIGKILL), 0);
        log_wait("cmd=PERFORM", "ret=0");
        CHECK_EQ(LOG_COUNT("cmd=PREPARE", "ev=end"), 0);
        CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED), 0);
        CHECK_EQ(info.si_status, SIGKILL);
}

/* The kernel keeps the leftover for the next DISABLE of a protected VM. */
static void keeper_dies_in_perform(void) {
        uint64_t before, alone, both;
        struct keeper keeper;
        int vm = vm_make(3 * GIB);

        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        before = cpu_us();
        CHECK_EQ(pv(vm, PV_DISABLE), 0);
        alone = cpu_us() - before;
        set_aside(vm);
        keeper_start(&keeper, run_perform);
        keeper_send(&keeper, vm);
        log_wait("cmd=PERFORM", "ev=begin");
        CHECK_EQ(kill(keeper.pid, SIGKILL), 0);
        CHECK_EQ(keeper_wait(&keeper), SIGKILL);
        CHECK_EQ(LOG_COUNT("cmd=PERFORM", "ev=end"), 0);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PERFORM), -EINVAL);
        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        before = cpu_us();
        CHECK_EQ(pv(vm, PV_DISABLE), 0);
        both = cpu_us() - before;
        CHECK(both > alone * 15 / 10 && both < alone * 27 / 10); /* a busy host changes both */
        close(vm);
}

const struct test_case process_cases[] = {
        {"a process that shares the memory may PERFORM", keeper_performs, {NO_TIME}},
        {"everybody else gets EIO", others_get_eio, {NO_TIME}},
        {"two VMs are told apart", vms_are_told_apart, {NO_TIME}},
        {"a keeper outlives its VMM", keeper_outlives_vmm, {NO_TIME}},
        {"a VMM dies inside PREPARE", vmm_dies_in_prepare, {"PVSIM_NS_PER_PAGE=2000"}},
        {"a keeper dies inside PERFORM", keeper_dies_in_perform, {"PVSIM_NS_PER_PAGE=400"}},
        {},
};
