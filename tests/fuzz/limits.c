/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The arguments of SetLimits, WaitMemory and WaitQuiet as they arrive over the control socket,
 * through the real methods. The input is split at NUL bytes into keys and values; its first 16
 * bytes are also what somebody waits for, its first text the VM. All of the settings are taken or
 * none.
 */

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The files themselves, without the daemon around it. */
#include "daemon/bus/change.c"
#include "daemon/bus/wait.c"
#include "fuzz.h"

static unsigned n_applied;

void service_configure(struct service *service, struct config *wanted,
                       const struct service_caller *caller) {
        config_take_live(((struct manager *)service)->config, wanted, caller->listener);
        n_applied++;
}

uint64_t loop_now(sd_event *event) {
        return 1000000;
}

int memory_wait(struct memory *memory, struct memory_waiter *waiter) {
        check(waiter->deadline >= loop_now(NULL));
        return -EMFILE;
}

void memory_leave(struct memory_waiter *waiter) {
}

int quiet_wait(struct quiet *quiet, struct quiet_waiter *waiter, const char *what) {
        check(what && waiter->deadline >= loop_now(NULL));
        return -EBUSY;
}

void quiet_leave(struct quiet_waiter *waiter) {
}

int adopt_process(struct adopt *adopt, pid_t pid, enum adopt_answer *ret,
                  char text[static ADOPT_TEXT_MAX]) {
        return -ESRCH;
}

const char *adopt_answer_to_string(enum adopt_answer answer) {
        return "";
}

unsigned hurry_workers(struct workers *workers, const char *what, bool on) {
        return 0;
}

void manager_hurry(struct manager *manager, bool on) {
}

void service_drain(struct service *service, const char *who) {
}

int service_resume(struct service *service, const char *who) {
        return 0;
}

const char *service_drain_reason(const struct service *service) {
        return NULL;
}

int service_reload(struct service *service, const struct service_caller *caller) {
        return 0;
}

/* A bus that never gets to talk: messages need one. */
static sd_bus *silent_bus(void) {
        static sd_bus *bus;
        static int ends[2];

        if (bus)
                return bus;
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        check(sd_bus_new(&bus) >= 0 && sd_bus_set_fd(bus, ends[0], ends[0]) >= 0);
        check(sd_bus_start(bus) >= 0);
        return bus;
}

static sd_bus_message *new_call(const char *member) {
        sd_bus_message *call;

        check(sd_bus_message_new_method_call(silent_bus(), &call, NULL, "/org/pvreaper/Manager",
                                             "org.pvreaper.Manager1", member) >= 0);
        check(sd_bus_message_set_expect_reply(call, 0) >= 0);
        return call;
}

static void seal(sd_bus_message *call) {
        check(sd_bus_message_seal(call, 1, 0) >= 0);
        check(sd_bus_message_rewind(call, true) >= 0);
}

/* sd-bus takes UTF-8 only, from anybody. */
static bool is_ascii(const char *text) {
        for (; *text; text++)
                if ((unsigned char)*text >= 0x80)
                        return false;
        return true;
}

static void set(struct bus_object *o, char *text, size_t size) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *call = new_call("SetLimits");
        unsigned before = n_applied;
        char *end = text + size;
        int r;

        check(sd_bus_message_open_container(call, 'a', "(ss)") >= 0);
        while (text < end) {
                const char *key = text, *value = text + strlen(text) + 1;

                if (value > end)
                        break;
                text += strlen(key) + 1 + strlen(value) + 1;
                if (is_ascii(key) && is_ascii(value))
                        check(sd_bus_message_append(call, "(ss)", key, value) >= 0);
        }
        check(sd_bus_message_close_container(call) >= 0);
        seal(call);
        r = bus_method_set_limits(call, o, &error);
        check((r >= 0) == (n_applied == before + 1));
        check(r >= 0 || sd_bus_error_is_set(&error) || r == -ENOMEM);
        check(config_check(o->manager->config) == 0);
        sd_bus_error_free(&error);
        sd_bus_message_unref(call);
}

static void wait_for_quiet(struct bus_object *o, const char *what) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *call;

        if (!is_ascii(what))
                return;
        call = new_call("WaitQuiet");
        check(sd_bus_message_append(call, "st", what, UINT64_MAX) >= 0);
        seal(call);
        check(bus_method_wait_quiet(call, o, &error) < 0);
        check(sd_bus_error_has_name(&error, BUS_ERROR_TOO_MANY));
        sd_bus_error_free(&error);
        sd_bus_message_unref(call);
}

static void wait_for(struct bus_object *o, const uint8_t *data) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *call = new_call("WaitMemory");
        uint64_t numbers[2];

        memcpy(numbers, data, sizeof(numbers));
        check(sd_bus_message_append(call, "tt", numbers[0], numbers[1]) >= 0);
        seal(call);
        check(bus_method_wait_memory(call, o, &error) < 0);
        sd_bus_error_free(&error);
        sd_bus_message_unref(call);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct manager m = {};
        struct bus_object o = {.manager = &m, .service = (struct service *)&m};
        char *text = calloc(1, size + 2);

        check(text && config_new(&m.config) == 0);
        if (size > 0)
                memcpy(text, data, size);
        set(&o, text, size);
        if (size >= 16)
                wait_for(&o, data);
        if (size > 0)
                memcpy(text, data, size);
        wait_for_quiet(&o, text);
        config_free(m.config);
        free(text);
        return 0;
}
