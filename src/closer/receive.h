/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The client's side of the closer: one VM fd from the client that connected. */

#include <stdint.h>

#include "base/wire.h"

struct release {
        int vm_fd;
        char name[WIRE_NAME_MAX]; /* a claim, as in REGISTER */
        uint64_t mem;             /* a claim */
};

/*
 * Says READY and waits 5 s at most for a RELEASE with one VM fd. 0: *ret is filled in, vm_fd is the
 * caller's, and the client waits for receive_confirm(). Negative errno: client and log were told,
 * and the connection has ended. An fd that is no VM's stays open, since its close may take for
 * ever: leave then.
 */
int receive_release(int client, struct release *ret);

/*
 * Answers HELD: from here on this process closes the VM. Ends the connection. That blocks as long
 * as it takes to close the other fds that the client sent.
 */
void receive_confirm(int client);
