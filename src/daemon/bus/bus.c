/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The control socket: who is connected and for how long. A struct bus owns its connections, a
 * connection its sd_bus, which owns the socket. Whatever happens to a connection, first or last, it
 * ends in connection_free().
 *
 * Access is what the socket's permissions say; authentication only tells that a client speaks
 * D-Bus. Nothing a client does or omits may cost more than its own connection:
 *  - one that says nothing is given 10 s, one that does not read a thousand messages: signals go
 *    to those who asked for them, and who cannot follow is disconnected, not left with a gap;
 *  - there are at most 64; the next ones wait in the backlog, as they do for a second if we are out
 *    of fds (an accept loop that got EMFILE would spin);
 *  - sd-bus writes what the socket takes and queues the rest. Only sd_bus_flush() would wait for a
 *    reader, which sd-bus calls by itself when the loop ends, unless told not to;
 *  - fds are refused by the kernel (Linux 6.16). Before that, sd-bus closes what it receives and
 *    drops the connection; the last close of a VM fd would hold us up, so each user who may open
 *    this socket is trusted that far.
 */

#include "daemon/bus/bus.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <systemd/sd-id128.h>

#include "base/packet.h"
#include "daemon/bus/driver.h"
#include "daemon/bus/object.h"
#include "daemon/bus/signal.h"
#include "daemon/bus/system.h"
#include "daemon/bus/wait.h"
#include "daemon/manager.h"
#include "daemon/runtime/log.h"

#define LOCAL           "org.freedesktop.DBus.Local"
#define CONNECTIONS_MAX 64
#define UNREAD_MAX      1000
#define AUTH_USEC       (10 * USEC_PER_SEC)
#define PAUSE_USEC      (1 * USEC_PER_SEC)
#define CHANGED_USEC    (250 * USEC_PER_MSEC) /* between two PropertiesChanged */
#define SEND_BUFFER     (256 * 1024)
#define PRIORITY        (SD_EVENT_PRIORITY_NORMAL + 10) /* who works goes before who watches */

struct connection {
        struct bus *bus;
        struct bus_client client;
        sd_bus *link;
        bool slow;                    /* it does not read: to be disconnected */
        sd_event_source *auth_source; /* until it is authenticated */
        sd_event_source *kick_source;
        TAILQ_ENTRY(connection) entry; /* in bus.connections */
};

TAILQ_HEAD(connection_list, connection);

struct bus {
        struct bus_object object;
        struct manager_watcher watcher;
        sd_id128_t id;

        /* owned */
        struct bus_system *system; /* NULL: we are not on it */

        /* state */
        struct bus_properties properties; /* as last told */
        uint64_t changed_at;              /* when that was */
        struct connection_list connections;
        unsigned n_connections;
        uint64_t last_id;
        bool paused; /* out of fds or memory */
        bool told;   /* that we are, once per shortage */

        sd_event_source *accept_source;
        sd_event_source *resume_source;
        sd_event_source *changed_source;
        sd_event_source *slow_source; /* somebody does not read */
};

