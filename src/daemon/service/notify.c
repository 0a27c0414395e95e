/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the daemon says to systemd. sd_notify() waits when PID 1 does not read, so what may be said
 * often (the status, more time) goes through one timer that lets a message out once a second; the
 * line is made when the timer fires, so the last change of a second is the one that is told, and
 * none is forgotten. The rest is said a few times in a daemon's life.
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

#define PAUSE_USEC (1 * USEC_PER_SEC)

struct notify {
        void (*describe)(void *userdata, char *buffer, size_t size);
        void *userdata;

        /* state */
        char said[NOTIFY_STATUS_MAX]; /* the status that was sent last */
        uint64_t said_at;             /* when a message last went out by the timer; 0: never */
        uint64_t extend_usec;         /* 0: no need */
        bool ready;                   /* before READY=1 there is no status */

        sd_event_source *timer;
};

#define PACKET_MAX (NOTIFY_STATUS_MAX + 128)

static void add(char message[static PACKET_MAX], const char *format, ...) _printf_(2, 3);

static void add(char message[static PACKET_MAX], const char *format, ...) {
        size_t n = strlen(message);
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(message + n, PACKET_MAX - n, format, ap);
        va_end(ap);
}

/* message: what else there is to say; room for PACKET_MAX. */
static void say(struct notify *n, char message[static PACKET_MAX]) {
        char status[NOTIFY_STATUS_MAX] = "";

        if (n->ready)
                n->describe(n->userdata, status, sizeof(status));
        if (n->extend_usec > 0)
                add(message, "EXTEND_TIMEOUT_USEC=%" PRIu64 "\n", n->extend_usec);
        n->extend_usec = 0;
        if (strcmp(status, n->said) != 0)
                add(message, "STATUS=%s\n", status);
        memcpy(n->said, status, sizeof(status));
        if (!message[0])
                return;
        n->said_at = now_usec();
        (void)sd_notify(0, message); /* nobody listens, or he cannot hear: what could we do */
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        char message[PACKET_MAX] = "";

        say(userdata, message);
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

void notify_ready(struct notify *n) {
        char message[PACKET_MAX] = "READY=1\n";

        n->ready = true;
        say(n, message);
}

void notify_reloading(struct notify *n) {
        char message[PACKET_MAX] = "RELOADING=1\n";

        add(message, "MONOTONIC_USEC=%" PRIu64 "\n", now_usec());
        say(n, message);
}

void notify_stopping(struct notify *n) {
        char message[PACKET_MAX] = "STOPPING=1\n";

        say(n, message);
}

DEFINE_FREEP(notify)

int notify_new(struct notify **ret, sd_event *event,
               void (*describe)(void *userdata, char *buffer, size_t size), void *userdata) {
        _cleanup_(notify_freep) struct notify *n = calloc(1, sizeof(*n));
        int r;

        if (!n)
                return -ENOMEM;
        n->describe = describe;
        n->userdata = userdata;
        r = loop_add_timer(&n->timer, event, on_timer, n);
        if (r < 0)
                return r;
        *ret = take_ptr(&n);
        return 0;
}

struct notify *notify_free(struct notify *n) {
        if (!n)
                return NULL;
        n->timer = sd_event_source_disable_unref(n->timer);
        free(n);
        return NULL;
}
