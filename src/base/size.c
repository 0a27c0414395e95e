/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sizes as people read them. pv-reaperctl and the daemon's status line show the same number in the
 * same way, so that nobody looks for a difference that is not there. The caller owns the buffer; a
 * text that does not fit is cut. Without stdio, which has no place in base.
 */

#include "base/size.h"

#include <string.h>

#include "base/util.h"

/* Writes n in decimal so that it ends before end; returns where it begins. */
static char *put_number(char *end, uint64_t n) {
        do {
                *--end = (char)('0' + n % 10);
                n /= 10;
        } while (n > 0);
        return end;
}

void format_size(char *buffer, size_t size, uint64_t bytes) {
        static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
        char text[32] = "", *end = text + sizeof(text) - sizeof(" EiB"), *p = end;
        uint64_t scale = 1;
        unsigned unit = 0;

        while (unit + 1 < ARRAY_SIZE(units) && bytes / scale >= 1024) {
                scale *= 1024;
                unit++;
        }
        memcpy(end, units[unit], strlen(units[unit]) + 1);
        if (unit > 0) {
                p = put_number(p, bytes % scale * 10 / scale);
                *--p = '.';
        }
        p = put_number(p, bytes / scale);
        if (size == 0)
                return;
        size = min_u64(size, strlen(p) + 1);
        memcpy(buffer, p, size - 1);
        buffer[size - 1] = '\0';
}
