/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A handful of system calls, a microsecond in all. None goes through libc: the heir calls this,
 * too, and the keeper uses the heir's TLS. Two lists of groups count as equal if their hashes are
 * equal: only root may choose its groups at will.
 */

#include "lib/identity.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>

#include "base/util.h"
#include "lib/raw.h"

#define GROUPS_MAX 1024 /* of more than these only the number is compared */

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000U /* Linux 5.8 */
#endif

static uint64_t hash_groups(const gid_t *groups, long n) {
        uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ (uint64_t)n; /* FNV-1a */

        for (long i = 0; i < n; i++)
                hash = (hash ^ groups[i]) * UINT64_C(0x100000001b3);
        return hash;
}

static void read_ids(struct identity *ret) {
        gid_t groups[GROUPS_MAX] = {};
        long n = raw_syscall(SYS_getgroups, GROUPS_MAX, groups);

        if (n >= 0)
                ret->groups = hash_groups(groups, n);
        else
                ret->groups = (uint64_t)raw_syscall(SYS_getgroups, 0, NULL);
        (void)raw_syscall(SYS_getresuid, &ret->uids[0], &ret->uids[1], &ret->uids[2]);
        (void)raw_syscall(SYS_getresgid, &ret->gids[0], &ret->gids[1], &ret->gids[2]);
}

static void read_root(struct identity *ret) {
        struct statx stx = {};

        if (raw_syscall(SYS_statx, AT_FDCWD, "/", AT_STATX_DONT_SYNC, STATX_INO | STATX_MNT_ID,
                        &stx) < 0)
                return;
        ret->device = (uint64_t)stx.stx_dev_major << 32 | stx.stx_dev_minor;
        ret->inode = stx.stx_ino;
        ret->mount = stx.stx_mnt_id;
}

void identity_read(struct identity *ret) {
        memset(ret, 0, sizeof(*ret));
        read_ids(ret);
        read_root(ret);
}

bool identity_has_same_ids(const struct identity *identity) {
        struct identity now = {};

        read_ids(&now);
        return now.groups == identity->groups &&
               memcmp(now.uids, identity->uids, sizeof(now.uids)) == 0 &&
               memcmp(now.gids, identity->gids, sizeof(now.gids)) == 0;
}

bool identity_has_same_root(const struct identity *identity) {
        struct identity now = {};

        read_root(&now);
        return now.device == identity->device && now.inode == identity->inode &&
               now.mount == identity->mount;
}

bool identity_is_same(const struct identity *identity) {
        return identity_has_same_ids(identity) && identity_has_same_root(identity);
}
