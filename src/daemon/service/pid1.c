/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A client of the system bus with one question to PID 1: which jobs are there? If shutdown.target
 * has a start job, the system stops; if pv-reaper.socket has a stop job (a restart is none), the
 * socket does. SystemState and the socket's ActiveState would not tell: the socket stays "active"
 * until we are gone, for we are stopped before it. Signals are only a reason to ask: anybody on the
 * bus may send us one, but nobody else answers in the name of PID 1.
 *
 * Of sd-bus only what does not wait is used: no call without _async (the first one would wait up
 * to 90 s for a bus that accepts and says nothing), and no flush when the loop ends.
 *
 * retry_source is on unless all is well: without a connection it says when to make the next one,
 * with one that PID 1 has not answered on yet, when to give that up. limit_source is on as long as
 * somebody waits for an answer.
 */

#include "daemon/service/pid1.h"

#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "daemon/runtime/log.h"

#define SYSTEM_BUS "unix:path=/run/dbus/system_bus_socket"
#define LOCAL      "org.freedesktop.DBus.Local"
#define DRIVER     "org.freedesktop.DBus"
#define PID1       "org.freedesktop.systemd1"
#define PID1_PATH  "/org/freedesktop/systemd1"
#define MANAGER    "org.freedesktop.systemd1.Manager"

#define SHUTDOWN_UNIT "shutdown.target"
#define SOCKET_UNIT   "pv-reaper.socket"

#define CONNECT_USEC     (20 * USEC_PER_SEC)
#define ANSWER_USEC      (2 * USEC_PER_SEC)
#define BACKOFF_MIN_USEC (1 * USEC_PER_SEC)
#define BACKOFF_MAX_USEC (60 * USEC_PER_SEC)

/*
 * JobNew and JobRemoved alike: both have the unit as their third argument. This is for the bus
 * only: sd-bus's own matching (libsystemd 252) does not get past the first argument, a number.
 */
#define MATCH(unit)                                                                                \
        "type='signal',sender='" PID1 "',path='" PID1_PATH "',interface='" MANAGER "',arg2='" unit \
        "'"

struct pid1 {
        sd_event *event; /* not owned */
        void (*tell)(void *userdata, enum pid1_news news);
        void *userdata;

        /* owned */
        sd_bus *bus;         /* NULL: away */
        sd_bus_slot *answer; /* of the question that is under way */

        /* state */
        uint64_t backoff;
        bool asking;
        bool signalled;  /* a job has come or gone since the last answer */
        bool again;      /* ... and since the question was asked */
        bool away_noted; /* in the log, once */

        sd_event_source *retry_source;
        sd_event_source *limit_source;
};

static void start_timer(sd_event_source *source, uint64_t usec) {
        (void)sd_event_source_set_time_relative(source, usec);
        (void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void stop_timer(sd_event_source *source) {
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
}

/* ---- asking ---- */

static void ask(struct pid1 *p);

/* Ends the question that was asked, if one was. */
static void answered(struct pid1 *p, enum pid1_news news) {
        bool again;

        if (!p->asking)
                return;
        p->asking = false;
        p->answer = sd_bus_slot_unref(p->answer);
        stop_timer(p->limit_source);
        p->signalled = p->signalled && (news == PID1_SILENT || p->again);
        again = p->signalled && p->bus;
        p->tell(p->userdata, news);
        if (again)
                ask(p);
}

/* What one job means. */
static enum pid1_news news_of_job(const char *unit, const char *type) {
        if (strcmp(unit, SHUTDOWN_UNIT) == 0 && strcmp(type, "start") == 0)
                return PID1_STOPS_SYSTEM;
        if (strcmp(unit, SOCKET_UNIT) == 0 && strcmp(type, "stop") == 0)
                return PID1_STOPS_SOCKET;
        return PID1_STOPS_NOTHING;
}

static int read_jobs(sd_bus_message *m, enum pid1_news *ret) {
        enum pid1_news news = PID1_STOPS_NOTHING;
        const char *unit, *type;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(usssoo)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "(usssoo)", NULL, &unit, &type, NULL, NULL, NULL)) > 0)
                if (news_of_job(unit, type) > news)
                        news = news_of_job(unit, type);
        if (r >= 0)
                *ret = news;
        return r;
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct pid1 *p = userdata;
        enum pid1_news news = PID1_SILENT;

        if (!sd_bus_message_is_method_error(m, NULL))
                (void)read_jobs(m, &news);
        answered(p, news);
        return 1;
}

static int on_limit(sd_event_source *source, uint64_t usec, void *userdata) {
        answered(userdata, PID1_SILENT);
        return 0;
}

/* A question that is under way is asked anew: its answer may be older than what we ask about. */
static void ask(struct pid1 *p) {
        int r = -ENOTCONN;

        p->asking = true;
        p->again = false;
        p->answer = sd_bus_slot_unref(p->answer);
        if (p->bus)
                r = sd_bus_call_method_async(p->bus, &p->answer, PID1, PID1_PATH, MANAGER,
                                             "ListJobs", on_answer, p, "");
        start_timer(p->limit_source, r < 0 ? 0 : ANSWER_USEC);
}

