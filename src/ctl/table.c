/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Columns of text. table_print() first makes all cells, an array of strings that it owns. Then it
 * measures and prints them: numbers to the right, the rest to the left, no blanks at a line's end.
 * Cells hold printable ASCII only. So a byte is a column, and no text controls the terminal.
 */

#include "ctl/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/size.h"
#include "ctl/say.h"

#define GAP "  "

/* ---- values ---- */

void format_usec(char *buffer, size_t size, uint64_t usec) {
        uint64_t sec = usec / USEC_PER_SEC, min = sec / 60, hours = min / 60;

        if (usec > 0 && usec < USEC_PER_MSEC)
                (void)snprintf(buffer, size, "%" PRIu64 " us", usec);
        else if (sec == 0)
                (void)snprintf(buffer, size, "%" PRIu64 " ms", usec / USEC_PER_MSEC);
        else if (min == 0)
                (void)snprintf(buffer, size, "%" PRIu64 ".%" PRIu64 " s", sec,
                               usec % USEC_PER_SEC * 10 / USEC_PER_SEC);
        else if (hours == 0)
                (void)snprintf(buffer, size, "%" PRIu64 " min %" PRIu64 " s", min, sec % 60);
        else if (hours < 24)
                (void)snprintf(buffer, size, "%" PRIu64 " h %" PRIu64 " min", hours, min % 60);
        else
                (void)snprintf(buffer, size, "%" PRIu64 " d %" PRIu64 " h", hours / 24, hours % 24);
}

static void format_error(char *buffer, size_t size, int64_t error) {
        const char *name = error < 0 && error > -4096 ? strerrorname_np((int)-error) : NULL;

        if (name)
                (void)snprintf(buffer, size, "%s", name);
        else
                (void)snprintf(buffer, size, "%" PRId64, error);
}

static void format_bar(char *buffer, size_t size, uint64_t percent) {
        static const char full[] = "##########", empty[] = "----------";
        int n = (int)min_u64(percent, 100) / 10;

        (void)snprintf(buffer, size, "[%.*s%.*s] ~%" PRIu64 "%%", n, full, 10 - n, empty, percent);
}

static void format_about(char *buffer, size_t size, uint64_t usec) {
        buffer[0] = '~';
        format_usec(buffer + 1, size - 1, usec);
}

void format_date(char *buffer, size_t size, uint64_t usec, bool iso) {
        time_t sec = (time_t)(usec / USEC_PER_SEC);
        struct tm tm;
        size_t n = 0;

        if (localtime_r(&sec, &tm))
                n = strftime(buffer, size, iso ? "%Y-%m-%dT%H:%M:%S%z" : "%F %T", &tm);
        if (n == 0) {
                (void)snprintf(buffer, size, "-");
        } else if (iso && n + 1 < size) { /* strftime(3) has no colon in its zone */
                memmove(buffer + n - 1, buffer + n - 2, 3);
                buffer[n - 2] = ':';
        }
}

static char *format_string(const struct value *value) {
        char *copy;

        copy = strdup(value->type == VALUE_STRING && value->string[0] ? value->string : "-");
        if (copy)
                make_printable(copy);
        return copy;
}

static char *format_signed(enum format format, int64_t number) {
        char buffer[FORMAT_MAX] = "-";

        if (format == FORMAT_ERROR)
                format_error(buffer, sizeof(buffer), number);
        else if (format == FORMAT_NUMBER)
                (void)snprintf(buffer, sizeof(buffer), "%" PRId64, number);
        return strdup(buffer);
}

static char *format_unsigned(enum format format, uint64_t number) {
        char buffer[FORMAT_MAX] = "-";

        if (format == FORMAT_SIZE)
                format_size(buffer, sizeof(buffer), number);
        else if (format == FORMAT_USEC)
                format_usec(buffer, sizeof(buffer), number);
        else if (format == FORMAT_BAR)
                format_bar(buffer, sizeof(buffer), number);
        else if (format == FORMAT_ABOUT)
                format_about(buffer, sizeof(buffer), number);
        else if (format == FORMAT_SHARE)
                (void)snprintf(buffer, sizeof(buffer), "%" PRIu64 ".%02" PRIu64 "%%", number / 100,
                               number % 100);
        else if (format == FORMAT_DATE)
                format_date(buffer, sizeof(buffer), number, false);
        else if (format == FORMAT_NUMBER)
                (void)snprintf(buffer, sizeof(buffer), "%" PRIu64, number);
        return strdup(buffer);
}

