/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where log lines go. systemd sets JOURNAL_STREAM to device and inode of the stderr it connected to
 * the journal: only if ours is still that one do we speak the journal's own protocol, and plain
 * text on stderr otherwise, so that a daemon started by hand or by a test is read on the spot.
 */

#include "daemon/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>

static bool stderr_is_journal(void) {
        static int cached = -1;
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        if (cached < 0)
                cached = stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
                         fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device &&
                         st.st_ino == inode;
        return cached;
}

int log_full(int level, int error, const char *format, ...) {
        char message[1024];
        size_t n;
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);
        n = strlen(message);
        if (error < 0 && n < sizeof(message))
                (void)snprintf(message + n, sizeof(message) - n, ": %s", strerror(-error));

        if (stderr_is_journal())
                (void)sd_journal_send("MESSAGE=%s", message, "PRIORITY=%i", level, NULL);
        else
                (void)fprintf(stderr, "pv-reaperd: %s%s\n", level <= LOG_ERR ? "error: " : "",
                              message);
        return error;
}
