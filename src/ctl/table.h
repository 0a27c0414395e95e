/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Records as text for people. A table of columns says what there is to show, for people and
 * (json.h) for programs, so that the two cannot differ.
 */

#include <stdio.h>

#include "ctl/record.h"

enum format {
        FORMAT_TEXT,
        FORMAT_BOOL,   /* "yes" */
        FORMAT_NUMBER, /* "12" */
        FORMAT_SIZE,   /* bytes: "4.0 GiB" */
        FORMAT_USEC,   /* a span of time: "1.2 s" */
        FORMAT_ERROR,  /* a negative errno: "EIO"; "0" for none */
        FORMAT_BAR,    /* percent that are an estimate: "[###-------] ~30%" */
        FORMAT_ABOUT,  /* a span of time that is an estimate: "~12 min 3 s" */
};

struct column {
        const char *key;   /* in the record; NULL ends a table of columns */
        const char *json;  /* in JSON */
        const char *title; /* in text; NULL: only in JSON */
        enum format format;
};

#define FORMAT_MAX 64 /* room for any number that these write */

/* Cut, never rounded up: nothing is said to last longer than it does. size: of the buffer. */
void format_usec(char *buffer, size_t size, uint64_t usec);

/* "-" for NULL and for what is not of a type that the format knows. NULL: no memory. Free it. */
char *format_value(enum format format, const struct value *value);

/* One line per record, columns as wide as what is in them. legend: with titles. -ENOMEM. */
int table_print(FILE *out, const struct column *columns, const struct record_list *list,
                bool legend);

/* One line per column, by its name in JSON. */
int table_print_record(FILE *out, const struct column *columns, const struct record *record);
