/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For tests of admit.h: a house with a VMM, 10, and its keeper, 11, in the town of town.h. */

#include "fds.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "capture.h"
#include "crew.h"
#include "daemon/runtime/loop.h"
#include "daemon/runtime/process.h"
#include "daemon/worker/admit.h"
#include "daemon/worker/protocol.h"
#include "loop.h"
#include "town.h"

#define SEC USEC_PER_SEC

struct house {
        struct crew crew;
        struct citizen *vmm, *keeper;
};

static inline void begin(struct house *h) {
        town_begin();
        crew_begin(&h->crew, 2);
        h->crew.workers.cgroup = &town.root;
        h->vmm = town_add(10, 1);
        h->keeper = town_add(11, 10);
        h->keeper->memory = h->vmm->memory;
        (void)town_add(1, 0);
}

static inline void end(struct house *h) {
        crew_end(&h->crew);
        town_end();
}

static inline struct worker *last_worker(struct house *h) {
        return TAILQ_LAST(&h->crew.workers.list, worker_list);
}

/* It registers: as peer.c says it. */
static inline int admit(struct house *h, const struct citizen *c) {
        const struct task_stat stat = {
                .ppid = c->ppid, .starttime = c->starttime, .n_threads = c->n_threads};
        int r, pidfd = town_open(c->pid);
        struct worker *w;

        r = worker_new(&w, &h->crew.workers, c->pid, &stat, &pidfd);
        close_fd(&pidfd);
        return r;
}

/* It was not admitted, and nothing is left of it. */
static inline void expect_refused(struct house *h, const struct citizen *c, int why) {
        unsigned n_workers = h->crew.workers.n, n_cgroups = town.n_cgroups;

        assert_int_equal(admit(h, c), why);
        assert_int_equal(h->crew.workers.n, n_workers);
        assert_int_equal(town.n_cgroups, n_cgroups);
}

static inline int find(struct house *h, const struct citizen *c) {
        struct worker *w;

        return worker_new_found(&w, &h->crew.workers, c->pid, c->starttime);
}
