/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The settings that come from the environment, if that may be trusted (secure_getenv(3)). They are
 * for the library and the closer, which have no configuration file. Not for a keeper: this is libc.
 */

#include <stdint.h>
#include <sys/un.h>

#define HANDOFF_SOCKET "/run/pv-reaper/handoff.sock"
#define RELEASE_SOCKET "/run/pv-reaper/release.sock"

/*
 * The unix socket that path names, or if that is NULL the variable, or if that is unset or empty
 * fallback. -ENAMETOOLONG.
 */
int environment_socket(struct sockaddr_un *ret, const char *path, const char *variable,
                       const char *fallback);

#define GRACE       "PVREAPER_GRACE_MSEC"       /* to wait for a daemon */
#define GRANT_GRACE "PVREAPER_GRANT_GRACE_MSEC" /* to wait for the grant of one that is there */

/*
 * The default of GRANT_GRACE, in µs: longer than the default of overdue= in pv-reaper.conf(5). A
 * job whose turn comes later than that begins without its grant.
 */
#define GRANT_GRACE_USEC (UINT64_C(86400) * 1000000)

/*
 * What the variable says (ms; more than a day counts as not set), or fallback (µs), in µs; and at
 * random up to a quarter more.
 */
uint64_t environment_grace(const char *variable, uint64_t fallback);
