/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The states and return codes: what KVM on s390 answers to ENABLE, DISABLE, PREPARE and PERFORM,
 * one case per rule (Documentation/virt/kvm/api.rst, KVM_S390_PV_COMMAND, and arch/s390/kvm/pv.c).
 * All but the cases about what waits for what run without burning time.
 */

#include "harness.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define NO_TIME "PVSIM_NS_PER_PAGE=0"

static void extensions(void) {
        int vm = vm_make(0), usual = ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY);

        CHECK_EQ(ioctl(vm, KVM_CHECK_EXTENSION, PV_CAP_ASYNC_DISABLE), 1);
        CHECK_EQ(ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_S390_PROTECTED), 1);
        CHECK_EQ(usual, 1);
        CHECK_EQ(ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_S390_UCONTROL), 0);
        close(vm);
}

static void enable(void) {
        struct pv_cmd cmd = {.cmd = PV_ENABLE};
        int vm = vm_make(4 * GIB);

        CHECK_EQ(pv_full(vm, &cmd), 0);
        CHECK_EQ(cmd.rc, 1);
        CHECK_EQ(pv(vm, PV_ENABLE), -EINVAL);
        CHECK_EQ(LOG_COUNT("cmd=ENABLE", "ev=end", "ret=0", "seq=1"), 1);
        CHECK_EQ(LOG_COUNT("cmd=ENABLE", "ev=end", "ret=-22", "seq=0"), 1);
        close(vm);
}

static void disable(void) {
        int vm = vm_make(4 * GIB);

        CHECK_EQ(pv(vm, PV_DISABLE), -EINVAL);
        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        CHECK_EQ(pv(vm, PV_DISABLE), 0);
        CHECK_EQ(pv(vm, PV_DISABLE), -EINVAL);
        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        CHECK_EQ(LOG_COUNT("cmd=ENABLE", "ev=end", "seq=2"), 1);
        close(vm);
}

static void prepare(void) {
        struct pv_cmd cmd = {.cmd = PV_ASYNC_CLEANUP_PREPARE};
        int vm = vm_make(4 * GIB);

        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PREPARE), -EINVAL); /* not protected */
        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        CHECK_EQ(pv_full(vm, &cmd), 0);
        CHECK_EQ(cmd.rc, PV_RC_PREPARED);
        CHECK_EQ(cmd.rrc, PV_RRC_PREPARED);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PREPARE), -EINVAL); /* not protected any more */
        CHECK_EQ(pv(vm, PV_DISABLE), -EINVAL);
        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PREPARE), -EINVAL); /* one is set aside already */
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PERFORM), 0);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PREPARE), 0);
        CHECK_EQ(LOG_COUNT("cmd=PREPARE", "ev=end", "ret=0"), 2);
        CHECK_EQ(LOG_COUNT("cmd=PREPARE", "ev=end", "ret=0", "seq=2"), 1);
        close(vm);
}

static void guest_limit(void) {
        int vm = vm_make(2 * GIB);

        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PREPARE), -EINVAL);
        vm_set_memory(vm, 2 * GIB + 4096);
        vm_set_memory(vm, GIB);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PREPARE), -EINVAL);
        vm_set_memory(vm, 2 * GIB + 4096);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PREPARE), 0);
        close(vm);
}

static void async_destroy_off(void) {
        int vm = vm_make(4 * GIB);

        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PREPARE), -EINVAL);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PERFORM), -EINVAL);
        CHECK_EQ(pv(vm, PV_DISABLE), 0);
        close(vm);
}

static void perform(void) {
        struct pv_cmd cmd = {.cmd = PV_ASYNC_CLEANUP_PERFORM, .rc = 7, .rrc = 9};
        int vm = vm_make(4 * GIB);

        CHECK_EQ(pv_full(vm, &cmd), -EINVAL);
        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        CHECK_EQ(pv_full(vm, &cmd), -EINVAL);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PREPARE), 0);
        CHECK_EQ(pv_full(vm, &cmd), 0);
        CHECK_EQ(cmd.rc, 7);
        CHECK_EQ(cmd.rrc, 9);
        CHECK_EQ(pv_full(vm, &cmd), -EINVAL);
        CHECK_EQ(LOG_COUNT("cmd=PERFORM", "ev=end", "ret=0", "seq=1", "rc=7", "rrc=9"), 1);
        CHECK_EQ(LOG_COUNT("cmd=PERFORM", "ev=begin", "seq=1"), 1);
        close(vm);
}

static void *perform_thread(void *vm) {
        return (void *)(intptr_t)pv(*(int *)vm, PV_ASYNC_CLEANUP_PERFORM);
}

static void *prepare_thread(void *vm) {
        return (void *)(intptr_t)pv(*(int *)vm, PV_ASYNC_CLEANUP_PREPARE);
}

static intptr_t join(pthread_t thread) {
        void *r;

        CHECK_EQ(pthread_join(thread, &r), 0);
        return (intptr_t)r;
}

