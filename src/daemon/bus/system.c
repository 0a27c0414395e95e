/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Our place on the system bus. Of sd-bus only what does not wait is used: no call without _async,
 * and no flush when the loop ends; service/pid1.c, the other client of the bus, says why. They
 * share no connection: this one must go on if PID 1 does not answer, that one without a policy
 * file.
 *
 * retry_source is on unless the name is ours: without a connection it says when to make the next
 * one, with one whose name we asked for and do not have yet, when to give that up.
 */

#include "daemon/bus/system.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/bus/object.h"
#include "daemon/bus/wait.h"
#include "daemon/manager.h"
#include "daemon/runtime/log.h"

#define SYSTEM_BUS "unix:path=/run/dbus/system_bus_socket"
#define LOCAL      "org.freedesktop.DBus.Local"
#define DRIVER     "org.freedesktop.DBus"

#define CONNECT_USEC     (20 * USEC_PER_SEC)
#define BACKOFF_MIN_USEC (1 * USEC_PER_SEC)
#define BACKOFF_MAX_USEC (60 * USEC_PER_SEC)

struct bus_system {
        struct bus_object *object;
        int priority; /* of event sources */

        /* owned */
        sd_bus *link; /* NULL: away */

        /* state */
        uint64_t backoff;
        bool named;      /* org.pvreaper is ours */
        bool away_noted; /* in the log, once */

        sd_event_source *retry_source;
};

static void start_timer(sd_event_source *source, uint64_t usec) {
        (void)sd_event_source_set_time_relative(source, usec);
        (void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void disconnect(struct bus_system *s, int why) {
        if (!s->away_noted)
                log_info("org.pvreaper is not on D-Bus (%s); the control socket does without",
                         strerror(-why));
        s->away_noted = true;
        s->named = false;
        if (s->link)
                bus_stop_waiting(s->object, s->link);
        s->link = sd_bus_close_unref(s->link);
        s->backoff = s->backoff ? min_u64(s->backoff * 2, BACKOFF_MAX_USEC) : BACKOFF_MIN_USEC;
        start_timer(s->retry_source, s->backoff);
}

void bus_system_drop(struct bus_system *s) {
        disconnect(s, -ENOBUFS);
}

sd_bus *bus_system_link(const struct bus_system *s) {
        return s && s->named ? s->link : NULL;
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        if (sd_bus_message_is_signal(m, LOCAL, "Disconnected") > 0 ||
            sd_bus_message_is_signal(m, DRIVER, "NameLost") > 0) {
                disconnect(userdata, -ECONNRESET);
                return 1;
        }
        return 0;
}

/* Whoever has it already is one of us who is about to end: then it is ours later. */
static int on_named(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct bus_system *s = userdata;
        int r = sd_bus_message_get_errno(m);
        uint32_t answer = 0;

        if (r == 0)
                r = -sd_bus_message_read(m, "u", &answer);
        if (r > 0 || (answer != 1 && answer != 4)) { /* neither got it nor had it */
                disconnect(s, r > 0 ? -r : -EEXIST);
                return 1;
        }
        s->named = true;
        s->backoff = 0;
        s->away_noted = false;
        (void)sd_event_source_set_enabled(s->retry_source, SD_EVENT_OFF);
        return 1;
}

static int set_up(struct bus_system *s) {
        const char *address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
        int r;

        r = sd_bus_set_address(s->link, address && address[0] ? address : SYSTEM_BUS);
        if (r < 0)
                return r;
        r = sd_bus_set_bus_client(s->link, true);
        if (r < 0)
                return r;
        r = sd_bus_negotiate_fds(s->link, false);
        if (r < 0)
                return r;
        r = sd_bus_set_close_on_exit(s->link, false);
        if (r < 0)
                return r;
        r = sd_bus_add_filter(s->link, NULL, on_message, s);
        if (r < 0)
                return r;
        return sd_bus_add_object_vtable(s->link, NULL, BUS_OBJECT_PATH, BUS_OBJECT_INTERFACE,
                                        bus_object_vtable, s->object);
}

/* The request waits in the connection's queue until the bus lets us in. */
static int connect_bus(struct bus_system *s) {
        int r;

        r = sd_bus_new(&s->link);
        if (r < 0)
                return r;
        r = set_up(s);
        if (r < 0)
                return r;
        r = sd_bus_start(s->link);
        if (r < 0)
                return r;
        r = sd_bus_attach_event(s->link, s->object->manager->event, s->priority);
        if (r < 0)
                return r;
        return sd_bus_request_name_async(s->link, NULL, BUS_NAME, 0, on_named, s);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        struct bus_system *s = userdata;
        int r = -ETIMEDOUT;

        if (!s->link) {
                start_timer(source, CONNECT_USEC);
                r = connect_bus(s);
        }
        if (r < 0)
                disconnect(s, r);
        return 0;
}

static void bus_system_freep(struct bus_system **s) {
        bus_system_free(*s);
}

int bus_system_new(struct bus_system **ret, struct bus_object *object, int priority) {
        _cleanup_(bus_system_freep) struct bus_system *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->object = object;
        s->priority = priority;
        r = sd_event_add_time_relative(object->manager->event, &s->retry_source, CLOCK_MONOTONIC, 0,
                                       0, on_retry, s);
        if (r < 0)
                return r;
        r = sd_event_source_set_priority(s->retry_source, priority);
        if (r < 0)
                return r;
        *ret = s;
        s = NULL;
        return 0;
}

struct bus_system *bus_system_free(struct bus_system *s) {
        if (!s)
                return NULL;
        s->retry_source = sd_event_source_disable_unref(s->retry_source);
        if (s->link)
                bus_stop_waiting(s->object, s->link);
        s->link = sd_bus_close_unref(s->link);
        free(s);
        return NULL;
}
