/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Is memory short? Then the boost-* limits hold, and jobs that give memory back go first: else the
 * next guest would be started into an out-of-memory kill, since memory that is still to be cleared
 * is not available. It is short below memory-low, until it is above memory-high; and whenever
 * somebody waits for some, and there is a job that may free it.
 */

#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "base/util.h"
#include "daemon/config/config.h"
#include "daemon/governor/governor.h"

struct memory;

/* Of /proc/meminfo's text: MemAvailable, or MemTotal, in bytes. -EBADMSG: it does not say. Pure. */
int memory_parse_available(const char *meminfo, uint64_t *ret);
int memory_parse_total(const char *meminfo, uint64_t *ret);

/* memory-low=auto, of the same text. 0, so never short: it does not say how much there is. Pure. */
uint64_t memory_auto_low(const char *meminfo);

/*
 * Of /proc/pressure/memory's text: for how much of the last 10 s some task waited for memory, in
 * 1/100 percent. -EBADMSG: it does not say. Pure.
 */
int memory_parse_pressure(const char *pressure, uint32_t *ret);

/* With hysteresis: high is where it ends that began below low. low 0: never. Pure. */
bool memory_is_low(bool was_low, uint64_t available, uint64_t low, uint64_t high);

/* Somebody who waits until so much is available: part of whatever waits. */
struct memory_waiter {
        uint64_t bytes;
        uint64_t deadline; /* CLOCK_MONOTONIC µs; USEC_INFINITY: none */

        /*
         * Called once, when it waits no more. 0: available; -ETIMEDOUT; -E2BIG: the host has less
         * in all; -ENODATA: for a second nothing was left that could free memory; or it cannot be
         * read.
         */
        void (*done)(struct memory_waiter *waiter, int error, uint64_t available);

        struct memory *memory;           /* NULL: does not wait */
        TAILQ_ENTRY(memory_waiter) link; /* in memory.waiters */
};

#define MEMORY_WAITERS_MAX 64

struct memory_config {
        /* borrowed; the configuration may change: see memory_changed() */
        sd_event *event;
        const struct config *config;
        const struct governor *governor;

        /* Whether there is a job, or soon will be, that frees memory. NULL: is there a job? */
        bool (*may_free)(void *userdata);

        /* Memory is short from now on, or no longer. GOVERNOR_BOOST is to be in force meanwhile. */
        void (*on_short)(void *userdata, bool is_short);
        void *userdata;
};

int memory_new(struct memory **ret, const struct memory_config *config);

/* Nobody may wait any more. Takes NULL. */
struct memory *memory_free(struct memory *memory);

/* Jobs came or went, or the configuration changed. Cheap. */
void memory_changed(struct memory *memory);

/* Never calls done() itself, but from the loop. -EBUSY: too many wait already. */
int memory_wait(struct memory *memory, struct memory_waiter *waiter);

/* It waits no more; done() is not called. Does nothing if it does not wait. */
void memory_leave(struct memory_waiter *waiter);

unsigned memory_n_waiters(const struct memory *memory);

/* As it is now, each read from a file of /proc. -ENOENT: the kernel does not tell. */
int memory_read_available(const struct memory *memory, uint64_t *ret);
int memory_read_pressure(uint32_t *ret);
