/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One worker's cgroup: a directory that we hold open, so that a path that changes under us cannot
 * lead us astray. A keeper's is ours: made, entered, marked and removed by us. A closer's is
 * systemd's: opened and read, and nothing else.
 *
 * /proc/PID/cgroup only says which name to look for. Whether the process is there is asked of the
 * directory itself, since what that path means depends on namespaces and on when it was read.
 */

#include "daemon/cgroup/cgroup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "daemon/runtime/log.h"
#include "daemon/runtime/process.h"

#define MARK_NAME   "user.pvreaper"
#define CARD_NAME   "user.pvreaper.vm"
#define LEAF_FORMAT "vm-%d-%" PRIu64

#define CLOSER_PREFIX "pv-reaper-closer@"
#define CLOSER_SUFFIX ".service"

int cgroup_write_at(int dir, const char *path, const char *text) {
        _cleanup_(close_fd) int fd = openat(dir, path, O_WRONLY | O_CLOEXEC);

        if (fd < 0)
                return negative_errno();
        return write(fd, text, strlen(text)) < 0 ? negative_errno() : 0;
}

FILE *cgroup_fopen_at(int dir, const char *path) {
        int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
        FILE *f = fd < 0 ? NULL : fdopen(fd, "r");

        if (!f)
                close_fd(&fd);
        return f;
}

bool cgroup_is_closer_name(const char *name) {
        size_t prefix = strlen(CLOSER_PREFIX), suffix = strlen(CLOSER_SUFFIX), n = strlen(name);

        return n > prefix + suffix && strncmp(name, CLOSER_PREFIX, prefix) == 0 &&
               strcmp(name + n - suffix, CLOSER_SUFFIX) == 0 && !strchr(name, '/');
}

/* ---- limits ---- */

/*
 * New memory in an address space is charged to the cgroup of mm->owner. That is the VMM, and the
 * worker after the VMM has ended, has executed another program, or has ended its first thread.
 * Without a limit here a worker would have more memory from then on than its VM was given.
 *
 * memory.high holds from the start. Above it a process is slowed down, to 1 MiB/s with huge pages
 * on Linux 6.1, and none is killed.
 *
 * memory.max kills all processes that use the address space, the VMM too. So it is for when the VMM
 * is dead: a worker that is killed then gives its memory back by that. If more than memory.max is
 * in use, writing it waits for that end, which can take minutes. Newer kernels do not wait if the
 * file was opened with O_NONBLOCK; for older ones a value larger than what is in use is written.
 *
 * A worker needs what the kernel takes to serve it: 268 KiB from its first word to its VM's end, as
 * measured, of which 256 KiB are one batch. The kernel charges in batches of 64 pages for each CPU,
 * so each CPU counts with one batch.
 */
#define MEMORY_HIGH    (16ULL << 20)
#define MEMORY_MAX     (2 * MEMORY_HIGH)
#define MEMORY_PER_CPU (64ULL * 4096)

static struct log_limit limit_failed;

