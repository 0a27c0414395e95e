/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The warden: a child of the daemon that has the capabilities, while the daemon's loop, which talks
 * to peers, has none. It answers a fixed set of questions, believes nothing that it is told, and
 * does only to workers what the daemon is for:
 * - it moves and schedules a process that it has admitted as a worker, and no other;
 * - it moves a worker into the cgroup of that worker's name, and nowhere else.
 *
 * There is one warden in a program. A question goes by pid, as in process.h: whoever holds a pidfd
 * asks process_alive() afterwards. A question blocks for as long as its answer takes: microseconds,
 * or as long as the kernel's cgroup locks are held. All return a negative errno on failure: -ESRCH:
 * there is no such process; -EPERM: the warden does not do that, or has no capability for it;
 * -ENOTCONN: there is no warden.
 */

#include <sys/types.h>

#include "base/util.h"
#include "sandbox/sandbox.h"

/* The name of a worker's cgroup: its pid and its start time. */
#define WARDEN_LEAF "vm-%d-%" PRIu64
/* So the names of the closers' units begin. */
#define WARDEN_CLOSER "pv-reaper-closer@"

struct warden_config {
        int root;         /* the closers' cgroups are in this directory; -1: there are no cgroups */
        const char *jobs; /* below it: where the workers' cgroups are; PROBE is beside it */
        enum sandbox_mode seccomp;
};

/*
 * Starts it, and gives up all capabilities of the caller. The warden ends with the caller. It gets
 * no fd of the caller's but root. Blocks until the warden is ready: milliseconds.
 */
int warden_start(const struct warden_config *config);

/*
 * Calls on_dead when the warden is dead or does not answer; NULL, or if on_dead returns: the
 * question fails with -EPIPE.
 */
void warden_on_dead(void (*on_dead)(void));

/* Whether it was given that capability (CAP_*). */
bool warden_has(int capability);

/* Ends it, if there is one. */
void warden_stop(void);

/* An fd for poll(2): POLLHUP says that the warden is dead. -1: there is none. Borrowed. */
int warden_get_fd(void);

/*
 * In a child of the caller: its questions go by another connection, which becomes fd. At most one
 * child at a time may ask. on_dead is not called there.
 */
int warden_use_in_child(int fd);

/* ---- questions about any process ---- */

#define WARDEN_COMPARE_MAX 64

/* 1: both share one address space; 0: they do not (a zombie has none). */
int warden_same_mm(pid_t a, pid_t b);

/* Of up to WARDEN_COMPARE_MAX others, those that share pid's address space: bit i is others[i]. */
int warden_compare_mm(pid_t pid, const pid_t *others, unsigned n, uint64_t *ret);

/* The path of its program, in its own mount namespace, malloc()ed, the caller's. */
int warden_program(pid_t pid, char **ret);

/* ---- workers: each is admitted first, by one of these; the warden forgets it when it exits ----
 */

/*
 * 1: it shares the address space of other, a process, and is admitted. 0: it does not. -EUSERS: it
 * has more than one thread.
 */
int warden_admit(pid_t pid, pid_t other);

/* It is in the cgroup of its name. */
int warden_admit_found(pid_t pid, uint64_t starttime);

/* It is in the closer's cgroup of this name. */
int warden_admit_closer(pid_t pid, const char *name);

/* ---- what is done to workers ---- */

/* Into the cgroup of its name. The kernel reports success for an exiting process, too. */
int warden_move(pid_t pid, uint64_t starttime);

/* SCHED_OTHER, SCHED_BATCH or SCHED_IDLE, with the nice value that it has. */
int warden_set_fair(pid_t pid, int policy);

/* SCHED_DEADLINE. It cannot fork then. */
int warden_set_deadline(pid_t pid, uint64_t runtime_nsec, uint64_t period_nsec);

#define WARDEN_CPUS_MAX 8192 /* the kernel's largest NR_CPUS */
struct warden_cpus {
        unsigned long bits[WARDEN_CPUS_MAX / (8 * sizeof(unsigned long))];
};

int warden_set_cpus(pid_t pid, const struct warden_cpus *cpus);

/* ---- the probe: processes that run the warden's own program, as its own user ---- */

/* Into PROBE. */
int warden_move_probe(pid_t pid);

/* Others shall not delay it: the best nice value. */
int warden_hurry_probe(pid_t pid);
