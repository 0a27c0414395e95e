/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon's answers as records. Negative: an unexpected answer, or -ENOMEM. */

#include <systemd/sd-bus.h>

#include "ctl/record.h"

#define OBJECT_PATH      "/org/pvreaper/Manager"
#define OBJECT_INTERFACE "org.pvreaper.Manager1"

/* Adds a record for a{sv} to the list. */
int connection_read_record(sd_bus_message *m, struct record_list *list);

/* Adds a record for a{sv}, or one for each of aa{sv}. */
int connection_read_reply(sd_bus_message *m, struct record_list *list);

/* Adds a record of Key, Value and Origin for each of a(sss). */
int connection_read_limits(sd_bus_message *m, struct record_list *list);
