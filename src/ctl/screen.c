/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Drawing. It prints to memory as "status" and "jobs" do, then cuts the lines to the terminal's
 * size. To sort the jobs it makes an array of shallow copies of the records. The caller keeps the
 * records.
 */

#include "ctl/screen.h"

#include <stdlib.h>
#include <string.h>

#include "ctl/columns.h"
#include "ctl/status.h"
#include "ctl/terminal.h"

#define KEYS "q quit  p pause  < > sort  r reverse  arrows scroll"

static const struct column watch_columns[] = {
        {"Id", "id", "ID", FORMAT_NUMBER, 0, NULL},
        {"VM", "vm", "VM", FORMAT_NAME, 0, NULL},
        {"Kind", "kind", "KIND", FORMAT_TEXT, 6, NULL},
        {"State", "state", "STATE", FORMAT_TEXT, 0, NULL},
        {"Bytes", "bytes", "SIZE", FORMAT_SIZE, 5, NULL},
        {"Why", "why", "WHY", FORMAT_TEXT, 0, NULL},
        {"Progress", "progress_percent", "PROGRESS", FORMAT_BAR, 4, NULL},
        {"ETAUSec", "eta_us", "ETA", FORMAT_ABOUT, 0, NULL},
        {"WaitedUSec", "waited_us", "WAITED", FORMAT_USEC, 1, NULL},
        {"RanUSec", "ran_us", "RAN", FORMAT_USEC, 2, NULL},
        {"CPUUSec", "cpu_us", "CPU", FORMAT_USEC, 3, NULL},
        {"Unit", "unit", "UNIT", FORMAT_NAME, 7, NULL},
        {},
};
#define N_SORTS (ARRAY_SIZE(watch_columns) - 1)

/* ---- order ---- */

static int class_of(const struct record *job) {
        const struct value *state = record_find(job, "State");

        if (!state || state->type != VALUE_STRING)
                return 3;
        if (strcmp(state->string, "running") == 0)
                return 0;
        return strcmp(state->string, "queued") == 0 ? 1 : 2;
}

static int compare_values(const struct value *a, const struct value *b) {
        if (!a || !b) /* unknown values last */
                return !a - !b;
        if (a->type == VALUE_STRING && b->type == VALUE_STRING)
                return strcmp(a->string, b->string);
        return (a->number > b->number) - (a->number < b->number);
}

static int compare(const void *a, const void *b, void *userdata) {
        const struct screen *screen = userdata;
        const struct record *x = a, *y = b;
        int by_id = compare_values(record_find(x, "Id"), record_find(y, "Id")), r;

        if (screen->sort == 0) {
                r = class_of(x) - class_of(y);
                if (r == 0) /* ended jobs: the last first */
                        r = class_of(x) == 2 ? -by_id : by_id;
        } else {
                const char *key = watch_columns[screen->sort - 1].key;

                r = compare_values(record_find(x, key), record_find(y, key));
                if (r == 0)
                        r = by_id;
        }
        return screen->reverse ? -r : r;
}

/* ---- lines ---- */

/* Prints at most that many columns of printable ASCII. Sequences of colours have no width. */
static void put_line(FILE *out, const char *line, size_t length, unsigned columns) {
        unsigned width = 0;

        for (size_t i = 0; i < length; i++) {
                if (line[i] == '\033') {
                        while (i < length && line[i] != 'm')
                                (void)fputc(line[i++], out);
                        (void)fputc('m', out);
                } else if (width++ < columns) {
                        (void)fputc(line[i], out);
                }
        }
        (void)fputs("\033[K", out);
}

/* Prints n lines of the text after some skipped ones. Returns how many it printed. */
static unsigned put_lines(FILE *out, const char *text, size_t skip, unsigned n, unsigned columns) {
        unsigned put = 0;

        for (; *text && put < n;) {
                size_t length = strcspn(text, "\n");

                if (skip > 0) {
                        skip--;
                } else {
                        put_line(out, text, length, columns);
                        (void)fputc('\n', out);
                        put++;
                }
                text += length + (text[length] == '\n');
        }
        return put;
}

static void put_title(FILE *out, const struct screen *s, const char *text) {
        (void)fputs(s->paint.title, out);
        (void)put_lines(out, text, 0, 1, s->columns);
        (void)fputs(s->paint.off, out);
}

/* ---- parts ---- */

