/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A worker is a process that does teardown work, as long as it lives, connected or not: a keeper,
 * which shares its address space with a VMM; or a closer, which is known by systemd's cgroup for
 * its unit, stays there, and has jobs of the kind `close` only; or an adopted helper of a stock
 * QEMU, which knows nothing of us, see adopt.h. It is known by pid and start time, so one that
 * reconnects is the same worker.
 *
 * It counts against max-concurrent from GRANT, or BEGUN, until DONE, and from being found in our
 * cgroups after a restart until it registers, whichever it is; never while it is overdue, nor if an
 * earlier daemon sent it away idle and it has not moved since.
 */

#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "daemon/cgroup/cgroup.h"
#include "daemon/cpu/enforce-task.h"
#include "daemon/governor/governor.h"
#include "daemon/job/job.h"

struct manager;
struct peer;
struct process_stat;

struct worker {
        struct manager *manager;

        /* identity */
        pid_t pid;
        uint64_t starttime;
        pid_t vmm_pid;    /* its parent when it was verified; 0: found, not seen alive since */
        uint8_t uuid[16]; /* a claim */
        char *name;       /* a claim, escaped; owned */
        bool closer;      /* no keeper: no VMM, a cgroup that is not ours to change */
        bool adopted;     /* no keeper: it never connects, its job begins as its VMM ends */
        char *unit;       /* of the VMM or closer, verified; owned; may be NULL */
        uint64_t mem;     /* bytes, a claim; of an adopted one what was seen last */

        /* owned */
        int pidfd;
        int vmm_pidfd;              /* -1: it was gone already when we found the worker */
        struct cgroup_leaf *cgroup; /* NULL with --cgroup none, or if worker_stays() */
        struct job *job;            /* queued or running */
        struct slot slot;           /* taken while it runs; see worker_recount() */
        struct enforce_task cap;    /* while it runs, likewise */
        struct charge charge;       /* of its unit's workers; found ones are not charged */

        /* state */
        struct peer *peer; /* its connection, or NULL; cleared by the peer when it goes */
        bool found;        /* after a restart, and not heard from since */
        bool sent_away;    /* by UNGOVERNED when it was idle: does not count until it moves */
        uint16_t version;  /* of the protocol, by its last REGISTER; 0: none yet */
        bool drains;       /* a claim: as WIRE_FLAG_DRAINS says */
        bool says_quiet;   /* a claim: see quiet.h */
        uint64_t last_seq; /* of the newest outcome we reported: repeats are ignored */
        uint64_t away_cpu, away_since; /* sent_away: the bill, and when we last looked at it */
        bool overtaken;       /* adopted, and its VMM has got a keeper: its end frees nothing */
        uint64_t adopted_cpu; /* the bill when it was adopted: all that follows is its job's */

        sd_event_source *exit_source;
        sd_event_source *vmm_source;  /* the end of its VMM */
        sd_event_source *look_source; /* adopted: a look at its memory now and then */

        TAILQ_ENTRY(worker) link; /* in manager.workers */
};

TAILQ_HEAD(worker_list, worker);

/*
 * A worker for a process that registered, of which /proc says stat; takes *pidfd over. Verifies
 * that it is in a closer's cgroup, or else that it shares its address space with its parent, the
 * VMM; then it makes and enters its cgroup. -EPERM: it is not for us to govern; -EEXIST: its VMM
 * or cgroup has another worker; -ESRCH: it is gone; -EDQUOT: its unit has its share of workers;
 * -EUSERS: it has more than one thread.
 */
int worker_new(struct worker **ret, struct manager *manager, pid_t pid,
               const struct process_stat *stat, int *pidfd);

/* A worker found in our cgroups after a restart; counts from now on. */
int worker_new_found(struct worker **ret, struct manager *manager, pid_t pid, uint64_t starttime);

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
int worker_new_adopted(struct worker **ret, struct manager *manager, struct helper *helper);

/* Unlinks itself everywhere; a queued job is dropped, a running one must have ended. Takes NULL. */
struct worker *worker_free(struct worker *worker);

