/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The environment of libpvsim, read once by a constructor; the table of variables is in ioctl.c.
 * The only file that may use stdio and malloc: it runs before there is any other thread. What it
 * leaves in sim_config never changes, except for the counters of PVSIM_FAIL, which are atomic.
 * Words it does not know are named on stderr and ignored, so that a typing error in a test is seen.
 */

#include "sim.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERRNO_MAX 4095

struct sim_config sim_config = {
        .ns_per_page = 100,
        .async_destroy = true,
        .protectable = true,
};

int sim_fail_next(struct sim_fail *fail) {
        if (!fail->error || atomic_fetch_sub(&fail->left, 1) <= 0)
                return 0;
        return -fail->error;
}

static void complain(const char *variable, const char *value) {
        fprintf(stderr, "libpvsim: %s: cannot use \"%s\", ignored\n", variable, value);
}

static bool parse_u64(const char *s, uint64_t *ret) {
        char *end;

        if (*s < '0' || *s > '9')
                return false;
        errno = 0;
        *ret = strtoull(s, &end, 0);
        return !*end && errno == 0;
}

static void read_u64(const char *variable, uint64_t *ret) {
        const char *s = getenv(variable);

        if (s && !parse_u64(s, ret))
                complain(variable, s);
}

static void read_bool(const char *variable, bool *ret) {
        const char *s = getenv(variable);

        if (!s)
                return;
        if (strcmp(s, "0") == 0 || strcmp(s, "1") == 0)
                *ret = *s == '1';
        else
                complain(variable, s);
}

/* "EIO" or "5"; 0 if it is neither */
static int parse_errno(const char *s) {
        uint64_t n;

        if (parse_u64(s, &n))
                return n <= ERRNO_MAX ? (int)n : 0;
        for (int i = 1; i <= ERRNO_MAX; i++) {
                const char *name = strerrorname_np(i);

                if (name && strcmp(name, s) == 0)
                        return i;
        }
        return 0;
}

/* "prepare:EIO" or "perform:12:3" */
static bool parse_fail(char *s) {
        char *save = NULL;
        const char *command = strtok_r(s, ":", &save), *error = strtok_r(NULL, ":", &save);
        const char *times = strtok_r(NULL, ":", &save);
        uint64_t n = INT64_MAX;
        struct sim_fail *fail;
        int e;

        if (!command || !error || (times && !parse_u64(times, &n)) || n > INT64_MAX)
                return false;
        if (strcmp(command, "prepare") == 0)
                fail = &sim_config.fail_prepare;
        else if (strcmp(command, "perform") == 0)
                fail = &sim_config.fail_perform;
        else
                return false;
        e = parse_errno(error);
        if (e == 0)
                return false;
        fail->error = e;
        atomic_store(&fail->left, (int64_t)n);
        return true;
}

static void read_fail(void) {
        const char *s = getenv("PVSIM_FAIL");
        char *copy = s ? strdup(s) : NULL, *save = NULL;

        for (char *w = copy ? strtok_r(copy, ",", &save) : NULL; w;
             w = strtok_r(NULL, ",", &save)) {
                char word[64];

                snprintf(word, sizeof(word), "%s", w);
                if (!parse_fail(word))
                        complain("PVSIM_FAIL", w);
        }
        free(copy);
}

static void read_log(void) {
        const char *s = getenv("PVSIM_LOG");

        if (!s || !*s)
                return;
        if (*s == '/' && strlen(s) < sizeof(sim_config.log))
                strcpy(sim_config.log, s);
        else
                complain("PVSIM_LOG", s);
}

__attribute__((constructor)) static void read_environment(void) {
        read_u64("PVSIM_NS_PER_PAGE", &sim_config.ns_per_page);
        read_u64("PVSIM_MIN_MS", &sim_config.min_ms);
        read_bool("PVSIM_ASYNC_DESTROY", &sim_config.async_destroy);
        read_bool("PVSIM_PROTECTABLE", &sim_config.protectable);
        read_bool("PVSIM_STANDIN", &sim_config.standin);
        read_fail();
        read_log();
}
