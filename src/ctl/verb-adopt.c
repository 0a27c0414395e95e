/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verb adopt. Which process is a QEMU's helper the daemon decides, and it says why one is none;
 * here it is only seen to that a number was meant. Nothing is printed if all is well. Owns its
 * connection, for the one call.
 */

#include "ctl/amount.h"
#include "ctl/connection.h"
#include "ctl/say.h"
#include "ctl/verbs.h"

static void connection_freep(struct connection **connection) {
        connection_free(*connection);
}

int verb_adopt(const struct options *options, FILE *out) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        pid_t pid;
        int r;

        if (amount_parse_pid(options->args[0], &pid) < 0)
                return say_error(0, "adopt: a process number, not \"%s\"", options->args[0]);
        r = connection_new(&connection, options->socket);
        return r < 0 ? r : connection_adopt(connection, (uint32_t)pid);
}
