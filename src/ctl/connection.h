/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The daemon's control socket. On failure these functions print the reason to stderr and return a
 * negative errno. They return CONNECTION_NOBODY if no daemon answers, for any reason. A connection
 * or a call takes 5 s at most, except the two functions that wait.
 */

#include "base/util.h"
#include "ctl/record.h"

#define CONNECTION_NOBODY     (-EHOSTDOWN)
#define CONNECTION_TIME_IS_UP (-ETIME)   /* the timeout passed first */
#define CONNECTION_IN_VAIN    (-ENODATA) /* waiting for memory brings none */

struct connection;

/* path is copied. */
int connection_new(struct connection **ret, const char *path);
struct connection *connection_free(struct connection *connection);
DEFINE_FREEP(connection)

/* Calls a method without arguments that returns aa{sv}, or a{sv}, which makes a list of one. */
int connection_call(struct connection *connection, const char *method, struct record_list *ret);

/* Makes a list of one record. */
int connection_get_status(struct connection *connection, struct record_list *ret);

/* Each record has the strings Key, Value and Origin. */
int connection_get_limits(struct connection *connection, struct record_list *ret);

/* Makes a list of one record. */
int connection_get_job(struct connection *connection, uint64_t id, struct record_list *ret);

/* Calls a method without arguments that returns a text. The caller frees it. */
int connection_get_text(struct connection *connection, const char *method, char **ret);

/* Calls a method that takes and returns nothing. */
int connection_tell(struct connection *connection, const char *method);

/*
 * Changes limits. settings: n times "KEY=VALUE". The daemon takes all of them or none. ret: what
 * changed by it, as Reload returns it.
 */
int connection_set(struct connection *connection, char **settings, int n, struct record_list *ret);

/* Calls Hurry or CancelHurry. what: as they take it. *ret_known: how many workers are meant. */
int connection_hurry(struct connection *connection, const char *method, const char *what,
                     uint32_t *ret_known);

/* Asks the daemon to adopt a QEMU's helper. pid: of the helper. */
int connection_adopt(struct connection *connection, uint32_t pid);

/* Waits until so many bytes are available. timeout: µs; USEC_INFINITY: none. */
int connection_wait_memory(struct connection *connection, uint64_t bytes, uint64_t timeout,
                           uint64_t *ret_available);

/*
 * Waits until a VM is quiet. what: a name, a UUID or pid=NUMBER. timeout: µs; USEC_INFINITY: none.
 * *ret_known: how many of the daemon's workers matched.
 */
int connection_wait_quiet(struct connection *connection, const char *what, uint64_t timeout,
                          uint32_t *ret_known);
