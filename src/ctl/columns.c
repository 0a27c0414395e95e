/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One table per kind of record. A row has the daemon's key, the key in JSON, the title in text, and
 * the format, then its words in "show" and its rank (table.h). A column without title is in no
 * table, since a line has no room for it. The daemon's end is src/daemon/bus/fields.c. The manual
 * page explains the JSON keys.
 */

#include "ctl/columns.h"

const struct column status_columns[] = {
        {"Version", "version", "Version", FORMAT_TEXT, NULL, 0},
        {"PID", "pid", "PID", FORMAT_NUMBER, NULL, 0},
        {"UptimeUSec", "uptime_us", "Up", FORMAT_USEC, NULL, 0},
        {"StartedAt", "started_at", "Started", FORMAT_DATE, NULL, 0},
        {"State", "state", "State", FORMAT_TEXT, NULL, 0},
        {"DrainReason", "drain_reason", "Drains for", FORMAT_TEXT, NULL, 0},
        {"Mode", "mode", "Mode", FORMAT_TEXT, NULL, 0},
        {"MaxConcurrent", "max_concurrent", "Max concurrent", FORMAT_NUMBER, NULL, 0},
        {"Running", "running", "Running", FORMAT_NUMBER, NULL, 0},
        {"Found", "found", "Found", FORMAT_NUMBER, NULL, 0},
        {"Overdue", "overdue", "Overdue", FORMAT_NUMBER, NULL, 0},
        {"Queued", "queued", "Queued", FORMAT_NUMBER, NULL, 0},
        {"VMs", "vms", "VMs", FORMAT_NUMBER, NULL, 0},
        {"Connections", "connections", "Connections", FORMAT_NUMBER, NULL, 0},
        {"BytesToClear", "bytes_to_clear", "To clear", FORMAT_SIZE, NULL, 0},
        {"ETAUSec", "eta_us", "Left", FORMAT_ABOUT, NULL, 0},
        {"Why", "why", "Waits because of", FORMAT_TEXT, NULL, 0},
        {"NextStartUSec", "next_start_us", "Next start in", FORMAT_USEC, NULL, 0},
        {"OldestWaitUSec", "oldest_wait_us", "Longest wait", FORMAT_USEC, NULL, 0},
        {"MemoryAvailable", "memory_available", "Memory available", FORMAT_SIZE, NULL, 0},
        {"MemoryPressure", "memory_pressure", "Memory pressure", FORMAT_SHARE, NULL, 0},
        {"Done", "done", "Done", FORMAT_NUMBER, NULL, 0},
        {"Ungoverned", "ungoverned", "Ungoverned", FORMAT_NUMBER, NULL, 0},
        {"Interrupted", "interrupted", "Interrupted", FORMAT_NUMBER, NULL, 0},
        {"Superseded", "superseded", "Superseded", FORMAT_NUMBER, NULL, 0},
        {"Failed", "failed", "Failed", FORMAT_NUMBER, NULL, 0},
        {"Foreign", "foreign", "Foreign", FORMAT_NUMBER, NULL, 0},
        {"Lost", "lost", "Lost", FORMAT_NUMBER, NULL, 0},
        {"Unreported", "unreported", "Unreported", FORMAT_NUMBER, NULL, 0},
        {"Begun", "begun", "Begun", FORMAT_NUMBER, NULL, 0},
        {"Starved", "starved", "Starved", FORMAT_NUMBER, NULL, 0},
        {"StartRate", "start_rate", "Starts per hour", FORMAT_NUMBER, NULL, 0},
        {"CPUQuota", "cpu_quota", "CPU quota (us per s)", FORMAT_NUMBER, NULL, 0},
        {"CPUBackend", "cpu_backend", "CPU cap by", FORMAT_TEXT, NULL, 0},
        {"CPUReason", "cpu_reason", "because", FORMAT_TEXT, NULL, 0},
        {"Unenforced", "unenforced", "Not capped", FORMAT_NUMBER, NULL, 0},
        {"Unmoved", "unmoved", "Not moved", FORMAT_NUMBER, NULL, 0},
        {"Waiters", "waiters", "Wait for memory", FORMAT_NUMBER, NULL, 0},
        {"Accounting", "accounting", "Accounting", FORMAT_TEXT, NULL, 0},
        {"CGroup", "cgroup", "CGroup", FORMAT_TEXT, NULL, 0},
        {},
};

