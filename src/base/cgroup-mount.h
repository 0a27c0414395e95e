/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where cgroup v2 is, in systemd's words: /sys/fs/cgroup, or /sys/fs/cgroup/unified beside v1.
 * NULL: at neither place. Static text. The list of mounts is not asked: others may mount the
 * hierarchy, or a part of it, wherever they like, and what we see of that depends on our mount
 * namespace.
 */
const char *cgroup_mount(void);
