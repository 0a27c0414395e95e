/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the daemon says to systemd. What may be said often (the status, more time) goes through one
 * timer that lets a message out once a second; the line is made when the timer fires, so the last
 * change of a second is the one that is told, and none is forgotten. The rest is said a few times
 * in a daemon's life, and goes first, in its order.
 *
 * Nothing waits for PID 1 to read: what does not get through is tried again each second. Only
 * WATCHDOG=1 is made anew.
 *
 * The timer is on if and only if something may have to be said.
 */

#include "daemon/service/notify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "daemon/runtime/loop.h"
#include "daemon/service/notify-socket.h"

#define PAUSE_USEC (1 * USEC_PER_SEC)
#define EVENTS_MAX 4 /* RELOADING, READY, STOPPING, and one more */

struct notify {
        void (*describe)(void *userdata, char *buffer, size_t size);
        void *userdata;

        /* owned */
        struct notify_socket socket;

        /* state */
        char said[NOTIFY_STATUS_MAX]; /* the status that was sent last */
        uint64_t said_at;             /* when a message last went out by the timer; 0: never */
        uint64_t extend_usec;         /* 0: no need */
        bool ready;                   /* before READY=1 there is no status */
        char events[EVENTS_MAX][64];  /* to be said, oldest first */
        unsigned n_events;
        int stored; /* an fd to be stored, borrowed; -1: none */
        char stored_name[32];

        sd_event_source *timer;
        sd_event_source *watchdog; /* NULL: systemd wants no signs of life */
        uint64_t watchdog_usec;
};

#define PACKET_MAX (NOTIFY_STATUS_MAX + 256)

static void add(char message[static PACKET_MAX], const char *format, ...) _printf_(2, 3);

static void add(char message[static PACKET_MAX], const char *format, ...) {
        size_t n = strlen(message);
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(message + n, PACKET_MAX - n, format, ap);
        va_end(ap);
}

/* What is said else goes with event, the last or none. */
static int say_one(struct notify *n, const char *event) {
        char message[PACKET_MAX] = "", status[NOTIFY_STATUS_MAX] = "";
        int r;

        if (n->ready)
                n->describe(n->userdata, status, sizeof(status));
        add(message, "%s", event);
        if (n->extend_usec > 0)
                add(message, "EXTEND_TIMEOUT_USEC=%" PRIu64 "\n", n->extend_usec);
        if (strcmp(status, n->said) != 0)
                add(message, "STATUS=%s\n", status);
        if (!message[0])
                return 0;
        r = notify_socket_send(&n->socket, message, -1);
        if (r == -EAGAIN)
                return r;
        /* If systemd cannot be told for another reason, what could we do? */
        n->extend_usec = 0;
        memcpy(n->said, status, sizeof(status));
        n->said_at = now_usec();
        return 0;
}

static int say_events(struct notify *n) {
        int r = 0;

        while (n->n_events > 1 && r >= 0) {
                r = notify_socket_send(&n->socket, n->events[0], -1);
                if (r == -EAGAIN)
                        return r;
                n->n_events--;
                memmove(n->events[0], n->events[1], n->n_events * sizeof(n->events[0]));
        }
        r = say_one(n, n->n_events > 0 ? n->events[0] : "");
        if (r >= 0)
                n->n_events = 0;
        return r;
}

static int store(struct notify *n) {
        char message[96];

        if (n->stored < 0)
                return 0;
        /* Of another version, if there is one. */
        (void)snprintf(message, sizeof(message), "FDSTOREREMOVE=1\nFDNAME=%s\n", n->stored_name);
        if (notify_socket_send(&n->socket, message, -1) == -EAGAIN)
                return -EAGAIN;
        (void)snprintf(message, sizeof(message), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0\n",
                       n->stored_name);
        if (notify_socket_send(&n->socket, message, n->stored) == -EAGAIN)
                return -EAGAIN;
        n->stored = -1;
        return 0;
}

static void say(struct notify *n) {
        if (say_events(n) < 0 || store(n) < 0)
                loop_timer_at(n->timer, now_usec() + PAUSE_USEC);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        say(userdata);
        return 0;
}

void notify_changed(struct notify *n) {
        if (n->ready)
                loop_timer_start(n->timer, n->said_at + PAUSE_USEC);
}

void notify_extend(struct notify *n, uint64_t usec) {
        n->extend_usec = usec;
        notify_changed(n);
}

/* If PID 1 has not read for so long, the oldest does not matter any more. */
static void say_event(struct notify *n, const char *event) {
        if (n->n_events == EVENTS_MAX)
                memmove(n->events[0], n->events[1], --n->n_events * sizeof(n->events[0]));
        (void)snprintf(n->events[n->n_events++], sizeof(n->events[0]), "%s", event);
        say(n);
}

void notify_ready(struct notify *n) {
        n->ready = true;
        say_event(n, "READY=1\n");
}

void notify_reloading(struct notify *n) {
        char event[64];

        (void)snprintf(event, sizeof(event), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n",
                       now_usec());
        say_event(n, event);
}

void notify_stopping(struct notify *n) {
        say_event(n, "STOPPING=1\n");
}

void notify_store(struct notify *n, int fd, const char *name) {
        n->stored = fd;
        (void)snprintf(n->stored_name, sizeof(n->stored_name), "%s", name);
        if (store(n) < 0)
                loop_timer_start(n->timer, now_usec() + PAUSE_USEC);
}

/* ---- the watchdog ---- */

/* Twice as often as systemd wants it. One that does not get through comes again in a second. */
static int on_watchdog(sd_event_source *source, uint64_t usec, void *userdata) {
        struct notify *n = userdata;
        uint64_t pause = n->watchdog_usec / 2;

        if (notify_socket_send(&n->socket, "WATCHDOG=1\n", -1) == -EAGAIN)
                pause = min_u64(pause, PAUSE_USEC);
        loop_timer_in(source, pause);
        return 0;
}

static int watch(struct notify *n, sd_event *event) {
        int r;

        r = sd_watchdog_enabled(0, &n->watchdog_usec);
        if (r <= 0)
                return r;
        r = loop_add_timer(&n->watchdog, event, on_watchdog, n);
        if (r < 0)
                return r;
        loop_timer_at(n->watchdog, 0);
        /* Before other events: a sign of life says that the loop runs, not that it has time. */
        return sd_event_source_set_priority(n->watchdog, SD_EVENT_PRIORITY_IMPORTANT);
}

/* ---- life and death ---- */

DEFINE_FREEP(notify)

int notify_new(struct notify **ret, sd_event *event,
               void (*describe)(void *userdata, char *buffer, size_t size), void *userdata) {
        _cleanup_(notify_freep) struct notify *n = calloc(1, sizeof(*n));
        int r;

        if (!n)
                return -ENOMEM;
        n->socket.fd = n->stored = -1;
        n->describe = describe;
        n->userdata = userdata;
        r = notify_socket_open(&n->socket);
        if (r >= 0)
                r = loop_add_timer(&n->timer, event, on_timer, n);
        if (r >= 0)
                r = watch(n, event);
        if (r < 0)
                return r;
        *ret = take_ptr(&n);
        return 0;
}

struct notify *notify_free(struct notify *n) {
        if (!n)
                return NULL;
        n->timer = sd_event_source_disable_unref(n->timer);
        n->watchdog = sd_event_source_disable_unref(n->watchdog);
        notify_socket_close(&n->socket);
        free(n);
        return NULL;
}
