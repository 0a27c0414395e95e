/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The object that clients see: its methods and properties. Everything is read on the spot and
 * nothing kept; fields.c says what the dictionaries hold. What changes is in change.c and
 * wait.c, signals and properties are in signal.c.
 *
 * A list of a thousand finished jobs is large, so a client that does not read what it already asked
 * for is refused another one: else it could make us hold any number of them.
 */

#include "daemon/bus/object.h"

#include <inttypes.h>
#include <string.h>

#include "daemon/bus/change.h"
#include "daemon/bus/error.h"
#include "daemon/bus/fields.h"
#include "daemon/bus/signal.h"
#include "daemon/bus/wait.h"
#include "daemon/config/keys.h"
#include "daemon/forecast.h"
#include "daemon/manager.h"
#include "daemon/metrics/metrics.h"

#define UNREAD_MAX     4   /* messages that wait to be written to one client */
#define UNREAD_MAX_BUS 100 /* ... to the bus, which reads for all of its clients */
#define FAILURES_MAX   5

/* ---- what is read: each of these appends all that the method of its name answers ---- */

static int append_status(sd_bus_message *reply, struct bus_object *o) {
        int r;

        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "{sv}");
        if (r >= 0)
                r = bus_append_entries(reply, bus_status_fields, o->manager);
        if (r >= 0)
                r = bus_append_entries(reply, bus_service_fields, o->service);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_limits(sd_bus_message *reply, struct bus_object *o) {
        const struct config_origin *origins = o->manager->config->origins;
        char origin[512];
        int r;

        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "(sss)");
        for (size_t i = 0; i < n_config_keys && r >= 0; i++)
                if (config_keys[i].live)
                        r = sd_bus_message_append(
                                reply, "(sss)", config_keys[i].key, origins[i].text,
                                config_describe_origin(&origins[i], origin, sizeof(origin)));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_vms(sd_bus_message *reply, struct bus_object *o) {
        struct worker *worker;
        int r;

        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "a{sv}");
        TAILQ_FOREACH (worker, &o->manager->workers.list, link) {
                if (r >= 0)
                        r = bus_append_dict(reply, bus_vm_fields, worker);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_job_list(sd_bus_message *reply, struct job_list *jobs) {
        struct job *job;
        int r = 0;

        TAILQ_FOREACH (job, jobs, link) {
                if (r >= 0)
                        r = bus_append_dict(reply, bus_job_fields, job);
        }
        return r;
}

static int append_running(sd_bus_message *reply, struct worker_list *workers) {
        struct worker *worker;
        int r = 0;

        TAILQ_FOREACH (worker, workers, link) {
                if (r >= 0 && worker_running_job(worker))
                        r = bus_append_dict(reply, bus_job_fields, worker->job);
        }
        return r;
}

static int append_jobs(sd_bus_message *reply, struct bus_object *o) {
        struct manager *m = o->manager;
        int r;

        (void)forecast_all(m); /* place and ETA of each that waits */
        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "a{sv}");
        if (r >= 0)
                r = append_job_list(reply, &m->ledger.history);
        if (r >= 0)
                r = append_running(reply, &m->workers.list);
        if (r >= 0)
                r = append_job_list(reply, &m->governor.queue.waiting);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* The newest first. */
static int append_failures(sd_bus_message *reply, struct bus_object *o) {
        unsigned left = FAILURES_MAX;
        struct job *job;
        int r;

        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "a{sv}");
        TAILQ_FOREACH_REVERSE(job, &o->manager->ledger.history, job_list, link) {
                if (r < 0 || left == 0)
                        break;
                if (job_went_well(job) || job->state == JOB_UNGOVERNED)
                        continue;
                left--;
                r = bus_append_dict(reply, bus_job_fields, job);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_text(sd_bus_message *reply, struct bus_object *o, enum metrics_format format) {
        _cleanup_(freep) char *text = NULL;
        int r;

        r = metrics_text(&text, o->manager, format);
        return r < 0 ? r : sd_bus_message_append(reply, "s", text);
}

static int append_metrics(sd_bus_message *reply, struct bus_object *o) {
        return append_text(reply, o, METRICS_OPENMETRICS);
}

static int append_textfile(sd_bus_message *reply, struct bus_object *o) {
        return append_text(reply, o, METRICS_TEXTFILE);
}

static const struct {
        const char *method;
        int (*append)(sd_bus_message *reply, struct bus_object *object);
} readers[] = {
        {"GetStatus", append_status},
        {"GetLimits", append_limits},
        {"ListVMs", append_vms},
        {"ListJobs", append_jobs},
        {"ListFailures", append_failures},
        {"GetMetrics", append_metrics},
        {"GetTextfileMetrics", append_textfile},
};

static int reply_new(sd_bus_message **ret, sd_bus_message *call, sd_bus_error *error) {
        sd_bus *link = sd_bus_message_get_bus(call);
        uint64_t unread;
        int r;

        r = sd_bus_get_n_queued_write(link, &unread);
        if (r < 0)
                return r;
        if (unread >= (sd_bus_is_bus_client(link) > 0 ? UNREAD_MAX_BUS : UNREAD_MAX))
                return sd_bus_error_set(error, BUS_ERROR_UNREAD,
                                        "Read the answers to earlier calls first");
        return sd_bus_message_new_method_return(call, ret);
}

static int method_read(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = reply_new(&reply, call, error);
        for (size_t i = 0; i < ARRAY_SIZE(readers) && r >= 0; i++)
                if (strcmp(readers[i].method, sd_bus_message_get_member(call)) == 0)
                        r = readers[i].append(reply, userdata);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static struct job *find_job(struct manager *manager, uint64_t id) {
        struct worker *worker;
        struct job *job;

        TAILQ_FOREACH (worker, &manager->workers.list, link) {
                if (worker->job && worker->job->id == id)
                        return worker->job;
        }
        TAILQ_FOREACH (job, &manager->ledger.history, link) {
                if (job->id == id)
                        return job;
        }
        return NULL;
}

static int method_get_job(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        struct bus_object *o = userdata;
        struct job *job;
        uint64_t id;
        int r;

        r = sd_bus_message_read(call, "t", &id);
        if (r < 0)
                return r;
        job = find_job(o->manager, id);
        if (!job)
                return sd_bus_error_setf(
                        error, BUS_ERROR_NO_JOB,
                        "There is no job %" PRIu64 ", or the daemon has forgotten it", id);
        (void)forecast_all(o->manager);
        r = reply_new(&reply, call, error);
        if (r >= 0)
                r = bus_append_dict(reply, bus_job_fields, job);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* ---- what there is ---- */

static int property_get_status(sd_bus *bus, const char *path, const char *interface,
                               const char *property, sd_bus_message *reply, void *userdata,
                               sd_bus_error *error) {
        struct bus_object *o = userdata;

        return bus_property_append(reply, property, o->manager);
}

#define METHOD(name, in, in_names, out, out_names, function)                                       \
        SD_BUS_METHOD_WITH_NAMES(name, in, in_names, out, out_names, function,                     \
                                 SD_BUS_VTABLE_UNPRIVILEGED)
#define READS(name, out, out_name) METHOD(name, NULL, , out, SD_BUS_PARAM(out_name), method_read)
#define ACTS(name, function)       SD_BUS_METHOD(name, "", "", function, SD_BUS_VTABLE_UNPRIVILEGED)
#define SHOWS(name, type)                                                                          \
        SD_BUS_PROPERTY(name, type, property_get_status, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

const sd_bus_vtable bus_object_vtable[] = {
        SD_BUS_VTABLE_START(0),
        READS("GetStatus", "a{sv}", status),
        READS("GetLimits", "a(sss)", limits),
        READS("ListVMs", "aa{sv}", vms),
        READS("ListJobs", "aa{sv}", jobs),
        READS("ListFailures", "aa{sv}", jobs),
        READS("GetMetrics", "s", openmetrics),
        READS("GetTextfileMetrics", "s", text),
        METHOD("GetJob", "t", SD_BUS_PARAM(id), "a{sv}", SD_BUS_PARAM(job), method_get_job),
        METHOD("SetLimits", "a(ss)", SD_BUS_PARAM(settings), "aa{sv}", SD_BUS_PARAM(changes),
               bus_method_set_limits),
        METHOD("WaitMemory", "tt", SD_BUS_PARAM(bytes) SD_BUS_PARAM(timeout_usec), "t",
               SD_BUS_PARAM(available), bus_method_wait_memory),
        METHOD("WaitQuiet", "st", SD_BUS_PARAM(what) SD_BUS_PARAM(timeout_usec), "u",
               SD_BUS_PARAM(known), bus_method_wait_quiet),
        METHOD("Adopt", "u", SD_BUS_PARAM(pid), "", , bus_method_adopt),
        METHOD("Hurry", "s", SD_BUS_PARAM(what), "u", SD_BUS_PARAM(known), bus_method_hurry),
        METHOD("CancelHurry", "s", SD_BUS_PARAM(what), "u", SD_BUS_PARAM(known), bus_method_hurry),
        ACTS("Drain", bus_method_drain),
        ACTS("Resume", bus_method_resume),
        METHOD("Reload", "", , "aa{sv}", SD_BUS_PARAM(changes), bus_method_reload),
        SD_BUS_SIGNAL_WITH_NAMES("JobQueued", "ta{sv}", SD_BUS_PARAM(id) SD_BUS_PARAM(job), 0),
        SD_BUS_SIGNAL_WITH_NAMES("JobStarted", "ta{sv}", SD_BUS_PARAM(id) SD_BUS_PARAM(job), 0),
        SD_BUS_SIGNAL_WITH_NAMES("JobFinished", "tsa{sv}",
                                 SD_BUS_PARAM(id) SD_BUS_PARAM(result) SD_BUS_PARAM(job), 0),
        SD_BUS_PROPERTY("Version", "s", property_get_status, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SHOWS("State", "s"),
        SHOWS("Mode", "s"),
        SHOWS("MaxConcurrent", "u"),
        SHOWS("StartRate", "t"),
        SHOWS("CPUQuota", "t"),
        SHOWS("CPUBackend", "s"),
        SHOWS("Running", "u"),
        SHOWS("Queued", "u"),
        SHOWS("VMs", "u"),
        SHOWS("Waiters", "u"),
        SHOWS("BytesToClear", "t"),
        SD_BUS_VTABLE_END,
};
