/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The control interface org.pvreaper.Manager1 on /org/pvreaper/Manager: D-Bus spoken over
 * control.sock without a bus, so that it works in early boot and late shutdown; and the same object
 * on the system bus, when there is one.
 */

struct bus;
struct manager;
struct service;

/*
 * Serves control_fd, a listening, non-blocking stream socket, which is taken over on success.
 * Manager and service must outlive the bus.
 */
int bus_new(struct bus **ret, struct manager *manager, struct service *service, int *control_fd);
struct bus *bus_free(struct bus *bus);
