/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where the text goes: stdout, through a pager if it is a terminal. */

#include "base/util.h"

/* Whether stdout is a terminal that can do more than print lines. */
bool output_is_terminal(void);

/* Whether to use colours: on such a terminal, and never with NO_COLOR. */
bool output_in_colour(void);

/*
 * Writes all of it and closes stdout. The user was told of errors, but not of -EPIPE: who reads us
 * with head(1) does not want to hear that it has seen enough.
 */
int output_write(const char *text, size_t size);

/* As output_write(), through $SYSTEMD_PAGER, $PAGER or less(1) if stdout is a terminal. */
int output_page(const char *text, size_t size);
