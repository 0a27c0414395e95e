/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Logging: to the journal, with fields, where stderr is the journal; else to stderr. A function
 * either logs or returns an error, never both; log_error_errno() is for the one that does log and
 * returns.
 */

#include <syslog.h>

#include "base/util.h"
#include "daemon/runtime/messages.h"

/*
 * error: negative errno appended as text, or 0. Returns error. Never fails, never blocks: a line
 * that cannot be written now is dropped, and the number of those is told later.
 */
int log_full(int level, int error, const char *format, ...) _printf_(3, 4);

#define log_error(...)                ((void)log_full(LOG_ERR, 0, __VA_ARGS__))
#define log_warning(...)              ((void)log_full(LOG_WARNING, 0, __VA_ARGS__))
#define log_info(...)                 ((void)log_full(LOG_INFO, 0, __VA_ARGS__))
#define log_error_errno(error, ...)   log_full(LOG_ERR, (error), __VA_ARGS__)
#define log_warning_errno(error, ...) log_full(LOG_WARNING, (error), __VA_ARGS__)

/*
 * An event that somebody may match on: a line with an id from messages.h and the fields that its
 * row there names.
 *
 *         (void)log_event(LOG_EVENT(LOG_INFO, MESSAGE_READY, 0, LOG_TEXT("PV_CGROUP", path),
 *                                   LOG_NUMBER("PV_MAX_CONCURRENT", n)),
 *                         "ready: at most %u at once", n);
 */
#define LOG_FIELDS_MAX 16

struct log_field {
        const char *name;
        const char *text;
        uint64_t number; /* if text is NULL */
};

/* What is unknown, NULL or USEC_INFINITY, is left out. The text is not kept. */
#define LOG_TEXT(name, text)                                                                       \
        { (name), (text), USEC_INFINITY }
#define LOG_NUMBER(name, number)                                                                   \
        { (name), NULL, (number) }

struct log_event {
        int level;
        int error;                               /* as of log_full() */
        const char *id;                          /* one of messages.h; NULL: none */
        struct log_field fields[LOG_FIELDS_MAX]; /* up to the first without a name */
};

#define LOG_EVENT(level_, id_, error_, ...)                                                        \
        (&(const struct log_event){                                                                \
                .level = (level_), .error = (error_), .id = (id_), .fields = {__VA_ARGS__}})

/* Writes it as log_full() does, and returns event->error. */
int log_event(const struct log_event *event, const char *format, ...) _printf_(2, 3);

/* For lines that somebody else can cause as often as he likes: so many, then their number. */
#define LOG_LIMIT_LINES 20U
#define LOG_LIMIT_SEC   10U

struct log_limit {
        uint64_t begin; /* of the period, in s of CLOCK_MONOTONIC */
        unsigned n;
};

/* Whether the next line of this limit's kind may be logged. */
bool log_allowed(struct log_limit *limit);

#define log_warning_limited(limit, error, ...)                                                     \
        ((void)(log_allowed(limit) && log_full(LOG_WARNING, (error), __VA_ARGS__)))

/* The same for an event: log_event_limited(&limit, LOG_EVENT(...), "..."). */
#define log_event_limited(limit, ...) ((void)(log_allowed(limit) && log_event(__VA_ARGS__)))
