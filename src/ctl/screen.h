/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The screen of "pv-reaperctl watch", and the position in it. Pure. */

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

        const char *notice; /* shown in place of the keys, or NULL */
};

/* Handles a key. false: not one of this screen's, such as q, ^L and unknown keys. */
bool screen_key(struct screen *screen, int key, size_t n_jobs);

/* Prints at most rows lines of at most columns. status may be NULL. Errors: -ENOMEM. */
int screen_draw(FILE *out, struct screen *screen, const struct record *status,
                const struct record_list *jobs);
