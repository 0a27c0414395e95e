/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One table per kind of record. A row has the daemon's key, the key in JSON, the title in text, and
 * the format, then its words in "show" and its rank (table.h). A column without title is in no
 * table, since a line has no room for it. The daemon's end is src/daemon/bus/fields.c. The manual
 * page explains the JSON keys.
 */

#include "ctl/columns.h"

const struct column status_columns[] = {
        {"Version", "version", "Version", FORMAT_TEXT, 0, NULL},
        {"PID", "pid", "PID", FORMAT_NUMBER, 0, NULL},
        {"UptimeUSec", "uptime_us", "Up", FORMAT_USEC, 0, NULL},
        {"StartedAt", "started_at", "Started", FORMAT_DATE, 0, NULL},
        {"State", "state", "State", FORMAT_TEXT, 0, NULL},
        {"DrainReason", "drain_reason", "Drains for", FORMAT_TEXT, 0, NULL},
        {"Mode", "mode", "Mode", FORMAT_TEXT, 0, NULL},
        {"MaxConcurrent", "max_concurrent", "Max concurrent", FORMAT_NUMBER, 0, NULL},
        {"Running", "running", "Running", FORMAT_NUMBER, 0, NULL},
        {"Found", "found", "Found", FORMAT_NUMBER, 0, NULL},
        {"Overdue", "overdue", "Overdue", FORMAT_NUMBER, 0, NULL},
        {"Queued", "queued", "Queued", FORMAT_NUMBER, 0, NULL},
        {"VMs", "vms", "VMs", FORMAT_NUMBER, 0, NULL},
        {"Connections", "connections", "Connections", FORMAT_NUMBER, 0, NULL},
        {"MaxVMs", "max_vms", "Room for VMs", FORMAT_NUMBER, 0, NULL},
        {"HandoffSocket", "handoff_socket", "Hand-off socket", FORMAT_TEXT, 0, NULL},
        {"BytesToClear", "bytes_to_clear", "To clear", FORMAT_SIZE, 0, NULL},
        {"ETAUSec", "eta_us", "Left", FORMAT_ABOUT, 0, NULL},
        {"Why", "why", "Waits because of", FORMAT_TEXT, 0, NULL},
        {"NextStartUSec", "next_start_us", "Next start in", FORMAT_USEC, 0, NULL},
        {"OldestWaitUSec", "oldest_wait_us", "Longest wait", FORMAT_USEC, 0, NULL},
        {"MemoryAvailable", "memory_available", "Memory available", FORMAT_SIZE, 0, NULL},
        {"MemoryPressure", "memory_pressure", "Memory pressure", FORMAT_SHARE, 0, NULL},
        {"Done", "done", "Done", FORMAT_NUMBER, 0, NULL},
        {"Ungoverned", "ungoverned", "Ungoverned", FORMAT_NUMBER, 0, NULL},
        {"Interrupted", "interrupted", "Interrupted", FORMAT_NUMBER, 0, NULL},
        {"Superseded", "superseded", "Superseded", FORMAT_NUMBER, 0, NULL},
        {"Failed", "failed", "Failed", FORMAT_NUMBER, 0, NULL},
        {"Foreign", "foreign", "Foreign", FORMAT_NUMBER, 0, NULL},
        {"Lost", "lost", "Lost", FORMAT_NUMBER, 0, NULL},
        {"Unreported", "unreported", "Unreported", FORMAT_NUMBER, 0, NULL},
        {"Begun", "begun", "Begun", FORMAT_NUMBER, 0, NULL},
        {"Hurried", "hurried", "Hurried", FORMAT_NUMBER, 0, NULL},
        {"Starved", "starved", "Starved", FORMAT_NUMBER, 0, NULL},
        {"StartRate", "start_rate", "Starts per hour", FORMAT_NUMBER, 0, NULL},
        {"CPUQuota", "cpu_quota", "CPU quota (us per s)", FORMAT_NUMBER, 0, NULL},
        {"CPUBackend", "cpu_backend", "CPU cap by", FORMAT_TEXT, 0, NULL},
        {"CPUReason", "cpu_reason", "because", FORMAT_TEXT, 0, NULL},
        {"Unenforced", "unenforced", "Not capped", FORMAT_NUMBER, 0, NULL},
        {"Unmoved", "unmoved", "Not moved", FORMAT_NUMBER, 0, NULL},
        {"Waiters", "waiters", "Wait for memory", FORMAT_NUMBER, 0, NULL},
        {"Accounting", "accounting", "Accounting", FORMAT_TEXT, 0, NULL},
        {"CGroup", "cgroup", "CGroup", FORMAT_TEXT, 0, NULL},
        {},
};

