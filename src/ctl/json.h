/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Records as JSON for programs. Each column's key is there, with null for an unknown value. */

#include "ctl/table.h"

enum json_mode {
        JSON_OFF,
        JSON_SHORT,
        JSON_PRETTY,
};

/* Prints an array of objects. Errors: -ENOMEM. */
int json_print(FILE *out, const struct column *columns, const struct record_list *list,
               enum json_mode mode);

/* Prints one object. */
int json_print_record(FILE *out, const struct column *columns, const struct record *record,
                      enum json_mode mode);

/* Prints an object with arrays. Each part's name is a key beside those of the record. */
struct json_part {
        const char *name; /* NULL ends a table of parts */
        const struct column *columns;
        const struct record_list *list;
};

int json_print_with_parts(FILE *out, const struct column *columns, const struct record *record,
                          const struct json_part *parts, enum json_mode mode);
