/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The terminal as a screen. After terminal_enter() it is restored in all cases, at exit() and on
 * fatal signals too, except SIGKILL: then reset(1) helps.
 */

#include "base/util.h"

enum key {
        KEY_NONE,
        KEY_UP = 256,
        KEY_DOWN,
        KEY_LEFT,
        KEY_RIGHT,
        KEY_PAGE_UP,
        KEY_PAGE_DOWN,
        KEY_HOME,
        KEY_END,
};

/* stdin and stdout must be terminals. Negative: they are not. */
int terminal_enter(void);
void terminal_leave(void);

/* Of standard output: 80 columns and 24 rows if nobody knows. */
unsigned terminal_columns(void);
void terminal_get_size(unsigned *ret_rows, unsigned *ret_columns);

/* Takes the first key off *text, n bytes: a character or an enum key. KEY_NONE: none is left. */
int terminal_next_key(const char **text, size_t *n);
