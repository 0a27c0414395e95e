/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Tells from /proc whether a QEMU and its native AIO have ended. Only root may read these files. A
 * process that shares a QEMU's memory (pvr-keeper, pvr-guard, QEMU's own cleanup/<pid>) keeps its
 * I/O in flight: the kernel waits for it in io_destroy(2), or when the memory's last user exits.
 *
 * A ring, "/[aio]" in maps, shows that there is a context. But a missing ring does not show its
 * end: io_destroy(2) removes the ring and waits afterwards, and a process that exits has no maps.
 * Such waits sleep. So a process without a ring has no I/O in flight if it sleeps in another system
 * call, or has used 10 ms of CPU since its last ring was seen.
 */

#include <dirent.h>
#include <sys/types.h>

#include "base/util.h"

/* Whether a process of that name shares a QEMU's memory. *ret: QEMU's pid in the name, or 0. */
bool inflight_is_helper(const char *comm, pid_t *ret);

/* Whether this command line has -name [guest=]what or -uuid what. Each argument ends with NUL. */
bool inflight_is_named(const char *cmdline, size_t size, const char *what);

/* Whether this line of /proc/PID/maps is a ring's. */
bool inflight_is_ring(const char *line);

/* What /proc says of a process. */
struct inflight_task {
        bool has_memory, has_ring;
        long system_call; /* it sleeps in this one; negative: it runs, or this is unknown */
        uint64_t cpu_nsec;
};

/* Whether I/O may be in flight. cpu_since: cpu_nsec at the first look without a ring. */
bool inflight_may_be(const struct inflight_task *task, uint64_t cpu_since);

/* Finds the next process of an open /proc. 1: *ret is set; 0: there are no more; negative: error.
 */
int inflight_next_pid(DIR *dir, pid_t *ret);

struct inflight;

/*
 * proc: "/proc". what: NAME, UUID or pid=NUMBER, of a QEMU or of a process that shares its memory.
 * The process with that pid may be any VMM. Errors: -ENOMEM.
 */
int inflight_new(struct inflight **ret, const char *proc, const char *what);
struct inflight *inflight_free(struct inflight *inflight);
DEFINE_FREEP(inflight)

/*
 * Looks once.
 * 1: QEMU lives, or I/O of a process is or may be in flight.
 * 0: neither is the case.
 * Negative: cannot tell, for example -EACCES.
 *
 * Call it often: it remembers whose a process is. A process that exits loses its command line, and
 * could then be anybody's. A process that is new since the first look counts only if it is known to
 * be meant. A QEMU is found by name only if its process is called qemu... or kvm.
 */
int inflight_look(struct inflight *inflight);

/* Whether a look has seen a process that is meant for sure. */
bool inflight_knows(const struct inflight *inflight);

/* Why the last look returned 1: "pvr-keeper (pid 123) keeps its memory". The object keeps it. */
const char *inflight_why(const struct inflight *inflight);
