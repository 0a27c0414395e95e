/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The connection to the daemon: D-Bus by sd-bus, without a bus. This file connects the socket
 * itself, since sd-bus hides the errno of connect() and waits too long.
 *
 * systemd accepts connections on the socket while no daemon runs. So a successful connect() proves
 * nothing, and each step has a time limit of its own.
 */

#include "ctl/connection.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>

#include "ctl/connection-read.h"
#include "ctl/say.h"

#define TIMEOUT_SEC        5
#define ERROR_PREFIX       "org.pvreaper.Error."
#define ERROR_TOO_LARGE    ERROR_PREFIX "MoreThanTheHostHas"
#define ERROR_NOTHING_LEFT ERROR_PREFIX "NothingToClear"
#define ERROR_TIMEOUT      ERROR_PREFIX "Timeout"

struct connection {
        char *path;
        sd_bus *bus;
};

static void messagep_unref(sd_bus_message **m) {
        sd_bus_message_unref(*m);
}

static int explain(int error, const char *path) {
        switch (error) {
        case -ENOENT:
        case -ECONNREFUSED:
                say_error(0,
                          "no daemon listens on %s; start pv-reaper.socket or pass --socket=PATH",
                          path);
                return CONNECTION_NOBODY;
        case -EACCES:
                say_error(0, "you may not connect to %s; run this as root or in the socket's group",
                          path);
                return CONNECTION_NOBODY;
        case -EAGAIN:
        case -ETIMEDOUT:
                say_error(0, "no answer within %d s on %s; see systemctl status pv-reaper.service",
                          TIMEOUT_SEC, path);
                return CONNECTION_NOBODY;
        case -ECONNRESET:
        case -ENOTCONN:
        case -EPIPE:
                say_error(error, "the daemon closed the connection on %s; try again", path);
                return CONNECTION_NOBODY;
        default:
                return say_error(error, "cannot talk to the daemon on %s", path);
        }
}

/* ---- connecting ---- */

static int connect_socket(int *ret, const char *path) {
        struct timeval limit = {.tv_sec = TIMEOUT_SEC};
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        _cleanup_(close_fd) int fd = -1;

        if (*path == '\0')
                return -ENOENT; /* else it would be the name of an abstract socket */
        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path));
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return negative_errno();
        /* Holds for connect() too, which waits while the backlog is full. */
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
                return negative_errno();
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                return negative_errno();
        *ret = take_fd(&fd);
        return 0;
}

/* sd-bus itself would give the authentication a minute and a half. */
static int authenticate(sd_bus *bus) {
        uint64_t now, deadline = now_usec() + TIMEOUT_SEC * USEC_PER_SEC;
        int r;

        while (sd_bus_is_ready(bus) <= 0) {
                r = sd_bus_process(bus, NULL);
                if (r < 0)
                        return r;
                if (r > 0)
                        continue;
                now = now_usec();
                if (now >= deadline)
                        return -ETIMEDOUT;
                r = sd_bus_wait(bus, deadline - now);
                if (r < 0 && r != -EINTR)
                        return r;
        }
        return 0;
}

static int open_bus(sd_bus *bus, const char *path) {
        _cleanup_(close_fd) int fd = -1;
        int r;

        r = connect_socket(&fd, path);
        if (r < 0)
                return r;
        r = sd_bus_set_fd(bus, fd, fd);
        if (r < 0)
                return r;
        (void)take_fd(&fd);
        r = sd_bus_start(bus);
        if (r < 0)
                return r;
        return authenticate(bus);
}

int connection_new(struct connection **ret, const char *path) {
        _cleanup_(connection_freep) struct connection *connection = calloc(1, sizeof(*connection));
        int r;

        if (!connection)
                return say_error(-ENOMEM, "cannot connect to %s", path);
        connection->path = strdup(path);
        if (!connection->path)
                return say_error(-ENOMEM, "cannot connect to %s", path);
        r = sd_bus_new(&connection->bus);
        if (r < 0)
                return say_error(r, "cannot connect to %s", path);
        r = open_bus(connection->bus, path);
        if (r < 0)
                return explain(r, path);
        *ret = connection;
        connection = NULL;
        return 0;
}

struct connection *connection_free(struct connection *connection) {
        if (!connection)
                return NULL;
        sd_bus_close_unref(connection->bus);
        free(connection->path);
        free(connection);
        return NULL;
}

