/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The library's calls and a real keeper. This test plays the kernel and the daemon.
 * It sees which process begins a teardown, and when; and what is reported.
 * It sees when the heir takes over.
 */

#include "daemon.h"
#include "fds.h"
#include "kernel.h"

#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/environment.h"
#include "base/kvm-pv.h"
#include "base/util.h"
#include "lib/vm.h"

#define NOBODY 65534
#define MEM    (UINT64_C(1) << 32)

static struct sockaddr_un address;
static struct pvr_vm *vm;
static int null_fd;

/* ---- the VMM ---- */

/* Up to 10 s for something that another process or thread does. */
#define await(condition)                                                                           \
        do {                                                                                       \
                uint64_t until = now_usec() + 10 * USEC_PER_SEC;                                   \
                bool met;                                                                          \
                                                                                                   \
                while (!(met = (condition)) && now_usec() < until)                                 \
                        (void)usleep(200);                                                         \
                assert_true(met);                                                                  \
        } while (0)

static void make_vm(void) {
        struct pvr_vm_options options = {.size = sizeof(options), .name = "guest"};

        options.uuid = (const uint8_t *)"0123456789abcdef";
        assert_int_equal(pvr_vm_new(&vm, &options), 0);
        (void)vm_ref(vm); /* the test's, to see the heir's end */
        kernel.vm = vm;
}

static void set_up(void) {
        daemon_hang_up(); /* of a test that failed */
        daemon_deaf();
        vm = NULL;
        kernel_reset();
        daemon_address(&address);
        assert_int_equal(setenv("PVREAPER_SOCKET", address.sun_path, 1), 0);
        null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_true(null_fd >= 0);
}

/* A keeper with a VM, and a daemon that has welcomed it. */
static void set_up_welcomed(void) {
        struct wire_register reg;

        set_up();
        daemon_listen(&address, 1);
        make_vm();
        assert_int_equal(pvr_vm_set_fd(vm, null_fd, MEM), 0);
        daemon_accept();
        reg = daemon_hear_register();
        assert_string_equal(reg.name, "guest");
        assert_memory_equal(reg.uuid, "0123456789abcdef", sizeof(reg.uuid));
        assert_int_equal(reg.state, WIRE_STATE_IDLE);
        assert_int_equal(reg.mem, MEM);
        assert_int_equal(reg.flags, 0);
        daemon_say(WIRE_VERSION, WIRE_WELCOME, 0);
}

/* Nobody listens. */
static void set_up_alone(void) {
        set_up();
        make_vm();
        assert_int_equal(pvr_vm_set_fd(vm, null_fd, MEM), 0);
}

static void tear_down(void) {
        if (vm) {
                assert_null(pvr_vm_free(vm));
                await(vm->n_refs == 1); /* the heir has gone, and the keeper before it */
                forget_keeper(vm);
                vm = vm_unref(vm);
        }
        daemon_hang_up();
        daemon_deaf();
        close_fd(&null_fd);
        assert_int_equal(unsetenv("PVREAPER_SOCKET"), 0);
}

static struct pvr_outcome next_outcome(void) {
        struct pvr_outcome outcome;
        int r = 0;

        await((r = pvr_vm_next_outcome(vm, &outcome, sizeof(outcome))) != 0);
        assert_int_equal(r, 1);
        assert_int_equal(outcome.kind, PVR_KIND_REBOOT);
        return outcome;
}

static void no_outcome(void) {
        struct pvr_outcome outcome;

        assert_int_equal(pvr_vm_next_outcome(vm, &outcome, sizeof(outcome)), 0);
}

static void kill_keeper(void) {
        assert_int_equal(kill(vm->keeper->pid, SIGKILL), 0);
        await(vm->n_refs == 2);
}

/* ---- what a call answers ---- */

