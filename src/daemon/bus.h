/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The control interface org.pvreaper.Manager1 on /org/pvreaper/Manager: D-Bus spoken over
 * control.sock without a bus, so that it works in early boot and late shutdown.
 */

struct bus;
struct manager;

/* Serves the listening, non-blocking stream socket manager->control_fd, which stays manager's. */
int bus_new(struct bus **ret, struct manager *manager);
struct bus *bus_free(struct bus *bus);
