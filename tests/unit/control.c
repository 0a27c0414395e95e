/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Both ends of the control socket are in one process and one loop, so that a call and its answer
 * take no time: after control_pass(c, 0) all that was said has been read. The client and the daemon
 * share nothing but the socket.
 */

#include "control.h"

#include <stdio.h>
#include <string.h>

#include "fds.h"

#define ERROR     "org.pvreaper.Error."
#define OBJECT    "/org/pvreaper/Manager"
#define INTERFACE "org.pvreaper.Manager1"
#define DRIVER    "org.freedesktop.DBus"

/* ---- PID 1 ---- */

static void (*tell)(void *userdata, enum pid1_news news);

int __wrap_pid1_new(struct pid1 **ret, sd_event *event,
                    void (*callback)(void *userdata, enum pid1_news news), void *userdata);

int __wrap_pid1_new(struct pid1 **ret, sd_event *event,
                    void (*callback)(void *userdata, enum pid1_news news), void *userdata) {
        tell = callback;
        return 0; /* NULL: nobody to ask */
}

void control_pid1_says(struct control *c, enum pid1_news news) {
        tell(c->service, news);
}

/* ---- the two ends ---- */

void control_pass(struct control *c, uint64_t usec) {
        fake_time_pass(c->stage.manager->event, usec);
}

int control_connect_silently(struct control *c) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        assert_int_equal(connect(fd, (struct sockaddr *)&c->address, c->length), 0);
        return fd;
}

sd_bus *control_connect(struct control *c) {
        int fd = control_connect_silently(c);
        sd_bus *link;

        assert_true(sd_bus_new(&link) >= 0);
        assert_true(sd_bus_set_fd(link, fd, fd) >= 0);
        assert_true(sd_bus_start(link) >= 0);
        assert_true(sd_bus_attach_event(link, c->stage.manager->event, 0) >= 0);
        return link;
}

void control_begin(struct control *c) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        *c = (struct control){.address.sun_family = AF_UNIX, .length = sizeof(c->address)};
        stage_begin(&c->stage);
        assert_true(service_new(&c->service, c->stage.manager) >= 0);
        /* The kernel picks an abstract name. */
        assert_int_equal(bind(fd, (struct sockaddr *)&c->address, sizeof(sa_family_t)), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&c->address, &c->length), 0);
        assert_int_equal(listen(fd, 128), 0);
        assert_int_equal(bus_new(&c->bus, c->stage.manager, c->service, &fd), 0);
        assert_int_equal(fd, -1); /* taken over */
        c->client = control_connect(c);
        control_pass(c, 0);
}

void control_end(struct control *c) {
        sd_bus_message_unref(c->reply);
        sd_bus_close_unref(c->client);
        bus_free(c->bus);
        service_free(c->service);
        stage_end(&c->stage);
}

/* ---- calls ---- */

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(m);
        const char *name = e ? e->name : "";
        struct control *c = userdata;

        if (strncmp(name, ERROR, strlen(ERROR)) == 0)
                name += strlen(ERROR);
        (void)snprintf(c->answer, sizeof(c->answer), "%s", name);
        (void)snprintf(c->why, sizeof(c->why), "%s", e && e->message ? e->message : "");
        sd_bus_message_unref(c->reply);
        c->reply = sd_bus_message_ref(m);
        return 1;
}

sd_bus_message *control_call_new(struct control *c, const char *method) {
        sd_bus_message *call;

        assert_true(sd_bus_message_new_method_call(c->client, &call, NULL, OBJECT, INTERFACE,
                                                   method) >= 0);
        return call;
}

const char *control_call(struct control *c, sd_bus_message *call) {
        (void)snprintf(c->answer, sizeof(c->answer), "none");
        assert_true(sd_bus_call_async(c->client, NULL, call, on_answer, c, UINT64_MAX) >= 0);
        sd_bus_message_unref(call);
        control_pass(c, 0);
        return c->answer;
}

void control_add_match(struct control *c) {
        assert_true(sd_bus_call_method_async(c->client, NULL, DRIVER, "/org/freedesktop/DBus",
                                             DRIVER, "AddMatch", on_answer, c, "s",
                                             "type='signal'") >= 0);
        control_pass(c, USEC_PER_SEC);
        assert_string_equal(c->answer, "");
}
