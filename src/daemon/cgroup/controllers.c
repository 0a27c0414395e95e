/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which controllers act on the workers: those that reach us (PATH/cgroup.controllers) and that we
 * need, enabled by us in cgroup.subtree_control of PATH and of PATH/jobs and nowhere else.
 *
 * No process may be in PATH or in PATH/jobs themselves. The kernel says EBUSY for some of them
 * only: cpu and pids are "threaded" controllers, so where no other cgroup below is populated they
 * are enabled without a word, and no process can be moved into any cgroup below any more. So we
 * look for processes before, and at the cgroups' type afterwards.
 *
 * memory is enabled before there is a worker, for its limits must hold at the moment in which a VMM
 * dies. It costs 23 KiB for each worker, and 3 KiB per CPU (Linux 6.1, three memory nodes).
 * Whatever was charged before, to whichever cgroup, stays charged there.
 */

#include "daemon/cgroup/cgroup.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/runtime/log.h"
#include "daemon/runtime/process.h"

/* cpu is not enabled for each worker: it costs 1.6 KiB per CPU and worker, and limits no more. */
#define FOR_JOBS (CGROUP_CPU | CGROUP_MEMORY | CGROUP_PIDS)
#define FOR_LEAF (CGROUP_MEMORY | CGROUP_PIDS)

#define WEIGHT_USUAL 100U /* CGROUP_WEIGHT_DFL */

static const struct {
        unsigned bit;
        const char *name;
        const char *without; /* what is missing then */
} controllers[] = {
        {CGROUP_CPU, "cpu", "no CPU limits"},
        {CGROUP_MEMORY, "memory", "no memory limits"},
        {CGROUP_PIDS, "pids", "no pids limit"},
};

/* One word of a list, as the kernel writes it. */
static bool has_word(const char *list, const char *word) {
        size_t n = strlen(word);

        for (const char *p = list; (p = strstr(p, word)); p += n)
                if ((p == list || isspace((unsigned char)p[-1])) &&
                    (!p[n] || isspace((unsigned char)p[n])))
                        return true;
        return false;
}

unsigned cgroup_parse_controllers(const char *list) {
        unsigned set = 0;

        for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
                if (has_word(list, controllers[i].name))
                        set |= controllers[i].bit;
        return set;
}

static int read_controllers(int dir, const char *file, unsigned *ret) {
        char list[1024];
        ssize_t n;

        n = read_file_at(dir, file, list, sizeof(list));
        if (n < 0)
                return (int)n;
        *ret = cgroup_parse_controllers(list);
        return 0;
}

/* ---- who is in the way ---- */

static void read_name(pid_t pid, char *name, size_t size) {
        char path[64];
        ssize_t n;

        (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
        n = read_file_at(AT_FDCWD, path, name, size);
        if (n < 0)
                (void)snprintf(name, size, "?");
        for (char *p = name; *p; p++)
                if (!isprint((unsigned char)*p))
                        *p = p[1] ? '?' : '\0';
}

/* A process that is in that cgroup itself must go first. */
static int refuse_process(int dir, const char *path) {
        FILE *f = cgroup_fopen_at(dir, "cgroup.procs");
        char name[64];
        int pid, r = 0;

        if (!f)
                return log_error_errno(negative_errno(), "cannot read %s/cgroup.procs", path);
        if (fscanf(f, "%d", &pid) == 1) {
                read_name(pid, name, sizeof(name));
                r = -EBUSY;
                log_error("cannot use the cgroup %s (--cgroup): process %d (%s) is in it; "
                          "move it to another cgroup",
                          path, pid, name);
        }
        (void)fclose(f);
        return r;
}

/* It came in while we looked, or earlier, and the kernel has made threads of what is below. */
static int check_type(struct cgroup_root *root, int dir) {
        char type[64];
        int r;

        if (read_file_at(root->jobs, "cgroup.type", type, sizeof(type)) < 0 ||
            strcmp(type, "domain\n") == 0)
                return 0;
        type[strcspn(type, "\n")] = '\0';
        r = refuse_process(dir, root->path);
        return r < 0 ? r
                     : log_error_errno(-EOPNOTSUPP,
                                       "cannot use the cgroup %s: its cgroup.type is %s",
                                       root->jobs_path, type);
}

/* ---- enabling ---- */

/* One by one: the kernel takes all of a line or nothing. *ret: which are enabled now. */
static int enable(int dir, const char *path, unsigned wanted, unsigned *ret) {
        unsigned enabled = 0;
        int r;

        r = read_controllers(dir, "cgroup.subtree_control", &enabled);
        if (r < 0)
                return log_error_errno(r, "cannot read %s/cgroup.subtree_control", path);
        if (wanted & ~enabled) {
                r = refuse_process(dir, path);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
                char text[32];

                if (!(controllers[i].bit & wanted & ~enabled))
                        continue;
                (void)snprintf(text, sizeof(text), "+%s", controllers[i].name);
                r = cgroup_write_at(dir, "cgroup.subtree_control", text);
                if (r < 0)
                        (void)log_warning_errno(r, "cannot enable %s below %s", controllers[i].name,
                                                path);
                else
                        enabled |= controllers[i].bit;
        }
        *ret = enabled;
        return 0;
}

/* Said once: whatever is missing will not be there later either. */
static void tell_missing(const struct cgroup_root *root) {
        char names[64] = "", without[64] = "";
        size_t n = 0, k = 0;

        for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
                bool there = controllers[i].bit & root->controllers;

                if (controllers[i].bit & FOR_LEAF)
                        there = controllers[i].bit & root->leaf_controllers;
                if (there)
                        continue;
                n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", n ? ", " : "",
                                      controllers[i].name);
                k += (size_t)snprintf(without + k, sizeof(without) - k, "%s%s", k ? ", " : "",
                                      controllers[i].without);
        }
        if (n > 0)
                log_warning("%s lacks %s: %s%s", root->path, names,
                            root->controllers ? "" : "accounting only, ", without);
}

/* ---- who goes first ---- */

static unsigned read_value(const char *directory, const char *file, unsigned otherwise) {
        char path[PATH_MAX], text[32];
        unsigned value;

        if ((size_t)snprintf(path, sizeof(path), "%s/%s", directory, file) >= sizeof(path) ||
            read_file_at(AT_FDCWD, path, text, sizeof(text)) < 0 || sscanf(text, "%u", &value) != 1)
                return otherwise;
        return value;
}

bool cgroup_root_yields(const struct cgroup_root *root) {
        char path[PATH_MAX], *end;

        if (!(root->controllers & CGROUP_CPU))
                return false;
        (void)snprintf(path, sizeof(path), "%s", root->path);
        for (; (end = strrchr(path, '/')); *end = '\0')
                if (read_value(path, "cpu.weight", WEIGHT_USUAL) < WEIGHT_USUAL ||
                    read_value(path, "cpu.idle", 0) > 0)
                        return true;
        return false;
}

int cgroup_enable_controllers(struct cgroup_root *root, int dir) {
        unsigned available;
        int r;

        r = read_controllers(dir, "cgroup.controllers", &available);
        if (r < 0)
                return log_error_errno(r, "cannot read %s/cgroup.controllers", root->path);
        r = enable(dir, root->path, available & FOR_JOBS, &root->controllers);
        if (r < 0)
                return r;
        r = check_type(root, dir);
        if (r < 0)
                return r;
        r = enable(root->jobs, root->jobs_path, root->controllers & FOR_LEAF,
                   &root->leaf_controllers);
        if (r < 0)
                return r;
        tell_missing(root);
        return 0;
}
