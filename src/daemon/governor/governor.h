/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How many jobs run, and how often one starts. Pure: no clock, no system call; times are µs of
 * CLOCK_MONOTONIC, passed in. The manager asks it whom to grant next and when to ask again.
 *
 * What holds: a job is granted only while fewer slots count than max_concurrent, or to a starved
 * unit, or to a worker that an administrator hurries (hurry.h); and within any time t at most
 * start_burst + start_rate * t / 1 h jobs are granted, besides those that are hurried; all as the
 * limits are at that moment. Otherwise more slots than max_concurrent count only if they did
 * already: after limits were lowered, after a restart (workers that were found), when one that
 * stood still moves again, or when a worker says that it could not wait. Nobody is stopped for
 * that; they are left to finish.
 *
 * A unit is starved when it has been in line for starvation_usec without a grant, and no slot of it
 * counts. It is then granted beyond max_concurrent, but only while fewer than max_concurrent slots
 * were granted within the last starvation_usec. So whatever the others do, the unit that is nth in
 * line waits for at most starvation_usec * n / max_concurrent, rounded up; and where jobs take less
 * time than starvation_usec, no more than max_concurrent run.
 */

#include "daemon/governor/queue.h"
#include "daemon/governor/unit.h"

/*
 * A worker that uses less CPU time than GOVERNOR_MOVE_USEC in GOVERNOR_STANDSTILL_USEC, a
 * thousandth of a CPU, stands still, and does not count. If a quota leaves it less than ten times
 * that, a tenth of its share will do. The log names the time, too.
 */
#define GOVERNOR_STANDSTILL_USEC (10 * USEC_PER_SEC)
#define GOVERNOR_MOVE_USEC       (10 * USEC_PER_MSEC)

/* A mode is in force from the highest of those that are asked for. */
enum governor_mode {
        GOVERNOR_NORMAL,
        GOVERNOR_BOOST, /* memory is short, somebody waits for it, or hurry --all; asked for: what
                           gives memory back goes first */
        GOVERNOR_DRAINING, /* we are on our way out */
        _GOVERNOR_MODE_MAX,
};

struct governor_limits {
        unsigned max_concurrent;
        unsigned start_rate; /* jobs per hour; 0: no limit */
        unsigned start_burst;
        uint64_t overdue_usec; /* who runs longer does not count any more; USEC_INFINITY: never */
        uint64_t starvation_usec; /* USEC_INFINITY: nobody is starved */
};

TAILQ_HEAD(slot_list, slot);

struct governor {
        /* owned */
        struct unit_table units;
        struct queue queue;

        /* state; read-only to others */
        struct governor_limits limits[_GOVERNOR_MODE_MAX]; /* as configured */
        struct governor_limits effective;                  /* those in force */
        bool asked[_GOVERNOR_MODE_MAX];
        uint64_t cpu_quota; /* of all that run, µs per s; USEC_INFINITY: none */
        struct bucket starts;
        unsigned n_counted;       /* slots that count */
        unsigned n_taken;         /* slots that are not free */
        struct slot_list granted; /* of them those that were granted, in that order */
        uint64_t n_moves;         /* times that a slot that counts was seen to move */
};

/* All modes have the same limits at first. */
void governor_init(struct governor *governor, const struct governor_limits *limits,
                   const struct unit_limits *unit_limits);

/* All slots must be free, and no charge taken. What waits is taken off the queue. */
void governor_deinit(struct governor *governor);

/*
 * The limits of a mode; in force at once if it is. A mode never has less than GOVERNOR_NORMAL of
 * anything, whatever it was configured to. A larger start_burst, or one where there was no
 * start_rate, is there at once if GOVERNOR_NORMAL is in force.
 */
void governor_set_limits(struct governor *governor, uint64_t now, enum governor_mode mode,
                         const struct governor_limits *limits);

/* What all workers together may use, in µs per s; USEC_INFINITY (at first): as much as they like.
 */
void governor_set_cpu_quota(struct governor *governor, uint64_t quota);

/* Asks for a mode, or does so no longer. GOVERNOR_NORMAL is always asked for. */
void governor_set_mode(struct governor *governor, uint64_t now, enum governor_mode mode, bool on);

enum governor_mode governor_mode(const struct governor *governor);

/* Jobs that run, or wait to. */
unsigned governor_n_left(const struct governor *governor);

/*
 * The job to grant now, still in the queue; or NULL, and then *ret_wake_at says when to ask again
 * even if nothing happens: at that time there is one, 1 µs earlier there is not. USEC_INFINITY: not
 * before something happens, i.e. a job is pushed, a slot counts no longer, or limits change.
 */
struct job *governor_next(const struct governor *governor, uint64_t now, uint64_t *ret_wake_at);

/* ---- slots ---- */

enum slot_state {
        SLOT_FREE,
        SLOT_COUNTED,
        SLOT_STANDING, /* taken, but its worker stands still: counts again when it moves */
        SLOT_OVERDUE,  /* taken for longer than overdue_usec: does not count, whatever it does */
};

/*
 * A worker's place among those that run: embedded in the worker, all zero at first. A worker has
 * one, so one job of it runs at a time. Taken from GRANT until its job ends, or from being found
 * after a restart until it registers or ends. Must be free before its worker goes.
 */
struct slot {
        struct governor *governor;
        struct unit *unit; /* a reference while taken */
        enum slot_state state;
        uint64_t taken_at;  /* GRANT, as far as known */
        uint64_t window_at; /* it has moved since if it used enough CPU time since */
        uint64_t cpu_seen;  /* µs, at window_at; USEC_INFINITY: was not looked at yet */
        bool stands;        /* it did not move in the window before */
        bool granted;       /* it is in governor.granted */
        bool beyond;        /* ... and was granted beyond max_concurrent */

        TAILQ_ENTRY(slot) link; /* in governor.granted */
};

/*
 * Grants: takes the job off the queue, a start off the rate, and the slot, which counts. The slot
 * is its worker's. -EBUSY, and nothing is changed: the slot is taken already.
 */
int slot_grant(struct slot *slot, struct governor *governor, uint64_t now, struct job *job);

/*
 * Its worker began the job without a grant: takes it off the queue, and the slot, which counts,
 * whatever the limits say. -EBUSY, and nothing is changed: the slot is taken already.
 */
int slot_begin(struct slot *slot, struct governor *governor, uint64_t now, struct job *job);

/* The grant never left: as slot_give(), and the start is given back. The job waits no more. */
void slot_revoke(struct slot *slot);

/*
 * Taken by a worker that was found running, whatever the limits say. unit: its name or NULL. since:
 * when it was granted, or USEC_INFINITY if nobody knows: then from now.
 */
void slot_take_found(struct slot *slot, struct governor *governor, uint64_t now, const char *unit,
                     uint64_t since);

/* Free already: nothing happens. */
void slot_give(struct slot *slot);

/*
 * Tells what CPU time (µs) the worker has used so far; USEC_INFINITY if that cannot be read, which
 * is no sign of life. Returns whether slot.state changed. To be called about once a second for
 * every slot that is taken; the first time right after it was.
 */
bool slot_observe(struct slot *slot, uint64_t now, uint64_t cpu_usec);
