/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The state machine: what KVM on s390 knows of a VM, for the VMs of this address space.
 *
 * Which VM an fd means: the VM's open file carries its slot number, 1 to 64, as its "signal number"
 * (F_SETSIG), which nobody uses on such files. All duplicates share it, in the VMM as in a keeper
 * that received the fd, also after the VMM's death, and two VMs differ in it. Slots are given out
 * in turn: a 65th VM of one address space takes the first one's. A VM file that does not carry a
 * number was not made through this library and is not simulated.
 *
 * A VM is a row of atomics. Its lock stands for kvm->lock: ENABLE, DISABLE and PREPARE hold it all
 * the time, PERFORM only to take what is set aside. It holds the tid of its owner, waiters sleep
 * and look whether that task still lives in this address space, and take the lock from the dead. As
 * in the kernel a task killed inside DISABLE or PREPARE has done it: the state changes first, then
 * the time is burnt. One killed inside PERFORM leaves its row in performers, which is how a later
 * DISABLE finds the leftover.
 *
 * The log is told before the state changes. A task killed just between has done nothing, though it
 * looks as if; whoever then does it says so, too. The other way round nobody would ever say it.
 */

#include "sim.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define VMS_MAX        64  /* the largest signal number */
#define REGIONS_MAX    512 /* memory slots of one VM */
#define PERFORMERS_MAX 32  /* PERFORMs of one VM at a time; more are not looked after */
#define LOCK_SLEEP_NS  200000
#define NS_PER_MS      UINT64_C(1000000)
#define NS_PER_SEC     UINT64_C(1000000000)
#define UV_RC_EXECUTED 1

struct performer {
        _Atomic uint32_t tid; /* 0: free */
        _Atomic uint64_t bytes;
};

struct sim_vm {
        uint32_t pid, slot; /* its name in the log */

        _Atomic uint32_t lock; /* tid, 0: free */
        _Atomic uint32_t incarnations;
        _Atomic uint32_t protected; /* the incarnation that runs, 0: not protected */
        _Atomic uint32_t aside;     /* the one set aside, 0: none */
        _Atomic uint64_t aside_bytes;
        struct performer performers[PERFORMERS_MAX];

        _Atomic uint64_t bytes; /* of guest memory: the sum of regions */
        _Atomic uint64_t regions[REGIONS_MAX];
};

static struct sim_vm vms[VMS_MAX];
static _Atomic uint32_t vms_made;

static uint32_t own_tid(void) {
        return (uint32_t)syscall(SYS_gettid);
}

static void sleep_ns(uint64_t ns) {
        struct timespec ts = {.tv_sec = (time_t)(ns / NS_PER_SEC),
                              .tv_nsec = (long)(ns % NS_PER_SEC)};

        syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &ts, NULL);
}

