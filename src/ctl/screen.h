/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What "pv-reaperctl watch" shows of the jobs, and where one is in it. Pure. */

#include <stdio.h>

#include "ctl/paint.h"
#include "ctl/record.h"

struct screen {
        /* of the terminal */
        unsigned rows, columns;
        struct paint paint;

        /* what the keys change */
        unsigned sort; /* 0: running, waiting, ended; else the column, from 1 */
        bool reverse;
        bool paused;
        size_t first; /* the first job that is shown */

        const char *notice; /* in place of the keys, or NULL */
};

/* q, ^L and unknown keys are not its business: false. */
bool screen_key(struct screen *screen, int key, size_t n_jobs);

/* As many lines as there are rows, none longer than the columns. status may be NULL. -ENOMEM. */
int screen_draw(FILE *out, struct screen *screen, const struct record *status,
                const struct record_list *jobs);
