/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Messages to the user: one line on stderr each. Their texts come from the command line, from the
 * environment and from the daemon, which got them from guests' VMMs. So characters that a terminal
 * acts on are replaced.
 */

#include "ctl/say.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

static char *say_buffer;
static size_t say_size;

void say_into(char *buffer, size_t size) {
        say_buffer = buffer;
        say_size = size;
}

static void say(int error, const char *format, va_list ap) _printf_(2, 0);

static void say(int error, const char *format, va_list ap) {
        char message[1024];

        (void)vsnprintf(message, sizeof(message), format, ap);
        make_printable(message);
        if (say_buffer)
                (void)snprintf(say_buffer, say_size, "%s%s%s", message, error < 0 ? ": " : "",
                               error < 0 ? strerror(-error) : "");
        else if (error < 0)
                (void)fprintf(stderr, "pv-reaperctl: %s: %s\n", message, strerror(-error));
        else
                (void)fprintf(stderr, "pv-reaperctl: %s\n", message);
}

int say_error(int error, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        say(error, format, ap);
        va_end(ap);
        return error < 0 ? error : -EINVAL;
}

int say_usage(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        say(0, format, ap);
        va_end(ap);
        return SAY_USAGE;
}
