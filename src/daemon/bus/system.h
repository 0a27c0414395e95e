/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The object on the system bus, as org.pvreaper, whenever there is a bus that lets us. Nothing here
 * waits, and a bus that is away, or says no, is no error: control.sock is there without it.
 */

#include <systemd/sd-bus.h>

struct bus_object;
struct bus_system;

int bus_system_new(struct bus_system **ret, struct bus_object *object, int priority);
struct bus_system *bus_system_free(struct bus_system *system);

/* Where signals go; NULL while there is no bus, or the name is not ours. Takes NULL. */
sd_bus *bus_system_link(const struct bus_system *system);

/* The bus does not read: to be called from the loop, it is connected to anew later. */
void bus_system_drop(struct bus_system *system);
