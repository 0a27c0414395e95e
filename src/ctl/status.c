/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The screen of "pv-reaperctl status". Each line answers one question of an administrator at 3
 * a.m., the most urgent first. An unknown value is left out or shown as "-". format_value() makes
 * texts of others printable.
 */

#include "ctl/status.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/advice.h"
#include "ctl/columns.h"

#define LABEL "%9s: "

/* A value as text. "-": there is none, or no memory. *keep owns the text; free it. */
static const char *text_of(const struct record *record, const char *key, enum format format,
                           char **keep) {
        free(*keep);
        *keep = format_value(format, record_find(record, key));
        return *keep ? *keep : "-";
}

static void print_value(FILE *out, const struct record *record, const char *key,
                        enum format format) {
        _cleanup_(freep) char *keep = NULL;

        (void)fputs(text_of(record, key, format, &keep), out);
}

static uint64_t number_of(const struct record *record, const char *key) {
        const struct value *value = record_find(record, key);

        return value && value->type == VALUE_UNSIGNED ? value->number : 0;
}

static bool is(const struct record *record, const char *key, const char *text) {
        const struct value *value = record_find(record, key);

        return value && value->type == VALUE_STRING && strcmp(value->string, text) == 0;
}

/* ---- the head ---- */

static void print_state(FILE *out, const struct status *s) {
        bool running = is(s->status, "State", "running");
        const char *paint = running ? s->paint.good : s->paint.warn;

        (void)fprintf(out, "%s", paint);
        print_value(out, s->status, "State", FORMAT_TEXT);
        (void)fprintf(out, "%s", s->paint.off);
        if (!running) {
                (void)fputs(" (", out);
                print_value(out, s->status, "DrainReason", FORMAT_TEXT);
                (void)fputs("), no new VMs", out);
        }
        (void)fputs(", ", out);
        print_value(out, s->status, "Mode", FORMAT_TEXT);
        (void)fputs(" limits", out);
}

static void print_work(FILE *out, const struct status *s) {
        uint64_t n = number_of(s->status, "Running") + number_of(s->status, "Queued");

        (void)fprintf(out, "%" PRIu64 " running, %" PRIu64 " queued, ",
                      number_of(s->status, "Running"), number_of(s->status, "Queued"));
        print_value(out, s->status, "BytesToClear", FORMAT_SIZE);
        (void)fputs(" to clear", out);
        if (n > 0) {
                (void)fputs(", ETA ", out);
                print_value(out, s->status, "ETAUSec", FORMAT_ABOUT);
        }
        n = number_of(s->status, "VMs");
        (void)fprintf(out, "; %" PRIu64 " VM%s\n", n, n == 1 ? "" : "s");
}

/* The most important first: a narrow terminal cuts the rest. */
void status_print_head(FILE *out, const struct status *s) {
        (void)fprintf(out, "%spv-reaperd%s: ", s->paint.bold, s->paint.off);
        print_state(out, s);
        (void)fputs("; version ", out);
        print_value(out, s->status, "Version", FORMAT_TEXT);
        (void)fputs(", pid ", out);
        print_value(out, s->status, "PID", FORMAT_NUMBER);
        (void)fputs(", up ", out);
        print_value(out, s->status, "UptimeUSec", FORMAT_USEC);
        (void)fputc('\n', out);
        (void)fprintf(out, LABEL, "Work");
        print_work(out, s);
}

/* ---- the rest ---- */

static void print_odd_workers(FILE *out, const struct status *s) {
        static const struct {
                const char *key, *text;
        } rows[] = {{"Found", "found after a restart, and not heard from since"},
                    {"Overdue", "overdue: not counted as running"},
                    {"Starved", "so far began beyond max-concurrent, after starvation-timeout"},
                    {"Unenforced", "running without a CPU cap"},
                    {"Waiters", "waiting for memory"}};

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                if (number_of(s->status, rows[i].key) > 0)
                        (void)fprintf(out, LABEL "%s%" PRIu64 " %s%s\n", "Notice", s->paint.warn,
                                      number_of(s->status, rows[i].key), rows[i].text,
                                      s->paint.off);
}

