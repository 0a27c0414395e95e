/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verb adopt. This file checks that the argument is a number. The daemon decides whether that
 * process is a QEMU's helper, and its answer is printed if it refuses. Success prints nothing. The
 * verb owns its connection, which serves one call.
 */

#include "ctl/amount.h"
#include "ctl/connection.h"
#include "ctl/say.h"
#include "ctl/verbs.h"

int verb_adopt(const struct options *options, FILE *out) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        pid_t pid;
        int r;

        if (amount_parse_pid(options->args[0], &pid) < 0)
                return say_usage("adopt: expected a process number, not \"%s\"", options->args[0]);
        r = connection_new(&connection, options->socket);
        return r < 0 ? r : connection_adopt(connection, (uint32_t)pid);
}
