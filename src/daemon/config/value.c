/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Values as administrators know them from systemd: "5min 20s", "16G", "150%", "yes". Nothing is
 * guessed: what does not fit to the last byte, overflows or lies outside the rule's limits is
 * -EINVAL, and value_describe() says what would have been right. Numbers are cut, not rounded,
 * where a fraction has no place (a third of a µs). Own parser rather than strtoul(), which takes
 * blanks, signs and hexadecimal.
 */

#include "daemon/config/value.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "daemon/config/config.h"

#define FRACTION_DIGITS 6
#define MILLION         UINT64_C(1000000)

struct unit {
        const char *names; /* separated by '|'; an empty one means that none is needed */
        uint64_t scale;
};

static const struct unit time_units[] = {
        {"w|week|weeks", 604800 * USEC_PER_SEC},
        {"d|day|days", 86400 * USEC_PER_SEC},
        {"h|hr|hour|hours", 3600 * USEC_PER_SEC},
        {"min|m|minute|minutes", 60 * USEC_PER_SEC},
        {"|s|sec|second|seconds", USEC_PER_SEC},
        {"ms|msec", USEC_PER_MSEC},
        {"us|usec|\u00b5s|\u03bcs", 1}, /* micro sign, Greek mu */
        {},
};

static const struct unit size_units[] = {
        {"T", UINT64_C(1) << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"|B", 1}, {},
};

static const struct unit rate_units[] = {
        {"s|sec|second", VALUE_PER_SECOND},
        {"min|m|minute", VALUE_PER_MINUTE},
        {"h|hr|hour", 1},
        {},
};

/* ---- pieces; each moves *p behind what it took ---- */

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

static void skip_blanks(const char **p) {
        *p += strspn(*p, " \t");
}

static int take_digits(const char **p, uint64_t *ret) {
        uint64_t n = 0;

        if (!is_digit(**p))
                return -EINVAL;
        for (; is_digit(**p); (*p)++)
                if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
                    __builtin_add_overflow(n, (uint64_t)(**p - '0'), &n))
                        return -EINVAL;
        *ret = n;
        return 0;
}

/* With at most six digits of fraction: 1.25 is 1 and 250000 millionths. */
static int take_decimal(const char **p, uint64_t *ret_whole, uint64_t *ret_millionths) {
        int r;

        r = take_digits(p, ret_whole);
        if (r < 0)
                return r;
        *ret_millionths = 0;
        if (**p != '.')
                return 0;
        (*p)++;
        if (!is_digit(**p))
                return -EINVAL;
        for (unsigned i = 0; i < FRACTION_DIGITS; i++) {
                *ret_millionths *= 10;
                if (is_digit(**p))
                        *ret_millionths += (uint64_t)(*(*p)++ - '0');
        }
        return 0; /* a seventh digit fits nothing that may follow */
}

static bool has_name(const struct unit *unit, const char *name, size_t n) {
        for (const char *names = unit->names;; names++) {
                size_t length = strcspn(names, "|");

                if (length == n && strncmp(names, name, n) == 0)
                        return true;
                names += length;
                if (*names == '\0')
                        return false;
        }
}

/* The letters at *p as a unit. */
static int take_unit(const char **p, const struct unit *units, uint64_t *ret_scale) {
        size_t n = strcspn(*p, " \t.0123456789/%");

        for (const struct unit *unit = units; unit->names; unit++)
                if (has_name(unit, *p, n)) {
                        *p += n;
                        *ret_scale = unit->scale;
                        return 0;
                }
        return -EINVAL;
}

/* A number with its unit, "1.5min". */
static int take_quantity(const char **p, const struct unit *units, uint64_t *ret) {
        uint64_t whole, millionths, scale, n;
        int r;

        r = take_decimal(p, &whole, &millionths);
        if (r < 0)
                return r;
        skip_blanks(p);
        /* "1 2min": the 1 would be seconds. Too easily a slip. */
        if (is_digit(**p))
                return -EINVAL;
        r = take_unit(p, units, &scale);
        if (r < 0)
                return r;
        if (__builtin_mul_overflow(whole, scale, &n) ||
            __builtin_add_overflow(n, millionths * scale / MILLION, &n))
                return -EINVAL;
        *ret = n;
        return 0;
}

/* ---- numbers: each takes all of the text ---- */

static int parse_unsigned(const char *p, uint64_t *ret) {
        int r;

        r = take_digits(&p, ret);
        return r < 0 || *p == '\0' ? r : -EINVAL;
}

static int parse_bool(const char *p, uint64_t *ret) {
        static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};

        for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
                if (strcasecmp(p, words[i]) == 0) {
                        *ret = i % 2;
                        return 0;
                }
        return -EINVAL;
}

static int parse_percent(const char *p, uint64_t *ret) {
        int r;

        r = take_digits(&p, ret);
        return r < 0 || strcmp(p, "%") == 0 ? r : -EINVAL;
}