static int write_bytes(struct cgroup_leaf *leaf, const char *file, uint64_t bytes) {
        _cleanup_(close_fd) int fd = openat(leaf->dir, file, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
        char text[24];
        int n;

        if (fd < 0)
                return negative_errno();
        n = snprintf(text, sizeof(text), "%" PRIu64, bytes);
        return write(fd, text, (size_t)n) < 0 ? negative_errno() : 0;
}

static uint64_t for_cpus(void) {
        return MEMORY_PER_CPU * (uint64_t)sysconf(_SC_NPROCESSORS_CONF);
}

/* Swap would be more memory. A kernel without swap has no such file. */
static int hold_memory(struct cgroup_leaf *leaf) {
        int r = write_bytes(leaf, "memory.swap.max", 0);

        return r < 0 && r != -ENOENT ? r
                                     : write_bytes(leaf, "memory.high", MEMORY_HIGH + for_cpus());
}

int cgroup_leaf_limit_memory(struct cgroup_leaf *leaf) {
        uint64_t max = MEMORY_MAX + for_cpus(), current;
        char text[32];
        ssize_t n;
        int r;

        if (leaf->foreign)
                return 0;
        n = read_file_at(leaf->dir, "memory.current", text, sizeof(text));
        if (n < 0)
                return (int)n;
        if (sscanf(text, "%" SCNu64, &current) == 1 && current > max - MEMORY_HIGH)
                max = current + MEMORY_HIGH;
        r = write_bytes(leaf, "memory.max", max);
        return r < 0 ? r : cgroup_write_at(leaf->dir, "memory.high", "max");
}

/* A keeper is one task and must stay one, even if an attacker takes it over. */
static int limit_tasks(struct cgroup_leaf *leaf) {
        if (leaf->library_name &&
            cgroup_library_set(leaf->library_name, "pids", "pids.max", "1") >= 0)
                return 0;
        return cgroup_write_at(leaf->dir, "pids.max", "1");
}

static void set_limits(struct cgroup_leaf *leaf, unsigned controllers) {
        int r = 0;

        if (controllers & CGROUP_PIDS)
                r = limit_tasks(leaf);
        if (r < 0)
                log_warning_limited(&limit_failed, r, "cannot limit %s to one task", leaf->path);
        r = 0;
        if (controllers & CGROUP_MEMORY)
                r = hold_memory(leaf);
        if (r < 0)
                log_warning_limited(&limit_failed, r, "cannot limit the memory of %s", leaf->path);
}

/* ---- life and death ---- */

/* One that is not open yet. */
static int leaf_alloc(struct cgroup_leaf **ret, const char *parent, const char *name) {
        struct cgroup_leaf *leaf = calloc(1, sizeof(*leaf));

        if (!leaf)
                return -ENOMEM;
        leaf->dir = -1;
        if (asprintf(&leaf->path, "%s/%s", parent, name) < 0) {
                free(leaf);
                return -ENOMEM;
        }
        leaf->name = leaf->path + strlen(parent) + 1;
        *ret = leaf;
        return 0;
}

static int leaf_open(struct cgroup_leaf *leaf, int parent) {
        leaf->dir = openat(parent, leaf->name, O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        return leaf->dir < 0 ? negative_errno() : 0;
}

/* As leaf_alloc(). */
static int leaf_alloc_keeper(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid,
                             uint64_t starttime) {
        char name[48];

        (void)snprintf(name, sizeof(name), LEAF_FORMAT, (int)pid, starttime);
        return leaf_alloc(ret, root->jobs_path, name);
}

int cgroup_leaf_open(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid,
                     uint64_t starttime) {
        _cleanup_(cgroup_leaf_freep) struct cgroup_leaf *leaf = NULL;
        int r;

        r = leaf_alloc_keeper(&leaf, root, pid, starttime);
        if (r >= 0)
                r = leaf_open(leaf, root->jobs);
        if (r < 0)
                return r;
        *ret = take_ptr(&leaf);
        return 0;
}

int cgroup_leaf_new(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid,
                    uint64_t starttime) {
        _cleanup_(cgroup_leaf_freep) struct cgroup_leaf *leaf = NULL;
        int r;

        r = leaf_alloc_keeper(&leaf, root, pid, starttime);
        if (r < 0)
                return r;
        if (mkdirat(root->jobs, leaf->name, 0755) < 0 && errno != EEXIST)
                return negative_errno();
        r = leaf_open(leaf, root->jobs);
        if (r < 0) {
                (void)cgroup_leaf_remove(leaf, root); /* nobody would: it belongs to no worker */
                return r;
        }
        if (root->library_jobs)
                leaf->library_name = leaf->path + (root->library_jobs - root->jobs_path);
        set_limits(leaf, root->leaf_controllers);
        *ret = take_ptr(&leaf);
        return 0;
}

int cgroup_leaf_open_closer(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid) {
        _cleanup_(cgroup_leaf_freep) struct cgroup_leaf *leaf = NULL;
        _cleanup_(freep) char *path = NULL;
        const char *name;
        int r;

        r = process_cgroup(pid, &path);
        if (r < 0)
                return r == -ENODATA ? -ENOENT : r;
        name = strrchr(path, '/') + 1;
        if (!cgroup_is_closer_name(name))
                return -ENOENT;
        r = leaf_alloc(&leaf, root->closers_path, name);
        if (r < 0)
                return r;
        leaf->foreign = true;
        r = leaf_open(leaf, root->closers);
        if (r < 0)
                return r;
        r = cgroup_leaf_contains(leaf, pid); /* or it is in another of that name, elsewhere */
        if (r <= 0)
                return r < 0 ? r : -ENOENT;
        *ret = take_ptr(&leaf);
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

/* ---- who is in it ---- */

int cgroup_leaf_attach(struct cgroup_leaf *leaf, pid_t pid) {
        char text[16];

        if (leaf->foreign)
                return 0;
        if (leaf->library_name && cgroup_library_attach(leaf->library_name, "pids", pid) >= 0)
                return 0;
        (void)snprintf(text, sizeof(text), "%d", (int)pid);
        return cgroup_write_at(leaf->dir, "cgroup.procs", text);
}

int cgroup_leaf_contains(struct cgroup_leaf *leaf, pid_t pid) {
        FILE *f = cgroup_fopen_at(leaf->dir, "cgroup.procs");
        int r, other;

        if (!f)
                return negative_errno();
        do
                r = fscanf(f, "%d", &other);
        while (r == 1 && other != pid);
        r = ferror(f) ? negative_errno() : r == 1;
        (void)fclose(f);
        return r;
}

/* ---- what it says ---- */

int cgroup_leaf_cpu_usec(struct cgroup_leaf *leaf, uint64_t *ret) {
        char stat[2048];
        ssize_t n;

        n = read_file_at(leaf->dir, "cpu.stat", stat, sizeof(stat));
        if (n < 0)
                return (int)n;
        return sscanf(stat, "usage_usec %" SCNu64, ret) == 1 ? 0 : -EBADMSG;
}

int cgroup_leaf_remove(struct cgroup_leaf *leaf, struct cgroup_root *root) {
        if (leaf->foreign)
                return 0;
        return unlinkat(root->jobs, leaf->name, AT_REMOVEDIR) < 0 ? negative_errno() : 0;
}

int cgroup_leaf_kill(struct cgroup_leaf *leaf) {
        return leaf->foreign ? -EPERM : cgroup_write_at(leaf->dir, "cgroup.kill", "1");
}

static int set_text(struct cgroup_leaf *leaf, const char *name, const char *text) {
        if (leaf->foreign)
                return -EOPNOTSUPP;
        return fsetxattr(leaf->dir, name, text, strlen(text), 0) < 0 ? negative_errno() : 0;
}

static int get_text(struct cgroup_leaf *leaf, const char *name, char *buffer, size_t size) {
        ssize_t n = fgetxattr(leaf->dir, name, buffer, size - 1);

        if (n < 0)
                return negative_errno();
        buffer[n] = '\0';
        return 0;
}

int cgroup_leaf_set_mark(struct cgroup_leaf *leaf, const char *text) {
        return set_text(leaf, MARK_NAME, text);
}

int cgroup_leaf_get_mark(struct cgroup_leaf *leaf, char *buffer, size_t size) {
        return get_text(leaf, MARK_NAME, buffer, size);
}

int cgroup_leaf_set_card(struct cgroup_leaf *leaf, const char *text) {
        return set_text(leaf, CARD_NAME, text);
}

int cgroup_leaf_get_card(struct cgroup_leaf *leaf, char *buffer, size_t size) {
        return get_text(leaf, CARD_NAME, buffer, size);
}
