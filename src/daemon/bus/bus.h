/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The control interface org.pvreaper.Manager1 on /org/pvreaper/Manager: D-Bus spoken over
 * control.sock without a bus, so that it works in early boot and late shutdown; and the same object
 * on the system bus, when there is one.
 */

struct bus;
struct job;
struct manager;

/* Serves the listening, non-blocking stream socket manager->control_fd, which stays manager's. */
int bus_new(struct bus **ret, struct manager *manager);
struct bus *bus_free(struct bus *bus);

/* All of these take NULL, and close no connection: they may be called from anywhere. */

/* A job began to wait, to run, or ended. */
void bus_job_changed(struct bus *bus, struct job *job);

/* Properties may have changed: said a little later, a few times a second at most. */
void bus_changed(struct bus *bus);
