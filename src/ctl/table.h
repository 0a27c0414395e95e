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
        FORMAT_NAME,   /* text of any length: a table that is too wide shortens it */
        FORMAT_BOOL,   /* "yes" */
        FORMAT_NUMBER, /* "12" */
        FORMAT_SIZE,   /* bytes: "4.0 GiB" */
        FORMAT_USEC,   /* a span of time: "1.2 s" */
        FORMAT_ERROR,  /* a negative errno: "EIO"; "0" for none */
        FORMAT_BAR,    /* percent that are an estimate: "[###-------] ~30%" */
        FORMAT_ABOUT,  /* a span of time that is an estimate: "~12 min 3 s" */
        FORMAT_SHARE,  /* 1/100 percent: "0.34%" */
        FORMAT_DATE,   /* µs since 1970: "2026-11-30 03:12:45", local time; in JSON ISO 8601 */
};

struct column {
        const char *key;   /* in the record; NULL ends a table of columns */
        const char *json;  /* in JSON */
        const char *title; /* in text; NULL: not in a table */
        enum format format;

        /* Where the table is too wide the highest rank goes first. 0: it stays. */
        unsigned rank;

        const char *words; /* in text about one record; NULL: the title */
};

#define FORMAT_MAX 64 /* room for any number that these write */

/* Formats a time: cut, never rounded up. size: of the buffer. */
void format_usec(char *buffer, size_t size, uint64_t usec);

/*
 * Formats a date, at most FORMAT_MAX bytes: as people in this time zone read it, or with the zone
 * by ISO 8601.
 */
void format_date(char *buffer, size_t size, uint64_t usec, bool iso);

/* A value as text; "-" for NULL and for a wrong type. The caller frees it. NULL: no memory. */
char *format_value(enum format format, const struct value *value);

/* How a table is to look. */
struct table_look {
        bool legend; /* with titles */

        /* Names are shortened, and columns left out, until it fits. 0: it may be of any width. */
        unsigned width;
};

/* Prints one line per record, in columns of fitting width. Errors: -ENOMEM. */
int table_print(FILE *out, const struct column *columns, const struct record_list *list,
                const struct table_look *look);

/* Prints one line per known value, in words. */
int table_print_record(FILE *out, const struct column *columns, const struct record *record);
