/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The object /org/pvreaper/Manager; its userdata is the struct manager. */

#include <systemd/sd-bus.h>

#define BUS_NAME             "org.pvreaper" /* on a bus; beside it whoever asks may say any */
#define BUS_OBJECT_PATH      "/org/pvreaper/Manager"
#define BUS_OBJECT_INTERFACE "org.pvreaper.Manager1"

extern const sd_bus_vtable bus_object_vtable[];