struct worker *worker_find(struct manager *manager, pid_t pid, uint64_t starttime);

/* What its packets ask for. Negative: it broke the rules, or we are out of memory: disconnect. */
int worker_on_register(struct worker *worker, const struct wire_register *reg);
int worker_on_request(struct worker *worker, const struct wire_request *request);
int worker_on_begun(struct worker *worker, const struct wire_begun *begun);
int worker_on_done(struct worker *worker, const struct wire_outcome *outcome);
int worker_on_quiet(struct worker *worker);
void worker_on_progress(struct worker *worker, uint64_t bytes_left);

/* A name that somebody claims, made printable, as worker.name is; malloc()ed. NULL: -ENOMEM. */
char *worker_escape_name(const char *name, size_t size);

/* Its connection is gone: a queued job leaves the queue (it asks again), a running one goes on. */
void worker_on_disconnect(struct worker *worker);

/* Tells a connected worker to go ahead without us. Negative: it cannot be reached. */
int worker_send_away(struct worker *worker);

/* Gives its queued job a slot. Negative if it cannot be reached: its connection is to be closed. */
int worker_grant(struct worker *worker);

/* Looks whether one that has a slot still moves, and for how long it has it. */
void worker_check_overdue(struct worker *worker);

/* CPU time of its teardown work so far: what its cgroup used, or its process without one. */
int worker_cpu_usec(const struct worker *worker, uint64_t *ret);

/* Whether it has a slot that does not count, for it stands still or takes too long. */
bool worker_is_overdue(const struct worker *worker);

/* Whether it is in its VM's cgroup, because to move it would migrate the guest's memory. */
bool worker_stays(const struct worker *worker);

/* Whether the VMM whose address space it shares still runs. */
bool worker_vmm_alive(const struct worker *worker);

/* The keeper, if that VMM has one, or else NULL. vmm_pid: ask its pidfd for life afterwards. */
struct worker *worker_find_keeper(struct manager *manager, pid_t vmm_pid);

/* "keeper", "closer", "adopted" */
const char *worker_sort(const struct worker *worker);

/* "adopted" (its VMM runs), "idle", "waiting", "running", "found", "overdue", "away" */
const char *worker_state(const struct worker *worker);

/* ---- between the files of this module ---- */

/* One that is in manager.workers and nothing else yet. */
int worker_alloc(struct worker **ret, struct manager *manager, pid_t pid, uint64_t starttime);
int worker_charge_unit(struct worker *worker);

/*
 * Makes its cgroup and moves it in; or leaves it where it is, see worker_stays(). -ESRCH: it is
 * gone; -EUSERS: it has more than one thread.
 */
int worker_enter_cgroup(struct worker *worker);

/* Once it is in its cgroup. -EUSERS: it has more than one thread; it is killed. */
int worker_check_threads(struct worker *worker);

/* The end of its VMM is noticed from now on; what that changes for where it lives. */
int worker_watch_vmm(struct worker *worker);
void worker_on_vmm_end(struct worker *worker);

/* Its end is noticed from now on. */
int worker_watch(struct worker *worker);

/* The job of an adopted one; since: when its VMM died, or 0 if nobody saw it. */
int worker_begin_adopted(struct worker *worker, uint64_t since);

/* An adopted one that was found after a restart, and restored. */
int worker_resume_adopted(struct worker *worker);

/* Notes on its cgroup what the next daemon should know. */
void worker_mark(struct worker *worker);

/* Gives its slot back, and takes its CPU cap off, if it does not run. */
void worker_recount(struct worker *worker);

/* It was found running: takes a slot, and must move. */
void worker_begin_counting(struct worker *worker);

/* Takes from the mark on its cgroup what an earlier daemon knew of it. */
void worker_restore(struct worker *worker);

/* Its job, if any, is none any more, and did not end: nothing is reported. */
void worker_drop_job(struct worker *worker);

/* Its process is gone: ends a running job. */
void worker_on_exit(struct worker *worker);