static void print_host(FILE *out, const struct status *s) {
        (void)fprintf(out, LABEL, "Memory");
        print_value(out, s->status, "MemoryAvailable", FORMAT_SIZE);
        (void)fputs(" available", out);
        if (record_find(s->status, "MemoryPressure")) {
                (void)fputs("; pressure ", out);
                print_value(out, s->status, "MemoryPressure", FORMAT_SHARE);
                (void)fputs(" of the last 10 s", out);
        }
        (void)fprintf(out, "\n" LABEL, "Started");
        print_value(out, s->status, "StartedAt", FORMAT_DATE);
        (void)fputc('\n', out);
}

static void print_cap(FILE *out, const struct status *s) {
        const struct value *quota = record_find(s->status, "CPUQuota");

        (void)fprintf(out, LABEL, "CPU cap");
        if (quota && quota->type == VALUE_UNSIGNED)
                (void)fprintf(out, "%" PRIu64 "%% of a CPU; ", quota->number / 10000);
        else
                (void)fputs("no quota; ", out);
        print_value(out, s->status, "CPUReason", FORMAT_TEXT);
        (void)fputc('\n', out);
}

/* Some limits always, the others if they are not at their default. */
static bool is_worth_a_line(const struct record *limit) {
        static const char *const always[] = {"max-concurrent", "start-rate", "cpu-quota"};

        for (size_t i = 0; i < ARRAY_SIZE(always); i++)
                if (is(limit, "Key", always[i]))
                        return true;
        return !is(limit, "Origin", "default");
}

static void print_limits(FILE *out, const struct status *s) {
        const char *label = "Limits";

        (void)fprintf(out, LABEL "at most %" PRIu64 " at once\n", label,
                      number_of(s->status, "MaxConcurrent"));
        for (size_t i = 0; i < s->limits->n_records; i++) {
                const struct record *limit = &s->limits->records[i];
                _cleanup_(freep) char *key = NULL, *value = NULL, *origin = NULL;

                if (!is_worth_a_line(limit))
                        continue;
                (void)fprintf(out, "%11s%s=%s  (%s)\n", "",
                              text_of(limit, "Key", FORMAT_TEXT, &key),
                              text_of(limit, "Value", FORMAT_TEXT, &value),
                              text_of(limit, "Origin", FORMAT_TEXT, &origin));
        }
}

static void print_ended(FILE *out, const struct status *s) {
        static const char *const keys[] = {"Done",        "Superseded", "Foreign", "Ungoverned",
                                           "Interrupted", "Failed",     "Lost",    "Unreported"};
        const char *comma = "";

        (void)fprintf(out, LABEL, "Ended");
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                uint64_t n = number_of(s->status, keys[i]);

                if (n == 0 && i > 0)
                        continue;
                (void)fprintf(out, "%s%" PRIu64 " %c%s", comma, n, keys[i][0] | 0x20, keys[i] + 1);
                comma = ", ";
        }
        (void)fputc('\n', out);
}

static void print_failure(FILE *out, const struct status *s, const struct record *job) {
        _cleanup_(freep) char *kind = NULL, *vm = NULL, *unit = NULL, *state = NULL, *error = NULL;

        (void)fprintf(out, LABEL "job %" PRIu64 ", %s of %s (unit %s): %s%s%s", "Failure",
                      number_of(job, "Id"), text_of(job, "Kind", FORMAT_TEXT, &kind),
                      text_of(job, "VM", FORMAT_TEXT, &vm),
                      text_of(job, "Unit", FORMAT_TEXT, &unit), s->paint.bad,
                      text_of(job, "State", FORMAT_TEXT, &state), s->paint.off);
        if (record_find(job, "Error"))
                (void)fprintf(out, ", %s, rc 0x%" PRIx64 ", rrc 0x%" PRIx64,
                              text_of(job, "Error", FORMAT_ERROR, &error), number_of(job, "RC"),
                              number_of(job, "RRC"));
        (void)fputc('\n', out);
}

void status_print(FILE *out, const struct status *s) {
        status_print_head(out, s);
        advice_print(out, s);
        print_odd_workers(out, s);
        print_host(out, s);
        print_cap(out, s);
        print_limits(out, s);
        (void)fprintf(out, LABEL, "CGroup");
        print_value(out, s->status, "CGroup", FORMAT_TEXT);
        (void)fputs(", CPU time by ", out);
        print_value(out, s->status, "Accounting", FORMAT_TEXT);
        (void)fputc('\n', out);
        print_ended(out, s);
        for (size_t i = 0; i < s->failures->n_records; i++)
                print_failure(out, s, &s->failures->records[i]);
}
