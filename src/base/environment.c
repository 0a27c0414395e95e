/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reading the environment. A grace time that makes no sense counts as not set: the reader is a VMM
 * in the middle of its start, which must not fail because of pv-reaper. A path that is too long is
 * an error: to connect to another socket than the one named would be worse.
 */

#include "base/environment.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/util.h"

#define GRACE_MAX_MSEC (24ULL * 3600 * 1000)

int environment_socket(struct sockaddr_un *ret, const char *path, const char *variable,
                       const char *fallback) {
        if (!path)
                path = secure_getenv(variable);
        if (!path || !*path)
                path = fallback;
        if (strlen(path) >= sizeof(ret->sun_path))
                return -ENAMETOOLONG;
        *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
        memcpy(ret->sun_path, path, strlen(path) + 1);
        return 0;
}

/* Up to a quarter more, so that a host full of guests does not go ahead in the same second. */
static uint64_t with_jitter(uint64_t usec) {
        uint32_t random = 0;

        (void)getrandom(&random, sizeof(random), GRND_NONBLOCK);
        return usec + usec / 4 * (random % 1024) / 1024;
}

uint64_t environment_grace(const char *variable, uint64_t fallback) {
        const char *text = secure_getenv(variable);
        char *end = NULL;
        unsigned long long msec =
                text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;

        return with_jitter(end && *end == '\0' && msec <= GRACE_MAX_MSEC ? msec * USEC_PER_MSEC
                                                                         : fallback);
}
