/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/util.h"

/*
 * Tells the user on stderr what is wrong; error: a negative errno appended as text, or 0. Control
 * characters are replaced. Returns error, or -EINVAL for 0.
 */
int say_error(int error, const char *format, ...) _printf_(2, 3);

/*
 * From here on such a line, without the program's name, goes into the buffer instead, the last one
 * over the one before; NULL: to stderr again. The buffer stays the caller's.
 */
void say_into(char *buffer, size_t size);

/* Replaces all of text that a terminal might act upon, or that is not one column wide, with '?'. */
void make_printable(char *text);