static uint64_t now_ns(void) {
        struct timespec ts = {};

        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* kcmp(2) calls a zombie's memory different, so it also knows a leader that was not reaped yet. */
static bool tid_lives_here(uint32_t tid) {
        long r = syscall(SYS_kcmp, own_tid(), tid, KCMP_VM, 0, 0);

        if (r < 0 && (errno == EPERM || errno == ENOSYS))
                return syscall(SYS_kill, tid, 0) == 0 || errno == EPERM;
        return r == 0;
}

static void vm_lock(struct sim_vm *vm) {
        uint32_t tid = own_tid();

        for (;;) {
                uint32_t owner = 0;

                if (atomic_compare_exchange_strong(&vm->lock, &owner, tid))
                        return;
                if (!tid_lives_here(owner) &&
                    atomic_compare_exchange_strong(&vm->lock, &owner, tid))
                        return;
                sleep_ns(LOCK_SLEEP_NS);
        }
}

static void vm_unlock(struct sim_vm *vm) {
        atomic_store(&vm->lock, 0);
}

void sim_vm_new(int fd) {
        uint32_t slot = atomic_fetch_add(&vms_made, 1) % VMS_MAX + 1;
        struct sim_vm *vm = &vms[slot - 1];

        memset(vm, 0, sizeof(*vm));
        vm->pid = (uint32_t)syscall(SYS_getpid);
        vm->slot = slot;
        syscall(SYS_fcntl, fd, F_SETSIG, slot);
}

struct sim_vm *sim_vm_find(int fd) {
        long slot = syscall(SYS_fcntl, fd, F_GETSIG);

        return slot >= 1 && slot <= VMS_MAX && vms[slot - 1].pid ? &vms[slot - 1] : NULL;
}

void sim_vm_set_region(struct sim_vm *vm, uint32_t slot, uint32_t flags, uint64_t bytes) {
        uint64_t old;

        if (slot >=
            REGIONS_MAX) /* also: another address space of the guest (SMM), in the high half */
                return;
        if (flags & KVM_MEM_READONLY)
                bytes = 0;
        old = atomic_exchange(&vm->regions[slot], bytes);
        atomic_fetch_add(&vm->bytes, bytes - old);
}

static uint64_t burn_time(uint64_t bytes) {
        return bytes / SIM_PAGE_SIZE * sim_config.ns_per_page;
}

static int refuse(const struct sim_op *op, const struct pv_cmd *cmd, int error) {
        sim_log_begin(op);
        sim_log_end(op, error, cmd);
        return error;
}

static int do_enable(struct sim_vm *vm, struct sim_op *op, struct pv_cmd *cmd) {
        int r = -EINVAL;

        vm_lock(vm);
        if (!atomic_load(&vm->protected)) {
                op->seq = atomic_fetch_add(&vm->incarnations, 1) + 1;
                atomic_store(&vm->protected, op->seq);
                cmd->rc = UV_RC_EXECUTED;
                cmd->rrc = 0;
                r = 0;
        }
        sim_log_begin(op);
        sim_log_end(op, r, cmd);
        vm_unlock(vm);
        return r;
}

/* The memory of PERFORMs whose tasks were killed. Call with the lock held. */
static uint64_t take_leftovers(struct sim_vm *vm) {
        uint64_t bytes = 0;

        for (size_t i = 0; i < PERFORMERS_MAX; i++) {
                struct performer *p = &vm->performers[i];
                uint32_t tid = atomic_load(&p->tid);

                if (tid == 0 || tid_lives_here(tid))
                        continue;
                bytes += atomic_load(&p->bytes);
                atomic_store(&p->tid, 0);
        }
        return bytes;
}

static int do_disable(struct sim_vm *vm, struct sim_op *op, struct pv_cmd *cmd) {
        uint64_t bytes = atomic_load(&vm->bytes);
        int r = -EINVAL;

        vm_lock(vm);
        op->seq = atomic_load(&vm->protected);
        if (op->seq) {
                op->aside = atomic_load(&vm->aside);
                r = 0;
        }
        sim_log_begin(op);
        if (r == 0) {
                atomic_store(&vm->protected, 0);
                atomic_store(&vm->aside, 0);
                if (op->aside)
                        bytes += atomic_load(&vm->aside_bytes);
                bytes += take_leftovers(vm);
                sim_burn(burn_time(bytes));
                cmd->rc = UV_RC_EXECUTED;
                cmd->rrc = 0;
        }
        sim_log_end(op, r, cmd);
        vm_unlock(vm);
        return r;
}

static int do_prepare(struct sim_vm *vm, struct sim_op *op, struct pv_cmd *cmd) {
        uint64_t bytes = atomic_load(&vm->bytes);
        int r = -EINVAL;

        vm_lock(vm);
        if (sim_config.async_destroy && atomic_load(&vm->protected) && !atomic_load(&vm->aside) &&
            bytes > SIM_2G)
                r = sim_fail_next(&sim_config.fail_prepare);
        if (r == 0)
                op->seq = atomic_load(&vm->protected);
        sim_log_begin(op);
        if (r == 0) {
                atomic_store(&vm->aside_bytes, bytes);
                atomic_store(&vm->aside, op->seq);
                atomic_store(&vm->protected, 0);
                sim_burn(burn_time(SIM_2G));
                cmd->rc = PV_RC_PREPARED;
                cmd->rrc = PV_RRC_PREPARED;
        }
        sim_log_end(op, r, cmd);
        vm_unlock(vm);
        return r;
}

static struct performer *performer_new(struct sim_vm *vm, uint64_t bytes) {
        for (size_t i = 0; i < PERFORMERS_MAX; i++) {
                struct performer *p = &vm->performers[i];
                uint32_t tid = 0;

                if (atomic_compare_exchange_strong(&p->tid, &tid, own_tid())) {
                        atomic_store(&p->bytes, bytes);
                        return p;
                }
        }
        return NULL;
}

static void perform(uint64_t bytes) {
        uint64_t end = now_ns() + sim_config.min_ms * NS_PER_MS, now;

        sim_burn(burn_time(bytes));
        for (now = now_ns(); now < end; now = now_ns())
                sleep_ns(end - now);
}

/* rc and rrc stay as they are: a machine with fast destroy. */
static int do_perform(struct sim_vm *vm, struct sim_op *op, struct pv_cmd *cmd) {
        struct performer *performer = NULL;
        uint64_t bytes;
        int r = -EINVAL;

        vm_lock(vm);
        if (sim_config.async_destroy)
                op->seq = atomic_load(&vm->aside);
        bytes = atomic_load(&vm->aside_bytes);
        sim_log_begin(op);
        if (op->seq) {
                atomic_store(&vm->aside, 0);
                performer = performer_new(vm, bytes);
                r = sim_fail_next(&sim_config.fail_perform);
        }
        vm_unlock(vm);
        if (r == 0)
                perform(bytes);
        if (performer)
                atomic_store(&performer->tid, 0);
        sim_log_end(op, r, cmd);
        return r;
}

/* What the rest of a boot needs; none of it is simulated further. */
static int do_nothing(struct sim_vm *vm, struct sim_op *op, struct pv_cmd *cmd) {
        int r = -EINVAL;

        op->seq = atomic_load(&vm->protected);
        if (op->seq) {
                cmd->rc = UV_RC_EXECUTED;
                cmd->rrc = 0;
                r = 0;
        }
        sim_log_begin(op);
        sim_log_end(op, r, cmd);
        return r;
}

int sim_vm_command(struct sim_vm *vm, int fd, struct pv_cmd *cmd) {
        struct sim_op op = {.fd = fd, .cmd = cmd->cmd, .vm_pid = vm->pid, .vm_slot = vm->slot};

        if (cmd->flags || cmd->reserved[0] || cmd->reserved[1] || cmd->reserved[2])
                return refuse(&op, cmd, -EINVAL);
        switch (cmd->cmd) {
        case PV_ENABLE:
                return do_enable(vm, &op, cmd);
        case PV_DISABLE:
                return do_disable(vm, &op, cmd);
        case PV_ASYNC_CLEANUP_PREPARE:
                return do_prepare(vm, &op, cmd);
        case PV_ASYNC_CLEANUP_PERFORM:
                return do_perform(vm, &op, cmd);
        case PV_SET_SEC_PARMS:
        case PV_UNPACK:
        case PV_VERIFY:
        case PV_PREP_RESET:
        case PV_UNSHARE_ALL:
                return do_nothing(vm, &op, cmd);
        case PV_INFO:
        case PV_DUMP:
                return refuse(&op, cmd, -EINVAL);
        default:
                return refuse(&op, cmd, -ENOTTY);
        }
}
