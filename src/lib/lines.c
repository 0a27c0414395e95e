/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * /proc in a buffer of fixed size. The buffer holds begin..end, and a line is given out where it
 * lies. When no whole line is left, the rest moves to the front, to make room. The tail of a line
 * that fills the buffer is skipped.
 */

#include "lib/lines.h"

#include <string.h>

#include "base/util.h"
#include "lib/raw.h"

void lines_begin(struct lines *l, int fd) {
        l->begin = l->end = 0;
        l->in_tail = false;
        l->fd = fd;
        (void)raw_syscall(SYS_lseek, fd, 0, SEEK_SET);
}

/* 1: there is more now; 0: end of file */
static int fill(struct lines *l) {
        long n;

        memmove(l->buffer, l->buffer + l->begin, l->end - l->begin);
        l->end -= l->begin;
        l->begin = 0;
        do
                n = raw_syscall(SYS_read, l->fd, l->buffer + l->end, sizeof(l->buffer) - l->end);
        while (n == -EINTR);
        if (n < 0)
                return (int)n;
        l->end += (size_t)n;
        return n > 0;
}

/* The size of the line at begin: a whole one, or as much as there can be. 0: not known yet. */
static size_t line_size(const struct lines *l, bool at_end) {
        size_t size = l->end - l->begin;
        const char *start = l->buffer + l->begin, *newline = memchr(start, '\n', size);

        if (newline)
                return (size_t)(newline - start) + 1;
        return at_end || size == sizeof(l->buffer) ? size : 0;
}

int lines_next(struct lines *l, const char **ret_line, size_t *ret_size) {
        bool at_end = false;

        for (;;) {
                size_t size = line_size(l, at_end);
                const char *line = l->buffer + l->begin;
                bool tail = l->in_tail;
                int r;

                if (size == 0 && at_end)
                        return 0;
                if (size == 0) {
                        r = fill(l);
                        if (r < 0)
                                return r;
                        at_end = r == 0;
                        continue;
                }
                l->begin += size;
                l->in_tail = line[size - 1] != '\n';
                if (tail)
                        continue;
                *ret_line = line;
                *ret_size = size;
                return 1;
        }
}
