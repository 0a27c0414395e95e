/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is said to the user on stderr, in one line. Texts come from the command line, the
 * environment and the daemon, which got them from guests' VMMs: none of them may speak to the
 * terminal.
 */

#include "ctl/say.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char *say_buffer;
static size_t say_size;

void say_into(char *buffer, size_t size) {
        say_buffer = buffer;
        say_size = size;
}

void make_printable(char *text) {
        for (; *text; text++)
                if (*text < ' ' || *text > '~')
                        *text = '?';
}

int say_error(int error, const char *format, ...) {
        char message[1024];
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);
        make_printable(message);
        if (say_buffer)
                (void)snprintf(say_buffer, say_size, "%s%s%s", message, error < 0 ? ": " : "",
                               error < 0 ? strerror(-error) : "");
        else if (error < 0)
                (void)fprintf(stderr, "pv-reaperctl: %s: %s\n", message, strerror(-error));
        else
                (void)fprintf(stderr, "pv-reaperctl: %s\n", message);
        return error < 0 ? error : -EINVAL;
}
