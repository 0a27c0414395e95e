/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where lines go. If stderr is the journal (systemd says so in JOURNAL_STREAM), each is an entry
 * with fields, by journal.c; what that cannot take now goes to stderr as a bare line that begins
 * with its level, as in sd-daemon(3): another queue of the same journal. Else all goes to stderr,
 * behind our name.
 *
 * One write(2) per line, and only if it can be taken now: a reader that has stopped, be it a
 * terminal, a pipe or the journal, must not stop the loop, on which all guests wait. What could not
 * be written, or not whole, is counted and told as soon as there is room.
 */

#include "daemon/runtime/log.h"

#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/runtime/journal.h"

#define LINE_SIZE 1024 /* below PIPE_BUF: a pipe that is writable takes it whole */

_Static_assert(LINE_SIZE <= PIPE_BUF, "a line is written at once");

/* What nobody could read so far. */
static struct {
        unsigned n_lost; /* lines */
        unsigned n_bare; /* lines that went without their fields */
} missing;

static bool write_line(int level, const char *message) {
        struct pollfd pollfd = {.fd = STDERR_FILENO, .events = POLLOUT};
        char line[LINE_SIZE];
        int n;

        if (poll(&pollfd, 1, 0) <= 0 || !(pollfd.revents & POLLOUT))
                return false;
        if (journal_is_stderr())
                n = snprintf(line, sizeof(line) - 1, "<%d>%s", level, message);
        else
                n = snprintf(line, sizeof(line) - 1, "pv-reaperd: %s%s",
                             level <= LOG_ERR ? "error: " : "", message);
        n = n < (int)sizeof(line) - 1 ? n : (int)sizeof(line) - 2;
        line[n] = '\n';
        return write(STDERR_FILENO, line, (size_t)n + 1) == n + 1;
}

static bool send_entry(const struct log_event *event, const char *message) {
        struct journal_entry entry;

        entry.size = 0;
        journal_add(&entry, "MESSAGE", message);
        journal_add_number(&entry, "PRIORITY", (uint64_t)event->level);
        journal_add(&entry, "SYSLOG_IDENTIFIER", "pv-reaperd");
        if (event->id)
                journal_add(&entry, "MESSAGE_ID", event->id);
        if (event->error < 0)
                journal_add_number(&entry, "ERRNO", (uint64_t)-event->error);
        for (size_t i = 0; i < LOG_FIELDS_MAX && event->fields[i].name; i++) {
                const struct log_field *field = &event->fields[i];

                if (field->text)
                        journal_add(&entry, field->name, field->text);
                else if (field->number != USEC_INFINITY)
                        journal_add_number(&entry, field->name, field->number);
        }
        return journal_send(&entry) >= 0;
}

enum { LINE_LOST, LINE_BARE, LINE_WHOLE };

static int deliver(const struct log_event *event, const char *message) {
        if (journal_is_stderr() && send_entry(event, message))
                return LINE_WHOLE;
        if (!write_line(event->level, message))
                return LINE_LOST;
        return journal_is_stderr() ? LINE_BARE : LINE_WHOLE;
}

static void tell_missing(void) {
        const struct log_event *event =
                LOG_EVENT(LOG_WARNING, MESSAGE_LOG_LOST, 0, LOG_NUMBER("PV_LOST", missing.n_lost),
                          LOG_NUMBER("PV_BARE", missing.n_bare));
        char text[128];

        if (missing.n_lost == 0 && missing.n_bare == 0)
                return;
        (void)snprintf(text, sizeof(text), "%u lines could not be written", missing.n_lost);
        if (missing.n_bare > 0)
                (void)snprintf(text + strlen(text), sizeof(text) - strlen(text),
                               ", %u went without their fields", missing.n_bare);
        if (journal_is_stderr() && send_entry(event, text))
                missing.n_lost = missing.n_bare = 0;
        else if (missing.n_lost > 0 && write_line(LOG_WARNING, text))
                missing.n_lost = 0; /* not n_bare: where there is no journal that would not end */
}

_printf_(2, 0) static void log_eventv(const struct log_event *event, const char *format,
                                      va_list ap) {
        char message[LINE_SIZE - 64];
        size_t n;

        (void)vsnprintf(message, sizeof(message), format, ap);
        n = strlen(message);
        if (event->error < 0 && n < sizeof(message))
                (void)snprintf(message + n, sizeof(message) - n, ": %s", strerror(-event->error));
        make_printable(message); /* or a path with a newline in it would make a line of its own */
        tell_missing();
        switch (deliver(event, message)) {
        case LINE_LOST:
                missing.n_lost++;
                break;
        case LINE_BARE:
                missing.n_bare++;
                break;
        }
}

int log_event(const struct log_event *event, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        log_eventv(event, format, ap);
        va_end(ap);
        return event->error;
}

int log_full(int level, int error, const char *format, ...) {
        const struct log_event event = {.level = level, .error = error};
        va_list ap;

        va_start(ap, format);
        log_eventv(&event, format, ap);
        va_end(ap);
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
