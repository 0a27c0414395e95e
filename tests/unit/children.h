/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Processes of which a test knows everything. They die with the test program. */

#include <sys/types.h>
#include <sys/un.h>

struct child {
        pid_t pid;
        int gate; /* it lives until this is closed */
};

/*
 * A child that waits, under a name of at most 15 bytes, and is connected (SOCK_SEQPACKET) to
 * address if there is one. A later child inherits the gates of earlier ones, which then stay open:
 * so end them last in, first out.
 */
struct child child_new(const char *name, const struct sockaddr_un *address);

/* Makes it exit; nobody has waited for it then. */
void child_make_zombie(struct child *child);

/* Makes it exit, if it has not, and reaps it. */
void child_end(struct child *child);
