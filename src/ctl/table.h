/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Records as text for people. A table of columns says what to show. JSON for programs (json.h) uses
 * the same table, so the two cannot differ.
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

/* Formats a time: cut, never rounded up. size: of the buffer. */
void format_usec(char *buffer, size_t size, uint64_t usec);

/* A value as text; "-" for NULL and for a wrong type. The caller frees it. NULL: no memory. */
char *format_value(enum format format, const struct value *value);

/* Prints one line per record, in columns of fitting width. legend: with titles. Errors: -ENOMEM. */
int table_print(FILE *out, const struct column *columns, const struct record_list *list,
                bool legend);

/* Prints one line per column, with its name in JSON. */
int table_print_record(FILE *out, const struct column *columns, const struct record *record);
