/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A file of /proc line by line, through a buffer of fixed size. System calls only: safe in the
 * keeper. The file may change meanwhile: the kernel goes on behind the last line.
 */

#include <stdbool.h>
#include <stddef.h>

#define LINES_BUFFER 4096

struct lines {
        int fd;            /* somebody else's */
        size_t begin, end; /* bytes that were read and not yet given out */
        bool in_tail;      /* of a line whose beginning was given out */
        char buffer[LINES_BUFFER];
};

/* Begins at the start of fd, which stays the caller's. /proc answers with the present state. */
void lines_begin(struct lines *lines, int fd);

/*
 * 1: the next line with its newline; only the beginning of a line that is longer than the buffer.
 * Valid until the next call. 0: no more. Negative errno: it cannot be read.
 */
int lines_next(struct lines *lines, const char **ret_line, size_t *ret_size);