char *format_value(enum format format, const struct value *value) {
        if (!value)
                return strdup("-");
        if (format == FORMAT_TEXT || format == FORMAT_NAME)
                return format_string(value);
        switch (value->type) {
        case VALUE_UNSIGNED:
                return format_unsigned(format, value->number);
        case VALUE_SIGNED:
                return format_signed(format, value->signed_number);
        case VALUE_BOOL:
                if (format == FORMAT_BOOL)
                        return strdup(value->flag ? "yes" : "no");
                return strdup("-");
        case VALUE_STRING:
        default:
                return strdup("-");
        }
}

/* ---- tables ---- */

struct cells {
        const struct column *columns; /* not owned */
        size_t *shown;                /* indices of the columns with a title; owned */
        size_t n_columns, n_rows;
        char **texts; /* n_rows times n_columns; owned */
        int *widths;  /* of the columns; owned */
};

static void cells_deinit(struct cells *cells) {
        for (size_t i = 0; cells->texts && i < cells->n_rows * cells->n_columns; i++)
                free(cells->texts[i]);
        free(cells->texts);
        free(cells->shown);
        free(cells->widths);
}

static int cells_init(struct cells *cells, const struct column *columns, size_t n_rows) {
        size_t n = 0;

        while (columns[n].key)
                n++;
        cells->columns = columns;
        cells->shown = calloc(n + 1, sizeof(*cells->shown));
        if (!cells->shown)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                if (columns[i].title)
                        cells->shown[cells->n_columns++] = i;
        cells->n_rows = n_rows;
        cells->texts = calloc(n_rows * cells->n_columns + 1, sizeof(*cells->texts));
        cells->widths = calloc(cells->n_columns + 1, sizeof(*cells->widths));
        return cells->texts && cells->widths ? 0 : -ENOMEM;
}

static const struct column *column_of(const struct cells *cells, size_t i) {
        return &cells->columns[cells->shown[i]];
}

static int fill_row(struct cells *cells, size_t row, const struct record *record) {
        for (size_t i = 0; i < cells->n_columns; i++) {
                const struct column *column = column_of(cells, i);
                char **text = &cells->texts[row * cells->n_columns + i];

                *text = record ? format_value(column->format, record_find(record, column->key))
                               : strdup(column->title);
                if (!*text)
                        return -ENOMEM;
        }
        return 0;
}

static int width_of(const struct cells *cells, size_t column) {
        size_t width = 0;

        for (size_t row = 0; row < cells->n_rows; row++) {
                size_t length = strlen(cells->texts[row * cells->n_columns + column]);

                width = length > width ? length : width;
        }
        return (int)width;
}

static bool is_right(const struct column *column) {
        return column->format != FORMAT_TEXT && column->format != FORMAT_NAME &&
               column->format != FORMAT_BOOL;
}

/* The index of the shown column that goes first; -1: all stay. */
static int least_important(const struct cells *cells) {
        unsigned rank = 0;
        int found = -1;

        for (size_t i = 0; i < cells->n_columns; i++)
                if (cells->widths[i] != 0 && column_of(cells, i)->rank > rank) {
                        rank = column_of(cells, i)->rank;
                        found = (int)i;
                }
        return found;
}

static unsigned total_width(const struct cells *cells) {
        unsigned width = 0;

        for (size_t i = 0; i < cells->n_columns; i++)
                if (cells->widths[i] != 0)
                        width += (width > 0 ? strlen(GAP) : 0) + (unsigned)abs(cells->widths[i]);
        return width;
}

