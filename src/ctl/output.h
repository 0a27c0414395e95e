/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Output to stdout, through a pager if that is a terminal. */

#include "base/util.h"

/* Whether stdout is a terminal that can do more than print lines. */
bool output_is_terminal(void);

/* Whether to use colours: on such a terminal, but not with NO_COLOR. */
bool output_in_colour(void);

/*
 * Writes the whole text and closes stdout. It prints the reason of a failure, but not of -EPIPE: a
 * reader such as head(1) has seen enough.
 */
int output_write(const char *text, size_t size);

/* As output_write(), through $SYSTEMD_PAGER, $PAGER or less(1) if stdout is a terminal. */
int output_page(const char *text, size_t size);