static void test_keeper_options(void **state) {
        struct {
                struct pvr_vm_options known;
                char more[8];
        } longer = {.known.size = sizeof(longer)};
        struct pvr_vm_options options = {.size = sizeof(options)};
        struct pvr_vm *made = NULL;

        set_up();
        assert_int_equal(pvr_vm_new(NULL, NULL), -EINVAL);
        options.flags = PVR_FLAG_DRAIN_NATIVE_AIO << 1;
        assert_int_equal(pvr_vm_new(&made, &options), -EINVAL);
        options.flags = 0;
        options.reserved = 1;
        assert_int_equal(pvr_vm_new(&made, &options), -EINVAL);
        options.reserved = 0;
        options.size = 31;
        assert_int_equal(pvr_vm_new(&made, &options), -EINVAL);
        options.size = 4097;
        assert_int_equal(pvr_vm_new(&made, &options), -EINVAL);
        longer.more[7] = 1; /* something that this version does not know */
        assert_int_equal(pvr_vm_new(&made, &longer.known), -EINVAL);
        assert_null(made);
        longer.more[7] = 0;
        assert_int_equal(pvr_vm_new(&vm, &longer.known), 0);
        (void)vm_ref(vm);
        assert_int_equal(vm->keeper->link.flags, 0);
        assert_null(pvr_vm_free(NULL));
        assert_int_equal(pvr_version(), PVR_VERSION);
        assert_string_equal(pvr_result_to_string(PVR_RESULT_LOST), "lost");
        tear_down();
}

static void test_keeper_without_vm(void **state) {
        struct pvr_outcome outcome;

        set_up();
        make_vm();
        assert_int_equal(pvr_vm_handoff(vm), -ENOTCONN);
        assert_int_equal(pvr_vm_disable_async(vm), -ENOTCONN);
        assert_int_equal(pvr_vm_set_fd(vm, -1, 0), -EBADF);
        assert_int_equal(fcntl(pvr_vm_get_fd(vm), F_GETFD), FD_CLOEXEC);
        assert_int_equal(pvr_vm_next_outcome(vm, &outcome, 47), -EINVAL);
        no_outcome();
        pvr_vm_set_mem(vm, 5);
        assert_int_equal(vm->keeper->link.mem, 5);
        kill_keeper(); /* there is nothing that somebody could take over */
        assert_int_equal(kernel.n_performs, 0);
        no_outcome();
        tear_down();
}

static void test_keeper_fds_are_its_own(void **state) {
        set_up_alone();
        assert_true(vm->bell > 2 && vm->outcomes > 2 && vm->outcomes_sink > 2 && vm->vm_fd > 2);
        assert_int_equal(fcntl(vm->bell, F_GETFD), FD_CLOEXEC);
        assert_int_equal(fcntl(vm->vm_fd, F_GETFD), FD_CLOEXEC);
        await(vm->keeper_bell == -1);
        assert_true(vm_has_its_fds(vm));
        assert_int_equal(pvr_vm_set_fd(vm, null_fd, MEM), 0); /* another VM, the same number */
        assert_int_equal(dup3(null_fd, vm->outcomes_sink, O_CLOEXEC), vm->outcomes_sink);
        assert_false(vm_has_its_fds(vm));
        tear_down();
}

/* ---- reboots ---- */

static void test_keeper_waits_for_grant(void **state) {
        struct pvr_outcome outcome;
        union wire_message m;

        set_up_welcomed();
        pvr_vm_set_mem(vm, MEM / 2);
        assert_int_equal(pvr_vm_handoff(vm), 0);
        m = daemon_hear(WIRE_REQUEST);
        assert_int_equal(m.request.kind, WIRE_KIND_REBOOT);
        assert_int_equal(m.request.seq, 1);
        assert_int_equal(m.request.mem, MEM / 2);
        assert_int_equal(pvr_vm_handoff(vm), 0); /* another before it began: the same PERFORM */
        (void)usleep(20 * 1000);
        assert_int_equal(kernel.n_performs, 0);
        daemon_say(WIRE_VERSION, WIRE_GRANT, 1);
        m = daemon_hear(WIRE_DONE);
        assert_int_equal(m.done.outcome.seq, 1);
        assert_int_equal(m.done.outcome.kind, WIRE_KIND_REBOOT);
        assert_int_equal(m.done.outcome.error, 0);
        assert_int_equal(m.done.outcome.rc, 1);
        assert_int_equal(m.done.outcome.rrc, 2);
        assert_int_equal(m.done.outcome.ungoverned, 0);
        outcome = next_outcome();
        assert_int_equal(outcome.job, 1);
        assert_int_equal(outcome.result, PVR_RESULT_DONE);
        assert_in_range(outcome.waited_us, 20 * 1000, 20 * USEC_PER_SEC);
        assert_int_equal(outcome.dropped, 0);
        assert_int_equal(kernel.n_performs, 1);
        assert_true(kernel.by_keeper);
        assert_int_equal(vm->keeper->performing, 0);
        assert_int_equal(vm->keeper->rings, vm->keeper->rings_taken);
        no_outcome();
        assert_null(pvr_vm_free(vm_ref(vm)));
        daemon_hear_end(); /* it leaves */
        await(vm->n_refs == 2);
        forget_keeper(vm);
        vm_unref(vm);
        vm = vm_unref(vm);
        tear_down();
}

