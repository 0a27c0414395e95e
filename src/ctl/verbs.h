/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The verbs of pv-reaperctl, and the options that they read. */

#include <sys/types.h>

#include "ctl/json.h"

struct options {
        const char *socket;
        const char *root; /* for check; "": none */
        enum json_mode json;
        bool all;      /* for hurry, cancel-hurry */
        bool textfile; /* for metrics */
        bool legend;
        bool quiet;            /* print errors only */
        bool pager;            /* a pager may be used */
        bool terminal, colour; /* stdout is a terminal; it shows colours */
        pid_t pid;             /* for wait-quiet; 0: none */
        uint64_t timeout_usec; /* for wait-memory, wait-quiet; USEC_INFINITY: none */
        char **args;           /* of the verb */
        int n_args;
};

/*
 * Each prints its result to out and returns 0. On failure it prints the reason to stderr and
 * returns a negative errno: SAY_USAGE for a wrong command line, CONNECTION_NOBODY if no daemon
 * answers.
 */
int verb_status(const struct options *options, FILE *out);
int verb_list(const struct options *options, FILE *out);
int verb_jobs(const struct options *options, FILE *out);
int verb_show(const struct options *options, FILE *out);
int verb_drain(const struct options *options, FILE *out);
int verb_resume(const struct options *options, FILE *out);
int verb_reload(const struct options *options, FILE *out);
int verb_hurry(const struct options *options, FILE *out);
int verb_cancel_hurry(const struct options *options, FILE *out);
int verb_set(const struct options *options, FILE *out);
int verb_adopt(const struct options *options, FILE *out);

/* Also returns the exit status: 0, no WARN or FAIL; 4, a WARN and no FAIL; 1, a FAIL. */
int verb_check(const struct options *options, FILE *out);

int verb_metrics(const struct options *options, FILE *out);
int verb_wait_memory(const struct options *options, FILE *out);

/* Also returns the exit status: 0, quiet; 5, not quiet in time; 6, it cannot tell. */
int verb_wait_quiet(const struct options *options, FILE *out);
