/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A worker is a process that does teardown work, as long as it lives, connected or not. It is known
 * by pid and start time, so one that reconnects is the same worker.
 */

#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "daemon/cgroup/cgroup.h"
#include "daemon/cpu/enforce.h"
#include "daemon/governor/governor.h"
#include "daemon/job/job.h"
#include "daemon/worker/channel.h"

TAILQ_HEAD(worker_list, worker);

/* All workers, and what they use. The owner sets the first part, then calls the rest. */
struct workers {
        /* borrowed */
        sd_event *event;
        struct governor *governor;
        struct enforce *enforce;
        struct cgroup_root *cgroup; /* NULL: --cgroup none */

        /* What the queue depends on has changed: somebody may be granted now. */
        void (*changed)(void *userdata);

        /* A worker came, went, said that its VM is quiet, or its VMM ended. */
        void (*quiet_changed)(void *userdata);

        /* A job waits now, or runs. */
        void (*job_moved)(void *userdata, struct job *job);

        /* A job ended. Takes it over. */
        void (*job_ended)(void *userdata, struct job *job);

        /* A number for a new job. */
        uint64_t (*next_job_id)(void *userdata);
        void *userdata;

        unsigned max;

        /* state; read-only to others */
        struct worker_list list;
        void *tree; /* the same, by pid and start time */
        unsigned n;
        uint64_t n_gone;       /* workers whose process has ended */
        unsigned n_adopted;    /* of them WORKER_ADOPTED */
        uint64_t n_unreported; /* jobs that ended while no daemon was there to be told */
        bool purge;            /* a cgroup that is no worker's any more could not be removed yet */
        bool leaving;          /* the daemon ends: a worker's cgroup is the next daemon's to read */
};

enum worker_sort {
        WORKER_KEEPER, /* shares its address space with a VMM */
        WORKER_CLOSER, /* known by systemd's cgroup for its unit; it stays there, and has no VMM */
        WORKER_HELPER, /* a stock QEMU's, adopted: it knows nothing of us, see adopt.h */
};

/* A process for all time, as long as the host is up. */
struct process_id {
        pid_t pid;
        uint64_t starttime;
};

/*
 * What it does. It has a slot, and counts against max-concurrent unless it is overdue, in the last
 * two states: from GRANT, or BEGUN, until DONE; and from being found until it registers.
 */
enum worker_state {
        WORKER_AWAY,       /* there is no connection: it comes back if it has something to say */
        WORKER_SENT_AWAY,  /* likewise, by UNGOVERNED when it was idle; it has not moved since */
        WORKER_FOUND_AWAY, /* likewise, by an earlier daemon */
        WORKER_ADOPTED,    /* a helper whose VMM lives, or died unseen */
        WORKER_OVERTAKEN,  /* likewise, and its VMM has got a keeper: its end frees nothing */
        WORKER_IDLE,       /* connected, and has no job */
        WORKER_WAITING,    /* its job is in the queue */
        WORKER_FOUND,      /* after a restart, and not heard from since, whatever it does */
        WORKER_RUNNING,    /* its job runs */
};

struct worker {
        struct workers *workers;

        /* identity */
        pid_t pid;
        uint64_t starttime;
        pid_t vmm_pid;         /* its parent when it was verified; 0: found, not seen alive since */
        struct process_id vmm; /* the same, dead or alive; pid 0: not known */
        uint8_t uuid[16];      /* a claim */
        char *name;            /* a claim, escaped; owned */
        enum worker_sort sort;
        char *unit;   /* of the VMM or closer, verified; owned; may be NULL */
        uint64_t mem; /* bytes, a claim; of an adopted one what was seen last */

        /* owned */
        int pidfd;
        int vmm_pidfd;              /* -1: it was gone already when we found the worker */
        struct cgroup_leaf *cgroup; /* NULL with --cgroup none, or if worker_stays() */
        struct job *job;            /* queued or running */
        struct slot slot;           /* taken while it runs, or was found running */
        struct enforce_task cap;    /* while it runs; found: if it works, see worker.c */
        char *cpus; /* where it might run before it was capped, as its card says; NULL: anywhere */
        struct charge charge; /* of its unit's workers; found ones are not charged */

        /* state */
        enum worker_state state; /* written by worker_set_state() alone */
        struct channel *channel; /* its connection, or NULL: cleared when that goes */
        uint16_t version;        /* of the protocol, by its last REGISTER; 0: none yet */
        bool drains;             /* a claim: as WIRE_FLAG_DRAINS says */
        bool hurries;            /* its job starts at once: see hurry.h */
        bool says_quiet;         /* a claim: see quiet.h */
        uint64_t last_seq;       /* of the newest outcome we reported: repeats are ignored */
        uint64_t away_cpu;       /* its bill at away_since, CPU time in µs */
        uint64_t away_since;     /* it was sent away, or looked at last; CLOCK_MONOTONIC µs */
        uint64_t found_cpu;      /* its bill when it was found, CPU time in µs */
        uint64_t adopted_cpu;    /* the same when it was adopted: all that follows is its job's */

        sd_event_source *exit_source;
        sd_event_source *vmm_source;  /* the end of its VMM */
        sd_event_source *look_source; /* adopted: a look at its memory now and then */

        TAILQ_ENTRY(worker) link; /* in workers.list */
};

