/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The signals of the object, on one connection. None of them waits. */

#include <systemd/sd-bus.h>

#include "base/util.h"

struct job;
struct manager;

/* JobQueued, JobStarted or JobFinished, by what the job's state is. */
int bus_signal_job(sd_bus *link, struct job *job);

#define BUS_PROPERTIES_MAX 16

/* What the properties were when it was last looked at. */
struct bus_properties {
        uint64_t prints[BUS_PROPERTIES_MAX];
};

/* Looks again; ret: the names of those that changed, NULL at the end. Returns how many. */
unsigned bus_properties_look(struct bus_properties *properties, struct manager *manager,
                             const char *ret[static BUS_PROPERTIES_MAX + 1]);

/* PropertiesChanged. */
int bus_signal_properties(sd_bus *link, const char *const *names);

/* The value of the status of the same name; unknown: "", 0 or UINT64_MAX. */
int bus_property_append(sd_bus_message *reply, const char *name, struct manager *manager);
