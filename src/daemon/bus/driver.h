/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a bus would answer, for clients that believe they talk to one. */

#include <stdint.h>
#include <systemd/sd-bus.h>

struct bus_client {
        char name[32];      /* unique: ":1.7" */
        uint32_t n_matches; /* what it wants to hear; 0: no signals */
};

/*
 * Answers m if it is a call to the bus itself. 1: answered; 0: it is something else; negative:
 * failed.
 */
int bus_answer_driver(sd_bus_message *m, struct bus_client *client);
