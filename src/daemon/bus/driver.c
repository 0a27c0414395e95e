/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * There is no bus behind control.sock, but tools made for one first call org.freedesktop.DBus.
 * Only what they need to go on is answered; there are no names to own, and all signals are ours.
 * Who needs what:
 *
 *   Hello             busctl, gdbus, dbus-send --bus, dbus-monitor: they open the socket as a
 *                     message bus, and give up without an answer
 *   AddMatch,         clients that subscribe to signals or watch a name's owner: gdbus monitor
 *   RemoveMatch       and the proxies of the D-Bus libraries
 *   GetNameOwner      the same, to learn whose signals are meant
 *   BecomeMonitor     busctl monitor and capture, which also wait for the NameLost that a bus
 *                     sends to a client that turns from a participant into a monitor
 *
 * sd-bus clients without a bus (pv-reaperctl) and dbus-send --peer need none of it. Kept is only
 * how many matches a client has: it hears signals if it has one.
 */

#include "daemon/bus/driver.h"

#include "base/util.h"

#define DRIVER     "org.freedesktop.DBus"
#define MONITORING "org.freedesktop.DBus.Monitoring"

static int answer_hello(sd_bus_message *m, struct bus_client *client) {
        return sd_bus_reply_method_return(m, "s", client->name);
}

/* Matches are not kept: a client that has one hears all signals, and picks those it meant. */
static int answer_add_match(sd_bus_message *m, struct bus_client *client) {
        if (client->n_matches < UINT32_MAX)
                client->n_matches++;
        return sd_bus_reply_method_return(m, NULL);
}

static int answer_remove_match(sd_bus_message *m, struct bus_client *client) {
        if (client->n_matches > 0)
                client->n_matches--;
        return sd_bus_reply_method_return(m, NULL);
}

/* Whatever name they know us by: all of them are ours. */
static int answer_name_owner(sd_bus_message *m, struct bus_client *client) {
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        return r < 0 ? r : sd_bus_reply_method_return(m, "s", name);
}

static int answer_become_monitor(sd_bus_message *m, struct bus_client *client) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *lost = NULL;
        sd_bus *bus = sd_bus_message_get_bus(m);
        int r;

        r = sd_bus_reply_method_return(m, NULL);
        if (r >= 0)
                r = sd_bus_message_new_signal(bus, &lost, "/org/freedesktop/DBus", DRIVER,
                                              "NameLost");
        if (r >= 0)
                r = sd_bus_message_set_sender(lost, DRIVER);
        if (r >= 0)
                r = sd_bus_message_append(lost, "s", client->name);
        if (r < 0)
                return r;
        client->n_matches = UINT32_MAX; /* it cannot take it back */
        return sd_bus_send(bus, lost, NULL);
}

static const struct {
        const char *interface;
        const char *member;
        int (*answer)(sd_bus_message *m, struct bus_client *client);
} answers[] = {
        {DRIVER, "Hello", answer_hello},
        {DRIVER, "AddMatch", answer_add_match},
        {DRIVER, "RemoveMatch", answer_remove_match},
        {DRIVER, "GetNameOwner", answer_name_owner},
        {MONITORING, "BecomeMonitor", answer_become_monitor},
};

int bus_answer_driver(sd_bus_message *m, struct bus_client *client) {
        for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
                int r;

                r = sd_bus_message_is_method_call(m, answers[i].interface, answers[i].member);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                r = answers[i].answer(m, client);
                return r < 0 ? r : 1;
        }
        return 0;
}
