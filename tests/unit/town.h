/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A host that is made up: processes, the memory they share, and the cgroups they are in. All that
 * worker/, adopt/ and manager.c ask of /proc, of pidfds and of cgroups is answered in here (the
 * linker's --wrap), so a test says who lives, and sees who is moved, limited and killed.
 *
 * For a test that uses it, unit_town_dep is among the dependencies in meson.build.
 */

#include <sys/queue.h>
#include <sys/types.h>

#include "base/util.h"
#include "daemon/cgroup/cgroup.h"
#include "daemon/worker/mark.h"

struct citizen {
        /* the test's to change */
        pid_t pid, ppid;
        uint64_t starttime;
        unsigned n_threads, n_threads_moved; /* as soon as it is moved; 0: as before */
        bool dies_moved;                     /* it ends as it is moved */
        bool dies_looked_at;                 /* it ends as its program is looked at */
        int memory; /* who has the same number shares an address space; 0: none */
        const char *name, *program, *unit, *nodes;
        uint64_t rss, cpu_usec;
        bool closer; /* in a cgroup of pv-reaper-closer@ */

        /* what became of it */
        char cgroup[64]; /* "": where it was born */
        char mark[MARK_SIZE_MAX], card[CARD_SIZE_MAX];
        uint64_t cgroup_cpu_usec; /* the bill of its cgroup */
        bool limited, killed;

        bool gone; /* see town_bury() */
        int life;  /* an eventfd, as its pidfds are */
        LIST_ENTRY(citizen) link;
};

struct town {
        struct cgroup_root root; /* borrowed by whoever is tested */

        /* what is answered instead of success */
        int new_error, attach_error, nodes_error, limit_error, kill_error, remove_error;

        int root_error;
        bool yields;
        unsigned n_yields; /* times that it was asked */

        char asked[32];     /* which cgroup was taken over; "(auto)" */
        unsigned n_cgroups; /* of workers that are there now */
        LIST_HEAD(, citizen) citizens;
};

extern struct town town;

void town_begin(void);
void town_end(void);

/* With one thread and a memory of its own, of the unit "machine-PID.scope". */
struct citizen *town_add(pid_t pid, pid_t ppid);

struct citizen *town_find(pid_t pid);

/* Dead from now on, as its pidfds say, and a zombie until the end. */
void town_kill(struct citizen *citizen);

/* Dead, and no zombie any more; its cgroup stays until somebody removes it. */
void town_bury(struct citizen *citizen);

/* A pidfd, which is the caller's; -1 and errno. */
int town_open(pid_t pid);
