/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The types of configuration values, in systemd's notation. Pure: text in, number or text out; no
 * logging. A percentage of memory is resolved with the memory that the machine has now.
 */

#include "base/util.h"

enum value_type {
        /* texts */
        VALUE_SOCKET,   /* an absolute path that fits sun_path */
        VALUE_CGROUP,   /* an absolute path, "auto" or "none" */
        VALUE_PATTERNS, /* absolute paths, of which parts may be glob(7) patterns, by blanks */
        /* numbers */
        VALUE_BOOL,
        VALUE_UNSIGNED,
        VALUE_PERCENT, /* in percent */
        VALUE_SIZE,    /* in bytes; "10%" is a part of the machine's memory */
        VALUE_TIME,    /* in µs; a plain number is seconds */
        VALUE_RATE,    /* per hour; 0 is as "infinity" */
        VALUE_WORD,    /* its place in words */
};

/* Bytes of a path: sun_path's 107 less ".new", the name it is made under (listen.c). */
#define VALUE_SOCKET_MAX 103

/* What a plain number is as a rate. */
#define VALUE_PER_SECOND UINT64_C(3600)
#define VALUE_PER_MINUTE UINT64_C(60)

struct value_rule {
        enum value_type type;
        bool or_auto;     /* "auto" is the value of automatic: CONFIG_AUTO, if nothing else */
        bool or_infinity; /* "infinity" is CONFIG_INFINITY */
        uint64_t automatic;
        uint64_t unit; /* of a rate: VALUE_PER_* */
        uint64_t minimum, maximum;
        const char *const *words; /* NULL at the end */
};

static inline bool value_is_text(const struct value_rule *rule) {
        return rule->type <= VALUE_PATTERNS;
}

/* -EINVAL: text is not what the rule says. */
int value_parse_number(const struct value_rule *rule, const char *text, uint64_t *ret);

/* The same for texts; the caller frees *ret. -ENOMEM, too. */
int value_parse_text(const struct value_rule *rule, const char *text, char **ret);

/* What would be right, as a noun: "a number from 1 to 9". */
void value_describe(const struct value_rule *rule, char *buffer, size_t size);
