/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The methods that change something. SetLimits takes all of its settings or none. They are checked
 * as a whole, as a file would be, and last until the configuration is read again. The others are
 * service.c's, which does the same for a signal or for PID 1, and adopt.c's. Owns nothing.
 */

#include "daemon/bus/change.h"

#include <stdio.h>

#include "daemon/adopt/adopt.h"
#include "daemon/bus/error.h"
#include "daemon/bus/object.h"
#include "daemon/manager.h"
#include "daemon/runtime/log.h"
#include "daemon/service/service.h"

static int set_one(struct config *config, const char *key, const char *value, sd_bus_error *error) {
        struct config_setting setting = {.key = key, .value = value, .file = "pv-reaperctl set"};
        const char *why = NULL;
        int r;

        if (!config_is_live(key))
                return sd_bus_error_setf(error, BUS_ERROR_SETTING,
                                         "no key %s can be changed while the daemon runs", key);
        r = config_set(config, &setting, &why);
        if (r < 0 && r != -ENOMEM)
                return sd_bus_error_setf(error, BUS_ERROR_SETTING, "%s=%s: must be %s", key, value,
                                         why ? why : "another value");
        return r;
}

static int set_all(struct config *config, sd_bus_message *call, sd_bus_error *error) {
        const char *key, *value;
        int r;

        r = sd_bus_message_enter_container(call, SD_BUS_TYPE_ARRAY, "(ss)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(call, "(ss)", &key, &value)) > 0) {
                r = set_one(config, key, value, error);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        if (config_check(config) < 0)
                return sd_bus_error_set(
                        error, BUS_ERROR_SETTING,
                        "The values exclude each other; the daemon's log says which");
        return 0;
}

int bus_method_set_limits(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(config_freep) struct config *wanted = NULL;
        struct bus_object *o = userdata;
        struct manager *m = o->manager;
        int r;

        r = config_copy(&wanted, m->config);
        if (r < 0)
                return r;
        r = set_all(wanted, call, error);
        if (r < 0)
                return r;
        config_take_live(m->config, wanted);
        manager_apply(m);
        log_info("limits were changed over D-Bus: at most %u at once",
                 m->governor.effective.max_concurrent);
        return sd_bus_reply_method_return(call, NULL);
}

int bus_method_drain(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct bus_object *o = userdata;

        service_drain(o->service);
        return sd_bus_reply_method_return(call, NULL);
}

int bus_method_resume(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct bus_object *o = userdata;

        if (service_resume(o->service) < 0)
                return sd_bus_error_setf(error, BUS_ERROR_STOPPING,
                                         "%s is being stopped: this drain cannot be ended",
                                         service_drain_reason(o->service));
        return sd_bus_reply_method_return(call, NULL);
}

int bus_method_reload(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct bus_object *o = userdata;

        if (service_reload(o->service) < 0)
                return sd_bus_error_set(error, BUS_ERROR_CONFIG,
                                        "The configuration has an error, and the old one stays; "
                                        "the daemon's log says which");
        return sd_bus_reply_method_return(call, NULL);
}

/*
 * Each refusal has an error of its own, named by the word of its answer (adopt.h), for programs;
 * its message is a sentence for people. What could not be found out goes to sd-bus as an errno.
 */
int bus_method_adopt(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct bus_object *o = userdata;
        char text[ADOPT_TEXT_MAX], name[64];
        enum adopt_answer answer;
        uint32_t pid;
        int r;

        r = sd_bus_message_read(call, "u", &pid);
        if (r < 0)
                return r;
        r = adopt_process(o->manager->adopt, pid > INT32_MAX ? 0 : (pid_t)pid, &answer, text);
        if (r < 0)
                return r;
        if (answer == ADOPT_DONE)
                return sd_bus_reply_method_return(call, NULL);
        (void)snprintf(name, sizeof(name), BUS_ERROR_PREFIX "%s", adopt_answer_to_string(answer));
        return sd_bus_error_set(error, name, text);
}
