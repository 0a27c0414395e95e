/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The directories that hold the workers' cgroups: found once, then held open, so that a path that
 * changes under us cannot lead us astray. Whatever lies above PATH belongs to others, systemd as a
 * rule, and is never written to (the single-writer rule). Of it we only read the closers' cgroups.
 *
 * No process lives in PATH or PATH/jobs themselves: only leaves hold any (the no-internal-process
 * rule, which the kernel enforces as soon as controllers are enabled).
 */

#include "daemon/cgroup/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/cgroup-mount.h"
#include "daemon/runtime/log.h"
#include "daemon/runtime/process.h"

#define WORKERS_UNIT "pvreaper.slice/pv-reaper-workers.service"
#define SCRATCH      "../probe"

static int find_workers_unit(char **ret) {
        const char *mount = cgroup_mount();

        if (!mount)
                return -EMEDIUMTYPE;
        if (asprintf(ret, "%s/%s", mount, WORKERS_UNIT) < 0) {
                *ret = NULL; /* it may have left anything there */
                return -ENOMEM;
        }
        return 0;
}

static int resolve(const char *path, char **ret) {
        *ret = realpath(path, NULL);
        return *ret ? 0 : negative_errno();
}

static int open_directory(int dir, const char *path) {
        int fd = openat(dir, path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);

        return fd < 0 ? negative_errno() : fd;
}

static int open_jobs(struct cgroup_root *root, int dir) {
        if (asprintf(&root->jobs_path, "%s/jobs", root->path) < 0) {
                root->jobs_path = NULL;
                return -ENOMEM;
        }
        if (mkdirat(dir, "jobs", 0755) < 0 && errno != EEXIST)
                return negative_errno();
        root->jobs = open_directory(dir, "jobs");
        return root->jobs < 0 ? root->jobs : 0;
}

/* beside: in PATH's parent; else in PATH. */
static int open_closers(struct cgroup_root *root, int dir, bool beside) {
        size_t length = strlen(root->path);

        if (beside)
                length = (size_t)(strrchr(root->path, '/') - root->path);
        root->closers_path = strndup(root->path, length);
        if (!root->closers_path)
                return -ENOMEM;
        root->closers = open_directory(dir, beside ? ".." : ".");
        return root->closers < 0 ? root->closers : 0;
}

static int open_all(struct cgroup_root *root, int dir, bool beside) {
        struct statfs fs;
        int r;

        if (fstatfs(dir, &fs) < 0)
                return negative_errno();
        if (fs.f_type != CGROUP2_SUPER_MAGIC)
                return -EMEDIUMTYPE;
        r = open_closers(root, dir, beside);
        if (r < 0)
                return r;
        return open_jobs(root, dir);
}

/* libcgroup is for what pids limits; what it knows of our hierarchy shows whether it can be used.
 */
static void prepare_library(struct cgroup_root *root) {
        struct stat st;
        int r;

        if (!(root->leaf_controllers & CGROUP_PIDS) || fstat(root->jobs, &st) < 0)
                return;
        r = cgroup_library_init();
        if (r < 0)
                (void)log_warning_errno(r, "cannot use libcgroup; going on without it");
        else
                root->library_jobs = cgroup_library_name("pids", root->jobs_path, st.st_dev);
}

DEFINE_FREEP(cgroup_root)

int cgroup_root_new(struct cgroup_root **ret, const char *path) {
        _cleanup_(cgroup_root_freep) struct cgroup_root *root = calloc(1, sizeof(*root));
        const char *shown = path ? path : "auto";
        _cleanup_(close_fd) int dir = -1;
        int r;

        if (!root)
                return log_error_errno(-ENOMEM, "cannot start");
        root->jobs = root->closers = -1;
        r = path ? resolve(path, &root->path) : find_workers_unit(&root->path);
        if (r >= 0)
                r = dir = open_directory(AT_FDCWD, root->path);
        if (r >= 0)
                r = open_all(root, dir, !path);
        if (r == -EMEDIUMTYPE)
                return log_error_errno(
                        r, "%s is not in a cgroup v2 hierarchy; pass --cgroup=PATH of one", shown);
        if (r == -ENOENT && !path) {
                log_error(
                        "pv-reaper-workers.service is not running; start it or pass --cgroup=PATH");
                return r;
        }
        if (r < 0)
                return log_error_errno(r, "cannot use the cgroup %s (--cgroup)", shown);
        r = cgroup_enable_controllers(root, dir);
        if (r < 0)
                return r;
        prepare_library(root);
        *ret = take_ptr(&root);
        return 0;
}

