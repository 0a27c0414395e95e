// SPDX-License-Identifier: GPL-2.0-only

/*
 * What KVM on s390 knows of protected VMs, in kernel context: states and return codes of ENABLE,
 * DISABLE, PREPARE and PERFORM, the check of the address space, and the work at a VM's end.
 *
 * Clearing a page is a delay of ns_per_page in the calling task. What counts is its time on a CPU:
 * who is throttled or has to wait for one does not get on. PERFORM alone stops at a fatal signal,
 * between two batches; it then returns 0 with rc 1 and rrc 42, and what it did not clear is left
 * over. What is left over, set aside or protected when the last reference to the VM goes (the VM's
 * and the vCPUs' files hold one each, and a mapping holds its file) is cleared there and then,
 * whatever signals come, by the task that let go.
 *
 * lock stands for kvm->lock: PREPARE and DISABLE hold it while they clear, PERFORM only to take
 * what is set aside. mm is counted by mm_count: it is compared, and nobody looks into it.
 *
 * Work that only has to last need not keep a CPU busy: see rest_msec.
 *
 * Limits: nothing is mapped or unmapped, mmap_lock is not taken, and exit_mmap costs nothing.
 */

#include <linux/delay.h>
#include <linux/kref.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "pvsim.h"

#define PAGES(bytes)    ((bytes) >> 12)
#define LIMIT_BYTES     (2ull << 30) /* PREPARE clears so much itself, and needs more */
#define REGIONS_MAX     512
#define STEP_NS         20000ull
#define RC_EXECUTED     1
#define RC_PREPARED     1
#define RRC_PREPARED    42
#define RC_INTERRUPTED  1
#define RRC_INTERRUPTED 42

static unsigned long ns_per_page = 100;
module_param(ns_per_page, ulong, 0644);
MODULE_PARM_DESC(ns_per_page, "CPU time to clear a 4K page; a change acts at once");

static ushort rest_msec;
module_param(rest_msec, ushort, 0644);
MODULE_PARM_DESC(rest_msec, "after each ms of clearing sleep for so long, 0: never");

static bool async_destroy = true;
module_param(async_destroy, bool, 0644);
MODULE_PARM_DESC(async_destroy, "as kvm's: if not set, PREPARE and PERFORM give EINVAL");

static ushort fail_prepare, fail_perform;
module_param(fail_prepare, ushort, 0644);
MODULE_PARM_DESC(fail_prepare, "errno of every PREPARE that would succeed; it changes nothing");
module_param(fail_perform, ushort, 0644);
MODULE_PARM_DESC(fail_perform, "errno of every PERFORM that would succeed; all is left over");

static atomic_t vms_made;

struct pvsim_vm {
        struct kref ref;
        struct mm_struct *mm;
        pid_t pid; /* this and the next are its name in the log */
        u32 number;

        struct mutex lock; /* of all that follows */
        u32 incarnations;
        u32 protected;   /* the incarnation that runs, 0: not protected */
        u32 aside;       /* the one set aside, 0: none */
        u64 aside_pages; /* of that one */
        u64 leftover_pages;
        u64 bytes; /* of guest memory: the sum of regions */
        u64 regions[REGIONS_MAX];
};

/* Busy for about so long; how long it was. Nobody else gets this CPU, but the hypervisor may. */
static u64 spend(u64 ns) {
        u64 begin;

        preempt_disable();
        begin = ktime_get_ns();
        ndelay(min(ns, STEP_NS));
        ns = ktime_get_ns() - begin;
        preempt_enable();
        return ns;
}

/* Lets others have the CPU. worked: for how long they did not. */
static void rest(u64 *worked) {
        ushort msec = READ_ONCE(rest_msec);

        cond_resched();
        if (msec == 0 || *worked < NSEC_PER_MSEC)
                return;
        *worked = 0;
        msleep(msec);
}