const struct column vm_columns[] = {
        {"Name", "name", "NAME", FORMAT_NAME, 0, "Name"},
        {"UUID", "uuid", NULL, FORMAT_TEXT, 0, "UUID"},
        {"PID", "pid", "WORKER-PID", FORMAT_NUMBER, 3, "PID of the worker"},
        {"VMMPID", "vmm_pid", "VMM-PID", FORMAT_NUMBER, 2, "PID of the VMM"},
        {"Unit", "unit", "UNIT", FORMAT_NAME, 6, "Unit"},
        {"Worker", "worker", NULL, FORMAT_TEXT, 0, "Worker"},
        {"State", "state", "STATE", FORMAT_TEXT, 0, "State"},
        {"MemBytes", "mem_bytes", "MEMORY", FORMAT_SIZE, 1, "Memory, as it claims"},
        {"CPUUSec", "cpu_us", "CPU", FORMAT_USEC, 5, "CPU time of the worker"},
        {"CGroup", "cgroup", NULL, FORMAT_TEXT, 0, "CGroup"},
        {"Connected", "connected", "CONNECTED", FORMAT_BOOL, 4, "Connected"},
        {"Quiet", "quiet", "QUIET", FORMAT_BOOL, 7, "Quiet"},
        {"Fencing", "fencing", "FENCING", FORMAT_TEXT, 8, "Fencing"},
        {},
};

const struct column job_columns[] = {
        {"Id", "id", "ID", FORMAT_NUMBER, 0, "Job"},
        {"VM", "vm", "VM", FORMAT_NAME, 0, "VM"},
        {"UUID", "uuid", NULL, FORMAT_TEXT, 0, "UUID"},
        {"Unit", "unit", "UNIT", FORMAT_NAME, 13, "Unit"},
        {"PID", "pid", "WORKER-PID", FORMAT_NUMBER, 14, "PID of the worker"},
        {"Kind", "kind", "KIND", FORMAT_TEXT, 5, "Kind"},
        {"State", "state", "STATE", FORMAT_TEXT, 0, "State"},
        {"Place", "place", "PLACE", FORMAT_NUMBER, 3, "Place in the queue"},
        {"Why", "why", "WHY", FORMAT_TEXT, 0, "Waits because of"},
        {"Seq", "seq", NULL, FORMAT_NUMBER, 0, "The worker's number for it"},
        {"Bytes", "bytes", "SIZE", FORMAT_SIZE, 4, "Size, as it claims"},
        {"BytesLeft", "bytes_left", "LEFT", FORMAT_SIZE, 11, "Left of it"},
        {"Rate", "rate", "RATE/S", FORMAT_SIZE, 12, "Per second"},
        {"Progress", "progress_percent", "PROGRESS", FORMAT_BAR, 7, "Progress"},
        {"ETAUSec", "eta_us", "ETA", FORMAT_ABOUT, 0, "Ends in"},
        {"QueuedAt", "queued_at", NULL, FORMAT_DATE, 0, "Asked at"},
        {"StartedAt", "started_at", "STARTED", FORMAT_DATE, 9, "Started at"},
        {"EndedAt", "ended_at", "ENDED", FORMAT_DATE, 8, "Ended at"},
        {"WaitedUSec", "waited_us", "WAITED", FORMAT_USEC, 1, "Waited"},
        {"RanUSec", "ran_us", "RAN", FORMAT_USEC, 6, "Ran"},
        {"CPUUSec", "cpu_us", "CPU", FORMAT_USEC, 10, "CPU time"},
        {"Error", "error", "ERROR", FORMAT_ERROR, 2, "Error"},
        {"RC", "rc", NULL, FORMAT_NUMBER, 0, "Return code (rc)"},
        {"RRC", "rrc", NULL, FORMAT_NUMBER, 0, "Reason code (rrc)"},
        {"CGroup", "cgroup", NULL, FORMAT_TEXT, 0, "CGroup"},
        {},
};

const struct column change_columns[] = {
        {"Key", "key", "KEY", FORMAT_TEXT, 0, NULL},
        {"Before", "before", "BEFORE", FORMAT_TEXT, 0, NULL},
        {"Now", "now", "NOW", FORMAT_TEXT, 0, NULL},
        {"Origin", "origin", "FROM", FORMAT_TEXT, 0, NULL},
        {"NoEffect", "no_effect", "NO EFFECT", FORMAT_TEXT, 0, NULL},
        {},
};

const struct column limit_columns[] = {
        {"Key", "key", "KEY", FORMAT_TEXT, 0, NULL},
        {"Value", "value", "VALUE", FORMAT_TEXT, 0, NULL},
        {"Origin", "origin", "FROM", FORMAT_TEXT, 0, NULL},
        {},
};
