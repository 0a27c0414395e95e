/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The object that clients see: its methods and properties. Everything is read on the spot and
 * nothing kept; bus-fields.c says what the dictionaries hold. What changes is in bus-change.c.
 *
 * A list of a thousand finished jobs is large, so a client that does not read what it already asked
 * for is refused another one: else it could make us hold any number of them.
 */

#include "daemon/bus-object.h"

#include "daemon/bus-adopt.h"
#include "daemon/bus-change.h"
#include "daemon/bus-fields.h"
#include "daemon/manager.h"
#include "daemon/metrics.h"

#define ERROR_UNREAD "org.pvreaper.Error.AnswersUnread"
#define UNREAD_MAX   4 /* answers that wait to be written to one client */

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
        uint64_t unread;
        int r;

        r = sd_bus_get_n_queued_write(sd_bus_message_get_bus(call), &unread);
        if (r < 0)
                return r;
        if (unread >= UNREAD_MAX)
                return sd_bus_error_set(error, ERROR_UNREAD,
                                        "Read the answers to earlier calls first");
        return sd_bus_message_new_method_return(call, ret);
}

static int reply_list(sd_bus_message *call, struct manager *manager, sd_bus_error *error,
                      int (*append)(sd_bus_message *reply, struct manager *manager)) {
        _cleanup_(messagep_unref) sd_bus_message *reply = NULL;
        int r;

        r = reply_new(&reply, call, error);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "a{sv}");
        if (r < 0)
                return r;
        r = append(reply, manager);
        if (r < 0)
                return r;
        r = sd_bus_message_close_container(reply);
        if (r < 0)
                return r;
        return sd_bus_send(NULL, reply, NULL);
}

static int method_get_status(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(messagep_unref) sd_bus_message *reply = NULL;
        int r;

        r = reply_new(&reply, call, error);
        if (r < 0)
                return r;
        r = bus_append_dict(reply, bus_status_fields, userdata);
        if (r < 0)
                return r;
        return sd_bus_send(NULL, reply, NULL);
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
        int r;

        r = reply_new(&reply, call, error);
        if (r < 0)
                return r;
        r = metrics_text(&text, userdata, METRICS_OPENMETRICS);
        if (r < 0)
                return r;
        r = sd_bus_message_append(reply, "s", text);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int property_get_version(sd_bus *bus, const char *path, const char *interface,
                                const char *property, sd_bus_message *reply, void *userdata,
                                sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", PVR_VERSION);
}

const sd_bus_vtable bus_object_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_NAMES("GetStatus", NULL, , "a{sv}", SD_BUS_PARAM(status),
                                 method_get_status, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_NAMES("ListVMs", NULL, , "aa{sv}", SD_BUS_PARAM(vms), method_list_vms,
                                 SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_NAMES("ListJobs", NULL, , "aa{sv}", SD_BUS_PARAM(jobs), method_list_jobs,
                                 SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_NAMES("GetMetrics", NULL, , "s", SD_BUS_PARAM(openmetrics),
                                 method_get_metrics, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_NAMES("SetLimits", "a(ss)", SD_BUS_PARAM(settings), "", ,
                                 bus_method_set_limits, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_NAMES("WaitMemory", "tt", SD_BUS_PARAM(bytes) SD_BUS_PARAM(timeout_usec),
                                 "t", SD_BUS_PARAM(available), bus_method_wait_memory,
                                 SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_NAMES("Adopt", "u", SD_BUS_PARAM(pid), "", , bus_method_adopt,
                                 SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Version", "s", property_get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("MaxConcurrent", "u", NULL,
                        offsetof(struct manager, governor.effective.max_concurrent), 0),
        SD_BUS_PROPERTY("Running", "u", NULL, offsetof(struct manager, governor.n_counted), 0),
        SD_BUS_PROPERTY("Queued", "u", NULL, offsetof(struct manager, governor.queue.n_waiting), 0),
        SD_BUS_VTABLE_END,
};