void pid1_ask(struct pid1 *p) {
        ask(p);
}

bool pid1_can_ask(struct pid1 *p) {
        return p && p->bus;
}

static void on_job(struct pid1 *p) {
        p->signalled = p->again = true;
        if (!p->asking)
                ask(p);
}

/* ---- the connection ---- */

static void disconnect(struct pid1 *p, int why) {
        if (!p->away_noted)
                log_info("no answer from systemd on the system bus (%s): a stop is taken for a "
                         "restart unless that changes",
                         strerror(-why));
        p->away_noted = true;
        p->answer = sd_bus_slot_unref(p->answer);
        p->bus = sd_bus_close_unref(p->bus);
        p->backoff = p->backoff ? min_u64(p->backoff * 2, BACKOFF_MAX_USEC) : BACKOFF_MIN_USEC;
        start_timer(p->retry_source, p->backoff);
        answered(p, PID1_SILENT);
}

/* Before anything else looks at a message; sd-bus itself speaks as DBus.Local. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        if (sd_bus_message_is_signal(m, LOCAL, "Disconnected") > 0)
                disconnect(userdata, -ECONNRESET);
        else if (sd_bus_message_is_signal(m, MANAGER, "JobNew") > 0 ||
                 sd_bus_message_is_signal(m, MANAGER, "JobRemoved") > 0)
                on_job(userdata);
        else
                return 0;
        return 1;
}

/* Without the signals we could as well not be connected. */
static int on_match_added(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        int r = sd_bus_message_get_errno(m);

        if (r > 0)
                disconnect(userdata, -r);
        return 1;
}

/* Matches were added before, and PID 1 has answered: all is well. */
static int on_subscribed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct pid1 *p = userdata;
        int r = sd_bus_message_get_errno(m);

        if (r > 0) {
                disconnect(p, -r);
                return 1;
        }
        p->backoff = 0;
        stop_timer(p->retry_source);
        if (!p->asking)
                ask(p);
        return 1;
}

static int set_up(sd_bus *bus, struct pid1 *p) {
        const char *address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
        int r;

        r = sd_bus_set_address(bus, address && address[0] ? address : SYSTEM_BUS);
        if (r < 0)
                return r;
        r = sd_bus_set_bus_client(bus, true);
        if (r < 0)
                return r;
        r = sd_bus_set_close_on_exit(bus, false);
        if (r < 0)
                return r;
        return sd_bus_add_filter(bus, NULL, on_message, p);
}

static int add_match(sd_bus *bus, struct pid1 *p, const char *match) {
        return sd_bus_call_method_async(bus, NULL, DRIVER, "/org/freedesktop/DBus", DRIVER,
                                        "AddMatch", on_match_added, p, "s", match);
}

/* All of it waits in the connection's queue until the bus lets us in. */
static int subscribe(sd_bus *bus, struct pid1 *p) {
        int r;

        r = add_match(bus, p, MATCH(SHUTDOWN_UNIT));
        if (r < 0)
                return r;
        r = add_match(bus, p, MATCH(SOCKET_UNIT));
        if (r < 0)
                return r;
        return sd_bus_call_method_async(bus, NULL, PID1, PID1_PATH, MANAGER, "Subscribe",
                                        on_subscribed, p, "");
}

static int connect_bus(struct pid1 *p) {
        int r;

        r = sd_bus_new(&p->bus);
        if (r < 0)
                return r;
        r = set_up(p->bus, p);
        if (r < 0)
                return r;
        r = sd_bus_start(p->bus);
        if (r < 0)
                return r;
        r = sd_bus_attach_event(p->bus, p->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;
        return subscribe(p->bus, p);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        struct pid1 *p = userdata;
        int r = -ETIMEDOUT;

        if (!p->bus) {
                start_timer(source, CONNECT_USEC);
                r = connect_bus(p);
        }
        if (r < 0)
                disconnect(p, r);
        return 0;
}

/* ---- life and death ---- */

static void pid1_freep(struct pid1 **p) {
        pid1_free(*p);
}

int pid1_new(struct pid1 **ret, sd_event *event, void (*tell)(void *userdata, enum pid1_news news),
             void *userdata) {
        _cleanup_(pid1_freep) struct pid1 *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        p->event = event;
        p->tell = tell;
        p->userdata = userdata;
        r = sd_event_add_time_relative(event, &p->retry_source, CLOCK_MONOTONIC, 0, 0, on_retry, p);
        if (r < 0)
                return r;
        r = sd_event_add_time_relative(event, &p->limit_source, CLOCK_MONOTONIC, 0, 0, on_limit, p);
        if (r < 0)
                return r;
        stop_timer(p->limit_source);
        *ret = p;
        p = NULL;
        return 0;
}

struct pid1 *pid1_free(struct pid1 *p) {
        if (!p)
                return NULL;
        p->retry_source = sd_event_source_disable_unref(p->retry_source);
        p->limit_source = sd_event_source_disable_unref(p->limit_source);
        p->answer = sd_bus_slot_unref(p->answer);
        p->bus = sd_bus_close_unref(p->bus);
        free(p);
        return NULL;
}
