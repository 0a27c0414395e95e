/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A real keeper whose VMM is a process of its own.
 * The VMM forks, becomes somebody else, or ends.
 * Also keepers that cannot start.
 */

#include "vmm.h"

#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define NOBODY 65534

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

static int gate[2];    /* a VMM lives until this is closed */
static int vm_pipe[2]; /* its VM: the end for writing */

static int end_with_vm(void) {
        char nothing;

        make_vm();
        close_fd(&gate[1]);
        return pvr_vm_set_fd(vm, vm_pipe[1], VMM_MEM) == 0 && read(gate[0], &nothing, 1) == 0 ? 0
                                                                                              : 1;
}

/* The VMM is dead: its memory is what is left. Nobody holds its VM, so that its irqfds go. */
static void test_keeper_outlives_its_vmm(void **state) {
        struct pollfd vm_ends = {.events = POLLIN};
        struct wire_register reg;
        union wire_message m;
        pid_t pid;

        set_up();
        daemon_listen(&address, 1);
        assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
        assert_int_equal(pipe2(vm_pipe, O_CLOEXEC), 0);
        vm_ends.fd = vm_pipe[0];
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(end_with_vm());
        close_fd(&gate[0]);
        close_fd(&vm_pipe[1]);
        daemon_accept();
        reg = daemon_hear_register();
        assert_int_equal(reg.state, WIRE_STATE_IDLE);
        assert_int_equal(reg.flags, 0);
        daemon_say(WIRE_VERSION, WIRE_WELCOME, 0);
        assert_int_equal(poll(&vm_ends, 1, 0), 0);
        close_fd(&gate[1]);
        assert_int_equal(wait_for_exit(pid), 0);
        (void)daemon_hear(WIRE_QUIET);
        m = daemon_hear(WIRE_REQUEST);
        assert_int_equal(m.request.kind, WIRE_KIND_SHUTDOWN);
        assert_int_not_equal(m.request.mem, 0);
        assert_int_equal(poll(&vm_ends, 1, 0), 1);
        close_fd(&vm_pipe[0]);
        daemon_say(WIRE_VERSION, WIRE_GRANT, m.request.seq);
        daemon_hear_end();
        tear_down();
}

static const char *not_root(void) {
        return geteuid() == 0 ? no_keeper() : "needs root";
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test_unless(no_keeper(), test_keeper_not_in_a_fork),
                checked_test_unless(not_root(), test_keeper_of_somebody_else),
                checked_test_unless(no_keeper(), test_keeper_cannot_start),
                checked_test_unless(no_keeper(), test_keeper_outlives_its_vmm),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
