/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Logging to stderr, which under systemd is the journal. A function either logs or returns an
 * error, never both; log_error_errno() is for the one that does log and returns.
 */

#include <syslog.h>

#include "base/util.h"

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