static void test_keeper_ring_during_perform(void **state) {
        set_up_welcomed();
        kernel.slow = true;
        assert_int_equal(pvr_vm_handoff(vm), 0);
        (void)daemon_hear(WIRE_REQUEST);
        daemon_say(WIRE_VERSION, WIRE_GRANT, 1);
        await(kernel.n_performs == 1);
        assert_int_equal(vm->keeper->performing, 1);
        assert_int_equal(pvr_vm_handoff(vm), 0); /* it is not in that PERFORM */
        kernel.perform_error = EINTR;
        kernel.slow = false;
        assert_int_equal(daemon_hear(WIRE_DONE).done.outcome.error, -EINTR);
        assert_int_equal(daemon_hear(WIRE_REQUEST).request.seq, 2);
        assert_int_equal(next_outcome().result, PVR_RESULT_FAILED);
        kernel.perform_error = 0;
        daemon_say(WIRE_VERSION, WIRE_GRANT, 2);
        assert_int_equal(daemon_hear(WIRE_DONE).done.outcome.seq, 2);
        assert_int_equal(next_outcome().job, 2);
        tear_down();
}

static void test_keeper_alone(void **state) {
        struct pvr_outcome outcome;

        set_up_alone();
        assert_int_equal(pvr_vm_handoff(vm), 0);
        outcome = next_outcome();
        assert_int_equal(outcome.result, PVR_RESULT_UNGOVERNED);
        assert_int_equal(outcome.job, 1);
        tear_down();
}

static void test_keeper_outcome_sizes(void **state) {
        struct {
                struct pvr_outcome known;
                char more[16];
        } longer;

        set_up_alone();
        assert_int_equal(pvr_vm_handoff(vm), 0);
        await(vm->keeper->rings_taken == 1 && vm->keeper->performing == 0);
        memset(&longer, 0xff, sizeof(longer));
        await(pvr_vm_next_outcome(vm, &longer.known, sizeof(longer)) == 1);
        assert_int_equal(longer.known.job, 1);
        for (size_t i = 0; i < sizeof(longer.more); i++)
                assert_int_equal(longer.more[i], 0); /* what a later version would say */
        assert_int_equal(send(vm->outcomes_sink, "?", 1, MSG_NOSIGNAL), 1);
        assert_int_equal(pvr_vm_next_outcome(vm, &longer.known, sizeof(longer)), -EBADMSG);
        tear_down();
}

/* ---- DISABLE in the library ---- */

