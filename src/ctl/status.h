/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon on one screen. Pure: prints what it is given. */

#include <stdio.h>

#include "ctl/paint.h"
#include "ctl/record.h"

struct status {
        const struct record *status;
        const struct record_list *limits;
        const struct record_list *failures; /* the newest first */
        struct paint paint;
};

/* All of it. */
void status_print(FILE *out, const struct status *status);

/* Two lines: what it is, and what it has to do. */
void status_print_head(FILE *out, const struct status *status);
