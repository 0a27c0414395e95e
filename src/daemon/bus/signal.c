/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Signals and properties. A property is what GetStatus calls the same, so there is one getter for
 * all; those that change are compared by fingerprint with what was told last. A signal is made anew
 * for each connection, since sd-bus binds a message to one. Owns nothing.
 */

#include "daemon/bus/signal.h"

#include <assert.h>
#include <string.h>

#include "daemon/bus/fields.h"
#include "daemon/bus/object.h"
#include "daemon/manager.h"

/* ---- jobs ---- */

static const char *signal_of(const struct job *job) {
        return job->state == JOB_QUEUED    ? "JobQueued"
               : job->state == JOB_RUNNING ? "JobStarted"
                                           : "JobFinished";
}

int bus_signal_job(sd_bus *link, struct job *job) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_signal(link, &m, BUS_OBJECT_PATH, BUS_OBJECT_INTERFACE,
                                      signal_of(job));
        if (r >= 0)
                r = sd_bus_message_append(m, "t", job->id);
        if (r >= 0 && job->state >= JOB_DONE)
                r = sd_bus_message_append(m, "s", job_state_to_string(job->state));
        if (r >= 0)
                r = bus_append_dict(m, bus_job_fields, job);
        return r < 0 ? r : sd_bus_send(link, m, NULL);
}

/* ---- properties ---- */

static const char *const changing[] = {
        "State",   "Mode",   "MaxConcurrent", "StartRate", "CPUQuota",     "CPUBackend",
        "Running", "Queued", "VMs",           "Waiters",   "BytesToClear",
};
static_assert(ARRAY_SIZE(changing) <= BUS_PROPERTIES_MAX, "more than there is room for");

static const struct bus_field *find_field(const char *name) {
        const struct bus_field *field = bus_status_fields;

        while (field->key && strcmp(field->key, name) != 0)
                field++;
        return field->key ? field : NULL;
}

/* FNV-1a of a text, a number as it is: two that differ look the same once in 2^64 times. */
static uint64_t fingerprint(const struct bus_field *field, struct manager *m) {
        uint64_t print = UINT64_C(0xcbf29ce484222325);
        struct bus_value value = {};

        if (!bus_field_get(field, m, &value))
                return 0;
        if (field->type != SD_BUS_TYPE_STRING)
                return value.t;
        for (const char *c = value.s; *c; c++)
                print = (print ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
        return print;
}

unsigned bus_properties_look(struct bus_properties *p, struct manager *m,
                             const char *ret[static BUS_PROPERTIES_MAX + 1]) {
        unsigned n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(changing); i++) {
                const struct bus_field *field = find_field(changing[i]);
                uint64_t print = field ? fingerprint(field, m) : 0;

                if (print != p->prints[i])
                        ret[n++] = changing[i];
                p->prints[i] = print;
        }
        ret[n] = NULL;
        return n;
}

int bus_signal_properties(sd_bus *link, const char *const *names) {
        /* sd-bus only reads them, but does not say so. */
        return sd_bus_emit_properties_changed_strv(link, BUS_OBJECT_PATH, BUS_OBJECT_INTERFACE,
                                                   (char **)(uintptr_t)names);
}

int bus_property_append(sd_bus_message *reply, const char *name, struct manager *m) {
        const struct bus_field *field = find_field(name);
        struct bus_value value = {};

        if (!field)
                return -ENOENT;
        if (!bus_field_get(field, m, &value)) {
                value = (struct bus_value){.t = field->type == 't' ? USEC_INFINITY : 0};
                if (field->type == SD_BUS_TYPE_STRING)
                        value.s = "";
        }
        return bus_append_value(reply, field->type, &value);
}
