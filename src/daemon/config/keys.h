/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The table of all keys: one row says what a key is for the parser, the command line,
 * --print-config, conf/pv-reaper.conf and the manual page alike.
 */

#include "daemon/config/config.h"
#include "daemon/config/value.h"

struct config_key {
        const char *section, *key;
        struct value_rule rule;
        size_t offset, width; /* of its place in struct config */
        bool live;            /* a running daemon can change it */
        const char *fallback; /* the default, as text */
        const char *help;     /* a sentence or two */
};

/* What a value was written as, and where. */
struct config_origin {
        char *text;
        char *file; /* NULL: the default */
        unsigned line;
};

extern const struct config_key config_keys[];
extern const size_t n_config_keys;

bool config_has_section(const char *name);

/* section may be NULL. NULL: no such key. */
const struct config_key *config_find_key(const char *section, const char *name);

/* "/etc/x.conf:3", or "command line", or "default". Returns buffer. */
const char *config_describe_origin(const struct config_origin *origin, char *buffer, size_t size);