static void update_accepting(struct bus *bus) {
        bool on = !bus->paused && bus->n_connections < CONNECTIONS_MAX;

        if (bus->accept_source)
                (void)sd_event_source_set_enabled(bus->accept_source,
                                                  on ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* ---- connections ---- */

static struct connection *connection_free(struct connection *c) {
        if (!c)
                return NULL;
        c->auth_source = sd_event_source_disable_unref(c->auth_source);
        c->kick_source = sd_event_source_disable_unref(c->kick_source);
        if (c->link)
                bus_stop_waiting(&c->bus->object, c->link);
        c->link = sd_bus_close_unref(c->link);
        TAILQ_REMOVE(&c->bus->connections, c, entry);
        c->bus->n_connections--;
        update_accepting(c->bus);
        free(c);
        return NULL;
}

DEFINE_FREEP(connection)

/*
 * sd-bus reads what follows the authentication together with it, if a client has sent both (libdbus
 * does), and then waits for the socket to become readable again, which it may never do. So it is
 * told to look at what it has.
 */
static int on_kick(sd_event_source *source, void *userdata) {
        struct connection *c = userdata;
        _cleanup_(sd_bus_unrefp) sd_bus *link = sd_bus_ref(c->link);
        int r;

        r = sd_bus_process(link, NULL);
        if (r > 0)
                return 0; /* perhaps there is more, or c is gone */
        if (r < 0 && sd_bus_is_open(link) > 0)
                connection_free(c);
        else
                (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
        return 0;
}

static void on_connected(struct connection *c) {
        c->auth_source = sd_event_source_disable_unref(c->auth_source);
        (void)sd_event_source_set_enabled(c->kick_source, SD_EVENT_ON);
}

static uint64_t unread_of(sd_bus *link) {
        uint64_t unread = 0;

        (void)sd_bus_get_n_queued_write(link, &unread);
        return unread;
}

/* Before anything else looks at a message; sd-bus itself speaks as DBus.Local. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct connection *c = userdata;

        if (sd_bus_message_is_signal(m, LOCAL, "Connected") > 0) {
                on_connected(c);
                return 1;
        }
        if (unread_of(c->link) > UNREAD_MAX ||
            sd_bus_message_is_signal(m, LOCAL, "Disconnected") > 0) {
                connection_free(c);
                return 1;
        }
        return bus_answer_driver(m, &c->client);
}

static int on_auth_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        connection_free(userdata);
        return 0;
}

static int connection_set_up_link(struct connection *c, int *fd) {
        int r;

        (void)packet_refuse_fds(*fd); /* Linux before 6.16 cannot */
        r = sd_bus_set_fd(c->link, *fd, *fd);
        if (r < 0)
                return r;
        (void)take_fd(fd);
        r = sd_bus_set_server(c->link, true, c->bus->id);
        if (r >= 0)
                r = sd_bus_negotiate_fds(c->link, false);
        if (r >= 0) /* those who match on it hear our signals */
                r = sd_bus_set_sender(c->link, BUS_NAME);
        if (r >= 0)
                r = sd_bus_set_connected_signal(c->link, true);
        return r < 0 ? r : sd_bus_set_close_on_exit(c->link, false);
}

static int connection_add_timers(struct connection *c, sd_event *event) {
        int r;

        r = sd_event_add_defer(event, &c->kick_source, on_kick, c);
        if (r >= 0)
                r = sd_event_source_set_enabled(c->kick_source, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_source_set_priority(c->kick_source, PRIORITY);
        if (r >= 0)
                r = loop_add_timer(&c->auth_source, event, on_auth_timeout, c);
        loop_timer_in(c->auth_source, AUTH_USEC);
        return r;
}

/*
 * sd-bus takes as much of the kernel's memory as it gets, up to 8 MiB: for each reader who does not
 * read, beside what we count.
 */
static void limit_buffer(sd_bus *link) {
        int size = SEND_BUFFER, fd = sd_bus_get_fd(link);

        if (fd >= 0)
                (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static int connection_start(struct connection *c) {
        sd_event *event = c->bus->object.manager->event;
        int r;

        r = sd_bus_add_filter(c->link, NULL, on_message, c);
        if (r >= 0)
                r = sd_bus_add_object_vtable(c->link, NULL, BUS_OBJECT_PATH, BUS_OBJECT_INTERFACE,
                                             bus_object_vtable, &c->bus->object);
        if (r >= 0)
                r = connection_add_timers(c, event);
        if (r >= 0)
                r = sd_bus_start(c->link);
        if (r < 0)
                return r;
        limit_buffer(c->link);
        return sd_bus_attach_event(c->link, event, PRIORITY);
}

/* The bus keeps it, until it ends by itself. */
static int connection_new(struct bus *bus, int *fd) {
        _cleanup_(connection_freep) struct connection *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->bus = bus;
        TAILQ_INSERT_TAIL(&bus->connections, c, entry);
        bus->n_connections++;
        (void)snprintf(c->client.name, sizeof(c->client.name), ":1.%llu",
                       (unsigned long long)++bus->last_id);
        r = sd_bus_new(&c->link);
        if (r >= 0)
                r = connection_set_up_link(c, fd);
        if (r >= 0)
                r = connection_start(c);
        if (r < 0)
                return r;
        c = NULL;
        update_accepting(bus);
        return 0;
}

/* ---- signals ---- */

static int on_slow(sd_event_source *source, void *userdata) {
        struct bus *bus = userdata;
        struct connection *c, *next;

        for (c = TAILQ_FIRST(&bus->connections); c; c = next) {
                next = TAILQ_NEXT(c, entry);
                if (c->slow)
                        connection_free(c);
        }
        if (bus_system_link(bus->system) && unread_of(bus_system_link(bus->system)) > UNREAD_MAX)
                bus_system_drop(bus->system);
        return 0;
}

static bool is_heard(const struct connection *c) {
        return c->client.n_matches > 0 && !c->slow;
}

/* A signal of the job, or else of the properties. Returns whether they do not read. */
static bool send_to(sd_bus *link, struct job *job, const char *const *properties) {
        (void)(job ? bus_signal_job(link, job) : bus_signal_properties(link, properties));
        return unread_of(link) > UNREAD_MAX;
}

static void tell(struct bus *bus, struct job *job, const char *const *properties) {
        sd_bus *system = bus_system_link(bus->system);
        bool slow = system && send_to(system, job, properties);
        struct connection *c;

        TAILQ_FOREACH (c, &bus->connections, entry) {
                if (is_heard(c))
                        c->slow = send_to(c->link, job, properties);
                slow = slow || c->slow;
        }
        /* Later, from the loop: now some function of that connection may be running. */
        if (slow)
                (void)sd_event_source_set_enabled(bus->slow_source, SD_EVENT_ONESHOT);
}

static bool anybody_listens(const struct bus *bus) {
        const struct connection *c;

        TAILQ_FOREACH (c, &bus->connections, entry) {
                if (is_heard(c))
                        return true;
        }
        return bus_system_link(bus->system) != NULL;
}

/* Properties may have changed: said a little later, a few times a second at most. */
static void on_work_changed(void *userdata) {
        struct bus *bus = userdata;

        loop_timer_start(bus->changed_source, bus->changed_at + CHANGED_USEC);
}

/* Closes no connection: this may be called from anywhere. */
static void on_job_changed(void *userdata, struct job *job) {
        tell(userdata, job, NULL);
        on_work_changed(userdata);
}

static int on_changed(sd_event_source *source, uint64_t usec, void *userdata) {
        const char *names[BUS_PROPERTIES_MAX + 1];
        struct bus *bus = userdata;

        bus->changed_at = loop_now(bus->object.manager->event);
        if (anybody_listens(bus) &&
            bus_properties_look(&bus->properties, bus->object.manager, names) > 0)
                tell(bus, NULL, names);
        return 0;
}

/* ---- listening ---- */

static int on_resume(sd_event_source *source, uint64_t usec, void *userdata) {
        struct bus *bus = userdata;

        bus->paused = false;
        update_accepting(bus);
        return 0;
}

static void pause_accepting(struct bus *bus, int error) {
        if (!bus->told)
                (void)log_warning_errno(error, "cannot accept control connections; trying again");
        bus->told = true;
        loop_timer_in(bus->resume_source, PAUSE_USEC);
        bus->paused = true;
        update_accepting(bus);
}

static bool is_shortage(int error) {
        return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

/* One at a time: accepting is no more urgent than serving. */
static int on_connection(sd_event_source *source, int listener, uint32_t revents, void *userdata) {
        struct bus *bus = userdata;
        _cleanup_(close_fd) int fd = -1;
        int r;

        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        r = fd < 0 ? negative_errno() : connection_new(bus, &fd);
        if (is_shortage(r))
                pause_accepting(bus, r);
        else if (r >= 0)
                bus->told = false;
        return 0; /* else it is gone again */
}

DEFINE_FREEP(bus)

static int add_sources(struct bus *bus, int listener) {
        sd_event *event = bus->object.manager->event;
        int r;

        r = loop_add_timer(&bus->resume_source, event, on_resume, bus);
        if (r >= 0)
                r = loop_add_timer(&bus->changed_source, event, on_changed, bus);
        if (r >= 0)
                r = sd_event_source_set_priority(bus->changed_source, PRIORITY);
        if (r >= 0)
                r = sd_event_add_defer(event, &bus->slow_source, on_slow, bus);
        if (r < 0 || listener < 0)
                return r;
        r = sd_event_add_io(event, &bus->accept_source, listener, EPOLLIN, on_connection, bus);
        return r < 0 ? r : sd_event_source_set_priority(bus->accept_source, PRIORITY);
}

int bus_new(struct bus **ret, struct manager *manager, struct service *service, int *control_fd) {
        _cleanup_(bus_freep) struct bus *bus = calloc(1, sizeof(*bus));
        int r;

        if (!bus)
                return -ENOMEM;
        bus->object = (struct bus_object){.manager = manager, .service = service};
        bus->watcher = (struct manager_watcher){
                .changed = on_work_changed, .job_changed = on_job_changed, .userdata = bus};
        manager_watch(manager, &bus->watcher);
        TAILQ_INIT(&bus->connections);
        r = sd_id128_randomize(&bus->id);
        if (r < 0)
                return r;
        (void)packet_refuse_fds(*control_fd);
        r = add_sources(bus, *control_fd);
        /* As in service.c: whom systemd did not start, the host's bus does not concern. */
        if (r >= 0 && getenv("NOTIFY_SOCKET"))
                r = bus_system_new(&bus->system, &bus->object, PRIORITY);
        if (r >= 0 && bus->accept_source)
                r = sd_event_source_set_io_fd_own(bus->accept_source, true);
        if (r < 0)
                return r;
        (void)take_fd(control_fd);
        *ret = take_ptr(&bus);
        return 0;
}

struct bus *bus_free(struct bus *bus) {
        if (!bus)
                return NULL;
        manager_unwatch(bus->object.manager, &bus->watcher);
        bus->accept_source = sd_event_source_disable_unref(bus->accept_source);
        bus->resume_source = sd_event_source_disable_unref(bus->resume_source);
        bus->changed_source = sd_event_source_disable_unref(bus->changed_source);
        bus->slow_source = sd_event_source_disable_unref(bus->slow_source);
        bus->system = bus_system_free(bus->system);
        while (!TAILQ_EMPTY(&bus->connections))
                connection_free(TAILQ_FIRST(&bus->connections));
        free(bus);
        return NULL;
}
