/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The daemon's control socket. These functions tell the user on stderr what went wrong, and return
 * a negative errno: CONNECTION_NOBODY if there is nobody to ask, for whatever reason. None of them
 * takes longer than 5 s per connection or call, but for those that wait.
 */

#include "ctl/record.h"

#define CONNECTION_NOBODY     (-EHOSTDOWN)
#define CONNECTION_TIME_IS_UP (-ETIME) /* what was waited for did not come */

struct connection;

/* path is copied. */
int connection_new(struct connection **ret, const char *path);
struct connection *connection_free(struct connection *connection);

/* Calls a method without arguments that returns a{sv} (a list of one then) or aa{sv}. */
int connection_call(struct connection *connection, const char *method, struct record_list *ret);

/* Records of Key, Value, Origin, all of them strings. */
int connection_get_limits(struct connection *connection, struct record_list *ret);

/* A list of one. */
int connection_get_job(struct connection *connection, uint64_t id, struct record_list *ret);

/* Calls a method without arguments that returns a text. The caller frees it. */
int connection_get_text(struct connection *connection, const char *method, char **ret);

/* Calls a method that takes and returns nothing. */
int connection_tell(struct connection *connection, const char *method);

/* Changes limits: n times "KEY=VALUE"; all of them or none. */
int connection_set(struct connection *connection, char **settings, int n);

/* Has the helper of a QEMU adopted. */
int connection_adopt(struct connection *connection, uint32_t pid);

/* Waits until so many bytes are available. timeout: µs; USEC_INFINITY: none. */
int connection_wait_memory(struct connection *connection, uint64_t bytes, uint64_t timeout,
                           uint64_t *ret_available);

/* Waits until a VM is quiet. timeout likewise. *ret_known: how many workers were meant. */
int connection_wait_quiet(struct connection *connection, const char *what, uint64_t timeout,
                          uint32_t *ret_known);
