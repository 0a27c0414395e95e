/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A VMM's rights in the kernel, as far as a keeper could keep more of them than its VMM. The keeper
 * has the users and groups of the moment when it was made. It shares the VMM's root directory: with
 * another root it could not reach the daemon.
 * The VMM's own threads read these, and a hostile guest may have taken one over. So this holds for
 * a VMM that gives up rights, not for one that lies. The keeper itself compares the real user and
 * group of each packet's sender, and the root directory that it shares.
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

/* Reads the calling thread's; 0 where that fails. As below: system calls only, without libc. */
void identity_read(struct identity *ret);

/* Whether the calling thread still has these users and groups; this root directory; all of them. */
bool identity_has_same_ids(const struct identity *identity);
bool identity_has_same_root(const struct identity *identity);
bool identity_is_same(const struct identity *identity);
