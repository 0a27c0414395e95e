/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The object /org/pvreaper/Manager; its userdata is a struct bus_object. */

#include <sys/queue.h>
#include <systemd/sd-bus.h>

struct manager;
struct service;
struct wait;

#define BUS_NAME             "org.pvreaper" /* on a bus; on control.sock any will do */
#define BUS_OBJECT_PATH      "/org/pvreaper/Manager"
#define BUS_OBJECT_INTERFACE "org.pvreaper.Manager1"

struct bus_object {
        struct manager *manager;
        struct service *service;
        LIST_HEAD(, wait) waits; /* WaitMemory and WaitQuiet calls, on all connections (wait.c) */
};

extern const sd_bus_vtable bus_object_vtable[];
