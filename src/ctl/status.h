/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon on one screen. Pure: it prints its arguments. */

#include <stdio.h>

#include "ctl/paint.h"
#include "ctl/record.h"

struct status {
        const struct record *status;
        const struct record_list *limits;
        const struct record_list *failures; /* the newest first */
        struct paint paint;
};

/* Columns of the labels, behind which the text of all lines begins. */
#define STATUS_INDENT 11

/* Prints the whole screen. */
void status_print(FILE *out, const struct status *status);

/* Prints two lines: the daemon's state, and its work. */
void status_print_head(FILE *out, const struct status *status);
