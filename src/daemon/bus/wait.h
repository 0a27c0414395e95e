/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* WaitMemory and WaitQuiet, whose calls are answered later. */

#include <systemd/sd-bus.h>

int bus_method_wait_memory(sd_bus_message *call, void *userdata, sd_bus_error *error);
int bus_method_wait_quiet(sd_bus_message *call, void *userdata, sd_bus_error *error);

struct bus_object;

/* Nobody at this connection waits any more. */
void bus_stop_waiting(struct bus_object *object, sd_bus *link);
