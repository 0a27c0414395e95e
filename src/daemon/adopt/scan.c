/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A walk through /proc for helpers. There may be tens of thousands of processes, each costs a read
 * of its name, and the rest of the daemon must not wait for that: so it goes in turns of a
 * millisecond at most, each of which comes only when the loop has nothing else to do. One pass at a
 * time; the next begins an interval after the last has ended, so a slow host is not kept busy by
 * it.
 *
 * getdents64(2) rather than readdir(3), whose buffer is 32 KiB: to fill that from /proc takes
 * longer than a turn.
 */

#include "daemon/adopt/adopt.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/runtime/log.h"
#include "daemon/runtime/loop.h"
#include "daemon/runtime/process.h"

#define TURN_USEC    (1 * USEC_PER_MSEC)
#define ENTRIES_SIZE 4096 /* about 150 processes */

struct adopt_scan {
        void (*found)(void *userdata, pid_t pid);
        void *userdata;

        /* state */
        uint64_t interval;
        int proc;           /* -1: no pass is under way */
        size_t n_bytes, at; /* in entries */
        bool told;          /* that /proc cannot be read */
        char entries[ENTRIES_SIZE]
                __attribute__((aligned(__alignof__(struct dirent64)))); /* of getdents64(2) */

        sd_event_source *interval_timer;
        sd_event_source *turn_source;
};

static void look_at(struct adopt_scan *scan, const char *entry) {
        char name[PROCESS_NAME_SIZE];
        pid_t pid = (pid_t)strtol(entry, NULL, 10);

        if (pid > 0 && process_name(pid, name) >= 0 && adopt_is_name(name))
                scan->found(scan->userdata, pid);
}

/* NULL: that was all. */
static const struct dirent64 *next(struct adopt_scan *scan) {
        const struct dirent64 *entry;
        ssize_t n;

        if (scan->at >= scan->n_bytes) {
                n = getdents64(scan->proc, scan->entries, sizeof(scan->entries));
                if (n <= 0)
                        return NULL;
                scan->n_bytes = (size_t)n;
                scan->at = 0;
        }
        entry = (const struct dirent64 *)(const void *)(scan->entries + scan->at);
        scan->at += entry->d_reclen;
        return entry;
}

static void wait_for_next_pass(struct adopt_scan *scan) {
        close_fd(&scan->proc);
        (void)sd_event_source_set_enabled(scan->turn_source, SD_EVENT_OFF);
        if (scan->interval == USEC_INFINITY)
                loop_timer_off(scan->interval_timer);
        else
                loop_timer_in(scan->interval_timer, scan->interval);
}

static int on_turn(sd_event_source *source, void *userdata) {
        struct adopt_scan *scan = userdata;
        uint64_t begin = now_usec();
        const struct dirent64 *entry;

        do {
                entry = next(scan);
                if (!entry) {
                        wait_for_next_pass(scan);
                        return 0;
                }
                look_at(scan, entry->d_name);
        } while (now_usec() - begin < TURN_USEC);
        return 0;
}

static int on_interval(sd_event_source *source, uint64_t usec, void *userdata) {
        struct adopt_scan *scan = userdata;

        scan->proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (scan->proc < 0) {
                if (!scan->told)
                        (void)log_warning_errno(negative_errno(),
                                                "cannot look for helpers in /proc");
                scan->told = true;
                wait_for_next_pass(scan);
                return 0;
        }
        scan->told = false;
        scan->n_bytes = scan->at = 0;
        return sd_event_source_set_enabled(scan->turn_source, SD_EVENT_ON);
}

void adopt_scan_set(struct adopt_scan *scan, uint64_t interval) {
        bool was_off = scan->interval == USEC_INFINITY;

        if (scan->interval == interval)
                return;
        scan->interval = interval;
        wait_for_next_pass(scan); /* one that is under way begins anew */
        if (was_off)
                loop_timer_at(scan->interval_timer, 0);
}

DEFINE_FREEP(adopt_scan)

int adopt_scan_new(struct adopt_scan **ret, sd_event *event,
                   void (*found)(void *userdata, pid_t pid), void *userdata) {
        _cleanup_(adopt_scan_freep) struct adopt_scan *scan = calloc(1, sizeof(*scan));
        int r;

        if (!scan)
                return -ENOMEM;
        scan->proc = -1;
        scan->found = found;
        scan->userdata = userdata;
        scan->interval = USEC_INFINITY;
        r = loop_add_timer(&scan->interval_timer, event, on_interval, scan);
        if (r >= 0)
                r = sd_event_add_defer(event, &scan->turn_source, on_turn, scan);
        if (r >= 0)
                r = sd_event_source_set_priority(scan->turn_source, SD_EVENT_PRIORITY_IDLE);
        if (r >= 0)
                r = sd_event_source_set_enabled(scan->turn_source, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = take_ptr(&scan);
        return 0;
}

struct adopt_scan *adopt_scan_free(struct adopt_scan *scan) {
        if (!scan)
                return NULL;
        scan->interval_timer = sd_event_source_disable_unref(scan->interval_timer);
        scan->turn_source = sd_event_source_disable_unref(scan->turn_source);
        close_fd(&scan->proc);
        free(scan);
        return NULL;
}
