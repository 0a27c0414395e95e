/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a helper is called, and which programs have one: pure, no system call, nothing owned. The
 * name must be QEMU's to the letter, since a number read in some other way is another process. Both
 * are claims; see check.c for what they are worth.
 */

#include "daemon/adopt/adopt.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#define NAME_PREFIX "cleanup/"

bool adopt_is_name(const char *name) {
        return strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) == 0;
}

pid_t adopt_vmm_of_name(const char *name) {
        const char *digits = name + strlen(NAME_PREFIX);
        char *end;
        long n;

        if (!adopt_is_name(name) || *digits < '1' || *digits > '9')
                return 0;
        n = strtol(digits, &end, 10);
        return *end == '\0' && n <= INT32_MAX ? (pid_t)n : 0;
}

bool adopt_is_listed(const char *emulators, const char *program) {
        while (*emulators) {
                _cleanup_(freep) char *pattern = NULL;
                size_t n = strcspn(emulators, " \t");

                pattern = strndup(emulators, n);
                if (pattern && n > 0 && fnmatch(pattern, program, FNM_PATHNAME) == 0)
                        return true;
                emulators += n;
                emulators += strspn(emulators, " \t");
        }
        return false;
}
