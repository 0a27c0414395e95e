/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Lines on stderr, one write(2) each. Under systemd stderr is the journal, which takes the level
 * from the front of the line, see sd-daemon(3). A write may block when the journal hangs: nobody
 * but this one VM waits for the closer.
 */

#include "closer/say.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int say(int level, int error, const char *format, ...) {
        char line[1024], message[512], prefix[32] = "pv-reaper-closer: ";
        va_list ap;
        int n;

        if (getenv("JOURNAL_STREAM"))
                (void)snprintf(prefix, sizeof(prefix), "<%d>", level);
        va_start(ap, format);
        (void)vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);
        n = snprintf(line, sizeof(line), "%s%s%s%s\n", prefix, message, error < 0 ? ": " : "",
                     error < 0 ? strerror(-error) : "");
        /* dprintf(3) would look first what stderr is, by calls that the closer has no more. */
        (void)!write(STDERR_FILENO, line, min_u64((uint64_t)n, sizeof(line) - 1));
        return error;
}
