/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One table per verb: the daemon's key, the key in JSON, the title in text (none: too much for a
 * line), and how to write it. src/daemon/bus-fields.c has the other end, the manual page explains
 * the JSON keys.
 */

#include "ctl/verbs.h"

#include <string.h>

#include "base/size.h"
#include "ctl/amount.h"
#include "ctl/connection.h"
#include "ctl/say.h"

static const struct column status_columns[] = {
        {"Version", "version", "Version", FORMAT_TEXT},
        {"PID", "pid", "PID", FORMAT_NUMBER},
        {"UptimeUSec", "uptime_us", "Up", FORMAT_USEC},
        {"State", "state", "State", FORMAT_TEXT},
        {"Mode", "mode", "Mode", FORMAT_TEXT},
        {"MaxConcurrent", "max_concurrent", "Max concurrent", FORMAT_NUMBER},
        {"Running", "running", "Running", FORMAT_NUMBER},
        {"Found", "found", "Found", FORMAT_NUMBER},
        {"Overdue", "overdue", "Overdue", FORMAT_NUMBER},
        {"Queued", "queued", "Queued", FORMAT_NUMBER},
        {"VMs", "vms", "VMs", FORMAT_NUMBER},
        {"Connections", "connections", "Connections", FORMAT_NUMBER},
        {"BytesToClear", "bytes_to_clear", "To clear", FORMAT_SIZE},
        {"Done", "done", "Done", FORMAT_NUMBER},
        {"Ungoverned", "ungoverned", "Ungoverned", FORMAT_NUMBER},
        {"Interrupted", "interrupted", "Interrupted", FORMAT_NUMBER},
        {"Superseded", "superseded", "Superseded", FORMAT_NUMBER},
        {"Failed", "failed", "Failed", FORMAT_NUMBER},
        {"Foreign", "foreign", "Foreign", FORMAT_NUMBER},
        {"Lost", "lost", "Lost", FORMAT_NUMBER},
        {"Unreported", "unreported", "Unreported", FORMAT_NUMBER},
        {"StartRate", "start_rate", "Starts per hour", FORMAT_NUMBER},
        {"CPUQuota", "cpu_quota", "CPU quota (us per s)", FORMAT_NUMBER},
        {"CPUBackend", "cpu_backend", "CPU cap by", FORMAT_TEXT},
        {"CPUReason", "cpu_reason", "because", FORMAT_TEXT},
        {"Unenforced", "unenforced", "Not capped", FORMAT_NUMBER},
        {"Waiters", "waiters", "Wait for memory", FORMAT_NUMBER},
        {"Accounting", "accounting", "Accounting", FORMAT_TEXT},
        {"CGroup", "cgroup", "CGroup", FORMAT_TEXT},
        {},
};

static const struct column vm_columns[] = {
        {"Name", "name", "NAME", FORMAT_TEXT},
        {"UUID", "uuid", NULL, FORMAT_TEXT},
        {"PID", "pid", "PID", FORMAT_NUMBER},
        {"VMMPID", "vmm_pid", "VMM", FORMAT_NUMBER},
        {"Unit", "unit", "UNIT", FORMAT_TEXT},
        {"Worker", "worker", NULL, FORMAT_TEXT},
        {"State", "state", "STATE", FORMAT_TEXT},
        {"MemBytes", "mem_bytes", "MEMORY", FORMAT_SIZE},
        {"CPUUSec", "cpu_us", "CPU", FORMAT_USEC},
        {"CGroup", "cgroup", NULL, FORMAT_TEXT},
        {"Connected", "connected", "CONNECTED", FORMAT_BOOL},
        {},
};

static const struct column job_columns[] = {
        {"Id", "id", "ID", FORMAT_NUMBER},
        {"VM", "vm", "VM", FORMAT_TEXT},
        {"UUID", "uuid", NULL, FORMAT_TEXT},
        {"Unit", "unit", "UNIT", FORMAT_TEXT},
        {"PID", "pid", "PID", FORMAT_NUMBER},
        {"Kind", "kind", "KIND", FORMAT_TEXT},
        {"State", "state", "STATE", FORMAT_TEXT},
        {"Seq", "seq", NULL, FORMAT_NUMBER},
        {"Bytes", "bytes", "SIZE", FORMAT_SIZE},
        {"BytesLeft", "bytes_left", "LEFT", FORMAT_SIZE},
        {"Rate", "rate", "RATE/S", FORMAT_SIZE},
        {"ETAUSec", "eta_us", "ETA", FORMAT_USEC},
        {"WaitedUSec", "waited_us", "WAITED", FORMAT_USEC},
        {"RanUSec", "ran_us", "RAN", FORMAT_USEC},
        {"CPUUSec", "cpu_us", "CPU", FORMAT_USEC},
        {"Error", "error", "ERROR", FORMAT_ERROR},
        {"RC", "rc", NULL, FORMAT_NUMBER},
        {"RRC", "rrc", NULL, FORMAT_NUMBER},
        {"CGroup", "cgroup", NULL, FORMAT_TEXT},
        {},
};

static void connection_freep(struct connection **connection) {
        connection_free(*connection);
}

static int fetch(const struct options *options, const char *method, struct record_list *ret) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        int r;

        r = connection_new(&connection, options->socket);
        return r < 0 ? r : connection_call(connection, method, ret);
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
                r = table_print(out, columns, &list, options->legend);
        return r < 0 ? say_error(r, "cannot show the list") : 0;
}

int verb_status(const struct options *options, FILE *out) {
        _cleanup_(record_list_deinit) struct record_list list = {};
        int r;

        r = fetch(options, "GetStatus", &list);
        if (r < 0)
                return r;
        if (list.n_records != 1)
                return say_error(-EBADMSG, "cannot understand the answer to GetStatus");
        if (options->json != JSON_OFF)
                r = json_print_record(out, status_columns, list.records, options->json);
        else
                r = table_print_record(out, status_columns, list.records);
        return r < 0 ? say_error(r, "cannot show the status") : 0;
}

int verb_list(const struct options *options, FILE *out) {
        return show_list(options, out, "ListVMs", vm_columns);
}

int verb_jobs(const struct options *options, FILE *out) {
        return show_list(options, out, "ListJobs", job_columns);
}

int verb_set(const struct options *options, FILE *out) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        int r;

        for (int i = 0; i < options->n_args; i++)
                if (!strchr(options->args[i], '='))
                        return say_error(0, "set: KEY=VALUE, not \"%s\"", options->args[i]);
        r = connection_new(&connection, options->socket);
        return r < 0 ? r : connection_set(connection, options->args, options->n_args);
}

int verb_wait_memory(const struct options *options, FILE *out) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        uint64_t bytes, available;
        char text[32];
        int r;

        if (amount_parse_size(options->args[0], &bytes) < 0)
                return say_error(0, "wait-memory: a size such as 16G, not \"%s\"",
                                 options->args[0]);
        r = connection_new(&connection, options->socket);
        if (r < 0)
                return r;
        r = connection_wait_memory(connection, bytes, options->timeout_usec, &available);
        if (r < 0)
                return r;
        format_size(text, sizeof(text), available);
        (void)fprintf(out, "%s available\n", text);
        return 0;
}
