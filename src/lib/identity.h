/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Who a VMM is for the kernel, as far as a keeper could keep more of it than the VMM does: the
 * keeper has these of the moment when it was made, but for the root directory, which it shares:
 * with another one it could not reach the daemon. Read by the VMM's own threads, one of which a
 * hostile guest may have taken over: this holds a VMM that gives up rights, not one that lies. The
 * root is read by the keeper, too.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct identity {
        uid_t uids[3]; /* real, effective, saved */
        gid_t gids[3];
        uint64_t groups; /* a hash of the supplementary groups */

        /* of the root directory */
        uint64_t device, inode, mount;
};

/* The calling thread's. What cannot be read is 0. As below: system calls only, without libc. */
void identity_read(struct identity *ret);

/* Whether the calling thread's users and groups are still those; its root directory; all. */
bool identity_has_same_ids(const struct identity *identity);
bool identity_has_same_root(const struct identity *identity);
bool identity_is_same(const struct identity *identity);
