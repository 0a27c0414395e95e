/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The pure part of memory.c: what the kernel says about available memory, and when that is too
 * little. Owns nothing and remembers nothing: the caller says what the last answer was, so that
 * the same numbers always give the same answer.
 */

#include "daemon/memory/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What memory-low=auto is of the memory that is not huge pages. */
#define AUTO_PART 20
#define AUTO_MOST (UINT64_C(16) << 30)

static int parse(const char *meminfo, const char *key, uint64_t *ret) {
        const char *line = strstr(meminfo, key);
        uint64_t kib;

        if (!line || (line != meminfo && line[-1] != '\n') ||
            sscanf(line + strlen(key), "%" SCNu64 " kB", &kib) != 1 || kib > UINT64_MAX / 1024)
                return -EBADMSG;
        *ret = kib * 1024;
        return 0;
}

int memory_parse_available(const char *meminfo, uint64_t *ret) {
        return parse(meminfo, "MemAvailable:", ret);
}

int memory_parse_total(const char *meminfo, uint64_t *ret) {
        return parse(meminfo, "MemTotal:", ret);
}

/*
 * Huge pages are nobody's to have, used or not, and MemAvailable leaves them out: on a host that
 * has given them nearly all of its memory a part of the whole would never be available.
 */
uint64_t memory_auto_low(const char *meminfo) {
        uint64_t total, huge;

        if (memory_parse_total(meminfo, &total) < 0)
                return 0;
        if (parse(meminfo, "Hugetlb:", &huge) < 0)
                huge = 0; /* before Linux 4.19 */
        return min_u64((total - min_u64(huge, total)) / AUTO_PART, AUTO_MOST);
}

int memory_parse_pressure(const char *pressure, uint32_t *ret) {
        unsigned whole, part;

        if (sscanf(pressure, "some avg10=%4u.%2u ", &whole, &part) != 2)
                return -EBADMSG;
        *ret = whole * 100 + part;
        return 0;
}

bool memory_is_low(bool was_low, uint64_t available, uint64_t low, uint64_t high) {
        if (low == 0)
                return false;
        return available < low || (was_low && available <= max_u64(low, high));
}
