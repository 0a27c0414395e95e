/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon's answers without their transport: dictionaries, and lists of dictionaries. */

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
        char *string; /* owned; value points to it, if it is a string */
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

/* Adds an entry. Copies key and a string. Errors: -ENOMEM. */
int record_add(struct record *record, const char *key, const struct value *value);

/* Finds a value. NULL: it is unknown. The record keeps it. */
const struct value *record_find(const struct record *record, const char *key);

/* Adds an empty record. The list keeps it. It is valid until the next one is added. */
int record_list_add(struct record_list *list, struct record **ret);

/* Frees the records, and empties the list. */
void record_list_deinit(struct record_list *list);
