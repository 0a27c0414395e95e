/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Lines on stderr, one write(2) each. Under systemd that is the journal, which takes the level from
 * the front of the line, as in sd-daemon(3). It may block when the journal hangs: nobody but this
 * one VM waits for us.
 */

#include "closer/say.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int say(int level, int error, const char *format, ...) {
        char message[512], prefix[32] = "pv-reaper-closer: ";
        va_list ap;

        if (getenv("JOURNAL_STREAM"))
                (void)snprintf(prefix, sizeof(prefix), "<%d>", level);
        va_start(ap, format);
        (void)vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);
        (void)dprintf(STDERR_FILENO, "%s%s%s%s\n", prefix, message, error < 0 ? ": " : "",
                      error < 0 ? strerror(-error) : "");
        return error;
}
