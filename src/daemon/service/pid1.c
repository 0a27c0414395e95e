/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A client of the system bus with one question to PID 1: which jobs are there? If shutdown.target
 * has a start job, the system stops; if pv-reaper.socket has a stop job (a restart is none), the
 * socket does. SystemState and the socket's ActiveState would not tell: the socket stays "active"
 * until we are gone, for we are stopped before it. Signals are only a reason to ask: anybody on the
 * bus may send us one, but nobody else answers in the name of PID 1.
 *
 * limit_source is on as long as somebody waits for an answer.
 */

#include "daemon/service/pid1.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/runtime/log.h"
#include "daemon/runtime/loop.h"
#include "daemon/service/system-bus.h"

#define DRIVER    "org.freedesktop.DBus"
#define PID1      "org.freedesktop.systemd1"
#define PID1_PATH "/org/freedesktop/systemd1"
#define MANAGER   "org.freedesktop.systemd1.Manager"

#define SHUTDOWN_UNIT "shutdown.target"
#define SOCKET_UNIT   "pv-reaper.socket"

#define ANSWER_USEC (2 * USEC_PER_SEC)
#define PAUSE_USEC  (100 * USEC_PER_MSEC) /* between two questions that signals cause */

/*
 * JobNew and JobRemoved alike: both have the unit as their third argument. This is for the bus
 * only: sd-bus's own matching (libsystemd 252) does not get past the first argument, a number.
 */
#define MATCH(unit)                                                                                \
        "type='signal',sender='" PID1 "',path='" PID1_PATH "',interface='" MANAGER "',arg2='" unit \
        "'"

struct pid1 {
        void (*tell)(void *userdata, enum pid1_news news);
        void *userdata;

        /* owned */
        struct system_bus *bus;
        sd_bus_slot *answer; /* of the question that is under way */

        /* state */
        bool asking;
        bool signalled;  /* a job has come or gone since the last answer */
        bool again;      /* ... and since the question was asked */
        bool away_noted; /* in the log, once */
        uint64_t next;   /* a signal causes no question before this time */

        sd_event_source *limit_source;
        sd_event_source *next_source; /* a signal waits for that time */
};

/* ---- asking ---- */

/* However many signals there are, PID 1 is asked now and then. */
static void ask_by_signal(struct pid1 *p) {
        uint64_t now = loop_now(sd_event_source_get_event(p->next_source));

        if (now < p->next) {
                loop_timer_at(p->next_source, p->next);
                return;
        }
        p->next = now + PAUSE_USEC;
        pid1_ask(p);
}

static int on_next(sd_event_source *source, uint64_t usec, void *userdata) {
        struct pid1 *p = userdata;

        if (p->signalled && !p->asking && pid1_can_ask(p))
                ask_by_signal(p);
        return 0;
}

/* Ends the question that was asked, if one was. */
static void answered(struct pid1 *p, enum pid1_news news) {
        bool again;

        if (!p->asking)
                return;
        p->asking = false;
        p->answer = sd_bus_slot_unref(p->answer);
        loop_timer_off(p->limit_source);
        p->signalled = p->signalled && (news == PID1_SILENT || p->again);
        again = p->signalled && pid1_can_ask(p);
        p->tell(p->userdata, news);
        if (again)
                ask_by_signal(p);
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
void pid1_ask(struct pid1 *p) {
        sd_bus *link = system_bus_link(p->bus);
        int r = -ENOTCONN;

        p->asking = true;
        p->again = false;
        p->answer = sd_bus_slot_unref(p->answer);
        if (link)
                r = sd_bus_call_method_async(link, &p->answer, PID1, PID1_PATH, MANAGER, "ListJobs",
                                             on_answer, p, "");
        loop_timer_in(p->limit_source, r < 0 ? 0 : ANSWER_USEC);
}

bool pid1_can_ask(const struct pid1 *p) {
        return p && system_bus_link(p->bus);
}

static void on_job(struct pid1 *p) {
        p->signalled = p->again = true;
        if (!p->asking)
                ask_by_signal(p);
}

/* ---- the connection ---- */

static void on_lost(void *userdata, sd_bus *link, int why) {
        struct pid1 *p = userdata;

        if (!p->away_noted)
                log_info("no answer from systemd on the system bus (%s): until it answers, a stop "
                         "counts as a restart",
                         strerror(-why));
        p->away_noted = true;
        p->answer = sd_bus_slot_unref(p->answer);
        answered(p, PID1_SILENT);
}

/*
 * PID 1's signals have no destination: the bus passes those on that match, and sees to it that they
 * are PID 1's. A signal with a destination may be anybody's.
 */
static bool on_message(void *userdata, sd_bus_message *m) {
        if (sd_bus_message_get_destination(m))
                return false;
        if (sd_bus_message_is_signal(m, MANAGER, "JobNew") <= 0 &&
            sd_bus_message_is_signal(m, MANAGER, "JobRemoved") <= 0)
                return false;
        on_job(userdata);
        return true;
}

/* Without the signals we could as well not be connected. */
static int on_match_added(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct pid1 *p = userdata;
        int r = sd_bus_message_get_errno(m);

        if (r > 0)
                system_bus_drop(p->bus, -r);
        return 1;
}

/* Matches were added before, and PID 1 has answered: all is well. */
static int on_subscribed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct pid1 *p = userdata;
        int r = sd_bus_message_get_errno(m);

        if (r > 0) {
                system_bus_drop(p->bus, -r);
                return 1;
        }
        system_bus_ready(p->bus);
        if (!p->asking)
                pid1_ask(p);
        return 1;
}

static int add_match(sd_bus *bus, struct pid1 *p, const char *match) {
        return sd_bus_call_method_async(bus, NULL, DRIVER, "/org/freedesktop/DBus", DRIVER,
                                        "AddMatch", on_match_added, p, "s", match);
}

static int on_begin(void *userdata, sd_bus *link) {
        struct pid1 *p = userdata;
        int r;

        r = add_match(link, p, MATCH(SHUTDOWN_UNIT));
        if (r >= 0)
                r = add_match(link, p, MATCH(SOCKET_UNIT));
        if (r < 0)
                return r;
        return sd_bus_call_method_async(link, NULL, PID1, PID1_PATH, MANAGER, "Subscribe",
                                        on_subscribed, p, "");
}

/* ---- life and death ---- */

DEFINE_FREEP(pid1)

int pid1_new(struct pid1 **ret, sd_event *event, void (*tell)(void *userdata, enum pid1_news news),
             void *userdata) {
        _cleanup_(pid1_freep) struct pid1 *p = calloc(1, sizeof(*p));
        const struct system_bus_user user = {
                .begin = on_begin, .message = on_message, .lost = on_lost, .userdata = p};
        int r;

        if (!p)
                return -ENOMEM;
        p->tell = tell;
        p->userdata = userdata;
        r = system_bus_new(&p->bus, event, SD_EVENT_PRIORITY_NORMAL, &user);
        if (r >= 0)
                r = loop_add_timer(&p->limit_source, event, on_limit, p);
        if (r >= 0)
                r = loop_add_timer(&p->next_source, event, on_next, p);
        if (r < 0)
                return r;
        *ret = take_ptr(&p);
        return 0;
}

struct pid1 *pid1_free(struct pid1 *p) {
        if (!p)
                return NULL;
        p->limit_source = sd_event_source_disable_unref(p->limit_source);
        p->next_source = sd_event_source_disable_unref(p->next_source);
        p->answer = sd_bus_slot_unref(p->answer);
        p->bus = system_bus_free(p->bus);
        free(p);
        return NULL;
}