/* How many of them it cleared: all, unless it may be killed and was. */
static u64 clear_pages(u64 pages, bool killable) {
        u64 done = 0, spent = 0, worked = 0;

        while (done < pages) {
                u64 ns = READ_ONCE(ns_per_page), n, took;

                if (killable && fatal_signal_pending(current))
                        break;
                if (ns == 0)
                        return pages;
                took = spend((pages - done) * ns);
                spent += took;
                worked += took;
                n = min(pages - done, div64_u64(spent, ns));
                done += n;
                spent -= n * ns;
                rest(&worked);
        }
        return done;
}

struct pvsim_vm *pvsim_vm_new(void) {
        struct pvsim_vm *vm = kvzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);

        if (!vm)
                return NULL;
        kref_init(&vm->ref);
        mutex_init(&vm->lock);
        vm->pid = task_tgid_nr(current);
        vm->number = atomic_inc_return(&vms_made);
        vm->mm = current->mm;
        mmgrab(vm->mm);
        return vm;
}

void pvsim_vm_get(struct pvsim_vm *vm) {
        kref_get(&vm->ref);
}

static struct pvsim_op op_of(const struct pvsim_vm *vm, u32 cmd) {
        return (struct pvsim_op){.cmd = cmd, .vm_pid = vm->pid, .vm_number = vm->number};
}

/* All that is left of the VM. Call with the lock held, or alone. */
static u64 take_rest(struct pvsim_vm *vm, struct pvsim_op *op) {
        u64 pages = vm->leftover_pages;

        op->seq = vm->protected;
        op->aside = vm->aside;
        if (vm->protected)
                pages += PAGES(vm->bytes);
        if (vm->aside)
                pages += vm->aside_pages;
        vm->protected = vm->aside = 0;
        vm->leftover_pages = 0;
        return pages;
}

static void destroy(struct kref *ref) {
        struct pvsim_vm *vm = container_of(ref, struct pvsim_vm, ref);
        struct pvsim_op op = op_of(vm, PVSIM_CLOSE);

        op.pages = take_rest(vm, &op);
        pvsim_log_begin(&op);
        op.pages = clear_pages(op.pages, false);
        pvsim_log_end(&op, 0, 0, 0);
        mmdrop(vm->mm);
        kvfree(vm);
}

void pvsim_vm_put(struct pvsim_vm *vm) {
        kref_put(&vm->ref, destroy);
}

int pvsim_vm_check(const struct pvsim_vm *vm) {
        return vm->mm == current->mm ? 0 : -EIO;
}

int pvsim_vm_set_region(struct pvsim_vm *vm, const struct kvm_userspace_memory_region *region) {
        if (region->slot >= REGIONS_MAX || (region->memory_size | region->guest_phys_addr) & 4095)
                return -EINVAL;
        mutex_lock(&vm->lock);
        vm->bytes += region->memory_size - vm->regions[region->slot];
        vm->regions[region->slot] = region->memory_size;
        mutex_unlock(&vm->lock);
        return 0;
}

static long do_enable(struct pvsim_vm *vm, struct pvsim_op *op, struct kvm_pv_cmd *cmd) {
        long r = -EINVAL;

        mutex_lock(&vm->lock);
        if (!vm->protected) {
                op->seq = vm->protected = ++vm->incarnations;
                cmd->rc = RC_EXECUTED;
                cmd->rrc = 0;
                r = 0;
        }
        pvsim_log_begin(op);
        pvsim_log_end(op, r, cmd->rc, cmd->rrc);
        mutex_unlock(&vm->lock);
        return r;
}

static long do_disable(struct pvsim_vm *vm, struct pvsim_op *op, struct kvm_pv_cmd *cmd) {
        long r = -EINVAL;

        mutex_lock(&vm->lock);
        if (vm->protected) {
                op->pages = take_rest(vm, op);
                r = 0;
        }
        pvsim_log_begin(op);
        if (r == 0) {
                clear_pages(op->pages, false);
                cmd->rc = RC_EXECUTED;
                cmd->rrc = 0;
        }
        pvsim_log_end(op, r, cmd->rc, cmd->rrc);
        mutex_unlock(&vm->lock);
        return r;
}

static bool may_prepare(const struct pvsim_vm *vm) {
        return async_destroy && vm->protected && !vm->aside && vm->bytes > LIMIT_BYTES;
}

