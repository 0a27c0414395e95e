/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Most of the verbs. Each makes one connection, asks one question or more, and prints the answer as
 * text or JSON. Both have the same content, which columns.c lists. A verb frees all that it made,
 * and has printed the reason when it returns an error.
 */

#include "ctl/verbs.h"

#include <string.h>

#include "base/size.h"
#include "ctl/amount.h"
#include "ctl/columns.h"
#include "ctl/connection.h"
#include "ctl/say.h"
#include "ctl/status.h"
#include "ctl/terminal.h"
#include "ctl/wrap.h"

static int fetch(const struct options *options, const char *method, struct record_list *ret) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        int r;

        r = connection_new(&connection, options->socket);
        return r < 0 ? r : connection_call(connection, method, ret);
}

/* On a terminal in its width; else as wide as it is, since programs read it. */
static int print_table(const struct options *options, FILE *out, const struct column *columns,
                       const struct record_list *list) {
        const struct table_look look = {.legend = options->legend,
                                        .width = options->terminal ? terminal_columns() : 0};

        return table_print(out, columns, list, &look);
}

static int show_list(const struct options *options, FILE *out, const char *method,
                     const struct column *columns) {
        _cleanup_(record_list_deinit) struct record_list list = {};
        int r;

        r = fetch(options, method, &list);
        if (r < 0)
                return r;
        if (options->json != JSON_OFF)
                r = json_print(out, columns, &list, options->json);
        else
                r = print_table(options, out, columns, &list);
        return r < 0 ? say_error(r, "cannot show the list") : 0;
}

/* ---- status ---- */

/* In lines that fit the terminal. */
static int print_status(const struct options *options, FILE *out, const struct status *status) {
        struct wrapped text;
        int r;

        r = wrap_begin(&text);
        if (r < 0)
                return r;
        status_print(text.memory, status);
        return wrap_end(&text, out, options->terminal ? terminal_columns() : 0, STATUS_INDENT);
}

static int show_status(const struct options *options, FILE *out, const struct status *status) {
        const struct json_part parts[] = {{"limits", limit_columns, status->limits},
                                          {"failures", job_columns, status->failures},
                                          {}};

        if (options->json == JSON_OFF)
                return print_status(options, out, status);
        return json_print_with_parts(out, status_columns, status->status, parts, options->json);
}

int verb_status(const struct options *options, FILE *out) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        _cleanup_(record_list_deinit) struct record_list list = {}, limits = {}, failures = {};
        struct status status = {
                .limits = &limits, .failures = &failures, .paint = paint_of(options->colour)};
        int r;

        r = connection_new(&connection, options->socket);
        if (r >= 0)
                r = connection_get_status(connection, &list);
        if (r >= 0)
                r = connection_get_limits(connection, &limits);
        if (r >= 0)
                r = connection_call(connection, "ListFailures", &failures);
        if (r < 0)
                return r;
        status.status = list.records;
        r = show_status(options, out, &status);
        return r < 0 ? say_error(r, "cannot show the status") : 0;
}

/* ---- lists ---- */

int verb_list(const struct options *options, FILE *out) {
        return show_list(options, out, "ListVMs", vm_columns);
}

int verb_jobs(const struct options *options, FILE *out) {
        return show_list(options, out, "ListJobs", job_columns);
}

/* ---- show ---- */

static bool has_text(const struct record *record, const char *key, const char *text) {
        const struct value *value = record_find(record, key);

        return value && value->type == VALUE_STRING && strcmp(value->string, text) == 0;
}

static bool has_number(const struct record *record, const char *key, uint64_t number) {
        const struct value *value = record_find(record, key);

        return value && value->type == VALUE_UNSIGNED && value->number == number;
}

static int parse_number(const char *text, uint64_t *ret) {
        char *end;

        if (*text < '0' || *text > '9')
                return -EINVAL;
        errno = 0;
        *ret = strtoull(text, &end, 10);
        return *end != '\0' || errno != 0 ? -EINVAL : 0;
}

/* what: a VM's name or UUID, or pid=NUMBER, the pid of its worker or its VMM. */
static bool is_meant(const struct record *vm, const char *what) {
        uint64_t pid;

        if (strncmp(what, "pid=", 4) == 0 && parse_number(what + 4, &pid) >= 0)
                return has_number(vm, "PID", pid) || has_number(vm, "VMMPID", pid);
        return has_text(vm, "Name", what) || has_text(vm, "UUID", what);
}

/* NULL if it is not one: the user was told about more. */
static const struct record *find_vm(const struct record_list *vms, const char *what,
                                    size_t *ret_n) {
        const struct record *found = NULL;
        size_t n = 0;

        for (size_t i = 0; i < vms->n_records; i++)
                if (is_meant(&vms->records[i], what)) {
                        found = &vms->records[i];
                        n++;
                }
        if (n > 1)
                say_error(0, "show: %zu VMs match \"%s\"; give a UUID or pid=NUMBER", n, what);
        *ret_n = n;
        return n == 1 ? found : NULL;
}

/* vm NULL: it has ended, and its jobs tell what it was called. */
static bool is_job_of(const struct record *job, const struct record *vm, const char *what) {
        const struct value *pid = vm ? record_find(vm, "PID") : NULL;

        if (vm)
                return pid && has_number(job, "PID", pid->number);
        return is_meant(job, what) || has_text(job, "VM", what);
}