/* PERFORM takes the VM at its begin: the next PREPARE works, and the next PERFORM runs beside it.
 */
static void perform_takes_at_once(void) {
        uint64_t begin = wall_ms();
        pthread_t first, second;
        int vm = vm_make(4 * GIB);

        set_aside(vm);
        CHECK_EQ(pthread_create(&first, NULL, perform_thread, &vm), 0);
        log_wait("cmd=PERFORM", "seq=1");
        set_aside(vm);
        CHECK_EQ(pthread_create(&second, NULL, perform_thread, &vm), 0);
        log_wait("cmd=PERFORM", "seq=2");
        CHECK_EQ(LOG_COUNT("cmd=PERFORM", "ev=end"), 0);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PERFORM), -EINVAL);
        CHECK_EQ(join(first), 0);
        CHECK_EQ(join(second), 0);
        CHECK_EQ(LOG_COUNT("cmd=PERFORM", "ev=end", "ret=0"), 2);
        CHECK(wall_ms() - begin >= 800);
        close(vm);
}

/* PREPARE holds kvm->lock; a PERFORM that comes then waits and takes what it set aside. */
static void perform_waits_for_prepare(void) {
        pthread_t prepare_it, perform_it;
        int vm = vm_make(3 * GIB);

        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        CHECK_EQ(pthread_create(&prepare_it, NULL, prepare_thread, &vm), 0);
        log_wait("cmd=PREPARE", "ev=begin");
        CHECK_EQ(pthread_create(&perform_it, NULL, perform_thread, &vm), 0);
        log_wait("cmd=PERFORM", "ev=begin");
        CHECK_EQ(LOG_COUNT("cmd=PREPARE", "ev=end"), 1);
        CHECK_EQ(join(prepare_it), 0);
        CHECK_EQ(join(perform_it), 0);
        close(vm);
}

static void disable_takes_what_is_aside(void) {
        uint64_t before, alone, both;
        int vm = vm_make(3 * GIB);

        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        before = cpu_us();
        CHECK_EQ(pv(vm, PV_DISABLE), 0);
        alone = cpu_us() - before;
        set_aside(vm);
        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        before = cpu_us();
        CHECK_EQ(pv(vm, PV_DISABLE), 0);
        both = cpu_us() - before;
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PERFORM), -EINVAL);
        CHECK(both > alone * 17 / 10 && both < alone * 23 / 10);
        CHECK_EQ(LOG_COUNT("cmd=DISABLE", "ev=end", "seq=1", "aside=0"), 1);
        CHECK_EQ(LOG_COUNT("cmd=DISABLE", "ev=end", "seq=3", "aside=2", "rc=1"), 1);
        close(vm);
}

static void arguments(void) {
        struct pv_cmd flags = {.cmd = PV_ENABLE, .flags = 1};
        struct pv_cmd reserved = {.cmd = PV_ENABLE, .reserved = {0, 0, 1}};
        int vm = vm_make(4 * GIB), file[2];

        CHECK_EQ(pv_full(vm, &flags), -EINVAL);
        CHECK_EQ(pv_full(vm, &reserved), -EINVAL);
        CHECK_EQ(pv_full(vm, NULL), -EFAULT);
        CHECK_EQ(pv(vm, 99), -ENOTTY);
        CHECK_EQ(pv(vm, PV_VERIFY), -EINVAL);
        CHECK_EQ(pv(vm, PV_ENABLE), 0);
        CHECK_EQ(pv(vm, PV_VERIFY), 0);
        CHECK_EQ(ioctl(vm, (unsigned long)(int)PV_COMMAND, &flags) < 0 ? errno : 0, EINVAL);
        CHECK_EQ(pipe(file), 0);
        CHECK_EQ(pv(file[0], PV_ENABLE), -ENOTTY); /* somebody else's ioctl */
        CHECK_EQ(pv(-1, PV_ENABLE), -EBADF);
        close(file[0]);
        close(file[1]);
        close(vm);
}

const struct test_case state_cases[] = {
        {"extensions are there", extensions, {NO_TIME}},
        {"ENABLE once", enable, {NO_TIME}},
        {"DISABLE of a protected VM only", disable, {NO_TIME}},
        {"PREPARE sets one VM aside", prepare, {NO_TIME}},
        {"PREPARE of more than 2 GiB only", guest_limit, {NO_TIME}},
        {"async_destroy=0", async_destroy_off, {NO_TIME, "PVSIM_ASYNC_DESTROY=0"}},
        {"PERFORM once, rc and rrc stay", perform, {NO_TIME}},
        {"PERFORMs run in parallel", perform_takes_at_once, {NO_TIME, "PVSIM_MIN_MS=800"}},
        {"PERFORM waits for PREPARE", perform_waits_for_prepare, {"PVSIM_NS_PER_PAGE=800"}},
        {"DISABLE takes what is set aside", disable_takes_what_is_aside, {"PVSIM_NS_PER_PAGE=50"}},
        {"arguments are checked", arguments, {NO_TIME}},
        {},
};
