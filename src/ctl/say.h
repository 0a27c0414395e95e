/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/util.h"

#define SAY_USAGE (-EBADRQC) /* the command line is wrong */

/*
 * Prints one line to stderr. error is a negative errno, which is appended as text, or 0. Characters
 * that are not printable ASCII are replaced. Returns error, or -EINVAL for 0.
 */
int say_error(int error, const char *format, ...) _printf_(2, 3);

/* Prints a line about a wrong command line. Returns SAY_USAGE. */
int say_usage(const char *format, ...) _printf_(1, 2);

/*
 * From now on these functions write to the buffer, without the program's name. Each line replaces
 * the one before. NULL: they write to stderr again. The caller keeps the buffer.
 */
void say_into(char *buffer, size_t size);
