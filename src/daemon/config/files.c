/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Configuration files as systemd looks for them. Nothing is done for masking: a drop-in that is
 * empty, or a link to /dev/null, takes the place of its namesakes in lower directories like any
 * other, and has nothing to say.
 *
 * What is there but cannot be read is an error, never skipped: a limit that silently does not hold
 * is worse than a daemon that says why it does not start.
 */

#include "daemon/config/files.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/runtime/log.h"

/* From the highest down. The build says where the first and the last one are. */
static const char *const directories[] = {CONFIG_SYSCONF_DIR, "/run/pv-reaper", CONFIG_VENDOR_DIR};

struct drop_in {
        char *name; /* the last part of path */
        char *path;
};

struct drop_ins {
        struct drop_in *all; /* CONFIG_DROP_INS_MAX of them */
        size_t n;
};

static void drop_ins_clear(struct drop_ins *d) {
        for (size_t i = 0; i < d->n; i++)
                free(d->all[i].path);
        free(d->all);
}

static bool has_name(const struct drop_ins *d, const char *name) {
        for (size_t i = 0; i < d->n; i++)
                if (strcmp(d->all[i].name, name) == 0)
                        return true;
        return false;
}

/* "x.conf"; not what editors and package managers leave about. */
static bool is_drop_in(const char *name) {
        size_t n = strlen(name);

        return *name != '.' && n > strlen(".conf") && strcmp(name + n - 5, ".conf") == 0;
}

static int add(struct drop_ins *d, const char *directory, const char *name) {
        struct drop_in *drop_in = &d->all[d->n];

        if (d->n == CONFIG_DROP_INS_MAX)
                return log_error_errno(-E2BIG, "%s: more than %d drop-ins", directory,
                                       CONFIG_DROP_INS_MAX);
        if (asprintf(&drop_in->path, "%s/%s", directory, name) < 0)
                return log_error_errno(-ENOMEM, "cannot read %s", directory);
        drop_in->name = drop_in->path + strlen(directory) + 1;
        d->n++;
        return 0;
}

static int add_directory(struct drop_ins *d, const char *path) {
        struct dirent *entry;
        DIR *dir = opendir(path);
        int r = 0;

        if (!dir)
                return errno == ENOENT ? 0
                                       : log_error_errno(negative_errno(), "cannot read %s", path);
        /* readdir() fails on broken file systems only, and says so in errno alone. */
        while (r >= 0 && (errno = 0, entry = readdir(dir)) != NULL)
                if (is_drop_in(entry->d_name) && !has_name(d, entry->d_name))
                        r = add(d, path, entry->d_name);
        if (r >= 0 && errno != 0)
                r = log_error_errno(negative_errno(), "cannot read %s", path);
        (void)closedir(dir);
        return r;
}

static int by_name(const void *a, const void *b) {
        return strcmp(((const struct drop_in *)a)->name, ((const struct drop_in *)b)->name);
}

static void keep_first(int *error, int r) {
        if (*error >= 0 && r < 0)
                *error = r;
}

static int path_in(char *buffer, const char *root, const char *directory, const char *name) {
        int n = snprintf(buffer, PATH_MAX, "%s%s/%s", root, directory, name);

        return n < PATH_MAX ? 0 : log_error_errno(-ENAMETOOLONG, "%s%s", root, directory);
}

static int read_drop_ins(struct config *config, const char *root) {
        struct drop_ins d = {.all = calloc(CONFIG_DROP_INS_MAX, sizeof(*d.all))};
        char path[PATH_MAX];
        int error = 0, r;

        if (!d.all)
                return log_error_errno(-ENOMEM, "cannot read the configuration");
        for (size_t i = 0; i < ARRAY_SIZE(directories) && error >= 0; i++) {
                error = path_in(path, root, directories[i], CONFIG_FILE ".d");
                if (error >= 0)
                        error = add_directory(&d, path);
        }
        qsort(d.all, d.n, sizeof(*d.all), by_name);
        for (size_t i = 0; i < d.n; i++) {
                r = config_read_file(config, d.all[i].path);
                if (r == -ENOENT) /* a link to nowhere */
                        (void)log_error_errno(r, "cannot read %s", d.all[i].path);
                keep_first(&error, r);
        }
        drop_ins_clear(&d);
        return error;
}

static int read_main(struct config *config, const char *root) {
        char path[PATH_MAX];
        int r = -ENOENT;

        for (size_t i = 0; i < ARRAY_SIZE(directories) && r == -ENOENT; i++) {
                r = path_in(path, root, directories[i], CONFIG_FILE);
                if (r >= 0)
                        r = config_read_file(config, path);
        }
        return r == -ENOENT ? 0 : r;
}

int config_read_host(struct config *config, const char *root) {
        int error;

        error = read_main(config, root);
        keep_first(&error, read_drop_ins(config, root));
        return error;
}
