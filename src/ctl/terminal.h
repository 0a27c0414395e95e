/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The terminal as a screen: entered once, and left whatever happens, at exit() and on fatal signals
 * too. Only SIGKILL leaves it as it is: reset(1).
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

/* stdin and stdout must be one. Negative: they are none. */
int terminal_enter(void);
void terminal_leave(void);

void terminal_get_size(unsigned *ret_rows, unsigned *ret_columns);

/* Takes the first key off *text, n bytes: a character or an enum key. KEY_NONE: nothing left. */
int terminal_next_key(const char **text, size_t *n);