/* Moves the jobs of one VM to the front and returns their number. The caller keeps the list. */
static size_t jobs_of(const struct record *vm, const char *what, struct record_list *jobs) {
        size_t n = 0;

        for (size_t i = 0; i < jobs->n_records; i++) {
                struct record swap = jobs->records[n];

                if (!is_job_of(&jobs->records[i], vm, what))
                        continue;
                jobs->records[n++] = jobs->records[i];
                jobs->records[i] = swap;
        }
        return n;
}

/* What the last job of a VM that has ended knows of it. */
static int vm_of_job(const struct record *job, struct record_list *ret) {
        static const char *const keys[][2] = {{"VM", "Name"}, {"UUID", "UUID"}, {"Unit", "Unit"}};
        struct record *vm;
        int r;

        r = record_list_add(ret, &vm);
        for (size_t i = 0; i < ARRAY_SIZE(keys) && r >= 0; i++)
                if (record_find(job, keys[i][0]))
                        r = record_add(vm, keys[i][1], record_find(job, keys[i][0]));
        if (r >= 0)
                r = record_add(vm, "State", &(struct value){VALUE_STRING, {.string = "ended"}});
        return r;
}

static int print_vm(const struct options *options, FILE *out, const struct record *vm,
                    const struct record_list *jobs) {
        const struct json_part parts[] = {{"jobs", job_columns, jobs}, {}};
        int r;

        if (options->json != JSON_OFF)
                return json_print_with_parts(out, vm_columns, vm, parts, options->json);
        r = table_print_record(out, vm_columns, vm);
        if (r < 0 || jobs->n_records == 0)
                return r;
        (void)fputc('\n', out);
        return print_table(options, out, job_columns, jobs);
}

static int show_vm(const struct options *options, FILE *out, struct connection *connection) {
        _cleanup_(record_list_deinit) struct record_list vms = {}, jobs = {}, ended = {};
        const char *what = options->args[0];
        struct record_list own;
        const struct record *vm;
        size_t n_vms;
        int r;

        r = connection_call(connection, "ListVMs", &vms);
        if (r < 0)
                return r;
        vm = find_vm(&vms, what, &n_vms);
        if (n_vms > 1)
                return -ENOENT;
        r = connection_call(connection, "ListJobs", &jobs);
        if (r < 0)
                return r;
        own = (struct record_list){jobs.records, jobs_of(vm, what, &jobs)};
        if (!vm && own.n_records == 0) {
                say_error(0, "show: the daemon knows no VM \"%s\" and no job of it", what);
                return -ENOENT;
        }
        if (!vm)
                r = vm_of_job(&own.records[own.n_records - 1], &ended);
        if (r >= 0)
                r = print_vm(options, out, vm ? vm : ended.records, &own);
        return r < 0 ? say_error(r, "cannot show the VM") : 0;
}

static int show_job(const struct options *options, FILE *out, struct connection *connection,
                    uint64_t id) {
        _cleanup_(record_list_deinit) struct record_list list = {};
        int r;

        r = connection_get_job(connection, id, &list);
        if (r < 0)
                return r;
        if (options->json != JSON_OFF)
                r = json_print_record(out, job_columns, list.records, options->json);
        else
                r = table_print_record(out, job_columns, list.records);
        return r < 0 ? say_error(r, "cannot show the job") : 0;
}

int verb_show(const struct options *options, FILE *out) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        uint64_t id;
        int r;

        if (!*options->args[0])
                return say_usage("show: expected a VM or a job, not \"\"");
        r = connection_new(&connection, options->socket);
        if (r < 0)
                return r;
        if (parse_number(options->args[0], &id) >= 0)
                return show_job(options, out, connection, id);
        return show_vm(options, out, connection);
}

/* ---- wait-memory ---- */

static int show_available(const struct options *options, FILE *out, uint64_t available) {
        static const struct column columns[] = {
                {"Available", "available_bytes", NULL, FORMAT_SIZE, 0, NULL}, {}};
        _cleanup_(record_list_deinit) struct record_list list = {};
        struct record *record;
        char text[32];
        int r;

        if (options->json == JSON_OFF) {
                format_size(text, sizeof(text), available);
                (void)fprintf(out, "%s available\n", text);
                return 0;
        }
        r = record_list_add(&list, &record);
        if (r >= 0)
                r = record_add(record, "Available",
                               &(struct value){VALUE_UNSIGNED, {.number = available}});
        return r < 0 ? r : json_print_record(out, columns, record, options->json);
}

int verb_wait_memory(const struct options *options, FILE *out) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        uint64_t bytes, available;
        int r;

        if (amount_parse_size(options->args[0], &bytes) < 0)
                return say_usage("wait-memory: expected a size such as 16G, not \"%s\"",
                                 options->args[0]);
        r = connection_new(&connection, options->socket);
        if (r < 0)
                return r;
        r = connection_wait_memory(connection, bytes, options->timeout_usec, &available);
        if (r < 0)
                return r;
        r = show_available(options, out, available);
        return r < 0 ? say_error(r, "cannot show the available memory") : 0;
}
