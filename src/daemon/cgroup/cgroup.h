/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Our part of the cgroup v2 tree:
 *
 *   PATH/                         ours alone (--cgroup; under systemd pv-reaper-workers.service)
 *   PATH/jobs/                    every worker below it; what limits all of them together
 *   PATH/probe/                   for a moment after the start: see probe.h
 *   PATH/jobs/vm-<pid>-<start>/   one keeper; its cpu.stat is the bill
 *
 * and what is systemd's, beside it: the cgroups of pv-reaper-closer@*.service, which we only read.
 * They are children of PATH's parent, our slice; of PATH itself if that was named explicitly.
 *
 * The bill of a worker is what its cgroup used, so it is made at first contact and outlives the
 * daemon; two extended attributes of the directory, mark and card, carry what the next daemon
 * should know of its job and of itself (mark.h). Errors are negative errnos. Nothing here blocks
 * but on the kernel's cgroup locks.
 */

#include <stdio.h>
#include <sys/types.h>

#include "base/util.h"

/* Controllers that we use where they reach us. */
enum {
        CGROUP_CPU = 1,
        CGROUP_PIDS = 2,
        CGROUP_MEMORY = 4,
        CGROUP_CPUSET = 8, /* only on request */
};

struct cgroup_root {
        char *path;         /* PATH, absolute */
        char *jobs_path;    /* PATH/jobs */
        char *closers_path; /* where the closers' cgroups are, absolute */
        int jobs;           /* the directory of jobs_path */
        int closers;        /* the directory of closers_path */

        unsigned controllers;      /* CGROUP_*: those that act on PATH/jobs */
        unsigned leaf_controllers; /* those that act on each keeper's cgroup */
        const char *library_jobs;  /* jobs_path for libcgroup; NULL: it cannot be used */
};

struct cgroup_leaf {
        char *path; /* absolute */
        int dir;
        bool foreign;             /* a closer's: never changed by us */
        const char *name;         /* the end of path */
        const char *library_name; /* a part of path, for libcgroup; NULL: it cannot be used */
};

/*
 * Takes over a cgroup v2 directory that is ours, in which no process may be, and enables the
 * controllers that we use where they are there. path NULL: the one of pv-reaper-workers.service on
 * this host. Logs what is wrong, and which controllers are missing.
 */
int cgroup_root_new(struct cgroup_root **ret, const char *path);
struct cgroup_root *cgroup_root_free(struct cgroup_root *root);

typedef void (*cgroup_found_fn)(void *userdata, pid_t pid, uint64_t starttime);

/* For each keeper's cgroup, whether somebody is in it or not. found may remove it. */
int cgroup_root_scan_keepers(struct cgroup_root *root, cgroup_found_fn found, void *userdata);

/* For each process in a closer's cgroup. */
int cgroup_root_scan_closers(struct cgroup_root *root, cgroup_found_fn found, void *userdata);

/*
 * Makes the keeper's cgroup, or opens it if it is there. With the pids controller nothing in it can
 * fork: a keeper is one task and stays one.
 */
int cgroup_leaf_new(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid,
                    uint64_t starttime);

/* Opens the keeper's cgroup, and changes nothing. -ENOENT: there is none. */
int cgroup_leaf_open(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid,
                     uint64_t starttime);

/*
 * Opens the closer's cgroup in which pid is, and makes none; leaf->foreign is then true. -ENOENT:
 * pid is in none (it is in no direct child of closers_path that is named like a closer's unit).
 * pid is only a number here: ask its pidfd for life afterwards.
 */
int cgroup_leaf_open_closer(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid);

/* Closes it; the cgroup itself stays. */
struct cgroup_leaf *cgroup_leaf_free(struct cgroup_leaf *leaf);
DEFINE_FREEP(cgroup_leaf)

/* How the nodes of a worker's cgroup must go with those that the worker has. */
enum cgroup_fit {
        CGROUP_FIT_EXACT, /* the same: no policy changes and no page moves */
        CGROUP_FIT_MORE,  /* at least these: no page moves */
};

/* A list of memory nodes as the kernel writes it ("0-1,4"): of 1024 at most. */
#define NODES_TEXT_MAX 4096

/*
 * Sees to it that a process that has these memory nodes can be moved in without harm to the memory
 * it uses; no process may be in it yet. -EXDEV: it cannot be, the cgroup would have others.
 */
