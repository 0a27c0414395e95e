/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What pv-reaperctl can be asked for. */

#include <sys/types.h>

#include "ctl/json.h"

struct options {
        const char *socket;
        const char *root; /* of check; "": none */
        enum json_mode json;
        bool legend;
        bool quiet;            /* the exit status says it */
        bool pager;            /* may be used */
        bool terminal, colour; /* what stdout is good for */
        pid_t pid;             /* of wait-quiet; 0: none */
        uint64_t timeout_usec; /* of wait-memory, wait-quiet; USEC_INFINITY: none */
        char **args;           /* of the verb */
        int n_args;
};

/* They print to out, tell the user on stderr what went wrong, and return a negative errno then. */
int verb_status(const struct options *options, FILE *out);
int verb_list(const struct options *options, FILE *out);
int verb_jobs(const struct options *options, FILE *out);
int verb_show(const struct options *options, FILE *out);
int verb_drain(const struct options *options, FILE *out);
int verb_resume(const struct options *options, FILE *out);
int verb_reload(const struct options *options, FILE *out);
int verb_set(const struct options *options, FILE *out);
int verb_adopt(const struct options *options, FILE *out);

/* Also returns what the exit status is to be: 0; 4, something is not as well as it could be; 1. */
int verb_check(const struct options *options, FILE *out);

int verb_metrics(const struct options *options, FILE *out);
int verb_wait_memory(const struct options *options, FILE *out);

/* Also returns 2: neither a VM nor a pid, or both; 5: not in time; 6: it cannot tell. */
int verb_wait_quiet(const struct options *options, FILE *out);