static inline void workers_changed(struct workers *workers) {
        workers->changed(workers->userdata);
}

static inline void workers_quiet_changed(struct workers *workers) {
        workers->quiet_changed(workers->userdata);
}

/* One that is in workers.list and nothing else yet. -EEXIST: there is one. */
int worker_alloc(struct worker **ret, struct workers *workers, pid_t pid, uint64_t starttime);

/* Unlinks itself everywhere; a queued job is dropped, a running one must have ended. Takes NULL. */
struct worker *worker_free(struct worker *worker);
DEFINE_FREEP(worker)

/* ---- roster.c: all of them ---- */

struct worker *worker_find(struct workers *workers, pid_t pid, uint64_t starttime);

/* The keeper, if that VMM has one, or else NULL. vmm_pid: ask its pidfd for life afterwards. */
struct worker *worker_find_keeper(struct workers *workers, pid_t vmm_pid);

/* What all of them still have to clear, by their own claims, in bytes. */
uint64_t workers_bytes_to_clear(const struct workers *workers);

/* For worker.c: into the list and out of it. -EEXIST: there is one; -ENOMEM. */
int workers_add(struct workers *workers, struct worker *worker);
void workers_remove(struct workers *workers, struct worker *worker);

/* ---- one of them ---- */

/* "keeper", "closer", "adopted" */
const char *worker_sort_to_string(const struct worker *worker);

/* "adopted" (its VMM runs), "idle", "waiting", "running", "found", "overdue", "away" */
const char *worker_state_to_string(const struct worker *worker);

/* Whether it has a slot that does not count, for it stands still or takes too long. */
bool worker_is_overdue(const struct worker *worker);

/* Whether it was found after a restart, and not heard from since. */
bool worker_is_found(const struct worker *worker);

/* Whether its VM is quiet; see quiet.h. */
bool worker_is_quiet(const struct worker *worker);

/*
 * How its VMM's native AIO is ended: "drain", by the worker; "none", it has none; "unknown", if the
 * worker is one that does not tell, or was not heard from since the daemon's start.
 */
const char *worker_fencing(const struct worker *worker);

/* A name that somebody claims, made printable, as worker.name is; malloc()ed. NULL: -ENOMEM. */
char *worker_escape_name(const char *name, size_t size);

/* Looks whether it still moves, and for how long it has a slot. False: it need not be looked at. */
bool worker_check_overdue(struct worker *worker);

/* ---- for those that decide what it does: protocol.c, adopted.c, admit.c ---- */

int worker_charge_unit(struct worker *worker);

/* Its end is noticed from now on, after all that it still said: a DONE to be read is no loss. */
int worker_watch(struct worker *worker, sd_event_io_handler_t on_exit);

/* The end of its VMM is noticed from now on; what that changes for where it lives. */
int worker_watch_vmm(struct worker *worker);
void worker_on_vmm_end(struct worker *worker);

/*
 * It does something else from now on. Without a slot in that state, its slot and its CPU cap are
 * taken off it. With one, it was granted; or else it was found running and takes one.
 */
void worker_set_state(struct worker *worker, enum worker_state state);

/* A job for it, as worker.job. It must have none. */
int worker_new_job(struct worker *worker, const struct wire_request *request);

/* Its job, if any, is none any more, and did not end: nothing is reported. It is idle, or away. */
void worker_drop_job(struct worker *worker);

/* Takes its job off it, and the slot with it, to be reported. It is idle, or away. */
struct job *worker_take_job(struct worker *worker);

/* Its job, which has a slot, runs from now on. */
void worker_start_job(struct worker *worker);

/* Its job, if it runs. */
static inline struct job *worker_running_job(const struct worker *worker) {
        return worker->job && worker->job->state == JOB_RUNNING ? worker->job : NULL;
}

/* Notes on its cgroup what the next daemon should know of its job, and of itself. */
void worker_mark(struct worker *worker);
void worker_sign(struct worker *worker);

/*
 * Takes from card and mark on its cgroup what an earlier daemon knew of it; a job that ran, runs.
 * Whether that daemon sent it away.
 */
bool worker_restore(struct worker *worker);

/* ---- place.c: where it lives ---- */

/* CPU time of its teardown work so far: what its cgroup used, or its process without one. */
int worker_cpu_usec(const struct worker *worker, uint64_t *ret);

/* Whether that is the pid of the worker, or of its VMM. */
bool worker_has_pid(const struct worker *worker, uint64_t pid);

/* Whether it claims that UUID. The nil UUID is none: nobody claims it. */
bool worker_has_uuid(const struct worker *worker, const uint8_t uuid[16]);

/* Whether the VMM whose address space it shares still runs. */
bool worker_vmm_alive(const struct worker *worker);

/* Whether it is in its VM's cgroup, because to move it would migrate the guest's memory. */
bool worker_stays(const struct worker *worker);

/*
 * Makes its cgroup and moves it in; or leaves it where it is, see worker_stays(). -ESRCH: it is
 * gone; -EUSERS: it has more than one thread.
 */
int worker_enter_cgroup(struct worker *worker);

/* Its VMM is dead: limits its memory, or moves it if that does no harm any more. */
void worker_place_again(struct worker *worker);

/* Once it is in its cgroup. -EUSERS: it has more than one thread; it is killed. */
int worker_check_threads(struct worker *worker);
