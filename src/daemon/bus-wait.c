/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * WaitMemory. Its call is kept in a wait, which is in the list until it is answered, its caller
 * goes, or its connection does, whichever comes first. A wait owns its call, and with it a
 * reference to the connection's sd_bus, but not the connection.
 *
 * As long as somebody waits the boost limits hold, so nobody may wait who is no longer there: on
 * the system bus the caller's name is watched. AddMatch comes before GetNameOwner, and the bus
 * answers in order, so there is no moment at which it could go unseen.
 */

#include "daemon/bus-wait.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/size.h"
#include "daemon/bus-error.h"
#include "daemon/manager.h"
#include "daemon/memory.h"

struct wait {
        struct memory_waiter waiter; /* first: it is what memory.c gives back */
        sd_bus_message *call;
        sd_bus_slot *gone_slot;  /* on the system bus: is the caller still there? */
        sd_bus_slot *owner_slot; /* ... and was it, before we began to listen? */
        TAILQ_ENTRY(wait) link;  /* in waits */
};

static TAILQ_HEAD(, wait) waits = TAILQ_HEAD_INITIALIZER(waits);

static void wait_free(struct wait *wait) {
        memory_leave(&wait->waiter);
        TAILQ_REMOVE(&waits, wait, link);
        sd_bus_slot_unref(wait->gone_slot);
        sd_bus_slot_unref(wait->owner_slot);
        sd_bus_message_unref(wait->call);
        free(wait);
}

static void on_waited(struct memory_waiter *waiter, int error, uint64_t available) {
        struct wait *wait = (struct wait *)waiter;
        char has[32], wants[32];

        format_size(has, sizeof(has), available);
        format_size(wants, sizeof(wants), waiter->bytes);
        if (error >= 0)
                (void)sd_bus_reply_method_return(wait->call, "t", available);
        else if (error == -ETIMEDOUT)
                (void)sd_bus_reply_method_errorf(wait->call, BUS_ERROR_TIMEOUT,
                                                 "%s of memory are available, not %s", has, wants);
        else
                (void)sd_bus_reply_method_errno(wait->call, error, NULL);
        wait_free(wait);
}

void bus_stop_waiting(sd_bus *link) {
        struct wait *wait, *next;

        for (wait = TAILQ_FIRST(&waits); wait; wait = next) {
                next = TAILQ_NEXT(wait, link);
                if (!link || sd_bus_message_get_bus(wait->call) == link)
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

int bus_method_wait_memory(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct manager *m = userdata;
        uint64_t bytes, timeout, now = manager_now(m);
        struct wait *wait;
        int r;

        r = sd_bus_message_read(call, "tt", &bytes, &timeout);
        if (r < 0)
                return r;
        wait = calloc(1, sizeof(*wait));
        if (!wait)
                return -ENOMEM;
        wait->waiter.bytes = bytes;
        wait->waiter.done = on_waited;
        wait->waiter.deadline = timeout > USEC_INFINITY - now ? USEC_INFINITY : now + timeout;
        r = memory_wait(m->memory, &wait->waiter);
        if (r < 0) {
                free(wait);
                return sd_bus_error_setf(error, BUS_ERROR_TOO_MANY, "%u wait already",
                                         (unsigned)MEMORY_WAITERS_MAX);
        }
        wait->call = sd_bus_message_ref(call);
        TAILQ_INSERT_TAIL(&waits, wait, link);
        r = watch_caller(wait);
        if (r < 0) {
                wait_free(wait);
                return r;
        }
        return 1; /* it is answered later */
}
