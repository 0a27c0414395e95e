/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * SetLimits and WaitMemory. The latter is answered later: its call is kept in a wait, which is in
 * the list until it is answered or its connection goes, whichever comes first. A wait owns its
 * call, and with it a reference to the connection's sd_bus, but not the connection.
 *
 * SetLimits takes all of its settings or none. They are checked as a whole, as a file would be, and
 * last until the configuration is read again.
 */

#include "daemon/bus-change.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/size.h"
#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/memory.h"
#include "daemon/policy.h"

#define ERROR_TIMEOUT  "org.pvreaper.Error.Timeout"
#define ERROR_TOO_MANY "org.pvreaper.Error.TooManyWaiters"
#define ERROR_INVALID  SD_BUS_ERROR_INVALID_ARGS

/* ---- waiting ---- */

struct wait {
        struct memory_waiter waiter; /* first: it is what memory.c gives back */
        sd_bus_message *call;
        TAILQ_ENTRY(wait) link; /* in waits */
};

static TAILQ_HEAD(, wait) waits = TAILQ_HEAD_INITIALIZER(waits);

static void wait_free(struct wait *wait) {
        memory_leave(&wait->waiter);
        TAILQ_REMOVE(&waits, wait, link);
        sd_bus_message_unref(wait->call);
        free(wait);
}

static void on_waited(struct memory_waiter *waiter, int error, uint64_t available) {
        struct wait *wait = (struct wait *)waiter;
        char has[32], wants[32];

        format_size(has, sizeof(has), available);
        format_size(wants, sizeof(wants), waiter->bytes);
        if (error >= 0)
                (void)sd_bus_reply_method_return(wait->call, "t", available);
        else if (error == -ETIMEDOUT)
                (void)sd_bus_reply_method_errorf(wait->call, ERROR_TIMEOUT,
                                                 "%s of memory are available, not %s", has, wants);
        else
                (void)sd_bus_reply_method_errno(wait->call, error, NULL);
        wait_free(wait);
}

void bus_stop_waiting(sd_bus *link) {
        struct wait *wait, *next;

        for (wait = TAILQ_FIRST(&waits); wait; wait = next) {
                next = TAILQ_NEXT(wait, link);
                if (!link || sd_bus_message_get_bus(wait->call) == link)
                        wait_free(wait);
        }
}

int bus_method_wait_memory(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct manager *m = userdata;
        uint64_t bytes, timeout, now = manager_now(m);
        struct wait *wait;
        int r;

        r = sd_bus_message_read(call, "tt", &bytes, &timeout);
        if (r < 0)
                return r;
        wait = calloc(1, sizeof(*wait));
        if (!wait)
                return -ENOMEM;
        wait->waiter.bytes = bytes;
        wait->waiter.done = on_waited;
        wait->waiter.deadline = timeout > USEC_INFINITY - now ? USEC_INFINITY : now + timeout;
        r = memory_wait(m->memory, &wait->waiter);
        if (r < 0) {
                free(wait);
                return sd_bus_error_setf(error, ERROR_TOO_MANY, "%u wait already",
                                         (unsigned)MEMORY_WAITERS_MAX);
        }
        wait->call = sd_bus_message_ref(call);
        TAILQ_INSERT_TAIL(&waits, wait, link);
        return 1; /* it is answered later */
}

/* ---- changing ---- */

static int set_one(struct config *config, const char *key, const char *value, sd_bus_error *error) {
        struct config_setting setting = {.key = key, .value = value, .file = "pv-reaperctl set"};
        const char *why = NULL;
        int r;

        if (!config_is_live(key))
                return sd_bus_error_setf(error, ERROR_INVALID,
                                         "%s is no key that can be changed while the daemon runs",
                                         key);
        r = config_set(config, &setting, &why);
        if (r < 0 && r != -ENOMEM)
                return sd_bus_error_setf(error, ERROR_INVALID, "%s=%s: %s", key, value,
                                         why ? why : "not a value of it");
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
                return sd_bus_error_set(error, ERROR_INVALID,
                                        "The values do not go together; the daemon's log says "
                                        "which");
        return 0;
}

static void config_freep(struct config **config) {
        config_free(*config);
}

int bus_method_set_limits(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(config_freep) struct config *wanted = NULL;
        struct manager *m = userdata;
        int r;

        r = config_copy(&wanted, m->config);
        if (r < 0)
                return r;
        r = set_all(wanted, call, error);
        if (r < 0)
                return r;
        config_take_live(m->config, wanted);
        policy_apply(m);
        memory_changed(m->memory);
        log_info("limits were changed over the control socket: at most %u at once",
                 m->governor.effective.max_concurrent);
        return sd_bus_reply_method_return(call, NULL);
}
