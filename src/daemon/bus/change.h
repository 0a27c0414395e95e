/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The methods that change something. A client that may connect to the control socket may call
 * them: the socket's mode protects it; on the system bus it is the policy file,
 * conf/org.pvreaper.conf.in. We could not ask the bus who it is without waiting for the answer.
 */

#include <systemd/sd-bus.h>

int bus_method_set_limits(sd_bus_message *call, void *userdata, sd_bus_error *error);
int bus_method_drain(sd_bus_message *call, void *userdata, sd_bus_error *error);
int bus_method_resume(sd_bus_message *call, void *userdata, sd_bus_error *error);
int bus_method_reload(sd_bus_message *call, void *userdata, sd_bus_error *error);
int bus_method_hurry(sd_bus_message *call, void *userdata, sd_bus_error *error);
int bus_method_adopt(sd_bus_message *call, void *userdata, sd_bus_error *error);
