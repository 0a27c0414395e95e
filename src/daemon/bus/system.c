/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Our place on the system bus, over service/system-bus.c. service/pid1.c, the other client of the
 * bus, has a connection of its own: this one must go on if PID 1 does not answer, that one without
 * a policy file. The object is the bus's (object.c); only the name is looked after here.
 */

#include "daemon/bus/system.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/bus/object.h"
#include "daemon/bus/senders.h"
#include "daemon/bus/wait.h"
#include "daemon/manager.h"
#include "daemon/runtime/log.h"
#include "daemon/runtime/loop.h"
#include "daemon/service/system-bus.h"

#define DRIVER "org.freedesktop.DBus"

#define REFUSALS_UNREAD_MAX 100

struct bus_system {
        struct bus_object *object;

        /* owned */
        struct system_bus *bus;
        struct senders *senders;

        /* state */
        bool named;      /* org.pvreaper is ours */
        bool away_noted; /* in the log, once */
};

sd_bus *bus_system_link(const struct bus_system *s) {
        return s && s->named ? system_bus_link(s->bus) : NULL;
}

void bus_system_drop(struct bus_system *s) {
        system_bus_drop(s->bus, -ENOBUFS);
}

static void on_lost(void *userdata, sd_bus *link, int why) {
        struct bus_system *s = userdata;

        if (!s->away_noted)
                log_info("org.pvreaper is not on D-Bus (%s); the control socket works without",
                         strerror(-why));
        s->away_noted = true;
        s->named = false;
        bus_stop_waiting(s->object, link);
}

/* A refusal costs far less than an answer; none at all, if the bus does not take it. */
static bool refuse(sd_bus_message *call) {
        uint64_t unread = UINT64_MAX;

        (void)sd_bus_get_n_queued_write(sd_bus_message_get_bus(call), &unread);
        if (unread < REFUSALS_UNREAD_MAX)
                (void)sd_bus_reply_method_errorf(call, SD_BUS_ERROR_LIMITS_EXCEEDED,
                                                 "Too many calls: wait a second");
        return true;
}

static bool on_message(void *userdata, sd_bus_message *m) {
        struct bus_system *s = userdata;
        const char *sender = sd_bus_message_get_sender(m);

        if (sd_bus_message_is_method_call(m, NULL, NULL) > 0 && sender &&
            !senders_may_call(s->senders, sender, loop_now(s->object->manager->event)))
                return refuse(m);
        if (sd_bus_message_is_signal(m, DRIVER, "NameLost") <= 0)
                return false;
        system_bus_drop(s->bus, -ECONNRESET);
        return true;
}

/* If another pv-reaperd has the name, that one is about to end, and then we get it. */
static int on_named(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct bus_system *s = userdata;
        int r = sd_bus_message_get_errno(m);
        uint32_t answer = 0;

        if (r == 0)
                r = -sd_bus_message_read(m, "u", &answer);
        if (r > 0 || (answer != 1 && answer != 4)) { /* neither got it nor had it */
                system_bus_drop(s->bus, r > 0 ? -r : -EEXIST);
                return 1;
        }
        s->named = true;
        s->away_noted = false;
        system_bus_ready(s->bus);
        return 1;
}

static int on_begin(void *userdata, sd_bus *link) {
        struct bus_system *s = userdata;
        int r;

        r = sd_bus_add_object_vtable(link, NULL, BUS_OBJECT_PATH, BUS_OBJECT_INTERFACE,
                                     bus_object_vtable, s->object);
        return r < 0 ? r : sd_bus_request_name_async(link, NULL, BUS_NAME, 0, on_named, s);
}

int bus_system_new(struct bus_system **ret, struct bus_object *object, int priority) {
        struct bus_system *s = calloc(1, sizeof(*s));
        const struct system_bus_user user = {
                .begin = on_begin, .message = on_message, .lost = on_lost, .userdata = s};
        int r;

        if (!s)
                return -ENOMEM;
        s->object = object;
        r = senders_new(&s->senders);
        if (r >= 0)
                r = system_bus_new(&s->bus, object->manager->event, priority, &user);
        if (r < 0)
                return bus_system_free(s), r;
        *ret = s;
        return 0;
}

struct bus_system *bus_system_free(struct bus_system *s) {
        if (!s)
                return NULL;
        bus_stop_waiting(s->object, system_bus_link(s->bus));
        s->bus = system_bus_free(s->bus);
        senders_free(s->senders);
        free(s);
        return NULL;
}
