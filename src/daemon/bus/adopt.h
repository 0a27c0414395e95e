/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Adopt: takes a QEMU's own helper in, or says by an error of its own why not. */

#include <systemd/sd-bus.h>

int bus_method_adopt(sd_bus_message *call, void *userdata, sd_bus_error *error);
