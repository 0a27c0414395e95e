/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Log lines go to stderr, one write(2) each, and only if it can take them now: a reader that has
 * stopped, be it a terminal, a pipe or the journal, must not stop the loop, on which all guests
 * wait. What could not be written is counted and told as soon as there is room.
 *
 * systemd connects stderr to the journal and says so in JOURNAL_STREAM (device and inode); then
 * each line begins with its level as in sd-daemon(3), else with our name.
 */

#include "daemon/log.h"

#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define LINE_SIZE 1024 /* below PIPE_BUF: a pipe that is writable takes it whole */

_Static_assert(LINE_SIZE <= PIPE_BUF, "a line is written at once");

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

static bool write_line(int level, const char *message) {
        struct pollfd pollfd = {.fd = STDERR_FILENO, .events = POLLOUT};
        char line[LINE_SIZE];
        int n;

        if (poll(&pollfd, 1, 0) <= 0 || !(pollfd.revents & POLLOUT))
                return false;
        if (stderr_is_journal())
                n = snprintf(line, sizeof(line) - 1, "<%d>%s", level, message);
        else
                n = snprintf(line, sizeof(line) - 1, "pv-reaperd: %s%s",
                             level <= LOG_ERR ? "error: " : "", message);
        n = n < (int)sizeof(line) - 1 ? n : (int)sizeof(line) - 2;
        line[n] = '\n';
        return write(STDERR_FILENO, line, (size_t)n + 1) == n + 1;
}

int log_full(int level, int error, const char *format, ...) {
        static unsigned n_dropped;
        char message[LINE_SIZE - 64];
        size_t n;
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);
        n = strlen(message);
        if (error < 0 && n < sizeof(message))
                (void)snprintf(message + n, sizeof(message) - n, ": %s", strerror(-error));

        if (n_dropped > 0) {
                char text[64];

                (void)snprintf(text, sizeof(text), "%u lines could not be written", n_dropped);
                n_dropped = write_line(LOG_WARNING, text) ? 0 : n_dropped;
        }
        if (!write_line(level, message))
                n_dropped++;
        return error;
}

bool log_allowed(struct log_limit *limit) {
        struct timespec ts = {};
        uint64_t now;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        now = (uint64_t)ts.tv_sec;
        if (now >= limit->begin + LOG_LIMIT_SEC) {
                if (limit->n > LOG_LIMIT_LINES)
                        log_warning("%u more such lines in %u s", limit->n - LOG_LIMIT_LINES,
                                    LOG_LIMIT_SEC);
                *limit = (struct log_limit){.begin = now};
        }
        return ++limit->n <= LOG_LIMIT_LINES;
}
