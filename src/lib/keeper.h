/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The struct that the VMM's side (vm.c, prepare.c, heir.c), the keeper (keeper.c) and its guard
 * (guard.c) share. It is in an anonymous mapping that outlives the VMM. All of them see it, since
 * they share the address space. The keeper owns each field that has no other owner below. VMM and
 * guard read only the atomics, and fields that were written before keeper and guard were made. One
 * exception: the guard reads link.fd, link.state and link.version to say QUIET while the keeper is
 * inside PERFORM, which changes none of them.
 * docs/design.md: what a keeper guarantees (G1, G2, G9), and the reason for each odd rule.
 */

#include <pvreaper.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/filter.h"
#include "lib/identity.h"
#include "lib/space.h"
#include "link/link.h"

/* VMM to keeper, over the socketpair; the SET_FD packet carries the VM fd. */
enum bell_type {
        BELL_RING = 1,
        BELL_SET_FD = 2,
        BELL_LEAVE = 3,
        BELL_READY = 4, /* keeper to VMM */
        BELL_HURRY = 5, /* begin the queued job, if there is one, without a grant */
};

struct bell {
        uint32_t type; /* enum bell_type */
        int32_t error; /* READY: 0, or the reason why the keeper could not start */
};

/* Twice a guard (a page on every architecture) and a stack: the guard's, then the keeper's. */
#define KEEPER_GUARD_SIZE (64UL * 1024)
#define KEEPER_STACK_SIZE (64UL * 1024)
#define KEEPER_BELOW      (2 * (KEEPER_GUARD_SIZE + KEEPER_STACK_SIZE)) /* the struct */

/* Above the first frame of a stack: s390x saves registers in its caller's. */
#define KEEPER_STACK_RESERVE 512UL

#define KEEPER_STAT_SIZE 32

struct keeper {
        /* identity; written before the clone */
        pid_t vmm_pid;
        struct identity identity;        /* the VMM's */
        char vmm_stat[KEEPER_STAT_SIZE]; /* the path of its /proc/PID/stat */
        uint64_t grace_reboot_usec;
        uint64_t grace_shutdown_usec;
        struct filter filter;

        /* fds, in the table that keeper and guard share */
        int bell;
        int outcomes;
        int vmm;         /* pidfd */
        int vmm_stat_fd; /* or negative */
        int vm_fd;
        int guard; /* pidfd; -1: it has ended */

        pid_t pid;        /* the keeper's own */
        pid_t guard_pid;  /* its only child */
        struct link link; /* to the daemon; with name and job */
        struct space space;

        /* state: the VMM */
        bool has_vm;           /* it was told of a VM */
        bool vmm_gone;         /* its pidfd said so */
        bool released;         /* the shutdown job was begun */
        bool hurry;            /* it wants the queued job to begin */
        bool bell_ended;       /* the doorbell did */
        uint64_t linger_until; /* the doorbell did, and it is unknown whether the VMM dies; or 0 */

        /* the guard's */
        int guard_stat;         /* as vmm_stat_fd, which the keeper may be reading */
        _Atomic bool fenced;    /* the fence is over ... */
        _Atomic bool quiet;     /* ... and no native AIO of the dead VMM is in flight */
        _Atomic bool gave_back; /* what others wait for */
        _Atomic int guard_tid;  /* the kernel sets it to 0 when the guard is gone */

        /* read by the heir, the guard and the VMM */
        _Atomic int tid;              /* of the keeper; the kernel sets it to 0 when that is gone */
        _Atomic uint64_t performing;  /* seq of the job whose PERFORM is running, or 0 */
        struct pvr_outcome ended;     /* of the last PERFORM */
        _Atomic bool unreported;      /* ... which the VMM was not told */
        _Atomic uint64_t rings_taken; /* how many of rings the last PERFORM answered */
        _Atomic uint64_t dropped;     /* outcomes nobody read */
        _Atomic bool differs; /* the VMM is not who it was: the keeper leaves; the heir's, too */

        /* the VMM's */
        _Atomic uint64_t rings; /* how often it rang */
};

/* For clone(2) with CLONE_VM; arg is the struct keeper. Returns only if the start failed. */
int keeper_main(void *arg);

/* The keeper begins: closes the VMM's fds, gives up rights, starts the guard. */
int keeper_start(struct keeper *keeper);

/* ---- guard.c ---- */

/* Makes the guard. 0 or a negative errno. */
int guard_start(struct keeper *keeper);

/* Waits for a guard whose pidfd says that it has ended. */
void guard_reap(struct keeper *keeper);

/* VMM and guard have ended: does what the guard did not do. May block, as a fence does. */
void guard_finish(struct keeper *keeper);

enum vmm_life {
        VMM_UNKNOWN = 0, /* /proc does not say */
        VMM_LIVES,
        VMM_EXITING, /* its first thread is; others may run */
        VMM_EXITED,  /* its only thread has given up its memory, or is about to */
};

/* A VMM's life by its /proc/PID/stat, while its pidfd is silent. No errno, no libc: see raw.h. */
enum vmm_life vmm_look(int stat_fd);
