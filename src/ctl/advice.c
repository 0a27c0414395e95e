/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The "Action" lines of "pv-reaperctl status". Each has a cause, with the key that sets it and
 * where, and the command against it. A state that ends by itself, such as a short wait, has no
 * line, and a failure has one for an hour. Owns nothing.
 */

#include "ctl/advice.h"

#include <inttypes.h>
#include <string.h>

#include "ctl/say.h"
#include "ctl/table.h"

#define LONG_WAIT_USEC (60 * USEC_PER_SEC)
#define RECENT_USEC    (3600 * USEC_PER_SEC) /* a failure that somebody may not have read */

static uint64_t number_of(const struct record *record, const char *key) {
        const struct value *value = record_find(record, key);

        return value && value->type == VALUE_UNSIGNED ? value->number : 0;
}

static const char *text_of(const struct record *record, const char *key) {
        const struct value *value = record_find(record, key);

        return value && value->type == VALUE_STRING ? value->string : "";
}

static bool is(const struct record *record, const char *key, const char *text) {
        return strcmp(text_of(record, key), text) == 0;
}

/* An Action line begins; the caller prints the rest of it. */
static FILE *action(FILE *out, const struct status *s) {
        (void)fprintf(out, "%9s: %s", "Action", s->paint.warn);
        return out;
}

static void end(FILE *out, const struct status *s) {
        (void)fprintf(out, "%s\n", s->paint.off);
}

/* "start-rate=6 (/etc/pv-reaper/pv-reaper.conf:3)" */
static void print_limit(FILE *out, const struct status *s, const char *key) {
        for (size_t i = 0; i < s->limits->n_records; i++) {
                const struct record *limit = &s->limits->records[i];
                char text[512];

                if (!is(limit, "Key", key))
                        continue;
                (void)snprintf(text, sizeof(text), "%s=%s (%s)", key, text_of(limit, "Value"),
                               text_of(limit, "Origin"));
                make_printable(text);
                (void)fputs(text, out);
                return;
        }
        (void)fputs(key, out);
}

/* "3 wait for start-rate=6 (/etc/pv-reaper/pv-reaper.conf:3)" */
static void print_wait(FILE *out, const struct status *s, const char *key) {
        uint64_t n = number_of(s->status, "Queued");

        (void)fprintf(action(out, s), "%" PRIu64 " wait%s for ", n, n == 1 ? "s" : "");
        print_limit(out, s, key);
}

static void on_start_rate(FILE *out, const struct status *s) {
        char next[FORMAT_MAX];

        format_usec(next, sizeof(next), number_of(s->status, "NextStartUSec"));
        print_wait(out, s, "start-rate");
        (void)fprintf(out,
                      ", the next starts in %s: pv-reaperctl set start-rate=infinity, or "
                      "pv-reaperctl hurry VM",
                      next);
        end(out, s);
}

static void on_limit(FILE *out, const struct status *s) {
        uint64_t n = number_of(s->status, "MaxConcurrent");

        print_wait(out, s, "max-concurrent");
        (void)fprintf(out,
                      ": pv-reaperctl set max-concurrent=%" PRIu64 " boost-max-concurrent=auto, "
                      "or pv-reaperctl hurry VM",
                      2 * n);
        end(out, s);
}

static void on_queue(FILE *out, const struct status *s) {
        bool is_long = number_of(s->status, "OldestWaitUSec") >= LONG_WAIT_USEC;

        if (is(s->status, "Why", "start-rate") &&
            (is_long || number_of(s->status, "NextStartUSec") >= LONG_WAIT_USEC))
                on_start_rate(out, s);
        else if (is(s->status, "Why", "limit") && is_long)
                on_limit(out, s);
}

static void on_drain(FILE *out, const struct status *s) {
        if (!is(s->status, "DrainReason", "administrator") ||
            number_of(s->status, "Running") + number_of(s->status, "Queued") > 0)
                return;
        (void)fputs("the drain is done, and new VMs are sent away: pv-reaperctl resume",
                    action(out, s));
        end(out, s);
}

static void on_workers(FILE *out, const struct status *s) {
        uint64_t overdue = number_of(s->status, "Overdue");
        uint64_t unenforced = number_of(s->status, "Unenforced");

        if (overdue > 0) {
                (void)fprintf(action(out, s),
                              overdue == 1 ? "%" PRIu64 " stands still or runs too long: "
                                             "pv-reaperctl list names it"
                                           : "%" PRIu64 " stand still or run too long: "
                                             "pv-reaperctl list names them",
                              overdue);
                end(out, s);
        }
        if (unenforced > 0) {
                (void)fprintf(action(out, s),
                              "%" PRIu64 " run%s without a CPU cap: pv-reaperctl check says why",
                              unenforced, unenforced == 1 ? "s" : "");
                end(out, s);
        }
}

static void on_failures(FILE *out, const struct status *s) {
        uint64_t ended;

        if (s->failures->n_records == 0)
                return;
        ended = number_of(s->failures->records, "EndedAt");
        if (ended == 0 || realtime_usec() - ended > RECENT_USEC)
                return;
        (void)fprintf(action(out, s),
                      "a teardown failed: pv-reaperctl show %" PRIu64
                      ", journalctl -u pv-reaper.service -p warning",
                      number_of(s->failures->records, "Id"));
        end(out, s);
}

void advice_print(FILE *out, const struct status *s) {
        on_drain(out, s);
        on_queue(out, s);
        on_workers(out, s);
        on_failures(out, s);
}