/* Makes a column of names narrower or wider by up to n columns, not beyond at. */
static void stretch(int *width, unsigned n, unsigned at) {
        unsigned now = (unsigned)abs(*width);

        if (now > at)
                *width = -(int)(now - at > n ? now - n : at);
        else
                *width = -(int)(at - now > n ? now + n : at);
}

/* As much as is too wide, down to least, or as much as there is room for, up to the whole names. */
static void fit_names(struct cells *cells, unsigned width, unsigned least) {
        for (size_t i = 0; i < cells->n_columns; i++) {
                unsigned total = total_width(cells);

                if (column_of(cells, i)->format != FORMAT_NAME || cells->widths[i] == 0)
                        continue;
                if (total <= width)
                        stretch(&cells->widths[i], width - total, (unsigned)width_of(cells, i));
                else if ((unsigned)-cells->widths[i] > least)
                        stretch(&cells->widths[i], total - width, least);
        }
}

#define NAME_CROWDED 24 /* a longer one is shortened before a column is left out */
#define NAME_LEAST   8

/* Below 0: to the left; 0: not shown. */
static void set_widths(struct cells *cells, unsigned width) {
        int least;

        for (size_t i = 0; i < cells->n_columns; i++)
                cells->widths[i] =
                        is_right(column_of(cells, i)) ? width_of(cells, i) : -width_of(cells, i);
        if (width == 0)
                return;
        fit_names(cells, width, NAME_CROWDED);
        while (total_width(cells) > width && (least = least_important(cells)) >= 0)
                cells->widths[least] = 0;
        fit_names(cells, width, NAME_LEAST);
}

/* Names differ at either end, so the middle of a long one is left out. */
static void print_left(FILE *out, const char *text, int width) {
        int length = (int)strlen(text), head = (width - 1) / 2;

        if (length <= width)
                (void)fputs(text, out);
        else
                (void)fprintf(out, "%.*s..%s", head, text, text + length - (width - 2 - head));
}

static void print_row(FILE *out, const struct cells *cells, size_t row) {
        const char *gap = "";
        int blanks = 0; /* owed by a text that is not the last */

        for (size_t i = 0; i < cells->n_columns; i++) {
                const char *text = cells->texts[row * cells->n_columns + i];
                int width = cells->widths[i];

                if (width == 0)
                        continue;
                (void)fprintf(out, "%*s%s", blanks, "", gap);
                if (width > 0)
                        (void)fprintf(out, "%*s", width, text);
                else
                        print_left(out, text, -width);
                blanks = width > 0 || (int)strlen(text) >= -width ? 0 : -width - (int)strlen(text);
                gap = GAP;
        }
        (void)fputc('\n', out);
}

int table_print(FILE *out, const struct column *columns, const struct record_list *list,
                const struct table_look *look) {
        _cleanup_(cells_deinit) struct cells cells = {};
        int r;

        r = cells_init(&cells, columns, list->n_records + look->legend);
        if (r < 0)
                return r;
        if (look->legend) {
                r = fill_row(&cells, 0, NULL);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < list->n_records; i++) {
                r = fill_row(&cells, i + look->legend, &list->records[i]);
                if (r < 0)
                        return r;
        }
        set_widths(&cells, look->width);
        for (size_t row = 0; row < cells.n_rows; row++)
                print_row(out, &cells, row);
        return 0;
}

static const char *words_of(const struct column *column) {
        return column->words ? column->words : column->title ? column->title : column->json;
}

int table_print_record(FILE *out, const struct column *columns, const struct record *record) {
        int width = 0;

        for (const struct column *c = columns; c->key; c++)
                if (record_find(record, c->key) && (int)strlen(words_of(c)) > width)
                        width = (int)strlen(words_of(c));
        for (; columns->key; columns++) {
                const struct value *value = record_find(record, columns->key);
                _cleanup_(freep) char *text = NULL;

                if (!value)
                        continue;
                text = format_value(columns->format, value);
                if (!text)
                        return -ENOMEM;
                (void)fprintf(out, "%*s: %s\n", width, words_of(columns), text);
        }
        return 0;
}