int cgroup_leaf_take_nodes(struct cgroup_leaf *leaf, struct cgroup_root *root, const char *nodes,
                           enum cgroup_fit fit);

/* Whether all of the others are in the list. */
bool cgroup_nodes_include(const char *nodes, const char *others);

/*
 * Its VMM is dead, so new memory of its worker is charged here, and limited from now on: see
 * leaf.c. Older memory stays charged where it was. -ENOENT: no memory controller.
 */
int cgroup_leaf_limit_memory(struct cgroup_leaf *leaf);

/* Kills all processes in it. An error before Linux 5.14, which has no cgroup.kill. */
int cgroup_leaf_kill(struct cgroup_leaf *leaf);

/*
 * Moves a process in. The kernel reports success also for an exiting one, which does not move.
 * A foreign cgroup: 0, and nothing is done (systemd has put its process there).
 */
int cgroup_leaf_attach(struct cgroup_leaf *leaf, pid_t pid);

/* 1: the process is in it; 0: it is not. */
int cgroup_leaf_contains(struct cgroup_leaf *leaf, pid_t pid);

/* CPU time used by everything that ever ran in it, in µs. */
int cgroup_leaf_cpu_usec(struct cgroup_leaf *leaf, uint64_t *ret);

/*
 * Removes the cgroup from the tree; -EBUSY while there is a process in it. A foreign one: 0, and
 * nothing is done (systemd removes it).
 */
int cgroup_leaf_remove(struct cgroup_leaf *leaf, struct cgroup_root *root);

/*
 * Short texts that live as long as the cgroup: the mark, about its job, and the card, about the
 * worker. -ENODATA: none; -EOPNOTSUPP: the kernel is too old, or, from the set functions, the
 * cgroup is foreign.
 */
int cgroup_leaf_set_mark(struct cgroup_leaf *leaf, const char *text);
int cgroup_leaf_get_mark(struct cgroup_leaf *leaf, char *buffer, size_t size);
int cgroup_leaf_set_card(struct cgroup_leaf *leaf, const char *text);
int cgroup_leaf_get_card(struct cgroup_leaf *leaf, char *buffer, size_t size);

/*
 * Writes a value into a file of PATH/jobs, for all workers together. -ENOENT: no such controller.
 */
int cgroup_root_set(struct cgroup_root *root, const char *file, const char *value);

/*
 * Whether others go first: PATH, or a cgroup above it such as our slice, has less than the usual
 * cpu.weight, or cpu.idle. As it is now; false without a cpu controller.
 */
bool cgroup_root_yields(const struct cgroup_root *root);

/*
 * Enables cpuset for PATH/jobs, if it is not. It stays enabled. Not without need: while it is, each
 * worker that is moved in changes its CPU mask.
 */
int cgroup_root_enable_cpuset(struct cgroup_root *root);

/*
 * PATH/probe, a cgroup to try things in, with the controllers that PATH/jobs has. One that an
 * earlier daemon left is used again. Returns its directory, which is the caller's.
 */
int cgroup_root_make_scratch(struct cgroup_root *root);

/* -EBUSY: what was tried in it is not gone yet. It was sent SIGKILL: ask again later. */
int cgroup_root_remove_scratch(struct cgroup_root *root);

/* ---- between the files of this module ---- */

/* Whether that is what systemd calls a closer's cgroup. */
bool cgroup_is_closer_name(const char *name);

/* To read a list of any length. NULL: errno says why. */
FILE *cgroup_fopen_at(int dir, const char *path);
/* All of text in one write. */
int cgroup_write_at(int dir, const char *path, const char *text);

/* CGROUP_* of the controllers in a list such as cgroup.controllers. */
unsigned cgroup_parse_controllers(const char *list);

/* Enables what we need of what reaches PATH, which is open at dir. Logs. -EBUSY: see the log. */
int cgroup_enable_controllers(struct cgroup_root *root, int dir);

/* Once per process; the same answer each time. */
int cgroup_library_init(void);

/*
 * How libcgroup must be asked for the cgroup at path, a part of it: NULL if it cannot be, because
 * it knows that controller elsewhere (v1) or not at all. device: st_dev of our hierarchy.
 */
const char *cgroup_library_name(const char *controller, const char *path, dev_t device);

/* A value of at most 99 bytes. */
int cgroup_library_set(const char *name, const char *controller, const char *key,
                       const char *value);

/* controller must be enabled there. */
int cgroup_library_attach(const char *name, const char *controller, pid_t pid);
