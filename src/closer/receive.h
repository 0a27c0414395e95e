/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The client's side of the closer: one VM fd from whoever connected. */

#include <stdint.h>

#include "base/wire.h"

struct release {
        int vm_fd;
        char name[WIRE_NAME_MAX]; /* a claim, as in REGISTER */
        uint64_t mem;             /* a claim */
};

/*
 * Says READY and waits 5 s at most for a RELEASE with one VM fd. 0: *ret is filled in, vm_fd is the
 * caller's, and the client is waiting for receive_confirm(). Negative: it was told to the client
 * and logged, and the connection has ended; whatever came instead of a VM fd stays open, since
 * closing it may take for ever: leave.
 */
int receive_release(int client, struct release *ret);

/*
 * Answers HELD: from here on the VM is ours to close. Ends the connection, which blocks as long as
 * it takes to close what the client sent beside the VM fd.
 */
void receive_confirm(int client);
