/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The listener of handoff.sock: makes peers, as many as there is room for. */

#include "daemon/worker/peer.h"

struct acceptor;

/* As many peers, and as many workers, as fds allow; raises the limit of fds as far as it goes. */
unsigned acceptor_max_peers(void);

/* Listens from now on. Takes *fd over in any case. */
int acceptor_new(struct acceptor **ret, struct peers *peers, int *fd);
struct acceptor *acceptor_free(struct acceptor *acceptor);

/* A peer went: if it was full, there is room for one again. Takes NULL. */
void acceptor_look_again(struct acceptor *acceptor);
