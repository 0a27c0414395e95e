/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The control interface on a stage (stage.h): service and bus as main.c makes them, and a client of
 * the control socket in the same loop.
 *
 *         control_begin(&c);
 *         assert_string_equal(control_call(&c, control_call_new(&c, "Drain")), "");
 *         control_end(&c);
 *
 * PID 1 is played by the test: pid1_new() is wrapped, and control_pid1_says() is its news. For a
 * test that uses it, unit_control_dep is among the dependencies in meson.build, and pid1_new among
 * the calls.
 */

#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>

#include "daemon/bus/bus.h"
#include "daemon/service/pid1.h"
#include "daemon/service/service.h"
#include "stage.h"

struct control {
        struct stage stage;
        struct service *service;
        struct bus *bus;
        sd_bus *client;
        struct sockaddr_un address; /* of the control socket, abstract: it leaves no file */
        socklen_t length;

        /* of the last call that was answered */
        char answer[256];      /* "": it succeeded; else the error's name, see control_call() */
        char why[256];         /* its message */
        sd_bus_message *reply; /* to be read; owned */
};

void control_begin(struct control *c);
void control_end(struct control *c);

void control_pass(struct control *c, uint64_t usec);
void control_pid1_says(struct control *c, enum pid1_news news);

/* Another client, the caller's; or one that has not said anything yet. */
sd_bus *control_connect(struct control *c);
int control_connect_silently(struct control *c);

sd_bus_message *control_call_new(struct control *c, const char *method);

/*
 * Sends it from c->client, without waiting. Takes the call over. What the answer is, if there is
 * one by now: "", or an error's name without "org.pvreaper.Error."; "none": no answer yet.
 */
const char *control_call(struct control *c, sd_bus_message *call);

/* AddMatch: from now on the client hears signals. */
void control_add_match(struct control *c);
