/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Records as JSON for programs: every column's json key is there, null if unknown. */

#include "ctl/table.h"

enum json_mode {
        JSON_OFF,
        JSON_SHORT,
        JSON_PRETTY,
};

/* An array of objects. Errors: -ENOMEM. */
int json_print(FILE *out, const struct column *columns, const struct record_list *list,
               enum json_mode mode);

/* One object. */
int json_print_record(FILE *out, const struct column *columns, const struct record *record,
                      enum json_mode mode);

/* An object with arrays in it: each part's name is a key beside those of the record. */
struct json_part {
        const char *name; /* NULL ends a table of parts */
        const struct column *columns;
        const struct record_list *list;
};

int json_print_with_parts(FILE *out, const struct column *columns, const struct record *record,
                          const struct json_part *parts, enum json_mode mode);
