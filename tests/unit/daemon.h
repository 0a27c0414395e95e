/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A test as the daemon at the other end of a hand-off socket: one at a time, one connection at a
 * time. Waits up to 10 s where there is something to wait for, in real time.
 */

#include <sys/un.h>

#include "base/wire.h"

/* One that nobody else has, in /tmp. */
void daemon_address(struct sockaddr_un *ret);

void daemon_listen(const struct sockaddr_un *address, int backlog);

/* Nobody listens any more; the socket's file goes. */
void daemon_deaf(void);

/* The next connection, in place of the one it has. */
void daemon_accept(void);

void daemon_hang_up(void);

/* Sends anything. */
void daemon_send(const void *packet, size_t size);

/* One with a number, GRANT or DONE_ACK, or one without. */
void daemon_say(uint16_t version, uint16_t type, uint64_t seq);

/* The next packet, of this version and type. */
union wire_message daemon_hear_version(uint16_t version, uint16_t type);
union wire_message daemon_hear(uint16_t type);

/* HELLO and REGISTER. */
struct wire_register daemon_hear_register(void);

/* There is none now. */
void daemon_hear_nothing(void);

/* The connection ends, after PROGRESS at most. */
void daemon_hear_end(void);
