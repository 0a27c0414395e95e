/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Parses one number with one unit, in systemd's notation. Sizes and times have a table of units
 * each and share the parser. A pid has no unit. These are errors: signs, blanks, hexadecimal, a
 * second unit, and a value that does not fit into 64 bits.
 */

#include "ctl/amount.h"

#include <string.h>

struct scale {
        const char *name;
        uint64_t factor;
};

static const struct scale sizes[] = {
        {"", 1},
        {"B", 1},
        {"K", UINT64_C(1) << 10},
        {"M", UINT64_C(1) << 20},
        {"G", UINT64_C(1) << 30},
        {"T", UINT64_C(1) << 40},
        {},
};

static const struct scale times[] = {
        {"", USEC_PER_SEC},          {"s", USEC_PER_SEC},
        {"ms", USEC_PER_MSEC},       {"min", 60 * USEC_PER_SEC},
        {"m", 60 * USEC_PER_SEC},    {"h", 3600 * USEC_PER_SEC},
        {"d", 86400 * USEC_PER_SEC}, {},
};

static int find_factor(const struct scale *scales, const char *name, uint64_t *ret) {
        for (; scales->name; scales++)
                if (strcmp(scales->name, name) == 0) {
                        *ret = scales->factor;
                        return 0;
                }
        return -EINVAL;
}

/* Digits after the point count as far as they change the value. */
static int parse(const char *text, const struct scale *scales, uint64_t *ret) {
        size_t n = strspn(text, "0123456789"), fraction = 0;
        uint64_t factor, sum = 0;

        if (n == 0)
                return -EINVAL;
        if (text[n] == '.')
                fraction = strspn(text + n + 1, "0123456789");
        if (text[n] == '.' && fraction == 0)
                return -EINVAL;
        if (find_factor(scales, text + n + (fraction > 0 ? fraction + 1 : 0), &factor) < 0)
                return -EINVAL;
        for (size_t i = 0; i < n; i++)
                if (__builtin_mul_overflow(sum, UINT64_C(10), &sum) ||
                    __builtin_add_overflow(sum, (uint64_t)(text[i] - '0'), &sum))
                        return -EINVAL;
        if (__builtin_mul_overflow(sum, factor, &sum))
                return -EINVAL;
        for (size_t i = 0; i < fraction && factor > 0; i++) {
                uint64_t digit = (uint64_t)(text[n + 1 + i] - '0');

                if (__builtin_add_overflow(sum, factor * digit / 10, &sum))
                        return -EINVAL;
                factor /= 10;
        }
        *ret = sum;
        return 0;
}

int amount_parse_size(const char *text, uint64_t *ret) {
        return parse(text, sizes, ret);
}

int amount_parse_time(const char *text, uint64_t *ret) {
        return parse(text, times, ret);
}

int amount_parse_pid(const char *text, pid_t *ret) {
        unsigned long n;
        char *end;

        if (*text < '1' || *text > '9')
                return -EINVAL;
        errno = 0;
        n = strtoul(text, &end, 10);
        if (*end != '\0' || errno != 0 || n > INT32_MAX)
                return -EINVAL;
        *ret = (pid_t)n;
        return 0;
}
