/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One table per kind of record. A row has the daemon's key, the key in JSON, the title in text, and
 * the format. A column without title is in JSON only, since a line has no room for it. The daemon's
 * end is src/daemon/bus/fields.c. The manual page explains the JSON keys.
 */

#include "ctl/columns.h"

const struct column status_columns[] = {
        {"Version", "version", "Version", FORMAT_TEXT},
        {"PID", "pid", "PID", FORMAT_NUMBER},
        {"UptimeUSec", "uptime_us", "Up", FORMAT_USEC},
        {"State", "state", "State", FORMAT_TEXT},
        {"DrainReason", "drain_reason", "Drains for", FORMAT_TEXT},
        {"Mode", "mode", "Mode", FORMAT_TEXT},
        {"MaxConcurrent", "max_concurrent", "Max concurrent", FORMAT_NUMBER},
        {"Running", "running", "Running", FORMAT_NUMBER},
        {"Found", "found", "Found", FORMAT_NUMBER},
        {"Overdue", "overdue", "Overdue", FORMAT_NUMBER},
        {"Queued", "queued", "Queued", FORMAT_NUMBER},
        {"VMs", "vms", "VMs", FORMAT_NUMBER},
        {"Connections", "connections", "Connections", FORMAT_NUMBER},
        {"BytesToClear", "bytes_to_clear", "To clear", FORMAT_SIZE},
        {"ETAUSec", "eta_us", "Left", FORMAT_ABOUT},
        {"Done", "done", "Done", FORMAT_NUMBER},
        {"Ungoverned", "ungoverned", "Ungoverned", FORMAT_NUMBER},
        {"Interrupted", "interrupted", "Interrupted", FORMAT_NUMBER},
        {"Superseded", "superseded", "Superseded", FORMAT_NUMBER},
        {"Failed", "failed", "Failed", FORMAT_NUMBER},
        {"Foreign", "foreign", "Foreign", FORMAT_NUMBER},
        {"Lost", "lost", "Lost", FORMAT_NUMBER},
        {"Unreported", "unreported", "Unreported", FORMAT_NUMBER},
        {"Begun", "begun", "Begun", FORMAT_NUMBER},
        {"Starved", "starved", "Starved", FORMAT_NUMBER},
        {"StartRate", "start_rate", "Starts per hour", FORMAT_NUMBER},
        {"CPUQuota", "cpu_quota", "CPU quota (us per s)", FORMAT_NUMBER},
        {"CPUBackend", "cpu_backend", "CPU cap by", FORMAT_TEXT},
        {"CPUReason", "cpu_reason", "because", FORMAT_TEXT},
        {"Unenforced", "unenforced", "Not capped", FORMAT_NUMBER},
        {"Unmoved", "unmoved", "Not moved", FORMAT_NUMBER},
        {"Waiters", "waiters", "Wait for memory", FORMAT_NUMBER},
        {"Accounting", "accounting", "Accounting", FORMAT_TEXT},
        {"CGroup", "cgroup", "CGroup", FORMAT_TEXT},
        {},
};

const struct column vm_columns[] = {
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
        {"Quiet", "quiet", "QUIET", FORMAT_BOOL},
        {"Fencing", "fencing", "FENCING", FORMAT_TEXT},
        {},
};

const struct column job_columns[] = {
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
        {"Progress", "progress_percent", "PROGRESS", FORMAT_BAR},
        {"ETAUSec", "eta_us", "ETA", FORMAT_ABOUT},
        {"WaitedUSec", "waited_us", "WAITED", FORMAT_USEC},
        {"RanUSec", "ran_us", "RAN", FORMAT_USEC},
        {"CPUUSec", "cpu_us", "CPU", FORMAT_USEC},
        {"Error", "error", "ERROR", FORMAT_ERROR},
        {"RC", "rc", NULL, FORMAT_NUMBER},
        {"RRC", "rrc", NULL, FORMAT_NUMBER},
        {"CGroup", "cgroup", NULL, FORMAT_TEXT},
        {},
};

const struct column change_columns[] = {
        {"Key", "key", "KEY", FORMAT_TEXT},
        {"Before", "before", "BEFORE", FORMAT_TEXT},
        {"Now", "now", "NOW", FORMAT_TEXT},
        {"Origin", "origin", "FROM", FORMAT_TEXT},
        {"NoEffect", "no_effect", "NO EFFECT", FORMAT_TEXT},
        {},
};

const struct column limit_columns[] = {
        {"Key", "key", "KEY", FORMAT_TEXT},
        {"Value", "value", "VALUE", FORMAT_TEXT},
        {"Origin", "origin", "FROM", FORMAT_TEXT},
        {},
};