const struct column vm_columns[] = {
        {"Name", "name", "NAME", FORMAT_TEXT, "Name", 0},
        {"UUID", "uuid", NULL, FORMAT_TEXT, "UUID", 0},
        {"PID", "pid", "WORKER-PID", FORMAT_NUMBER, "PID of the worker", 3},
        {"VMMPID", "vmm_pid", "VMM-PID", FORMAT_NUMBER, "PID of the VMM", 2},
        {"Unit", "unit", "UNIT", FORMAT_TEXT, "Unit", 6},
        {"Worker", "worker", NULL, FORMAT_TEXT, "Worker", 0},
        {"State", "state", "STATE", FORMAT_TEXT, "State", 0},
        {"MemBytes", "mem_bytes", "MEMORY", FORMAT_SIZE, "Memory, as it claims", 1},
        {"CPUUSec", "cpu_us", "CPU", FORMAT_USEC, "CPU time of the worker", 5},
        {"CGroup", "cgroup", NULL, FORMAT_TEXT, "CGroup", 0},
        {"Connected", "connected", "CONNECTED", FORMAT_BOOL, "Connected", 4},
        {"Quiet", "quiet", "QUIET", FORMAT_BOOL, "Quiet", 7},
        {"Fencing", "fencing", "FENCING", FORMAT_TEXT, "Fencing", 8},
        {},
};

const struct column job_columns[] = {
        {"Id", "id", "ID", FORMAT_NUMBER, "Job", 0},
        {"VM", "vm", "VM", FORMAT_TEXT, "VM", 0},
        {"UUID", "uuid", NULL, FORMAT_TEXT, "UUID", 0},
        {"Unit", "unit", "UNIT", FORMAT_TEXT, "Unit", 13},
        {"PID", "pid", "WORKER-PID", FORMAT_NUMBER, "PID of the worker", 14},
        {"Kind", "kind", "KIND", FORMAT_TEXT, "Kind", 5},
        {"State", "state", "STATE", FORMAT_TEXT, "State", 0},
        {"Place", "place", "PLACE", FORMAT_NUMBER, "Place in the queue", 3},
        {"Why", "why", "WHY", FORMAT_TEXT, "Waits because of", 0},
        {"Seq", "seq", NULL, FORMAT_NUMBER, "Number of the worker's", 0},
        {"Bytes", "bytes", "SIZE", FORMAT_SIZE, "Size, as it claims", 4},
        {"BytesLeft", "bytes_left", "LEFT", FORMAT_SIZE, "Left of it", 11},
        {"Rate", "rate", "RATE/S", FORMAT_SIZE, "Per second", 12},
        {"Progress", "progress_percent", "PROGRESS", FORMAT_BAR, "Progress", 7},
        {"ETAUSec", "eta_us", "ETA", FORMAT_ABOUT, "Ends in", 0},
        {"QueuedAt", "queued_at", NULL, FORMAT_DATE, "Asked at", 0},
        {"StartedAt", "started_at", "STARTED", FORMAT_DATE, "Started at", 9},
        {"EndedAt", "ended_at", "ENDED", FORMAT_DATE, "Ended at", 8},
        {"WaitedUSec", "waited_us", "WAITED", FORMAT_USEC, "Waited", 1},
        {"RanUSec", "ran_us", "RAN", FORMAT_USEC, "Ran", 6},
        {"CPUUSec", "cpu_us", "CPU", FORMAT_USEC, "CPU time", 10},
        {"Error", "error", "ERROR", FORMAT_ERROR, "Error", 2},
        {"RC", "rc", NULL, FORMAT_NUMBER, "rc", 0},
        {"RRC", "rrc", NULL, FORMAT_NUMBER, "rrc", 0},
        {"CGroup", "cgroup", NULL, FORMAT_TEXT, "CGroup", 0},
        {},
};

const struct column change_columns[] = {
        {"Key", "key", "KEY", FORMAT_TEXT, NULL, 0},
        {"Before", "before", "BEFORE", FORMAT_TEXT, NULL, 0},
        {"Now", "now", "NOW", FORMAT_TEXT, NULL, 0},
        {"Origin", "origin", "FROM", FORMAT_TEXT, NULL, 0},
        {"NoEffect", "no_effect", "NO EFFECT", FORMAT_TEXT, NULL, 0},
        {},
};

const struct column limit_columns[] = {
        {"Key", "key", "KEY", FORMAT_TEXT, NULL, 0},
        {"Value", "value", "VALUE", FORMAT_TEXT, NULL, 0},
        {"Origin", "origin", "FROM", FORMAT_TEXT, NULL, 0},
        {},
};