struct cgroup_root *cgroup_root_free(struct cgroup_root *root) {
        if (!root)
                return NULL;
        close_fd(&root->jobs);
        close_fd(&root->closers);
        free(root->path);
        free(root->jobs_path);
        free(root->closers_path);
        free(root);
        return NULL;
}

/* ---- who is there ---- */

struct scan {
        struct cgroup_root *root;
        cgroup_found_fn found;
        void *userdata;
};

static void scan_keeper(struct scan *scan, const char *name) {
        uint64_t starttime;
        int pid;

        if (sscanf(name, "vm-%d-%" SCNu64, &pid, &starttime) == 2)
                scan->found(scan->userdata, pid, starttime);
}

static void scan_closer(struct scan *scan, const char *name) {
        char path[NAME_MAX + 32];
        int pid;
        FILE *f;

        if (!cgroup_is_closer_name(name))
                return;
        (void)snprintf(path, sizeof(path), "%s/cgroup.procs", name);
        f = cgroup_fopen_at(scan->root->closers, path);
        if (!f)
                return; /* gone since */
        while (fscanf(f, "%d", &pid) == 1) {
                struct task_stat stat;

                if (pid > 0 && process_read_stat(pid, &stat) >= 0)
                        scan->found(scan->userdata, pid, stat.starttime);
        }
        (void)fclose(f);
}

/* Through a directory fd of its own: the one we hold has a position that calls would share. */
static int scan_directory(struct scan *scan, int dir, void (*each)(struct scan *, const char *)) {
        int fd = open_directory(dir, ".");
        struct dirent *e;
        DIR *d;

        if (fd < 0)
                return fd;
        d = fdopendir(fd);
        if (!d) {
                int r = negative_errno();

                close_fd(&fd);
                return r;
        }
        while ((e = readdir(d)))
                if (e->d_type == DT_DIR)
                        each(scan, e->d_name);
        (void)closedir(d);
        return 0;
}

int cgroup_root_scan_keepers(struct cgroup_root *root, cgroup_found_fn found, void *userdata) {
        struct scan scan = {.root = root, .found = found, .userdata = userdata};

        return scan_directory(&scan, root->jobs, scan_keeper);
}

int cgroup_root_scan_closers(struct cgroup_root *root, cgroup_found_fn found, void *userdata) {
        struct scan scan = {.root = root, .found = found, .userdata = userdata};

        return scan_directory(&scan, root->closers, scan_closer);
}

/* ---- values for all workers ---- */

int cgroup_root_set(struct cgroup_root *root, const char *file, const char *value) {
        return cgroup_write_at(root->jobs, file, value);
}

int cgroup_root_enable_cpuset(struct cgroup_root *root) {
        int r = 0;

        if (!(root->controllers & CGROUP_CPUSET))
                r = cgroup_write_at(root->jobs, "../cgroup.subtree_control", "+cpuset");
        if (r >= 0)
                root->controllers |= CGROUP_CPUSET;
        return r;
}

int cgroup_root_make_scratch(struct cgroup_root *root) {
        if (mkdirat(root->jobs, SCRATCH, 0755) < 0 && errno != EEXIST)
                return negative_errno();
        return open_directory(root->jobs, SCRATCH);
}

int cgroup_root_remove_scratch(struct cgroup_root *root) {
        if (unlinkat(root->jobs, SCRATCH, AT_REMOVEDIR) >= 0 || errno == ENOENT)
                return 0;
        if (errno == EBUSY) {
                (void)cgroup_write_at(root->jobs, SCRATCH "/cgroup.kill", "1");
                return -EBUSY;
        }
        return negative_errno();
}
