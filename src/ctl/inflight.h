/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Whether a QEMU is gone, and its native AIO, as far as /proc shows it, which root alone may look
 * at. A process that shares a QEMU's memory (pvr-keeper, pvr-guard, QEMU's own cleanup/<pid>) keeps
 * its I/O in flight: the kernel waits for that in io_destroy(2), or when the memory's last user
 * exits.
 *
 * A context's ring, "/[aio]" in maps, is a sign of one, but its absence is no sign of the end:
 * io_destroy(2) takes the ring away first and waits afterwards, and who exits has no maps. So a
 * process without a ring is believed when it is seen to sleep in another system call, or has used
 * 10 ms of CPU since the last ring was there: io_destroy(2) and exit_aio() sleep while they wait.
 */

#include <dirent.h>
#include <sys/types.h>

#include "base/util.h"

/* Whether a process of that name shares a QEMU's memory; *ret: QEMU's pid by that name, or 0. */
bool inflight_is_helper(const char *comm, pid_t *ret);

/* Whether this command line, arguments that end with NUL, has -name [guest=]what or -uuid what. */
bool inflight_is_named(const char *cmdline, size_t size, const char *what);

/* Whether a line of /proc/PID/maps is of a ring. */
bool inflight_is_ring(const char *line);

/* What /proc says of a process. */
struct inflight_task {
        bool has_memory, has_ring;
        long system_call; /* that it sleeps in; negative: it runs, or that is not known */
        uint64_t cpu_nsec;
};

/* cpu_since: its cpu_nsec when it was first seen without a ring. */
bool inflight_may_be(const struct inflight_task *task, uint64_t cpu_since);

/* The next process of an open /proc: 1; 0: there are no more; -EIO, ...: they cannot be read. */
int inflight_next_pid(DIR *dir, pid_t *ret);

struct inflight;

/*
 * proc: "/proc". what: NAME, UUID or pid=NUMBER, of QEMU or of a process that shares its memory; of
 * a pid the process may be any VMM. -ENOMEM.
 */
int inflight_new(struct inflight **ret, const char *proc, const char *what);
struct inflight *inflight_free(struct inflight *inflight);

/*
 * Looks once. 1: QEMU lives, or somebody is there of whom I/O is or may be in flight; 0: nobody;
 * -EACCES, ...: cannot tell. It remembers which process is whose, so it is to be asked often: of a
 * process that exits the command line is gone, and it could be anybody's. One that was not there at
 * the first look is meant only if that is known.
 *
 * By name a QEMU is found if its process is called qemu... or kvm.
 */
int inflight_look(struct inflight *inflight);

/* Whether any look has seen a process that is meant for sure. */
bool inflight_knows(const struct inflight *inflight);

/* Why the last look returned 1: "pvr-keeper (pid 123) keeps its memory". The object's. */
const char *inflight_why(const struct inflight *inflight);
