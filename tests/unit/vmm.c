/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The VMM of vmm.h.
 * Each test has one at most, and one keeper in it.
 * All times are real.
 */

#include "vmm.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "base/kvm-pv.h"

struct sockaddr_un address;
struct pvr_vm *vm;
int null_fd;

void make_vm(void) {
        struct pvr_vm_options options = {.size = sizeof(options), .name = "guest"};

        options.uuid = (const uint8_t *)"0123456789abcdef";
        assert_int_equal(pvr_vm_new(&vm, &options), 0);
        (void)vm_ref(vm); /* the test's, to see the heir's end */
        kernel.vm = vm;
}

void set_up(void) {
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
void set_up_welcomed(void) {
        struct wire_register reg;

        set_up();
        daemon_listen(&address, 1);
        make_vm();
        assert_int_equal(pvr_vm_set_fd(vm, null_fd, VMM_MEM), 0);
        daemon_accept();
        reg = daemon_hear_register();
        assert_string_equal(reg.name, "guest");
        assert_memory_equal(reg.uuid, "0123456789abcdef", sizeof(reg.uuid));
        assert_int_equal(reg.state, WIRE_STATE_IDLE);
        assert_int_equal(reg.mem, VMM_MEM);
        assert_int_equal(reg.flags, 0);
        daemon_say(WIRE_VERSION, WIRE_WELCOME, 0);
}

/* Nobody listens. */
void set_up_alone(void) {
        set_up();
        make_vm();
        assert_int_equal(pvr_vm_set_fd(vm, null_fd, VMM_MEM), 0);
}

void tear_down(void) {
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

struct pvr_outcome next_outcome(void) {
        struct pvr_outcome outcome;
        int r = 0;

        await((r = pvr_vm_next_outcome(vm, &outcome, sizeof(outcome))) != 0);
        assert_int_equal(r, 1);
        assert_int_equal(outcome.kind, PVR_KIND_REBOOT);
        return outcome;
}

void no_outcome(void) {
        struct pvr_outcome outcome;

        assert_int_equal(pvr_vm_next_outcome(vm, &outcome, sizeof(outcome)), 0);
}

void kill_keeper(void) {
        assert_int_equal(kill(vm->keeper->pid, SIGKILL), 0);
        await(vm->n_refs == 2);
}

/* Not under qemu-user, nor valgrind, which have no clone(2) of our sort either. */
const char *no_keeper(void) {
        const char *preload = getenv("LD_PRELOAD");

        if (preload && strstr(preload, "valgrind"))
                return "valgrind knows no process that shares memory";
        return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0 ? "no seccomp in this kernel" : NULL;
}
