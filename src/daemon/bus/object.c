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

#include "daemon/bus/change.h"
#include "daemon/bus/error.h"
#include "daemon/bus/fields.h"
#include "daemon/bus/signal.h"
#include "daemon/bus/wait.h"
#include "daemon/config/keys.h"
#include "daemon/manager.h"
#include "daemon/metrics/metrics.h"

#define UNREAD_MAX     4   /* messages that wait to be written to one client */
#define UNREAD_MAX_BUS 100 /* ... to the bus, which reads for all of its clients */
#define FAILURES_MAX   5

static void messagep_unref(sd_bus_message **m) {
        sd_bus_message_unref(*m);
}

static int append_job_list(sd_bus_message *reply, struct job_list *jobs) {
        struct job *job;
        int r;

        TAILQ_FOREACH (job, jobs, link) {
                r = bus_append_dict(reply, bus_job_fields, job);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int append_running(sd_bus_message *reply, struct worker_list *workers) {
        struct worker *worker;
        int r;

        TAILQ_FOREACH (worker, workers, link) {
                if (!worker->job || worker->job->state != JOB_RUNNING)
                        continue;
                r = bus_append_dict(reply, bus_job_fields, worker->job);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int append_jobs(sd_bus_message *reply, struct manager *manager) {
        int r;

        r = append_job_list(reply, &manager->history);
        if (r < 0)
                return r;
        r = append_running(reply, &manager->workers);
        if (r < 0)
                return r;
        return append_job_list(reply, &manager->governor.queue.waiting);
}

/* The newest first. */
static int append_failures(sd_bus_message *reply, struct manager *manager) {
        unsigned left = FAILURES_MAX;
        struct job *job;
        int r;

        TAILQ_FOREACH_REVERSE(job, &manager->history, job_list, link) {
                if (job_went_well(job) || job->state == JOB_UNGOVERNED)
                        continue;
                if (left-- == 0)
                        break;
                r = bus_append_dict(reply, bus_job_fields, job);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int append_vms(sd_bus_message *reply, struct manager *manager) {
        struct worker *worker;
        int r;

        TAILQ_FOREACH (worker, &manager->workers, link) {
                r = bus_append_dict(reply, bus_vm_fields, worker);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- the object ---- */

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

static int reply_list(sd_bus_message *call, struct bus_object *o, sd_bus_error *error,
                      int (*append)(sd_bus_message *reply, struct manager *manager)) {
        _cleanup_(messagep_unref) sd_bus_message *reply = NULL;
        int r;

        r = reply_new(&reply, call, error);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "a{sv}");
        if (r < 0)
                return r;
        r = append(reply, o->manager);
        if (r < 0)
                return r;
        r = sd_bus_message_close_container(reply);
        if (r < 0)
                return r;
        return sd_bus_send(NULL, reply, NULL);
}

static int method_list_failures(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        return reply_list(call, userdata, error, append_failures);
}

static int method_get_status(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(messagep_unref) sd_bus_message *reply = NULL;
        struct bus_object *o = userdata;
        int r;

        r = reply_new(&reply, call, error);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "{sv}");
        if (r >= 0)
                r = bus_append_entries(reply, bus_status_fields, o->manager);
        if (r >= 0)
                r = bus_append_entries(reply, bus_service_fields, o->service);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_list_vms(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        return reply_list(call, userdata, error, append_vms);
}

static int method_list_jobs(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        return reply_list(call, userdata, error, append_jobs);
}

static int method_get_metrics(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(messagep_unref) sd_bus_message *reply = NULL;
        _cleanup_(freep) char *text = NULL;
        struct bus_object *o = userdata;
        int r;

        r = reply_new(&reply, call, error);
        if (r < 0)
                return r;
        r = metrics_text(&text, o->manager, METRICS_OPENMETRICS);
        if (r < 0)
                return r;
        r = sd_bus_message_append(reply, "s", text);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static struct job *find_job(struct manager *manager, uint64_t id) {
        struct worker *worker;
        struct job *job;

        TAILQ_FOREACH (worker, &manager->workers, link) {
                if (worker->job && worker->job->id == id)
                        return worker->job;
        }
        TAILQ_FOREACH (job, &manager->history, link) {
                if (job->id == id)
                        return job;
        }
        return NULL;
}

static int method_get_job(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(messagep_unref) sd_bus_message *reply = NULL;
        struct bus_object *o = userdata;
        struct job *job;
        uint64_t id;
        int r;

        r = sd_bus_message_read(call, "t", &id);
        if (r < 0)
                return r;
        job = find_job(o->manager, id);
        if (!job)
                return sd_bus_error_setf(error, BUS_ERROR_NO_JOB,
                                         "There is no job %" PRIu64 ", or it is forgotten", id);
        r = reply_new(&reply, call, error);
        if (r < 0)
                return r;
        r = bus_append_dict(reply, bus_job_fields, job);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* ---- GetLimits ---- */

static int append_limit(sd_bus_message *reply, const struct config *config, size_t i) {
        char origin[512];

        return sd_bus_message_append(
                reply, "(sss)", config_keys[i].key, config->origins[i].text,
                config_describe_origin(&config->origins[i], origin, sizeof(origin)));
}

static int method_get_limits(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(messagep_unref) sd_bus_message *reply = NULL;
        struct bus_object *o = userdata;
        int r;

        r = reply_new(&reply, call, error);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "(sss)");
        for (size_t i = 0; i < n_config_keys && r >= 0; i++)
                if (config_keys[i].live)
                        r = append_limit(reply, o->manager->config, i);
        if (r < 0)
                return r;
        r = sd_bus_message_close_container(reply);
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
#define ACTS(name, function) SD_BUS_METHOD(name, "", "", function, SD_BUS_VTABLE_UNPRIVILEGED)
#define SHOWS(name, type)                                                                          \
        SD_BUS_PROPERTY(name, type, property_get_status, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

const sd_bus_vtable bus_object_vtable[] = {
        SD_BUS_VTABLE_START(0),
        METHOD("GetStatus", NULL, , "a{sv}", SD_BUS_PARAM(status), method_get_status),
        METHOD("GetLimits", NULL, , "a(sss)", SD_BUS_PARAM(limits), method_get_limits),
        METHOD("ListVMs", NULL, , "aa{sv}", SD_BUS_PARAM(vms), method_list_vms),
        METHOD("ListJobs", NULL, , "aa{sv}", SD_BUS_PARAM(jobs), method_list_jobs),
        METHOD("ListFailures", NULL, , "aa{sv}", SD_BUS_PARAM(jobs), method_list_failures),
        METHOD("GetJob", "t", SD_BUS_PARAM(id), "a{sv}", SD_BUS_PARAM(job), method_get_job),
        METHOD("GetMetrics", NULL, , "s", SD_BUS_PARAM(openmetrics), method_get_metrics),
        METHOD("SetLimits", "a(ss)", SD_BUS_PARAM(settings), "", , bus_method_set_limits),
        METHOD("WaitMemory", "tt", SD_BUS_PARAM(bytes) SD_BUS_PARAM(timeout_usec), "t",
               SD_BUS_PARAM(available), bus_method_wait_memory),
        METHOD("WaitQuiet", "st", SD_BUS_PARAM(what) SD_BUS_PARAM(timeout_usec), "u",
               SD_BUS_PARAM(known), bus_method_wait_quiet),
        METHOD("Adopt", "u", SD_BUS_PARAM(pid), "", , bus_method_adopt),
        ACTS("Drain", bus_method_drain),
        ACTS("Resume", bus_method_resume),
        ACTS("Reload", bus_method_reload),
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