static long do_prepare(struct pvsim_vm *vm, struct pvsim_op *op, struct kvm_pv_cmd *cmd) {
        long r = -EINVAL;

        mutex_lock(&vm->lock);
        if (may_prepare(vm))
                r = -(long)READ_ONCE(fail_prepare);
        if (r == 0) {
                op->seq = vm->aside = vm->protected;
                op->pages = PAGES(LIMIT_BYTES);
                vm->aside_pages = PAGES(vm->bytes);
                vm->protected = 0;
        }
        pvsim_log_begin(op);
        if (r == 0) {
                clear_pages(op->pages, false);
                cmd->rc = RC_PREPARED;
                cmd->rrc = RRC_PREPARED;
        }
        pvsim_log_end(op, r, cmd->rc, cmd->rrc);
        mutex_unlock(&vm->lock);
        return r;
}

static void leave_over(struct pvsim_vm *vm, u64 pages) {
        mutex_lock(&vm->lock);
        vm->leftover_pages += pages;
        mutex_unlock(&vm->lock);
}

/* Completed it leaves rc and rrc as they are: a machine with fast destroy. */
static long do_perform(struct pvsim_vm *vm, struct pvsim_op *op, struct kvm_pv_cmd *cmd) {
        long r = -EINVAL;
        u64 pages;

        mutex_lock(&vm->lock);
        if (async_destroy && vm->aside) {
                op->seq = vm->aside;
                op->pages = vm->aside_pages;
                vm->aside = 0;
                r = -(long)READ_ONCE(fail_perform);
        }
        pvsim_log_begin(op);
        mutex_unlock(&vm->lock);

        pages = op->pages;
        op->pages = r == 0 ? clear_pages(pages, true) : 0;
        if (op->pages < pages) {
                leave_over(vm, pages - op->pages);
                cmd->rc = r == 0 ? RC_INTERRUPTED : cmd->rc;
                cmd->rrc = r == 0 ? RRC_INTERRUPTED : cmd->rrc;
        }
        pvsim_log_end(op, r, cmd->rc, cmd->rrc);
        return r;
}

/* What the rest of a boot needs; none of it is simulated further. */
static long do_nothing(struct pvsim_vm *vm, struct pvsim_op *op, struct kvm_pv_cmd *cmd) {
        long r = -EINVAL;

        mutex_lock(&vm->lock);
        op->seq = vm->protected;
        mutex_unlock(&vm->lock);
        if (op->seq) {
                cmd->rc = RC_EXECUTED;
                cmd->rrc = 0;
                r = 0;
        }
        pvsim_log_begin(op);
        pvsim_log_end(op, r, cmd->rc, cmd->rrc);
        return r;
}

static long refuse(const struct pvsim_op *op, const struct kvm_pv_cmd *cmd, int error) {
        pvsim_log_begin(op);
        pvsim_log_end(op, error, cmd->rc, cmd->rrc);
        return error;
}

void pvsim_vm_refuse(struct pvsim_vm *vm, const struct kvm_pv_cmd *cmd) {
        struct pvsim_op op = op_of(vm, cmd->cmd);

        refuse(&op, cmd, -EIO);
}

long pvsim_vm_command(struct pvsim_vm *vm, struct kvm_pv_cmd *cmd) {
        struct pvsim_op op = op_of(vm, cmd->cmd);

        if (cmd->flags)
                return refuse(&op, cmd, -EINVAL);
        switch (cmd->cmd) {
        case KVM_PV_ENABLE:
                return do_enable(vm, &op, cmd);
        case KVM_PV_DISABLE:
                return do_disable(vm, &op, cmd);
        case PVSIM_PREPARE:
                return do_prepare(vm, &op, cmd);
        case PVSIM_PERFORM:
                return do_perform(vm, &op, cmd);
        case KVM_PV_SET_SEC_PARMS:
        case KVM_PV_UNPACK:
        case KVM_PV_VERIFY:
        case KVM_PV_PREP_RESET:
        case KVM_PV_UNSHARE_ALL:
                return do_nothing(vm, &op, cmd);
        default:
                return refuse(&op, cmd, -ENOTTY);
        }
}
