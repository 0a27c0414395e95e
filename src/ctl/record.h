/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the daemon answers, apart from how it was transported: dictionaries, and lists of them. */

#include "base/util.h"

enum value_type {
        VALUE_STRING,
        VALUE_UNSIGNED,
        VALUE_SIGNED,
        VALUE_BOOL,
};

struct value {
        enum value_type type;
        union {
                const char *string; /* not owned */
                uint64_t number;
                int64_t signed_number;
                bool flag;
        };
};

struct entry {
        char *key;    /* owned */
        char *string; /* owned; what value points to, if it is a string */
        struct value value;
};

struct record {
        struct entry *entries;
        size_t n_entries;
};

struct record_list {
        struct record *records;
        size_t n_records;
};

/* Copies key and a string. -ENOMEM. */
int record_add(struct record *record, const char *key, const struct value *value);

/* NULL: unknown. Stays the record's. */
const struct value *record_find(const struct record *record, const char *key);

/* An empty record at the end of the list, the list's; valid until the next one is added. */
int record_list_add(struct record_list *list, struct record **ret);

/* Frees what is in the list, and empties it. */
void record_list_deinit(struct record_list *list);
