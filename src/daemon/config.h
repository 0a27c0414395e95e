/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the administrator wants: built-in defaults, then the configuration file, then the command
 * line. One table in config.c holds every key with its type, limits and default.
 */

#include "base/util.h"

#define CONFIG_AUTO 0U /* of a number that may be "auto" */

struct config {
        char *handoff_socket;
        char *control_socket;
        char *cgroup; /* a path, "none", or "auto": that of pv-reaper-workers.service */
        unsigned max_concurrent;
        unsigned boost_max_concurrent; /* CONFIG_AUTO: as many as there are CPUs */
        unsigned drain_time;           /* s */
};

/* Makes a configuration from wherever the first one came from; errors are logged. */
struct config_source {
        int (*load)(struct config **ret, void *userdata);
        void *userdata;
};

/* With the defaults. */
int config_new(struct config **ret);
struct config *config_free(struct config *config);

/*
 * Reads one file over what is there. Unknown sections and keys are warnings, bad values errors,
 * each logged with file and line. On error config may hold some of the file's values: drop it.
 * -ENOENT: there is no such file (not logged).
 */
int config_read_file(struct config *config, const char *path);

/*
 * Moves what a running daemon can change from wanted to running, and warns of each other key that
 * differs. wanted then holds what was in force before: drop it.
 */
void config_take_live(struct config *running, struct config *wanted);

/*
 * Sets one key as if a file said so. Errors (-EINVAL bad value, -ENOKEY no such key, -ENOMEM) are
 * not logged; *ret_why is then a static text saying what would be right.
 */
int config_set(struct config *config, const char *section, const char *key, const char *value,
               const char **ret_why);
