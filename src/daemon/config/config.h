/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the administrator wants: built-in defaults, then the configuration files, then the command
 * line. One table in keys.c holds every key with its type, limits, default and help.
 */

#include <stdio.h>

#include "base/util.h"

#define CONFIG_AUTO      0U               /* of a number that may be "auto" */
#define CONFIG_AUTO_SIZE (UINT64_MAX - 1) /* likewise of memory-low, where 0 is a value */
#define CONFIG_INFINITY  UINT64_MAX /* of what may be "infinity": no limit (USEC_INFINITY, too) */

/* Fields in the order of the table. Times are in µs, memory in bytes. */
struct config {
        /* [sockets] */
        char *handoff_socket;
        char *control_socket;

        /* [cgroup] */
        char *cgroup; /* a path, "none", or "auto": that of pv-reaper-workers.service */

        /* [limits] */
        unsigned max_concurrent;       /* CONFIG_AUTO: see policy.c */
        unsigned boost_max_concurrent; /* CONFIG_AUTO: as many as there are CPUs */
        uint64_t start_rate;           /* per hour; CONFIG_INFINITY: no limit, never 0 */
        unsigned start_burst;
        uint64_t overdue;            /* CONFIG_INFINITY: never */
        uint64_t starvation_timeout; /* CONFIG_INFINITY: no unit is starved */
        uint64_t drain_time;
        unsigned unit_connections; /* CONFIG_AUTO: the daemon chooses */
        uint64_t unit_arrivals;    /* connections, as start_rate */
        unsigned unit_arrivals_burst;

        /* [cpu] */
        uint64_t cpu_quota; /* percent of one CPU, for all workers; CONFIG_INFINITY: no limit;
                             * CONFIG_AUTO: see policy.c */
        uint64_t boost_cpu_quota;
        uint64_t cpu_period;
        unsigned cpu_enforce; /* enum enforce_mode */

        /* [memory] */
        uint64_t memory_low;  /* boost below it; 0: never; CONFIG_AUTO_SIZE: memory_auto_low() */
        uint64_t memory_high; /* CONFIG_AUTO: see config_memory_high() */

        /* [adopt] */
        bool adopt_qemu;
        uint64_t adopt_interval;
        char *adopt_emulators; /* patterns, by blanks */

        /* [daemon] */
        unsigned seccomp; /* enum sandbox_mode */

        unsigned n_unknown;            /* sections and keys in the files read that do not exist,
                                        * or no longer */
        struct config_origin *origins; /* one per key: what was written, and where */
};

/* Makes a configuration from wherever the first one came from; errors are logged. */
struct config_source {
        int (*load)(struct config **ret, void *userdata);
        void *userdata;
};

/* With the defaults. */
int config_new(struct config **ret);
int config_copy(struct config **ret, const struct config *config);
struct config *config_free(struct config *config);
DEFINE_FREEP(config)

/*
 * Reads one file over what is there. Sections and keys that are unknown or gone are warnings, bad
 * values errors, each logged with file and line. On error config may hold some of the file's
 * values: drop it. -ENOENT: there is no such file (not logged).
 */
int config_read_file(struct config *config, const char *path);

struct config_setting {
        const char *section; /* NULL: whichever has the key; no two sections share one */
        const char *key, *value;
        const char *file; /* where it is from: a file, or words ("command line") and line 0 */
        unsigned line;
};

/*
 * Sets one key. Errors (-EINVAL bad value, -ENOKEY no such key, -ENOMEM) are not logged; *ret_why
 * is then a text saying what would be right, good until the next call. On error nothing changes.
 */
int config_set(struct config *config, const struct config_setting *setting, const char **ret_why);

/* Do the values go together? -EINVAL, and each pair that does not is logged, with its places. */
int config_check(const struct config *config);

/* The same, not logged: the first pair that does not is named in the buffer. */
int config_check_silently(const struct config *config, char *ret_why, size_t size);

/* Why the value of a key has no effect beside the others: a sentence's end; NULL: it has one. */
const char *config_no_effect(const struct config *config, const char *key);

/* What does the work of a key that is gone, in words. NULL: there was no such key. */
const char *config_instead(const char *section, const char *key);

/* Whether a running daemon can change the key; false also if there is none of that name. */
bool config_is_live(const char *key);

/* The boost that began below low ends when there is more memory than this. */
uint64_t config_memory_high(const struct config *config, uint64_t low);

/* A key with another value than before. The texts are good during the call. */
struct config_change {
        const char *key, *before, *now;
        const char *origin; /* of what is now */
        const char *note;   /* why it has no effect; NULL: it has one */
};

struct config_listener {
        void (*changed)(void *userdata, const struct config_change *change);
        void *userdata;
};

/*
 * Moves what a running daemon can change from wanted to running, and warns of each other key that
 * differs. The listener, if there is one, hears of each that differs. wanted then holds what was in
 * force before: drop it.
 */
void config_take_live(struct config *running, struct config *wanted,
                      const struct config_listener *listener);
