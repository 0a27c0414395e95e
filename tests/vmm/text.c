/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Text in and out of pvr-vmm.
 *
 * Output does not go through stdio: each line is formatted on the stack and written with one
 * write(2), so a line from one thread never lands in another's and nothing is lost in a buffer
 * when the VMM is killed, execs or aborts, which is what it is for. A line fits into PIPE_BUF, so
 * the write is atomic on the pipe a test reads from.
 */

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm.h"

void say(const char *format, ...) {
        char line[1024];
        va_list args;
        size_t size;
        int n;

        va_start(args, format);
        n = vsnprintf(line, sizeof(line) - 1, format, args);
        va_end(args);
        if (n < 0)
                return;

        size = (size_t)n < sizeof(line) - 1 ? (size_t)n : sizeof(line) - 2;
        line[size++] = '\n';
        while (write(STDOUT_FILENO, line, size) < 0 && errno == EINTR)
                ;
}

const char *errno_name(int error) {
        const char *name = strerrorname_np(error < 0 ? -error : error);

        return name ? name : "EUNKNOWN";
}

int parse_size(uint64_t *ret, const char *text) {
        static const char suffixes[] = "KMGT";
        unsigned long long value;
        const char *suffix;
        unsigned shift = 0;
        char *end;

        if (!isdigit((unsigned char)text[0]))
                return -EINVAL;

        errno = 0;
        value = strtoull(text, &end, 10);
        if (errno != 0)
                return -errno;

        if (*end != '\0') {
                suffix = strchr(suffixes, toupper((unsigned char)*end));
                if (!suffix || end[1] != '\0')
                        return -EINVAL;
                shift = 10 * (unsigned)(suffix - suffixes + 1);
        }
        if (value > UINT64_MAX >> shift)
                return -ERANGE;

        *ret = (uint64_t)value << shift;
        return 0;
}

static int hex_digit(char c) {
        static const char digits[] = "0123456789abcdef";
        const char *p = strchr(digits, tolower((unsigned char)c));

        return p && c != '\0' ? (int)(p - digits) : -1;
}

int parse_uuid(uint8_t ret[16], const char *text) {
        uint8_t uuid[16] = {0};
        unsigned n = 0;

        for (; *text != '\0'; text++) {
                int digit = hex_digit(*text);

                if (*text == '-')
                        continue;
                if (digit < 0 || n >= 32)
                        return -EINVAL;
                uuid[n / 2] = (uint8_t)(uuid[n / 2] << 4 | digit);
                n++;
        }
        if (n != 32)
                return -EINVAL;

        memcpy(ret, uuid, sizeof(uuid));
        return 0;
}
