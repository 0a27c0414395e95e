/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Memory nodes. When a process enters a cgroup with other effective nodes (cpuset.mems.effective),
 * the kernel changes its address space (cpuset_attach() in kernel/cgroup/cpuset.c):
 * - it binds the memory policies in there to the new nodes;
 * - it moves pages from the old nodes to the new ones.
 * A worker's address space is the guest's. So a worker's cgroup gets the nodes that the worker has
 * already. If it cannot have them the worker is not moved there.
 *
 * Pages (do_migrate_pages() in mm/mempolicy.c): the kernel moves none between equal sets. It moves
 * none out of a node that is in both sets, unless both sets have the same number of nodes. So once
 * nobody needs the policies any more, a cgroup with more nodes than before does no harm.
 *
 * Writing cpuset.mems here moves nothing, since there is no process in that cgroup yet.
 *
 * cpuset is enabled for the workers' cgroups when the first of them needs other nodes than PATH
 * has, and stays enabled. Not earlier: it costs memory, and the kernel resets the CPU mask of each
 * process that enters.
 */

#include "daemon/cgroup/cgroup.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/runtime/log.h"
#include "daemon/runtime/process.h"

#define NODES_MAX 1024 /* NODES_SHIFT is 10 at most */

static struct log_limit nodes_limit;

/* ---- lists ---- */

static int parse(const char *list, unsigned char ret[static NODES_MAX]) {
        memset(ret, 0, NODES_MAX);
        while (*list) {
                unsigned long first, last;
                char *end;

                first = last = strtoul(list, &end, 10);
                if (end == list)
                        return -EBADMSG;
                if (*end == '-') {
                        list = end + 1;
                        last = strtoul(list, &end, 10);
                }
                if (end == list || first > last || last >= NODES_MAX)
                        return -EBADMSG;
                memset(ret + first, 1, last - first + 1);
                list = *end == ',' ? end + 1 : end;
        }
        return 0;
}

bool cgroup_nodes_include(const char *nodes, const char *others) {
        unsigned char a[NODES_MAX], b[NODES_MAX];

        if (parse(nodes, a) < 0 || parse(others, b) < 0)
                return false;
        for (size_t i = 0; i < NODES_MAX; i++)
                if (b[i] && !a[i])
                        return false;
        return true;
}

/* ---- what is in force ---- */

/* -ENOENT: there are no cpusets in this hierarchy, so no move in it changes any. */
static int read_effective(const struct cgroup_leaf *leaf, char ret[static NODES_TEXT_MAX]) {
        char path[PATH_MAX], file[PATH_MAX], *end;
        ssize_t n = -ENOENT;

        (void)snprintf(path, sizeof(path), "%s", leaf->path);
        for (; n == -ENOENT && (end = strrchr(path, '/')); *end = '\0') {
                if ((size_t)snprintf(file, sizeof(file), "%s/cpuset.mems.effective", path) >=
                    sizeof(file))
                        return -ENAMETOOLONG;
                n = read_file_at(AT_FDCWD, file, ret, NODES_TEXT_MAX);
        }
        if (n < 0)
                return (int)n;
        ret[strcspn(ret, "\n")] = '\0';
        return 0;
}

/* By the kernel the same set is the same text. */
static bool fits(const char *have, const char *wanted, enum cgroup_fit fit) {
        return strcmp(have, wanted) == 0 ||
               (fit == CGROUP_FIT_MORE && cgroup_nodes_include(have, wanted));
}

static int set_nodes(struct cgroup_leaf *leaf, struct cgroup_root *root, const char *nodes) {
        int r;

        r = cgroup_root_enable_cpuset(root);
        if (r >= 0 && !(root->leaf_controllers & CGROUP_CPUSET))
                r = cgroup_write_at(root->jobs, "cgroup.subtree_control", "+cpuset");
        if (r < 0)
                return r;
        root->leaf_controllers |= CGROUP_CPUSET;
        return cgroup_write_at(leaf->dir, "cpuset.mems", nodes);
}

int cgroup_leaf_take_nodes(struct cgroup_leaf *leaf, struct cgroup_root *root, const char *nodes,
                           enum cgroup_fit fit) {
        char have[NODES_TEXT_MAX];
        int r;

        r = read_effective(leaf, have);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        if (fits(have, nodes, fit))
                return 0;
        r = set_nodes(leaf, root, nodes);
        if (r < 0)
                log_warning_limited(&nodes_limit, r, "cannot give %s the memory nodes %s",
                                    leaf->path, nodes);
        if (r >= 0)
                r = read_effective(leaf, have);
        return r >= 0 && fits(have, nodes, fit) ? 0 : -EXDEV;
}
