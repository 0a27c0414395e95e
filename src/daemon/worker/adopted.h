/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Adopted helpers; see adopt.h for who is one. */

#include "daemon/worker/worker.h"

/* A helper to adopt, and its VMM: verified, both alive a moment ago. */
struct helper {
        pid_t pid, vmm_pid;
        uint64_t starttime;
        int pidfd, vmm_pidfd; /* -1 once taken over */
};

/*
 * Adopts it: moves it into a cgroup of its own. From now on its end is a job, see JOB_KIND_ADOPTED.
 * Takes over the pidfds in any case. -ESRCH: it, or its VMM, is gone; -EMFILE, -EDQUOT: too many.
 */
int worker_new_adopted(struct worker **ret, struct workers *workers, struct helper *helper);

/* One that is gone: its one job, of which nothing is known but the bill. */
int worker_begin_unseen(struct worker *worker);

/* An adopted one that was found after a restart, and restored. */
int worker_resume_adopted(struct worker *worker);

/*
 * The name of the guest in a unit that systemd-machined made for libvirt, as libvirt shortens it:
 * "anna" of "machine-qemu\x2d1\x2danna.scope". malloc()ed, the caller's, and printable. NULL: it is
 * no such unit, or there is no memory.
 */
char *adopted_guest_of(const char *unit);