static void test_keeper_disable_async(void **state) {
        set_up_alone();
        assert_int_equal(pvr_vm_disable_async(vm), 0);
        assert_int_equal(kernel.n_prepares, 1);
        assert_int_equal(next_outcome().job, 1);
        kernel.prepare_error = ENOTTY;
        assert_int_equal(pvr_vm_disable_async(vm), -ENOTTY);
        kernel.prepare_error = EINVAL; /* and nothing is queued: once is enough */
        assert_int_equal(pvr_vm_disable_async(vm), -EINVAL);
        assert_int_equal(kernel.n_prepares, 3);
        assert_int_equal(kernel.n_performs, 1);
        kernel.prepare_error = 0;
        kill_keeper();
        assert_int_equal(kernel.n_performs, 2); /* the heir's */
        assert_int_equal(next_outcome().job, 0);
        assert_int_equal(pvr_vm_disable_async(vm), 0); /* by a thread */
        assert_int_equal(next_outcome().job, 0);
        await(vm->n_refs == 2);
        assert_int_equal(kernel.n_performs, 3);
        assert_false(kernel.by_keeper);
        assert_int_equal(kernel.perform_fd, vm->vm_fd);
        tear_down();
}

/* The kernel's one place is taken by a job that waits for its GRANT: it begins at once. */
static void test_keeper_hurries(void **state) {
        union wire_message m;

        set_up_welcomed();
        assert_int_equal(pvr_vm_handoff(vm), 0);
        (void)daemon_hear(WIRE_REQUEST);
        kernel.is_full = true;
        assert_int_equal(pvr_vm_disable_async(vm), 0);
        assert_int_equal(daemon_hear(WIRE_BEGUN).begun.seq, 1);
        m = daemon_hear(WIRE_DONE);
        assert_int_equal(m.done.outcome.seq, 1);
        assert_int_equal(m.done.outcome.ungoverned, 1);
        assert_int_equal(daemon_hear(WIRE_REQUEST).request.seq, 2);
        assert_int_equal(kernel.n_performs, 1);
        daemon_say(WIRE_VERSION, WIRE_GRANT, 2);
        assert_int_equal(daemon_hear(WIRE_DONE).done.outcome.ungoverned, 0);
        tear_down();
}

/* The daemon is there, and never grants. */
static void test_keeper_waits_no_longer(void **state) {
        assert_int_equal(setenv(GRANT_GRACE, "100", 1), 0);
        set_up_welcomed();
        assert_int_equal(unsetenv(GRANT_GRACE), 0);
        assert_int_equal(pvr_vm_handoff(vm), 0);
        assert_int_equal(daemon_hear(WIRE_REQUEST).request.seq, 1);
        assert_int_equal(daemon_hear(WIRE_BEGUN).begun.seq, 1);
        assert_int_equal(daemon_hear(WIRE_DONE).done.outcome.ungoverned, 1);
        assert_in_range(next_outcome().waited_us, 100 * 1000, 20 * USEC_PER_SEC);
        assert_int_equal(kernel.n_performs, 1);
        tear_down();
}

/* ... or a thread does, if the keeper does not move. */
static void test_keeper_is_slow_to_hurry(void **state) {
        set_up_welcomed();
        assert_int_equal(pvr_vm_handoff(vm), 0);
        (void)daemon_hear(WIRE_REQUEST);
        kernel.is_full = true;
        assert_int_equal(kill(vm->keeper->pid, SIGSTOP), 0);
        assert_int_equal(pvr_vm_disable_async(vm), 0);
        await(kernel.n_performs == 1);
        assert_false(kernel.by_keeper);
        assert_int_equal(next_outcome().job, 0);
        assert_int_equal(kill(vm->keeper->pid, SIGCONT), 0);
        tear_down();
}

/* ---- a keeper that is gone ---- */

static void test_keeper_heir_performs(void **state) {
        struct pvr_outcome outcome;

        set_up_welcomed();
        assert_int_equal(pvr_vm_handoff(vm), 0);
        (void)daemon_hear(WIRE_REQUEST);
        kill_keeper();
        daemon_hear_end();
        assert_int_equal(kernel.n_performs, 1);
        assert_false(kernel.by_keeper);
        assert_int_equal(kernel.perform_fd, vm->vm_fd);
        outcome = next_outcome();
        assert_int_equal(outcome.job, 0);
        assert_int_equal(outcome.result, PVR_RESULT_UNGOVERNED);
        no_outcome();
        assert_int_equal(pvr_vm_handoff(vm), -EPIPE);
        assert_int_equal(vm->keeper->rings, vm->keeper->rings_taken); /* nothing waits */
        assert_int_equal(pvr_vm_set_fd(vm, null_fd, 0), -EPIPE);
        assert_int_equal(pvr_vm_handoff(vm), -ENOTCONN);
        assert_int_equal(vm_let_go(vm, 0), 0);
        tear_down();
}