static int draw_jobs(FILE *out, struct screen *s, const struct record_list *jobs, unsigned rows) {
        _cleanup_(freep) struct record *sorted = calloc(jobs->n_records + 1, sizeof(*sorted));
        const struct record_list list = {sorted, jobs->n_records};
        _cleanup_(freep) char *text = NULL;
        size_t size;
        FILE *memory;
        int r;

        if (!sorted)
                return -ENOMEM;
        if (jobs->n_records > 0)
                memcpy(sorted, jobs->records, jobs->n_records * sizeof(*sorted));
        qsort_r(sorted, jobs->n_records, sizeof(*sorted), compare, s);
        memory = open_memstream(&text, &size);
        if (!memory)
                return -ENOMEM;
        r = table_print(memory, watch_columns, &list, &(struct table_look){true, s->columns});
        if (fclose(memory) != 0 || r < 0)
                return -ENOMEM;
        put_title(out, s, text);
        (void)put_lines(out, text, 1 + s->first, rows - 1, s->columns);
        return 0;
}

static int draw_head(FILE *out, struct screen *s, const struct record *status) {
        const struct status head = {.status = status, .paint = s->paint};
        _cleanup_(freep) char *text = NULL;
        size_t size;
        FILE *memory;

        memory = open_memstream(&text, &size);
        if (!memory)
                return -ENOMEM;
        if (status)
                status_print_head(memory, &head);
        if (fclose(memory) != 0)
                return -ENOMEM;
        (void)put_lines(out, text, 0, s->rows > 2 ? 2 : s->rows - 1, s->columns);
        return 0;
}

static void draw_foot(FILE *out, const struct screen *s) {
        const char *order = s->sort == 0 ? "state" : watch_columns[s->sort - 1].title;
        char text[256];

        if (s->notice)
                (void)snprintf(text, sizeof(text), "%s", s->notice);
        else
                (void)snprintf(text, sizeof(text), "%s%s   (by %s%s)", s->paused ? "PAUSED  " : "",
                               KEYS, order, s->reverse ? ", reversed" : "");
        (void)fputs(s->notice ? s->paint.bad : s->paint.bold, out);
        put_line(out, text, strlen(text), s->columns);
        (void)fputs(s->paint.off, out);
}

#define ROWS_AROUND 4U /* two of the head, the title, the foot */

static unsigned rows_of_jobs(const struct screen *s) {
        return s->rows > ROWS_AROUND ? s->rows - ROWS_AROUND : 0;
}

static size_t last_first(const struct screen *s, size_t n_jobs) {
        return n_jobs > rows_of_jobs(s) ? n_jobs - rows_of_jobs(s) : 0;
}

int screen_draw(FILE *out, struct screen *s, const struct record *status,
                const struct record_list *jobs) {
        int r;

        s->first = min_u64(s->first, last_first(s, jobs->n_records));
        (void)fputs("\033[H", out);
        r = draw_head(out, s, status);
        if (r < 0)
                return r;
        if (rows_of_jobs(s) > 0) {
                r = draw_jobs(out, s, jobs, rows_of_jobs(s) + 1);
                if (r < 0)
                        return r;
        }
        (void)fputs("\033[J", out);
        if (s->rows > 1)
                (void)fprintf(out, "\033[%u;1H", s->rows);
        draw_foot(out, s);
        return 0;
}

/* ---- keys ---- */

static void move(struct screen *s, long by, size_t n_jobs) {
        size_t last = last_first(s, n_jobs);

        if (by < 0)
                s->first -= min_u64((uint64_t)-by, s->first);
        else
                s->first = min_u64(s->first + (size_t)by, last);
}

bool screen_key(struct screen *s, int key, size_t n_jobs) {
        long page = rows_of_jobs(s) > 0 ? (long)rows_of_jobs(s) : 1;

        if (key == KEY_UP || key == KEY_DOWN)
                move(s, key == KEY_UP ? -1 : 1, n_jobs);
        else if (key == KEY_PAGE_UP || key == KEY_PAGE_DOWN)
                move(s, key == KEY_PAGE_UP ? -page : page, n_jobs);
        else if (key == KEY_HOME)
                s->first = 0;
        else if (key == KEY_END)
                s->first = last_first(s, n_jobs);
        else if (key == KEY_RIGHT || key == '>')
                s->sort = (unsigned)((s->sort + 1) % (N_SORTS + 1));
        else if (key == KEY_LEFT || key == '<')
                s->sort = (unsigned)((s->sort + N_SORTS) % (N_SORTS + 1));
        else if (key == 'r' || key == 'R')
                s->reverse = !s->reverse;
        else if (key == 'p' || key == ' ')
                s->paused = !s->paused;
        else
                return false;
        return true;
}
