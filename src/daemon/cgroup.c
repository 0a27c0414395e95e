/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * cgroup v2 by its file system: plain files in directories that we hold open, so that a path that
 * changes under us cannot lead us astray. Whatever lies above PATH belongs to others, systemd as a
 * rule, and is never written to (the single-writer rule).
 *
 * No process lives in PATH or PATH/jobs themselves: only leaves hold any (the no-internal-process
 * rule, which the kernel enforces as soon as controllers are enabled).
 */

#include "daemon/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#include "daemon/process.h"

#define WORKERS_UNIT "pvreaper.slice/pv-reaper-workers.service"
#define MARK_NAME    "user.pvreaper"
#define LEAF_FORMAT  "vm-%d-%" PRIu64

static int write_file_at(int dir, const char *path, const char *text) {
        _cleanup_(close_fd) int fd = openat(dir, path, O_WRONLY | O_CLOEXEC);

        if (fd < 0)
                return negative_errno();
        return write(fd, text, strlen(text)) < 0 ? negative_errno() : 0;
}

/* ---- the root ---- */

static int find_workers_unit(char **ret) {
        struct mntent *m;
        int r = -ENOENT;
        FILE *f;

        f = setmntent("/proc/self/mounts", "re");
        if (!f)
                return negative_errno();
        while ((m = getmntent(f))) {
                if (strcmp(m->mnt_type, "cgroup2") != 0)
                        continue;
                r = asprintf(ret, "%s/%s", m->mnt_dir, WORKERS_UNIT) < 0 ? -ENOMEM : 0;
                break;
        }
        (void)endmntent(f);
        return r;
}

static int resolve(const char *path, char **ret) {
        *ret = realpath(path, NULL);
        return *ret ? 0 : negative_errno();
}

static int open_jobs(const char *path) {
        _cleanup_(close_fd) int dir = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        struct statfs fs;
        int r;

        if (dir < 0)
                return negative_errno();
        if (fstatfs(dir, &fs) < 0)
                return negative_errno();
        if (fs.f_type != CGROUP2_SUPER_MAGIC)
                return -EMEDIUMTYPE;
        if (mkdirat(dir, "jobs", 0755) < 0 && errno != EEXIST)
                return negative_errno();
        r = openat(dir, "jobs", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        return r < 0 ? negative_errno() : r;
}

static void cgroup_root_freep(struct cgroup_root **root) {
        cgroup_root_free(*root);
}

int cgroup_root_new(struct cgroup_root **ret, const char *path) {
        _cleanup_(cgroup_root_freep) struct cgroup_root *root = calloc(1, sizeof(*root));
        int r;

        if (!root)
                return -ENOMEM;
        root->jobs = -1;
        r = path ? resolve(path, &root->path) : find_workers_unit(&root->path);
        if (r < 0)
                return r;
        root->jobs = open_jobs(root->path);
        if (root->jobs < 0)
                return root->jobs;
        *ret = root;
        root = NULL;
        return 0;
}

struct cgroup_root *cgroup_root_free(struct cgroup_root *root) {
        if (!root)
                return NULL;
        close_fd(&root->jobs);
        free(root->path);
        free(root);
        return NULL;
}

static bool is_populated(int jobs, const char *name) {
        char path[NAME_MAX + 32], events[256];

        (void)snprintf(path, sizeof(path), "%s/cgroup.events", name);
        return read_file_at(jobs, path, events, sizeof(events)) >= 0 &&
               strstr(events, "populated 1") != NULL;
}

int cgroup_root_scan(struct cgroup_root *root,
                     void (*found)(void *userdata, pid_t pid, uint64_t starttime), void *userdata) {
        int fd = openat(root->jobs, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        struct dirent *e;
        DIR *d;

        d = fd < 0 ? NULL : fdopendir(fd);
        if (!d) {
                int r = negative_errno();

                close_fd(&fd);
                return r;
        }
        while ((e = readdir(d))) {
                uint64_t starttime;
                int pid;

                if (e->d_type != DT_DIR ||
                    sscanf(e->d_name, "vm-%d-%" SCNu64, &pid, &starttime) != 2)
                        continue;
                if (!is_populated(root->jobs, e->d_name))
                        (void)unlinkat(root->jobs, e->d_name, AT_REMOVEDIR);
                else if (found)
                        found(userdata, pid, starttime);
        }
        (void)closedir(d);
        return 0;
}

/* ---- the leaves ---- */

static void cgroup_leaf_freep(struct cgroup_leaf **leaf) {
        cgroup_leaf_free(*leaf);
}

int cgroup_leaf_new(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid,
                    uint64_t starttime) {
        _cleanup_(cgroup_leaf_freep) struct cgroup_leaf *leaf = calloc(1, sizeof(*leaf));

        if (!leaf)
                return -ENOMEM;
        leaf->dir = -1;
        (void)snprintf(leaf->name, sizeof(leaf->name), LEAF_FORMAT, (int)pid, starttime);
        if (asprintf(&leaf->path, "%s/jobs/%s", root->path, leaf->name) < 0) {
                leaf->path = NULL;
                return -ENOMEM;
        }
        if (mkdirat(root->jobs, leaf->name, 0755) < 0 && errno != EEXIST)
                return negative_errno();
        leaf->dir = openat(root->jobs, leaf->name, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        if (leaf->dir < 0)
                return negative_errno();
        *ret = leaf;
        leaf = NULL;
        return 0;
}

struct cgroup_leaf *cgroup_leaf_free(struct cgroup_leaf *leaf) {
        if (!leaf)
                return NULL;
        close_fd(&leaf->dir);
        free(leaf->path);
        free(leaf);
        return NULL;
}

int cgroup_leaf_attach(struct cgroup_leaf *leaf, pid_t pid) {
        char text[16];

        (void)snprintf(text, sizeof(text), "%d", (int)pid);
        return write_file_at(leaf->dir, "cgroup.procs", text);
}

int cgroup_leaf_contains(struct cgroup_leaf *leaf, pid_t pid) {
        char procs[64];
        ssize_t n;

        n = read_file_at(leaf->dir, "cgroup.procs", procs, sizeof(procs));
        if (n == -EFBIG)
                return 0; /* one worker is all we ever put there */
        if (n < 0)
                return (int)n;
        return strtol(procs, NULL, 10) == pid;
}

int cgroup_leaf_cpu_usec(struct cgroup_leaf *leaf, uint64_t *ret) {
        char stat[2048];
        ssize_t n;

        n = read_file_at(leaf->dir, "cpu.stat", stat, sizeof(stat));
        if (n < 0)
                return (int)n;
        return sscanf(stat, "usage_usec %" SCNu64, ret) == 1 ? 0 : -EBADMSG;
}

int cgroup_leaf_remove(struct cgroup_leaf *leaf, struct cgroup_root *root) {
        return unlinkat(root->jobs, leaf->name, AT_REMOVEDIR) < 0 ? negative_errno() : 0;
}

int cgroup_leaf_set_mark(struct cgroup_leaf *leaf, const char *text) {
        return fsetxattr(leaf->dir, MARK_NAME, text, strlen(text), 0) < 0 ? negative_errno() : 0;
}

int cgroup_leaf_get_mark(struct cgroup_leaf *leaf, char *buffer, size_t size) {
        ssize_t n = fgetxattr(leaf->dir, MARK_NAME, buffer, size - 1);

        if (n < 0)
                return negative_errno();
        buffer[n] = '\0';
        return 0;
}
