/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Of sd-bus only what does not wait is used: no call without _async (the first one would wait up to
 * 90 s for a bus that accepts and says nothing), and no flush when the loop ends.
 *
 * The timer is on unless the user is ready: without a connection it says when to make the next one,
 * with one, when to give that up.
 */

#include "daemon/service/system-bus.h"

#include <stdlib.h>

#include "daemon/runtime/loop.h"

#define SYSTEM_BUS "unix:path=/run/dbus/system_bus_socket"
#define LOCAL      "org.freedesktop.DBus.Local"

#define CONNECT_USEC     (20 * USEC_PER_SEC)
#define BACKOFF_MIN_USEC (1 * USEC_PER_SEC)
#define BACKOFF_MAX_USEC (60 * USEC_PER_SEC)

struct system_bus {
        sd_event *event;
        int64_t priority;
        struct system_bus_user user;

        /* owned */
        sd_bus *link; /* NULL: away */

        /* state */
        uint64_t backoff;

        sd_event_source *retry_source;
};

sd_bus *system_bus_link(const struct system_bus *s) {
        return s ? s->link : NULL;
}

void system_bus_ready(struct system_bus *s) {
        s->backoff = 0;
        loop_timer_off(s->retry_source);
}

void system_bus_drop(struct system_bus *s, int why) {
        sd_bus *link = s->link;

        s->link = NULL;
        s->backoff = s->backoff ? min_u64(s->backoff * 2, BACKOFF_MAX_USEC) : BACKOFF_MIN_USEC;
        loop_timer_in(s->retry_source, s->backoff);
        s->user.lost(s->user.userdata, link, why);
        sd_bus_close_unref(link);
}

/* sd-bus itself speaks as DBus.Local. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct system_bus *s = userdata;

        if (sd_bus_message_is_signal(m, LOCAL, "Disconnected") <= 0)
                return s->user.message(s->user.userdata, m);
        system_bus_drop(s, -ECONNRESET);
        return 1;
}

static int set_up(struct system_bus *s) {
        const char *address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
        int r;

        r = sd_bus_set_address(s->link, address && address[0] ? address : SYSTEM_BUS);
        if (r >= 0)
                r = sd_bus_set_bus_client(s->link, true);
        if (r >= 0)
                r = sd_bus_negotiate_fds(s->link, false);
        if (r >= 0)
                r = sd_bus_set_close_on_exit(s->link, false);
        if (r >= 0)
                r = sd_bus_add_filter(s->link, NULL, on_message, s);
        return r;
}

static int connect_bus(struct system_bus *s) {
        int r;

        r = sd_bus_new(&s->link);
        if (r >= 0)
                r = set_up(s);
        if (r >= 0)
                r = sd_bus_start(s->link);
        if (r >= 0)
                r = sd_bus_attach_event(s->link, s->event, (int)s->priority);
        return r < 0 ? r : s->user.begin(s->user.userdata, s->link);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        struct system_bus *s = userdata;
        int r = -ETIMEDOUT;

        if (!s->link) {
                loop_timer_in(source, CONNECT_USEC);
                r = connect_bus(s);
        }
        if (r < 0)
                system_bus_drop(s, r);
        return 0;
}

DEFINE_FREEP(system_bus)

int system_bus_new(struct system_bus **ret, sd_event *event, int64_t priority,
                   const struct system_bus_user *user) {
        _cleanup_(system_bus_freep) struct system_bus *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->event = event;
        s->priority = priority;
        s->user = *user;
        r = loop_add_timer(&s->retry_source, event, on_retry, s);
        if (r >= 0)
                r = sd_event_source_set_priority(s->retry_source, priority);
        if (r < 0)
                return r;
        loop_timer_in(s->retry_source, 0);
        *ret = take_ptr(&s);
        return 0;
}

struct system_bus *system_bus_free(struct system_bus *s) {
        if (!s)
                return NULL;
        s->retry_source = sd_event_source_disable_unref(s->retry_source);
        s->link = sd_bus_close_unref(s->link);
        free(s);
        return NULL;
}