/* ---- calling ---- */

/* Whether the daemon refused, in a sentence of its own, rather than the bus. */
static bool is_ours(const sd_bus_error *error) {
        return strncmp(error->name, ERROR_PREFIX, strlen(ERROR_PREFIX)) == 0;
}

static int say_bus_error(sd_bus_message *call, const sd_bus_error *error) {
        const char *text = error->message ?: error->name;

        if (sd_bus_error_has_name(error, ERROR_TOO_LARGE) ||
            sd_bus_error_has_name(error, ERROR_NOTHING_LEFT)) {
                say_error(0, "%s", text);
                return CONNECTION_IN_VAIN;
        }
        if (!is_ours(error))
                return say_error(0, "%s failed: %s", sd_bus_message_get_member(call), text);
        say_error(0, "%s", text);
        return sd_bus_error_has_name(error, ERROR_TIMEOUT) ? CONNECTION_TIME_IS_UP : -EINVAL;
}

/* timeout: µs, USEC_INFINITY: none. */
static int call_bus(struct connection *connection, sd_bus_message *call, uint64_t timeout,
                    sd_bus_message **ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call(connection->bus, call, timeout, &error, ret);
        if (r < 0 && sd_bus_error_is_set(&error) && r != -ETIMEDOUT && r != -ECONNRESET)
                return say_bus_error(call, &error);
        return r < 0 ? explain(r, connection->path) : 0;
}

static int new_call(struct connection *connection, const char *method, sd_bus_message **ret) {
        return sd_bus_message_new_method_call(connection->bus, ret, NULL, OBJECT_PATH,
                                              OBJECT_INTERFACE, method);
}

static int append_settings(sd_bus_message *call, char **settings, int n) {
        int r;

        r = sd_bus_message_open_container(call, SD_BUS_TYPE_ARRAY, "(ss)");
        for (int i = 0; i < n && r >= 0; i++) {
                _cleanup_(freep) char *key = strdup(settings[i]);
                char *value;

                if (!key)
                        return -ENOMEM;
                value = strchr(key, '=');
                *value++ = '\0';
                r = sd_bus_message_append(call, "(ss)", key, value);
        }
        return r < 0 ? r : sd_bus_message_close_container(call);
}

int connection_hurry(struct connection *connection, const char *method, const char *what,
                     uint32_t *ret_known) {
        _cleanup_(messagep_unref) sd_bus_message *call = NULL, *reply = NULL;
        int r;

        r = new_call(connection, method, &call);
        if (r >= 0)
                r = sd_bus_message_append(call, "s", what);
        if (r < 0)
                return say_error(r, "cannot call %s", method);
        r = call_bus(connection, call, TIMEOUT_SEC * USEC_PER_SEC, &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "u", ret_known);
        return r < 0 ? say_error(r, "the daemon sent a malformed answer to %s", method) : 0;
}

int connection_adopt(struct connection *connection, uint32_t pid) {
        _cleanup_(messagep_unref) sd_bus_message *call = NULL, *reply = NULL;
        int r;

        r = new_call(connection, "Adopt", &call);
        if (r >= 0)
                r = sd_bus_message_append(call, "u", pid);
        if (r < 0)
                return say_error(r, "cannot call Adopt");
        return call_bus(connection, call, TIMEOUT_SEC * USEC_PER_SEC, &reply);
}

/* It is the daemon that says when the time is up. */
static uint64_t and_some(uint64_t timeout) {
        uint64_t more = TIMEOUT_SEC * USEC_PER_SEC;

        return timeout < USEC_INFINITY - more ? timeout + more : USEC_INFINITY;
}

int connection_wait_memory(struct connection *connection, uint64_t bytes, uint64_t timeout,
                           uint64_t *ret_available) {
        _cleanup_(messagep_unref) sd_bus_message *call = NULL, *reply = NULL;
        int r;

        r = new_call(connection, "WaitMemory", &call);
        if (r >= 0)
                r = sd_bus_message_append(call, "tt", bytes, timeout);
        if (r < 0)
                return say_error(r, "cannot call WaitMemory");
        r = call_bus(connection, call, and_some(timeout), &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "t", ret_available);
        return r < 0 ? say_error(r, "the daemon sent a malformed answer to WaitMemory") : 0;
}

