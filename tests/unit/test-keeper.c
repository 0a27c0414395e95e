/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The library's calls and a real keeper. This test plays the kernel and the daemon.
 * It sees which process begins a teardown, and when; and what is reported.
 * It sees when the heir takes over.
 */

#include "vmm.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/environment.h"

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
        assert_int_equal(pvr_vm_set_fd(vm, null_fd, VMM_MEM), 0); /* another VM, the same number */
        assert_int_equal(dup3(null_fd, vm->outcomes_sink, O_CLOEXEC), vm->outcomes_sink);
        assert_false(vm_has_its_fds(vm));
        tear_down();
}

/* ---- reboots ---- */

static void test_keeper_waits_for_grant(void **state) {
        struct pvr_outcome outcome;
        union wire_message m;

        set_up_welcomed();
        pvr_vm_set_mem(vm, VMM_MEM / 2);
        assert_int_equal(pvr_vm_handoff(vm), 0);
        m = daemon_hear(WIRE_REQUEST);
        assert_int_equal(m.request.kind, WIRE_KIND_REBOOT);
        assert_int_equal(m.request.seq, 1);
        assert_int_equal(m.request.mem, VMM_MEM / 2);
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
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