static void test_keeper_heir_finds_nothing(void **state) {
        set_up_alone();
        kernel.perform_error = EINVAL; /* somebody else took it */
        kill_keeper();
        assert_int_equal(kernel.n_performs, 1);
        no_outcome();
        tear_down();
}

static void test_keeper_dies_inside_perform(void **state) {
        struct pvr_outcome outcome;

        set_up_alone();
        kernel.slow = true;
        assert_int_equal(pvr_vm_handoff(vm), 0);
        await(kernel.n_performs == 1);
        assert_int_equal(vm_let_go(vm, 1000), -EBUSY); /* not killed by us */
        assert_int_equal(kill(vm->keeper->pid, SIGKILL), 0);
        kernel.perform_error = EINVAL;
        kernel.slow = false;
        await(vm->n_refs == 2);
        outcome = next_outcome();
        assert_int_equal(outcome.result, PVR_RESULT_LOST);
        assert_int_equal(outcome.job, 1);
        no_outcome();
        tear_down();
}

static void test_keeper_is_let_go(void **state) {
        set_up_alone();
        assert_int_equal(vm_let_go(vm, 10 * USEC_PER_SEC), 0);
        tear_down();
        set_up_alone();
        assert_int_equal(kill(vm->keeper->pid, SIGSTOP), 0);
        assert_int_equal(vm_let_go(vm, 1000), 0); /* killed */
        tear_down();
}

/* ---- in processes of their own ---- */

static void check_child(int (*function)(void)) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                _exit(function());
        assert_int_equal(wait_for_exit(pid), 0);
}

static int use_in_fork(void) {
        struct pvr_outcome outcome;

        pvr_vm_set_mem(vm, 1); /* no crash */
        return pvr_vm_handoff(vm) == -ECHILD && pvr_vm_set_fd(vm, null_fd, 0) == -ECHILD &&
                               pvr_vm_disable_async(vm) == -ECHILD &&
                               pvr_vm_get_fd(vm) == -ECHILD &&
                               pvr_vm_next_outcome(vm, &outcome, sizeof(outcome)) == -ECHILD &&
                               pvr_vm_free(vm) == NULL
                       ? 0
                       : 1;
}

static void test_keeper_not_in_a_fork(void **state) {
        set_up_alone();
        check_child(use_in_fork);
        assert_false(vm_is_fork(vm));
        assert_int_equal(pvr_vm_handoff(vm), 0); /* the parent's works on */
        assert_int_equal(next_outcome().job, 1);
        tear_down();
}

static int become_nobody(void) {
        int r;

        set_up_alone();
        if (setresuid(NOBODY, NOBODY, NOBODY) < 0)
                return 1;
        r = pvr_vm_handoff(vm); /* 0: it has not heard yet that its keeper goes */
        if (r != -EPERM && r != 0)
                return 2;
        await(vm->keeper_gone);
        if (pvr_vm_handoff(vm) != -EPERM)
                return 3;
        await(kernel.n_performs == 1);
        return 0;
}

static int change_group(void) {
        set_up_alone();
        if (setresgid(NOBODY, NOBODY, NOBODY) < 0)
                return 1;
        await(vm->keeper_gone);
        return 0;
}

static int change_groups(void) {
        static const gid_t first[] = {7, NOBODY}, second[] = {8, NOBODY};

        if (setgroups(ARRAY_SIZE(first), first) < 0)
                return 1;
        set_up_alone();
        if (setgroups(ARRAY_SIZE(second), second) < 0)
                return 2;
        await(vm->keeper_gone);
        return 0;
}

static void test_keeper_of_somebody_else(void **state) {
        check_child(become_nobody);
        check_child(change_group);
        check_child(change_groups);
}

