/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What somebody should do now, by what the daemon says. Pure: it prints its arguments. */

#include "ctl/status.h"

/* Prints a line for each: "Action: why: command". Nothing is to be done: it prints nothing. */
void advice_print(FILE *out, const struct status *status);
