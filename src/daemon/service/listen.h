/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The two listening sockets: systemd's if it started us with some, else our own. And what systemd
 * kept of an earlier daemon.
 */

#include <sys/types.h>
#include <sys/un.h>

#include "daemon/config/config.h"

#define LISTEN_PATH_MAX sizeof(((struct sockaddr_un *)NULL)->sun_path)

struct listeners {
        int handoff;                        /* SOCK_SEQPACKET */
        int control;                        /* SOCK_STREAM; -1: systemd passed none */
        int history;                        /* see archive.h; -1: none was kept */
        bool own_handoff, own_control;      /* made here: their paths are ours to remove, ... */
        char handoff_path[LISTEN_PATH_MAX]; /* where workers connect; "": unknown */
        ino_t handoff_inode, control_inode; /* ... unless a successor's socket is there by now */
};

/* The name of listeners.history in systemd's fd store. */
#define LISTEN_HISTORY "history"

/* Logs its errors. The fds are non-blocking and the caller's. */
int listeners_open(struct listeners *ret, const struct config *config);

/* Removes the paths of our own sockets; the fds are not touched. */
void listeners_unlink(const struct listeners *listeners, const struct config *config);
