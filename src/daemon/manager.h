/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The root object: owns the loop, the listeners, peers, workers, the governor and the history. All
 * of it is soft state that workers restore when they register again (G6 of docs/design.md).
 */

#include <systemd/sd-event.h>

#include "daemon/cgroup/cgroup.h"
#include "daemon/config/config.h"
#include "daemon/governor/governor.h"
#include "daemon/job/ledger.h"
#include "daemon/runtime/loop.h"
#include "daemon/worker/accept.h"

struct adopt;
struct cap;
struct memory;
struct quiet;

/*
 * Somebody who shows what the manager does (the bus, the service) and of whom it knows no more than
 * this: part of the object that watches, which calls manager_unwatch() before it goes. A watcher
 * may not change anything in the callbacks but its own; each may be NULL.
 */
struct manager_watcher {
        /* Something may have changed: after each round that granted, and once a second with work.
         */
        void (*changed)(void *userdata);

        /* A job began to wait, to run, or ended: see job.state. */
        void (*job_changed)(void *userdata, struct job *job);

        void *userdata;
        TAILQ_ENTRY(manager_watcher) link; /* in manager.watchers */
};

TAILQ_HEAD(manager_watcher_list, manager_watcher);

struct manager {
        /* owned */
        struct config *config;
        sd_event *event;
        struct cgroup_root *cgroup; /* NULL: --cgroup none */
        struct cap *cap;
        struct memory *memory;
        struct quiet *quiet;
        struct adopt *adopt;
        struct acceptor *acceptor;

        const char *handoff_path;    /* borrowed: where workers connect; NULL: unknown */
        struct config_source source; /* where another configuration would come from */

        /* state */
        struct manager_watcher_list watchers;
        struct governor governor;
        struct peers peers;
        struct workers workers;
        struct ledger ledger;
        uint64_t started_at;
        bool memory_short;
        bool hurries;     /* an administrator wants the boost-* limits until nothing is left */
        uint64_t told_at; /* the sums of what was not told one by one */

        sd_event_source *tick_source; /* once a second, while something is to be looked at */
        sd_event_source *dispatch_source;
        sd_event_source *start_source; /* when start-rate lets the next job start */
};

/* Takes config over on success; source is for reloading. Nothing listens yet. */
int manager_new(struct manager **ret, struct config *config, const struct config_source *source);
struct manager *manager_free(struct manager *manager);

/*
 * The jobs and numbers of an earlier daemon, before manager_start(). fd: what systemd kept of it,
 * or -1; taken over. The other one is for systemd to keep, borrowed; -1: it has it, or there is
 * none.
 */
void manager_restore(struct manager *manager, int *history_fd);
int manager_get_new_history(const struct manager *manager);

/* Recounts the workers of an earlier daemon, then listens. The fd is taken over if it listens. */
int manager_start(struct manager *manager, int *handoff_fd);

/* From here on the watcher is told, from the loop; until it is told no more. */
void manager_watch(struct manager *manager, struct manager_watcher *watcher);
void manager_unwatch(struct manager *manager, struct manager_watcher *watcher);

/* The event loop. Returns the exit code. */
int manager_run(struct manager *manager);

/* Something that the queue depends on changed: grants are looked at after this round of events. */
void manager_changed(struct manager *manager);

/* After manager.config has changed: acts at once, also on what runs. */
void manager_apply(struct manager *manager);

/* Asks for a mode, or does so no longer; see governor_set_mode(). Acts at once. */
void manager_set_mode(struct manager *manager, enum governor_mode mode, bool on);

/* The boost-* limits hold until nothing is left to do; or no longer, unless memory is short. */
void manager_hurry(struct manager *manager, bool on);

/* What is in force, in µs per s; USEC_INFINITY: no limit. Reads no file. */
uint64_t manager_cpu_quota(const struct manager *manager);

/* The manager that a worker is part of. */
static inline struct manager *manager_of(const struct worker *worker) {
        return (struct manager *)((char *)worker->workers - offsetof(struct manager, workers));
}
