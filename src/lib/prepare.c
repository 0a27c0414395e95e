/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * PREPARE, and the threads that run PERFORM in the VMM when the keeper cannot.
 *
 * The kernel has one place for a VM that is set aside and not yet being torn down. A hand-off that
 * waits for the daemon's grant takes this place. A second reboot's PREPARE would then fail with
 * -EINVAL, and the guest would wait for a synchronous KVM_PV_DISABLE, as it would not without
 * pv-reaper. So the earlier hand-off begins at once, over the daemon's limit.
 */

#include <string.h>
#include <sys/ioctl.h>

#include "base/packet.h"
#include "base/util.h"
#include "lib/vm.h"

/* How long a queued hand-off may take to begin ... */
#define HURRY_KEEPER_USEC (50 * USEC_PER_MSEC)  /* in the keeper; then a thread does it */
#define HURRY_THREAD_USEC (500 * USEC_PER_MSEC) /* in that */
/* ... and PERFORM to take the kernel's place then. */
#define HURRY_PLACE_USEC (200 * USEC_PER_MSEC)
#define HURRY_LOOK_USEC  50

static void *perform_main(void *userdata) {
        struct pvr_vm *vm = userdata;

        perform_here(vm);
        vm_unref(vm);
        return NULL;
}

/* By a thread of its own. 0 or a negative errno. */
static int start_performing(struct pvr_vm *vm) {
        int r;

        r = start_thread(perform_main, vm_ref(vm));
        if (r < 0)
                vm_unref(vm);
        return r;
}

/* ---- PREPARE, while an earlier hand-off may be queued ---- */

static bool is_waiting(const struct keeper *k) {
        return k->rings != k->rings_taken;
}

/* Whether what waited has begun by then. */
static bool await_begin(const struct keeper *k, uint64_t usec) {
        uint64_t deadline = now_usec() + usec;

        while (is_waiting(k)) {
                if (now_usec() >= deadline)
                        return false;
                (void)usleep(HURRY_LOOK_USEC);
        }
        return true;
}

/* By the keeper, unless it is busy, gone or slow. */
static bool hurry_keeper(struct pvr_vm *vm) {
        struct bell bell = {.type = BELL_HURRY};

        return vm->keeper->performing == 0 && packet_send(vm->bell, &bell, sizeof(bell)) == 0 &&
               await_begin(vm->keeper, HURRY_KEEPER_USEC);
}

static bool hurry_thread(struct pvr_vm *vm) {
        return start_performing(vm) >= 0 && await_begin(vm->keeper, HURRY_THREAD_USEC);
}

static int try_prepare(int vm_fd, struct pv_cmd *cmd) {
        cmd->rc = cmd->rrc = 0;
        return ioctl(vm_fd, PV_COMMAND, cmd) < 0 ? negative_errno() : 0;
}

/* PERFORM takes the kernel's one place in its first moment. Model: keeper_begun. */
int vm_prepare(struct pvr_vm *vm, int vm_fd, struct pv_cmd *cmd) {
        uint64_t deadline;
        int r;

        /* Here, where time does not count: PREPARE itself takes much longer. */
        if (!vm_is_fork(vm))
                (void)vm_is_itself(vm);
        r = try_prepare(vm_fd, cmd);
        if (r != -EINVAL || !is_waiting(vm->keeper))
                return r;
        if (!hurry_keeper(vm) && !hurry_thread(vm))
                return r;
        deadline = now_usec() + HURRY_PLACE_USEC;
        while ((r = try_prepare(vm_fd, cmd)) == -EINVAL && now_usec() < deadline)
                (void)usleep(HURRY_LOOK_USEC);
        return r;
}

/* ---- the public call ---- */

/* Model: vmm_own_perform. */
static void perform_somewhere(struct pvr_vm *vm) {
        if (start_performing(vm) < 0)
                perform_here(vm);
}

_public_ int pvr_vm_disable_async(struct pvr_vm *vm) {
        struct pv_cmd cmd = {.cmd = PV_ASYNC_CLEANUP_PREPARE};
        int r;

        if (vm_is_fork(vm))
                return -ECHILD;
        if (vm->vm_fd < 0)
                return -ENOTCONN;
        r = vm_prepare(vm, vm->vm_fd, &cmd);
        if (r < 0)
                return r;
        if (pvr_vm_handoff(vm) < 0)
                perform_somewhere(vm);
        return 0;
}