int connection_wait_quiet(struct connection *connection, const char *what, uint64_t timeout,
                          uint32_t *ret_known) {
        _cleanup_(messagep_unref) sd_bus_message *call = NULL, *reply = NULL;
        int r;

        r = new_call(connection, "WaitQuiet", &call);
        if (r >= 0)
                r = sd_bus_message_append(call, "st", what, timeout);
        if (r < 0)
                return say_error(r, "cannot call WaitQuiet");
        r = call_bus(connection, call, and_some(timeout), &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "u", ret_known);
        return r < 0 ? say_error(r, "the daemon sent a malformed answer to WaitQuiet") : 0;
}

/* Sends the call and reads the answer with read(). */
static int fetch(struct connection *connection, sd_bus_message *call,
                 int (*read)(sd_bus_message *m, struct record_list *list),
                 struct record_list *ret) {
        _cleanup_(messagep_unref) sd_bus_message *reply = NULL;
        _cleanup_(record_list_deinit) struct record_list list = {};
        int r;

        r = call_bus(connection, call, TIMEOUT_SEC * USEC_PER_SEC, &reply);
        if (r < 0)
                return r;
        r = read(reply, &list);
        if (r < 0)
                return say_error(r == -ENXIO ? -EBADMSG : r,
                                 "the daemon sent a malformed answer to %s",
                                 sd_bus_message_get_member(call));
        *ret = list;
        list = (struct record_list){};
        return 0;
}

int connection_call(struct connection *connection, const char *method, struct record_list *ret) {
        _cleanup_(messagep_unref) sd_bus_message *call = NULL;
        int r;

        r = new_call(connection, method, &call);
        if (r < 0)
                return say_error(r, "cannot call %s", method);
        return fetch(connection, call, connection_read_reply, ret);
}

int connection_get_status(struct connection *connection, struct record_list *ret) {
        int r;

        r = connection_call(connection, "GetStatus", ret);
        if (r < 0)
                return r;
        if (ret->n_records != 1)
                return say_error(-EBADMSG, "the daemon sent a malformed answer to GetStatus");
        return 0;
}

int connection_set(struct connection *connection, char **settings, int n, struct record_list *ret) {
        _cleanup_(messagep_unref) sd_bus_message *call = NULL;
        int r;

        r = new_call(connection, "SetLimits", &call);
        if (r >= 0)
                r = append_settings(call, settings, n);
        if (r < 0)
                return say_error(r, "cannot call SetLimits");
        return fetch(connection, call, connection_read_reply, ret);
}

int connection_get_limits(struct connection *connection, struct record_list *ret) {
        _cleanup_(messagep_unref) sd_bus_message *call = NULL;
        int r;

        r = new_call(connection, "GetLimits", &call);
        if (r < 0)
                return say_error(r, "cannot call GetLimits");
        return fetch(connection, call, connection_read_limits, ret);
}

int connection_get_job(struct connection *connection, uint64_t id, struct record_list *ret) {
        _cleanup_(messagep_unref) sd_bus_message *call = NULL;
        int r;

        r = new_call(connection, "GetJob", &call);
        if (r >= 0)
                r = sd_bus_message_append(call, "t", id);
        if (r < 0)
                return say_error(r, "cannot call GetJob");
        return fetch(connection, call, connection_read_reply, ret);
}

int connection_tell(struct connection *connection, const char *method) {
        _cleanup_(messagep_unref) sd_bus_message *call = NULL, *reply = NULL;
        int r;

        r = new_call(connection, method, &call);
        if (r < 0)
                return say_error(r, "cannot call %s", method);
        return call_bus(connection, call, TIMEOUT_SEC * USEC_PER_SEC, &reply);
}

int connection_get_text(struct connection *connection, const char *method, char **ret) {
        _cleanup_(messagep_unref) sd_bus_message *call = NULL, *reply = NULL;
        const char *text;
        int r;

        r = new_call(connection, method, &call);
        if (r < 0)
                return say_error(r, "cannot call %s", method);
        r = call_bus(connection, call, TIMEOUT_SEC * USEC_PER_SEC, &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "s", &text);
        if (r < 0)
                return say_error(r, "the daemon sent a malformed answer to %s", method);
        *ret = strdup(text);
        return *ret ? 0 : say_error(-ENOMEM, "cannot call %s", method);
}
