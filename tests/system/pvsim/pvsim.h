/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/*
 * The parts of pvsim.ko; what it simulates stands at the head of vm.c.
 */

#include <linux/kvm.h>
#include <linux/types.h>

/* Commands that the headers of Linux 6.1 lack. */
#define PVSIM_PREPARE 9
#define PVSIM_PERFORM 10
#define PVSIM_CLOSE   0xffffffffu /* in the log only: the last reference to a VM goes */

#define PVSIM_CAP_ASYNC_DISABLE 224 /* KVM_CAP_S390_PROTECTED_ASYNC_DISABLE */

/* What one command did, for the log. */
struct pvsim_op {
        u32 cmd;
        pid_t vm_pid; /* the process that made the VM, and a number in this boot: its name */
        u32 vm_number;
        u32 seq;   /* the incarnation of the VM it is about, from 1; 0: none */
        u32 aside; /* the set-aside one that DISABLE or CLOSE clears as well, 0: none */
        u64 pages; /* to clear, or what of them was cleared */
};

/* log.c: /proc/pvsim. Call begin and end in the task that does the work. */
int pvsim_log_init(void);
void pvsim_log_exit(void);
void pvsim_log_begin(const struct pvsim_op *op);
void pvsim_log_end(const struct pvsim_op *op, long result, u16 rc, u16 rrc);

/* device.c: /dev/pvsim-device. */
int pvsim_device_init(void);
void pvsim_device_exit(void);

/* vm.c */
struct pvsim_vm;

/* Of this address space. NULL: no memory. Drop it with pvsim_vm_put(). */
struct pvsim_vm *pvsim_vm_new(void);
void pvsim_vm_get(struct pvsim_vm *vm);

/* If it was the last reference, clears what is left of the VM, here and now. */
void pvsim_vm_put(struct pvsim_vm *vm);

/* The check before every ioctl: -EIO for everybody who does not share the maker's memory. */
int pvsim_vm_check(const struct pvsim_vm *vm);

int pvsim_vm_set_region(struct pvsim_vm *vm, const struct kvm_userspace_memory_region *region);

/* KVM_S390_PV_COMMAND: 0 or negative errno; fills in cmd's rc and rrc. Logs it. */
long pvsim_vm_command(struct pvsim_vm *vm, struct kvm_pv_cmd *cmd);

/* As above for somebody whom pvsim_vm_check() refused: only logs it. */
void pvsim_vm_refuse(struct pvsim_vm *vm, const struct kvm_pv_cmd *cmd);
