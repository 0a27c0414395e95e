/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon's answers as records. Negative: it is not what was expected, or there is no memory. */

#include <systemd/sd-bus.h>

#include "ctl/record.h"

#define OBJECT_PATH      "/org/pvreaper/Manager"
#define OBJECT_INTERFACE "org.pvreaper.Manager1"

/* a{sv}, added to the list. */
int connection_read_record(sd_bus_message *m, struct record_list *list);

/* a{sv} or aa{sv}. */
int connection_read_reply(sd_bus_message *m, struct record_list *list);

/* a(sss): records of Key, Value, Origin. */
int connection_read_limits(sd_bus_message *m, struct record_list *list);
