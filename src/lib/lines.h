/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A file of /proc line by line, through a buffer of fixed size: system calls only, safe in the
 * keeper. What the lines are about may change meanwhile: the kernel goes on behind the last one.
 */

#include <stdbool.h>
#include <stddef.h>

#define LINES_BUFFER 4096

struct lines {
        int fd;
        size_t begin, end; /* what was read and not yet given out */
        bool in_tail;      /* of a line of which the beginning was given out */
        char buffer[LINES_BUFFER];
};

/* 0 or a negative errno; lines_close() in either case. */
int lines_open(struct lines *lines, const char *path);
void lines_close(struct lines *lines);

/*
 * 1: the next line, its newline included; of one longer than the buffer the beginning only.
 * Valid until the next call. 0: no more. Negative: cannot be read.
 */
int lines_next(struct lines *lines, const char **ret_line, size_t *ret_size);
