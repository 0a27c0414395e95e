/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * WaitMemory and WaitQuiet. A call is kept in a wait, which is in the list until it is answered,
 * its caller goes, or its connection does, whichever comes first. A wait owns its call, and with it
 * a reference to the connection's sd_bus, but not the connection. It waits for one of the two.
 *
 * As long as somebody waits for memory the boost limits hold, and few may wait, so nobody may who
 * is no longer there: on the system bus the caller's name is watched. AddMatch comes before
 * GetNameOwner, and the bus answers in order, so there is no moment at which it could go unseen.
 */

#include "daemon/bus/wait.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "daemon/bus/error.h"
#include "daemon/bus/object.h"
#include "daemon/manager.h"
#include "daemon/memory/memory.h"
#include "daemon/worker/quiet.h"

struct wait {
        struct memory_waiter memory;
        struct quiet_waiter quiet;
        sd_bus_message *call;
        sd_bus_slot *gone_slot;  /* on the system bus: is the caller still there? */
        sd_bus_slot *owner_slot; /* ... and was it, before we began to listen? */
        LIST_ENTRY(wait) link;   /* in bus_object.waits */
};

#define WAIT_OF(member, waiter) ((struct wait *)((char *)(waiter)-offsetof(struct wait, member)))

static void wait_free(struct wait *wait) {
        memory_leave(&wait->memory);
        quiet_leave(&wait->quiet);
        LIST_REMOVE(wait, link);
        sd_bus_slot_unref(wait->gone_slot);
        sd_bus_slot_unref(wait->owner_slot);
        sd_bus_message_unref(wait->call);
        free(wait);
}

static void on_memory(struct memory_waiter *waiter, int error, uint64_t available) {
        struct wait *wait = WAIT_OF(memory, waiter);
        char has[32], wants[32];

        format_size(has, sizeof(has), available);
        format_size(wants, sizeof(wants), waiter->bytes);
        if (error >= 0)
                (void)sd_bus_reply_method_return(wait->call, "t", available);
        else if (error == -ETIMEDOUT)
                (void)sd_bus_reply_method_errorf(wait->call, BUS_ERROR_TIMEOUT,
                                                 "Only %s of memory are available, not %s", has,
                                                 wants);
        else if (error == -E2BIG)
                (void)sd_bus_reply_method_errorf(wait->call, BUS_ERROR_TOO_LARGE,
                                                 "This host has less than %s of memory", wants);
        else if (error == -ENODATA)
                (void)sd_bus_reply_method_errorf(wait->call, BUS_ERROR_NOTHING_LEFT,
                                                 "Only %s of memory are available, not %s, and no "
                                                 "teardown is left that could free more",
                                                 has, wants);
        else
                (void)sd_bus_reply_method_errno(wait->call, error, NULL);
        wait_free(wait);
}

static void on_quiet(struct quiet_waiter *waiter, int error) {
        struct wait *wait = WAIT_OF(quiet, waiter);

        if (error >= 0)
                (void)sd_bus_reply_method_return(wait->call, "u", waiter->n_known);
        else
                (void)sd_bus_reply_method_errorf(wait->call, BUS_ERROR_TIMEOUT,
                                                 "%s is not quiet yet", waiter->name);
        wait_free(wait);
}

void bus_stop_waiting(struct bus_object *object, sd_bus *link) {
        struct wait *wait, *next;

        for (wait = LIST_FIRST(&object->waits); wait; wait = next) {
                next = LIST_NEXT(wait, link);
                if (sd_bus_message_get_bus(wait->call) == link)
                        wait_free(wait);
        }
}

/* ---- callers who go, while the bus between us stays ---- */

static int on_gone(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *owner;

        if (sd_bus_message_read(m, "sss", NULL, NULL, &owner) >= 0 && owner[0] == '\0')
                wait_free(userdata);
        return 0;
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct wait *wait = userdata;

        wait->owner_slot = sd_bus_slot_unref(wait->owner_slot);
        if (sd_bus_message_is_method_error(m, NULL))
                wait_free(wait);
        return 1;
}

/* On a connection of its own a caller cannot go without it: then there is nothing to watch. */
static int watch_caller(struct wait *wait) {
        sd_bus *link = sd_bus_message_get_bus(wait->call);
        const char *caller = sd_bus_message_get_sender(wait->call);
        char match[512];
        int r;

        if (sd_bus_is_bus_client(link) <= 0 || !caller)
                return 0;
        (void)snprintf(match, sizeof(match),
                       "type='signal',sender='org.freedesktop.DBus',"
                       "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='%s'",
                       caller);
        r = sd_bus_add_match_async(link, &wait->gone_slot, match, on_gone, NULL, wait);
        if (r < 0)
                return r;
        return sd_bus_call_method_async(link, &wait->owner_slot, "org.freedesktop.DBus",
                                        "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                        "GetNameOwner", on_owner, wait, "s", caller);
}

/* ---- the methods ---- */

static struct wait *wait_new(struct bus_object *object, sd_bus_message *call) {
        struct wait *wait = calloc(1, sizeof(*wait));

        if (!wait)
                return NULL;
        wait->call = sd_bus_message_ref(call);
        LIST_INSERT_HEAD(&object->waits, wait, link);
        return wait;
}

/* r: of the function that lets it wait. A call that does not wait is answered now. */
static int begin(struct wait *wait, int r, unsigned max, sd_bus_error *error) {
        if (r >= 0)
                r = watch_caller(wait);
        if (r >= 0)
                return 1;
        wait_free(wait);
        return r == -EBUSY ? sd_bus_error_setf(error, BUS_ERROR_TOO_MANY,
                                               "%u clients wait already; try again later", max)
                           : r;
}

static uint64_t deadline(struct manager *m, uint64_t timeout) {
        uint64_t now = loop_now(m->event);

        return timeout > USEC_INFINITY - now ? USEC_INFINITY : now + timeout;
}

int bus_method_wait_memory(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct bus_object *o = userdata;
        uint64_t bytes, timeout;
        struct wait *wait;
        int r;

        r = sd_bus_message_read(call, "tt", &bytes, &timeout);
        if (r < 0)
                return r;
        wait = wait_new(o, call);
        if (!wait)
                return -ENOMEM;
        wait->memory.bytes = bytes;
        wait->memory.done = on_memory;
        wait->memory.deadline = deadline(o->manager, timeout);
        r = memory_wait(o->manager->memory, &wait->memory);
        return begin(wait, r, MEMORY_WAITERS_MAX, error);
}

int bus_method_wait_quiet(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct bus_object *o = userdata;
        const char *what;
        uint64_t timeout;
        struct wait *wait;
        int r;

        r = sd_bus_message_read(call, "st", &what, &timeout);
        if (r < 0)
                return r;
        wait = wait_new(o, call);
        if (!wait)
                return -ENOMEM;
        wait->quiet.done = on_quiet;
        wait->quiet.deadline = deadline(o->manager, timeout);
        r = quiet_wait(o->manager->quiet, &wait->quiet, what);
        return begin(wait, r, QUIET_WAITERS_MAX, error);
}
