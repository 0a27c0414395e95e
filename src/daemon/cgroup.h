/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Our part of the cgroup v2 tree:
 *
 *   PATH/                         ours alone (--cgroup; under systemd pv-reaper-workers.service)
 *   PATH/jobs/                    every worker below it
 *   PATH/jobs/vm-<pid>-<start>/   one worker; its cpu.stat is the bill
 *
 * The bill of a worker is what its cgroup used, so it is made at first contact and outlives the
 * daemon; an extended attribute of the directory, the mark, carries what the next daemon should
 * know of its job. Errors are negative errnos. Nothing here blocks but on the kernel's cgroup
 * locks.
 */

#include <sys/types.h>

#include "base/util.h"

struct cgroup_root {
        char *path; /* as an absolute path */
        int jobs;   /* O_PATH fd of PATH/jobs */
};

struct cgroup_leaf {
        char *path; /* absolute */
        int dir;
        char name[48];
};

/*
 * Takes over a cgroup v2 directory that is ours. path NULL: the one of pv-reaper-workers.service on
 * this host. -EMEDIUMTYPE: not cgroup v2.
 */
int cgroup_root_new(struct cgroup_root **ret, const char *path);
struct cgroup_root *cgroup_root_free(struct cgroup_root *root);

/* Calls found, unless NULL, for each worker's cgroup that holds a process; removes the others. */
int cgroup_root_scan(struct cgroup_root *root,
                     void (*found)(void *userdata, pid_t pid, uint64_t starttime), void *userdata);

/* Makes the worker's cgroup, or opens it if it is there. */
int cgroup_leaf_new(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid,
                    uint64_t starttime);

/* Closes it; the cgroup itself stays. */
struct cgroup_leaf *cgroup_leaf_free(struct cgroup_leaf *leaf);

/* Moves a process in. The kernel reports success also for an exiting one, which does not move. */
int cgroup_leaf_attach(struct cgroup_leaf *leaf, pid_t pid);

/* 1: the process is in it; 0: it is not. */
int cgroup_leaf_contains(struct cgroup_leaf *leaf, pid_t pid);

/* CPU time used by everything that ever ran in it, in µs. */
int cgroup_leaf_cpu_usec(struct cgroup_leaf *leaf, uint64_t *ret);

/* Removes the cgroup from the tree; -EBUSY while there is a process in it. */
int cgroup_leaf_remove(struct cgroup_leaf *leaf, struct cgroup_root *root);

/* The mark: a short text that lives as long as the cgroup. -ENODATA: none; -EOPNOTSUPP: too old. */
int cgroup_leaf_set_mark(struct cgroup_leaf *leaf, const char *text);
int cgroup_leaf_get_mark(struct cgroup_leaf *leaf, char *buffer, size_t size);