/* This call gets what action says, also in a keeper that is made later. */
static void filter_call(uint32_t nr, uint32_t action) {
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, action),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};

        assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* capset(2) is among a keeper's first, and nobody else's here. */
static int die_before_ready(void) {
        struct pvr_vm *made = NULL;

        filter_call(SYS_capset, SECCOMP_RET_KILL_PROCESS);
        return pvr_vm_new(&made, NULL) == -EAGAIN && !made ? 0 : 1;
}

static int fail_before_ready(void) {
        struct pvr_vm *made = NULL;

        filter_call(SYS_capset, SECCOMP_RET_ERRNO | ENOANO);
        return pvr_vm_new(&made, NULL) == -ENOANO && !made ? 0 : 1;
}

static void test_keeper_cannot_start(void **state) {
        check_child(die_before_ready);
        check_child(fail_before_ready);
}

static int gate[2]; /* a VMM lives until this is closed */

static int end_with_vm(void) {
        char nothing;

        make_vm();
        close_fd(&gate[1]);
        return pvr_vm_set_fd(vm, null_fd, MEM) == 0 && read(gate[0], &nothing, 1) == 0 ? 0 : 1;
}

/* The VMM is dead: its memory is what is left. */
static void test_keeper_outlives_its_vmm(void **state) {
        struct wire_register reg;
        union wire_message m;
        pid_t pid;

        set_up();
        daemon_listen(&address, 1);
        assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(end_with_vm());
        close_fd(&gate[0]);
        daemon_accept();
        reg = daemon_hear_register();
        assert_int_equal(reg.state, WIRE_STATE_IDLE);
        assert_int_equal(reg.flags, 0);
        daemon_say(WIRE_VERSION, WIRE_WELCOME, 0);
        close_fd(&gate[1]);
        assert_int_equal(wait_for_exit(pid), 0);
        (void)daemon_hear(WIRE_QUIET);
        m = daemon_hear(WIRE_REQUEST);
        assert_int_equal(m.request.kind, WIRE_KIND_SHUTDOWN);
        assert_int_not_equal(m.request.mem, 0);
        daemon_say(WIRE_VERSION, WIRE_GRANT, m.request.seq);
        daemon_hear_end();
        tear_down();
}

/* Not under qemu-user, nor valgrind, which have no clone(2) of our sort either. */
static const char *no_keeper(void) {
        const char *preload = getenv("LD_PRELOAD");

        if (preload && strstr(preload, "valgrind"))
                return "valgrind knows no process that shares memory";
        return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0 ? "no seccomp in this kernel" : NULL;
}

static const char *not_root(void) {
        return geteuid() == 0 ? no_keeper() : "needs root";
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test_unless(no_keeper(), test_keeper_options),
                checked_test_unless(no_keeper(), test_keeper_without_vm),
                checked_test_unless(no_keeper(), test_keeper_fds_are_its_own),
                checked_test_unless(no_keeper(), test_keeper_waits_for_grant),
                checked_test_unless(no_keeper(), test_keeper_ring_during_perform),
                checked_test_unless(no_keeper(), test_keeper_alone),
                checked_test_unless(no_keeper(), test_keeper_outcome_sizes),
                checked_test_unless(no_keeper(), test_keeper_disable_async),
                checked_test_unless(no_keeper(), test_keeper_hurries),
                checked_test_unless(no_keeper(), test_keeper_is_slow_to_hurry),
                checked_test_unless(no_keeper(), test_keeper_waits_no_longer),
                checked_test_unless(no_keeper(), test_keeper_heir_performs),
                checked_test_unless(no_keeper(), test_keeper_heir_finds_nothing),
                checked_test_unless(no_keeper(), test_keeper_dies_inside_perform),
                checked_test_unless(no_keeper(), test_keeper_is_let_go),
                checked_test_unless(no_keeper(), test_keeper_not_in_a_fork),
                checked_test_unless(not_root(), test_keeper_of_somebody_else),
                checked_test_unless(no_keeper(), test_keeper_cannot_start),
                checked_test_unless(no_keeper(), test_keeper_outlives_its_vmm),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