static uint64_t memory_bytes(void) {
        long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

        return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

/* Up to 100%, of the memory that there is. */
static int parse_part_of_memory(const char *p, uint64_t *ret) {
        uint64_t whole, millionths;
        int r;

        r = take_decimal(&p, &whole, &millionths);
        if (r < 0)
                return r;
        if (strcmp(p, "%") != 0 || whole > 100 || (whole == 100 && millionths > 0))
                return -EINVAL;
        /* Within a byte per 1e-8 of the memory: 64 bits hold no more at once. */
        *ret = memory_bytes() / (100 * MILLION) * (whole * MILLION + millionths);
        return 0;
}

static int parse_size(const char *p, uint64_t *ret) {
        int r;

        if (strchr(p, '%'))
                return parse_part_of_memory(p, ret);
        r = take_quantity(&p, size_units, ret);
        return r < 0 || *p == '\0' ? r : -EINVAL;
}

static int parse_time(const char *p, uint64_t *ret) {
        uint64_t sum = 0, n;
        int r;

        do {
                r = take_quantity(&p, time_units, &n);
                if (r < 0)
                        return r;
                if (__builtin_add_overflow(sum, n, &sum))
                        return -EINVAL;
                skip_blanks(&p);
        } while (*p != '\0');
        *ret = sum;
        return 0;
}

static int parse_rate(const char *p, uint64_t unit, uint64_t *ret) {
        uint64_t n;
        int r;

        r = take_digits(&p, &n);
        if (r < 0)
                return r;
        skip_blanks(&p);
        if (*p == '/') {
                p++;
                skip_blanks(&p);
                r = take_unit(&p, rate_units, &unit);
                if (r < 0)
                        return r;
        }
        if (*p != '\0' || __builtin_mul_overflow(n, unit, &n) || n == CONFIG_INFINITY)
                return -EINVAL;
        *ret = n > 0 ? n : CONFIG_INFINITY;
        return 0;
}

static int parse_word(const char *p, const char *const *words, uint64_t *ret) {
        for (uint64_t i = 0; words[i]; i++)
                if (strcmp(p, words[i]) == 0) {
                        *ret = i;
                        return 0;
                }
        return -EINVAL;
}

static int parse_number(const struct value_rule *rule, const char *text, uint64_t *ret) {
        switch (rule->type) {
        case VALUE_BOOL:
                return parse_bool(text, ret);
        case VALUE_UNSIGNED:
                return parse_unsigned(text, ret);
        case VALUE_PERCENT:
                return parse_percent(text, ret);
        case VALUE_SIZE:
                return parse_size(text, ret);
        case VALUE_TIME:
                return parse_time(text, ret);
        case VALUE_RATE:
                return parse_rate(text, rule->unit, ret);
        case VALUE_WORD:
                return parse_word(text, rule->words, ret);
        default: /* a text */
                return -EINVAL;
        }
}

static bool has_limits(const struct value_rule *rule) {
        return rule->type != VALUE_BOOL && rule->type != VALUE_WORD;
}

int value_parse_number(const struct value_rule *rule, const char *text, uint64_t *ret) {
        uint64_t n;
        int r;

        if (rule->or_auto && strcmp(text, "auto") == 0) {
                *ret = rule->automatic;
                return 0;
        }
        if (rule->or_infinity && strcmp(text, "infinity") == 0) {
                *ret = CONFIG_INFINITY;
                return 0;
        }
        r = parse_number(rule, text, &n);
        if (r < 0)
                return r;
        if (has_limits(rule) && !(rule->type == VALUE_RATE && n == CONFIG_INFINITY) &&
            (n < rule->minimum || n > rule->maximum))
                return -EINVAL;
        *ret = n;
        return 0;
}

/* ---- texts ---- */

static bool is_path(const char *text, size_t most) {
        return *text == '/' && strlen(text) <= most;
}

/* Of none nothing would be adopted, ever; there is a key of its own for that. */
static bool are_paths(const char *text) {
        bool any = false;

        while (*(text += strspn(text, " \t"))) {
                if (*text != '/')
                        return false;
                text += strcspn(text, " \t");
                any = true;
        }
        return any;
}

int value_parse_text(const struct value_rule *rule, const char *text, char **ret) {
        bool word = strcmp(text, "auto") == 0 || strcmp(text, "none") == 0;
        _cleanup_(freep) char *copy = NULL;

        if (rule->type == VALUE_SOCKET && !is_path(text, VALUE_SOCKET_MAX))
                return -EINVAL;
        if (rule->type == VALUE_CGROUP && !word && !is_path(text, PATH_MAX - 1))
                return -EINVAL;
        if (rule->type == VALUE_PATTERNS && !are_paths(text))
                return -EINVAL;
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        *ret = take_ptr(&copy);
        return 0;
}
