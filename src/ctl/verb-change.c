/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verbs that change something: set, reload, drain, resume. Each prints what is different now,
 * or that nothing is. With JSON it prints the status after the change, with the changes in it. A
 * verb owns its connection and the answers.
 */

#include <inttypes.h>
#include <string.h>

#include "ctl/columns.h"
#include "ctl/connection.h"
#include "ctl/say.h"
#include "ctl/verbs.h"

static void print_text(FILE *out, const struct record *record, const char *key) {
        _cleanup_(freep) char *text = format_value(FORMAT_TEXT, record_find(record, key));

        (void)fputs(text ? text : "-", out);
}

static uint64_t number_of(const struct record *record, const char *key) {
        const struct value *value = record_find(record, key);

        return value && value->type == VALUE_UNSIGNED ? value->number : 0;
}

/* ---- keys ---- */

static void print_change(FILE *out, const struct record *change) {
        print_text(out, change, "Key");
        (void)fputs(": ", out);
        print_text(out, change, "Now");
        (void)fputs(" instead of ", out);
        print_text(out, change, "Before");
        (void)fputs(" (", out);
        print_text(out, change, "Origin");
        (void)fputc(')', out);
        if (record_find(change, "NoEffect")) {
                (void)fputs("; no effect ", out);
                print_text(out, change, "NoEffect");
        }
        (void)fputc('\n', out);
}

static int print_json(const struct options *options, FILE *out, struct connection *connection,
                      const struct record_list *changes) {
        const struct json_part parts[] = {{"changes", change_columns, changes}, {}};
        _cleanup_(record_list_deinit) struct record_list list = {};
        int r;

        r = connection_get_status(connection, &list);
        if (r < 0)
                return r;
        r = json_print_with_parts(out, status_columns, list.records, parts, options->json);
        return r < 0 ? say_error(r, "cannot show the status") : 0;
}

/* What "auto" came to, with the mode that is in force. */
static int print_how_many(FILE *out, struct connection *connection,
                          const struct record_list *changes) {
        _cleanup_(record_list_deinit) struct record_list list = {};
        bool is = false;
        int r;

        for (size_t i = 0; i < changes->n_records; i++) {
                const struct value *key = record_find(&changes->records[i], "Key");

                is |= key && key->type == VALUE_STRING && strstr(key->string, "max-concurrent");
        }
        if (!is)
                return 0;
        r = connection_get_status(connection, &list);
        if (r < 0)
                return r;
        (void)fprintf(out, "at most %" PRIu64 " at once now\n",
                      number_of(list.records, "MaxConcurrent"));
        return 0;
}

static int show_changes(const struct options *options, FILE *out, struct connection *connection,
                        const struct record_list *changes) {
        if (options->json != JSON_OFF)
                return print_json(options, out, connection, changes);
        for (size_t i = 0; i < changes->n_records; i++)
                print_change(out, &changes->records[i]);
        if (changes->n_records == 0)
                (void)fputs("nothing changed\n", out);
        return print_how_many(out, connection, changes);
}

int verb_set(const struct options *options, FILE *out) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        _cleanup_(record_list_deinit) struct record_list changes = {};
        int r;

        for (int i = 0; i < options->n_args; i++)
                if (!strchr(options->args[i], '=') || options->args[i][0] == '=')
                        return say_usage("set: expected KEY=VALUE, not \"%s\"", options->args[i]);
        r = connection_new(&connection, options->socket);
        if (r >= 0)
                r = connection_set(connection, options->args, options->n_args, &changes);
        return r < 0 ? r : show_changes(options, out, connection, &changes);
}

int verb_reload(const struct options *options, FILE *out) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        _cleanup_(record_list_deinit) struct record_list changes = {};
        int r;

        r = connection_new(&connection, options->socket);
        if (r >= 0)
                r = connection_call(connection, "Reload", &changes);
        return r < 0 ? r : show_changes(options, out, connection, &changes);
}

/* ---- the drain ---- */

static int print_state(FILE *out, struct connection *connection) {
        _cleanup_(record_list_deinit) struct record_list list = {};
        int r;

        r = connection_get_status(connection, &list);
        if (r < 0)
                return r;
        print_text(out, list.records, "State");
        (void)fprintf(out,
                      "%s: at most %" PRIu64 " at once; %" PRIu64 " running, %" PRIu64 " queued\n",
                      record_find(list.records, "DrainReason") ? ", no new VMs" : "",
                      number_of(list.records, "MaxConcurrent"), number_of(list.records, "Running"),
                      number_of(list.records, "Queued"));
        return 0;
}

static int tell(const struct options *options, FILE *out, const char *method) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        const struct record_list changes = {};
        int r;

        r = connection_new(&connection, options->socket);
        if (r >= 0)
                r = connection_tell(connection, method);
        if (r < 0)
                return r;
        return options->json == JSON_OFF ? print_state(out, connection)
                                         : print_json(options, out, connection, &changes);
}

int verb_drain(const struct options *options, FILE *out) {
        return tell(options, out, "Drain");
}

int verb_resume(const struct options *options, FILE *out) {
        return tell(options, out, "Resume");
}

/* ---- hurry ---- */

static int hurry(const struct options *options, FILE *out, const char *verb, const char *method) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        const char *what = options->all ? "" : options->n_args == 1 ? options->args[0] : NULL;
        const struct record_list changes = {};
        uint32_t n;
        int r;

        if (!what || (options->all && options->n_args > 0) || (!options->all && !*what))
                return say_usage("%s: give either a VM, a JOB or --all", verb);
        r = connection_new(&connection, options->socket);
        if (r >= 0)
                r = connection_hurry(connection, method, what, &n);
        if (r < 0)
                return r;
        return options->json == JSON_OFF ? print_state(out, connection)
                                         : print_json(options, out, connection, &changes);
}

int verb_hurry(const struct options *options, FILE *out) {
        return hurry(options, out, "hurry", "Hurry");
}

int verb_cancel_hurry(const struct options *options, FILE *out) {
        return hurry(options, out, "cancel-hurry", "CancelHurry");
}
