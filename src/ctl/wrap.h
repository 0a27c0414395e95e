/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Long lines of text on a narrow terminal. Pure: it prints its arguments. */

#include <stdio.h>

/*
 * Prints the text, whose lines end with a newline. A line of more than width columns goes on in the
 * next one, after indent blanks: it is broken at a blank, or inside a word that would not fit a
 * line of its own. Sequences of colours have no width. width 0, or little more than indent: prints
 * it as it is.
 */
void wrap_print(FILE *out, const char *text, unsigned width, unsigned indent);

/* Text that is printed so when it is whole: write it to memory between the two calls. */
struct wrapped {
        FILE *memory;

        /* owned */
        char *text;
        size_t size;
};

/* 0 or -ENOMEM. wrap_end() must follow wrap_begin(), if that succeeded, and frees all. */
int wrap_begin(struct wrapped *wrapped);
int wrap_end(struct wrapped *wrapped, FILE *out, unsigned width, unsigned indent);
