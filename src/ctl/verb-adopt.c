/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verb adopt. Which process is a QEMU's helper the daemon decides, and it says why one is none;
 * here it is only seen to that a number was meant. Nothing is printed if all is well. Owns its
 * connection, for the one call.
 */

#include <inttypes.h>
#include <stdlib.h>

#include "ctl/connection.h"
#include "ctl/say.h"
#include "ctl/verbs.h"

static void connection_freep(struct connection **connection) {
        connection_free(*connection);
}

/* Digits only: strtoul(3) alone would take blanks and signs. */
static int parse_pid(const char *text, uint32_t *ret) {
        unsigned long n;
        char *end;

        if (*text < '1' || *text > '9')
                return -EINVAL;
        errno = 0;
        n = strtoul(text, &end, 10);
        if (*end != '\0' || errno != 0 || n > INT32_MAX)
                return -EINVAL;
        *ret = (uint32_t)n;
        return 0;
}

int verb_adopt(const struct options *options, FILE *out) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        uint32_t pid;
        int r;

        if (parse_pid(options->args[0], &pid) < 0)
                return say_error(0, "adopt: a process number, not \"%s\"", options->args[0]);
        r = connection_new(&connection, options->socket);
        return r < 0 ? r : connection_adopt(connection, pid);
}
