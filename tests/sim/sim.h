/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The parts of libpvsim. What it simulates, its environment and its limits: the head of ioctl.c.
 *
 * Everything but config.c runs in the keeper too, a CLONE_VM process that shares its TLS with a
 * parked thread and its memory with threads that may have died at any instruction. So: system calls
 * and atomics; no malloc, stdio, pthread or dlsym; nothing that cannot be left half done.
 */

#include "base/kvm-pv.h"
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define pv_cmd_id kvm_pv_cmd_id /* both headers have an enum of this name */
#include <linux/kvm.h>
#undef pv_cmd_id

#define SIM_EXPORT    __attribute__((visibility("default")))
#define SIM_PAGE_SIZE UINT64_C(4096)
#define SIM_2G        (UINT64_C(2) << 30)

/* PVSIM_FAIL for one command */
struct sim_fail {
        int error;                  /* positive errno, 0: does not fail */
        _Atomic int_least64_t left; /* so many times more */
};

struct sim_config {
        uint64_t ns_per_page;
        uint64_t min_ms; /* least wall time of a PERFORM */
        bool async_destroy;
        bool protectable; /* no: a host without protected virtualization */
        bool standin;     /* even if there is a /dev/kvm */
        struct sim_fail fail_prepare;
        struct sim_fail fail_perform;
        char log[PATH_MAX]; /* absolute path, "": none */
};

/* config.c: filled in by a constructor, constant afterwards but for fail_*.left */
extern struct sim_config sim_config;

/* 0, or the negative errno the command shall fail with this time. */
int sim_fail_next(struct sim_fail *fail);

/* ioctl.c */
enum sim_fd {
        SIM_FD_OTHER,
        SIM_FD_DEV, /* /dev/kvm */
        SIM_FD_VM,  /* made by the real KVM */
        SIM_FD_STANDIN_DEV,
        SIM_FD_STANDIN_VM,
};

/* What fd is, by its name in /proc. */
enum sim_fd sim_fd_kind(int fd);

/* vm.c: one VM of this address space */
struct sim_vm;

/* Gives the VM behind a new VM fd a slot, marks the file with it, and forgets who had it before. */
void sim_vm_new(int fd);

/* The VM behind fd, NULL if it was not made through this library. The caller shares its memory. */
struct sim_vm *sim_vm_find(int fd);

/* KVM_SET_USER_MEMORY_REGION succeeded. */
void sim_vm_set_region(struct sim_vm *vm, uint32_t slot, uint32_t flags, uint64_t bytes);

/* KVM_S390_PV_COMMAND in this address space: 0 or negative errno; logs begin and end. */
int sim_vm_command(struct sim_vm *vm, int fd, struct pv_cmd *cmd);

/* burn.c: uses ns nanoseconds of the calling thread's CPU time, inside the kernel. */
void sim_burn(uint64_t ns);

/* log.c */
struct sim_op {
        int fd;
        uint32_t cmd;    /* enum pv_cmd_id */
        uint32_t vm_pid; /* who made the VM and its slot there, 0: unknown */
        uint32_t vm_slot;
        uint32_t seq;   /* which incarnation of the VM it is about, from 1; 0: none */
        uint32_t aside; /* the set-aside incarnation a DISABLE destroys as well, 0: none */
};

void sim_log_begin(const struct sim_op *op);
void sim_log_end(const struct sim_op *op, int result, const struct pv_cmd *cmd);

/* standin.c: its fds are memfds of these names */
#define SIM_STANDIN_VM  "kvm-vm"
#define SIM_STANDIN_DEV "kvm-dev"

/* A VM fd's or /dev/kvm's ioctl where there is no KVM: 0 or more, or negative errno. */
int sim_standin_ioctl(int fd, enum sim_fd kind, uint32_t request, void *arg);
