/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a value should have been, in words: for messages about wrong ones, for the example file and,
 * by way of a test, for the manual page. It says what value.c accepts; who changes that
 * changes this.
 */

#include "daemon/config/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct unit {
        const char *name;
        uint64_t usec;
};

/* In the largest of some units that it is a whole number of. */
static const char *format_time(char *buffer, size_t size, uint64_t usec) {
        static const struct unit units[] = {
                {"d", 86400 * USEC_PER_SEC}, {"h", 3600 * USEC_PER_SEC}, {"min", 60 * USEC_PER_SEC},
                {"s", USEC_PER_SEC},         {"ms", USEC_PER_MSEC},      {"us", 1},
        };
        unsigned i = 0;

        while (usec % units[i].usec != 0)
                i++;
        if (usec == 0)
                (void)snprintf(buffer, size, "0");
        else
                (void)snprintf(buffer, size, "%" PRIu64 "%s", usec / units[i].usec, units[i].name);
        return buffer;
}

static void describe_words(const struct value_rule *rule, char *buffer, size_t size) {
        size_t n = 0;

        for (unsigned i = 0; rule->words[i] && n < size; i++)
                n += (size_t)snprintf(buffer + n, size - n, "%s\"%s\"",
                                      i == 0               ? ""
                                      : rule->words[i + 1] ? ", "
                                                           : " or ",
                                      rule->words[i]);
}

/* The types whose rule has nothing more to say. */
static const char *const plain[] = {
        [VALUE_CGROUP] = "an absolute path, \"auto\" or \"none\"",
        [VALUE_PATTERNS] = "absolute paths or patterns such as /usr/bin/qemu-*",
        [VALUE_BOOL] = "\"yes\" or \"no\"",
        [VALUE_SIZE] = ("a size in bytes such as 16G (K, M, G, T: powers of 1024), a part of the "
                        "memory such as 10%"),
};

static void describe(const struct value_rule *rule, char *buffer, size_t size) {
        char least[32], most[32];

        if (rule->type == VALUE_SOCKET)
                (void)snprintf(buffer, size, "an absolute path of at most %d bytes",
                               VALUE_SOCKET_MAX);
        else if (rule->type == VALUE_UNSIGNED)
                (void)snprintf(buffer, size, "a number from %" PRIu64 " to %" PRIu64, rule->minimum,
                               rule->maximum);
        else if (rule->type == VALUE_PERCENT)
                (void)snprintf(buffer, size, "a percentage from %" PRIu64 "%% to %" PRIu64 "%%",
                               rule->minimum, rule->maximum);
        else if (rule->type == VALUE_TIME)
                (void)snprintf(
                        buffer, size,
                        "a time span such as \"5min 20s\" or 100ms (a plain number: seconds) "
                        "from %s to %s",
                        format_time(least, sizeof(least), rule->minimum),
                        format_time(most, sizeof(most), rule->maximum));
        else if (rule->type == VALUE_RATE)
                (void)snprintf(buffer, size,
                               "a rate such as 30/min, 1/s or 100/h (a plain number: per %s)",
                               rule->unit == VALUE_PER_SECOND ? "second" : "minute");
        else if (rule->type == VALUE_WORD)
                describe_words(rule, buffer, size);
        else
                (void)snprintf(buffer, size, "%s", plain[rule->type]);
}

void value_describe(const struct value_rule *rule, char *buffer, size_t size) {
        describe(rule, buffer, size);
        if (rule->or_auto)
                (void)strncat(buffer, " or \"auto\"", size - strlen(buffer) - 1);
        if (rule->or_infinity)
                (void)strncat(buffer, " or \"infinity\"", size - strlen(buffer) - 1);
}
