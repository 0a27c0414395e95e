/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a bus would answer, for clients that believe they talk to one. */

#include <systemd/sd-bus.h>

/*
 * Answers m if it is a call to the bus itself. 1: answered; 0: it is something else; negative:
 * failed. unique_name: what the client is called, ":1.7".
 */
int bus_answer_driver(sd_bus_message *m, const char *unique_name);
