/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Colours of a terminal: sequences to print. All are empty without colour. */

#include <stdbool.h>

struct paint {
        const char *good, *warn, *bad, *bold, *title, *off;
};

static inline struct paint paint_of(bool colour) {
        if (!colour)
                return (struct paint){"", "", "", "", "", ""};
        return (struct paint){.good = "\033[32m",
                              .warn = "\033[33m",
                              .bad = "\033[31m",
                              .bold = "\033[1m",
                              .title = "\033[7m",
                              .off = "\033[0m"};
}
