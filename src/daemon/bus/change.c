/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The methods that change something. SetLimits takes all of its settings or none. They are checked
 * as a whole, as a file would be, and last until the configuration is read again. The others are
 * service.c's, which does the same for a signal or for PID 1, and adopt.c's. Owns nothing.
 */

#include "daemon/bus/change.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/adopt/adopt.h"
#include "daemon/bus/dict.h"
#include "daemon/bus/error.h"
#include "daemon/bus/object.h"
#include "daemon/manager.h"
#include "daemon/runtime/log.h"
#include "daemon/service/service.h"
#include "daemon/worker/hurry.h"

/* ---- who asks ---- */

#define CALLER_MAX 64

/* On a bus only its name there is known without waiting for an answer. */
static const char *caller_of(sd_bus_message *call, char buffer[static CALLER_MAX]) {
        sd_bus *link = sd_bus_message_get_bus(call);
        sd_bus_creds *creds = NULL;
        pid_t pid = 0;
        uid_t uid;

        (void)snprintf(buffer, CALLER_MAX, "%s", sd_bus_message_get_sender(call) ?: "somebody");
        if (sd_bus_is_bus_client(link) > 0 ||
            sd_bus_get_owner_creds(link, SD_BUS_CREDS_EUID | SD_BUS_CREDS_PID, &creds) < 0)
                return buffer;
        (void)sd_bus_creds_get_pid(creds, &pid);
        if (sd_bus_creds_get_euid(creds, &uid) >= 0)
                (void)snprintf(buffer, CALLER_MAX, "uid %u, pid %d", uid, (int)pid);
        sd_bus_creds_unref(creds);
        return buffer;
}

/* ---- what changes: the answer is a list of it ---- */

static const struct bus_field change_fields[] = {
        BUS_MEMBER_AS('s', "Key", struct config_change, key),
        BUS_MEMBER_AS('s', "Before", struct config_change, before),
        BUS_MEMBER_AS('s', "Now", struct config_change, now),
        BUS_MEMBER_AS('s', "Origin", struct config_change, origin),
        BUS_MEMBER_AS('s', "NoEffect", struct config_change, note),
        {},
};

struct answer {
        sd_bus_message *m; /* owned */
        int r;             /* the first error */
        struct config_listener listener;
};

static void on_change(void *userdata, const struct config_change *change) {
        struct answer *a = userdata;

        if (a->r >= 0)
                a->r = bus_append_dict(a->m, change_fields, (void *)(uintptr_t)change);
}

static int answer_begin(struct answer *ret, sd_bus_message *call) {
        *ret = (struct answer){.listener = {on_change, ret}};
        ret->r = sd_bus_message_new_method_return(call, &ret->m);
        if (ret->r >= 0)
                ret->r = sd_bus_message_open_container(ret->m, SD_BUS_TYPE_ARRAY, "a{sv}");
        return ret->r;
}

static int answer_send(struct answer *a) {
        if (a->r >= 0)
                a->r = sd_bus_message_close_container(a->m);
        return a->r < 0 ? a->r : sd_bus_send(NULL, a->m, NULL);
}

static void answer_deinit(struct answer *a) {
        sd_bus_message_unref(a->m);
}

/* ---- SetLimits ---- */

/* Keys have dashes; C and Python have taught people to write underscores. */
static void use_dashes(const char *key, char *ret, size_t size) {
        (void)snprintf(ret, size, "%s", key);
        for (char *c = ret; *c; c++)
                if (*c == '_')
                        *c = '-';
}

static int set_one(struct config *config, const char *text, const char *value,
                   sd_bus_error *error) {
        char key[64];
        struct config_setting setting = {.key = key, .value = value, .file = "pv-reaperctl set"};
        const char *why = NULL;
        int r;

        use_dashes(text, key, sizeof(key));
        why = config_instead(NULL, key);
        if (why)
                return sd_bus_error_setf(error, BUS_ERROR_SETTING, "%s= is gone: %s", key, why);
        if (!config_is_live(key))
                return sd_bus_error_setf(error, BUS_ERROR_SETTING,
                                         "no key %s can be changed while the daemon runs", text);
        r = config_set(config, &setting, &why);
        if (r < 0 && r != -ENOMEM)
                return sd_bus_error_setf(error, BUS_ERROR_SETTING, "%s=%s: must be %s", key, value,
                                         why ? why : "another value");
        return r;
}

static int set_all(struct config *config, sd_bus_message *call, sd_bus_error *error) {
        const char *key, *value;
        char why[512];
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
        if (config_check_silently(config, why, sizeof(why)) < 0)
                return sd_bus_error_set(error, BUS_ERROR_SETTING, why);
        return 0;
}

int bus_method_set_limits(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(config_freep) struct config *wanted = NULL;
        _cleanup_(answer_deinit) struct answer answer = {};
        struct bus_object *o = userdata;
        char who[CALLER_MAX];
        int r;

        r = config_copy(&wanted, o->manager->config);
        if (r < 0)
                return r;
        r = set_all(wanted, call, error);
        if (r >= 0)
                r = answer_begin(&answer, call);
        if (r < 0)
                return r;
        service_configure(o->service, wanted,
                          &(struct service_caller){caller_of(call, who), &answer.listener});
        return answer_send(&answer);
}

/* ---- the others ---- */

int bus_method_drain(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct bus_object *o = userdata;
        char who[CALLER_MAX];

        service_drain(o->service, caller_of(call, who));
        return sd_bus_reply_method_return(call, NULL);
}

int bus_method_resume(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct bus_object *o = userdata;
        char who[CALLER_MAX];

        if (service_resume(o->service, caller_of(call, who)) < 0)
                return sd_bus_error_setf(error, BUS_ERROR_STOPPING,
                                         "%s is being stopped: this drain cannot be ended",
                                         service_drain_reason(o->service));
        return sd_bus_reply_method_return(call, NULL);
}

int bus_method_reload(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(answer_deinit) struct answer answer = {};
        struct bus_object *o = userdata;
        char who[CALLER_MAX];
        int r;

        r = answer_begin(&answer, call);
        if (r < 0)
                return r;
        r = service_reload(o->service,
                           &(struct service_caller){caller_of(call, who), &answer.listener});
        if (r < 0)
                return sd_bus_error_set(error, BUS_ERROR_CONFIG,
                                        "The configuration has an error, and the old one stays; "
                                        "pv-reaperd --check-config says where");
        return answer_send(&answer);
}

/* Hurry and CancelHurry: of a VM or job, or of all. */
int bus_method_hurry(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        bool on = strcmp(sd_bus_message_get_member(call), "Hurry") == 0;
        struct manager *m = ((struct bus_object *)userdata)->manager;
        _cleanup_(freep) char *name = NULL;
        char who[CALLER_MAX];
        const char *what;
        unsigned n;
        int r;

        r = sd_bus_message_read(call, "s", &what);
        if (r < 0)
                return r;
        name = worker_escape_name(what, strlen(what) + 1);
        n = *what ? hurry_workers(&m->workers, what, on) : governor_n_left(&m->governor);
        if (*what && n == 0)
                return sd_bus_error_setf(error, BUS_ERROR_NO_JOB,
                                         "The daemon knows neither a VM nor a waiting job %s",
                                         name ? name : "");
        if (!*what && (!on || n > 0)) /* it ends when nothing is left */
                manager_hurry(m, on);
        log_info("an administrator %s %s (%s)", on ? "hurries" : "hurries no longer",
                 *what && name ? name : "all jobs", caller_of(call, who));
        return sd_bus_reply_method_return(call, "u", n);
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
