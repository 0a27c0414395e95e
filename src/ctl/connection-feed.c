/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The connection of "pv-reaperctl watch". It owns the last answers and its sd_bus, which is NULL
 * while there is no daemon. It asks for the state after each signal and each second, with two
 * limits: four times a second, and a tenth of the daemon's time. The second limit matters with
 * thousands of jobs.
 *
 * tick_source is always on. Whatever is due, it makes the next connection, gives up a connection
 * that does not answer, or asks for the state.
 */

#include "ctl/connection-feed.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ctl/connection-read.h"

#define LOCAL  "org.freedesktop.DBus.Local"
#define DRIVER "org.freedesktop.DBus"
#define MATCH  "type='signal',interface='" OBJECT_INTERFACE "'"

#define RETRY_USEC   (1 * USEC_PER_SEC)
#define ANSWER_USEC  (5 * USEC_PER_SEC)
#define REFRESH_USEC (1 * USEC_PER_SEC)
#define PAUSE_USEC   (250 * USEC_PER_MSEC)

struct feed {
        sd_event *event; /* not owned */
        const struct feed_user *user;

        /* owned */
        char *path;
        sd_bus *bus;
        sd_bus_slot *status_slot, *jobs_slot; /* of open questions */
        struct record_list status, jobs;

        /* state */
        bool reached;
        bool told; /* the user knows that it is not reached */
        bool wanted;
        uint64_t asked_at, took;

        sd_event_source *tick_source;
};

static void tick_in(struct feed *f, uint64_t usec) {
        (void)sd_event_source_set_time_relative(f->tick_source, usec);
        (void)sd_event_source_set_enabled(f->tick_source, SD_EVENT_ONESHOT);
}

static void lose(struct feed *f, int error) {
        bool tell = f->reached || !f->told;

        f->status_slot = sd_bus_slot_unref(f->status_slot);
        f->jobs_slot = sd_bus_slot_unref(f->jobs_slot);
        f->bus = sd_bus_close_unref(f->bus);
        f->reached = false;
        f->told = true;
        tick_in(f, RETRY_USEC);
        if (tell)
                f->user->reached(f->user->userdata, error);
}

/* ---- asking ---- */

static bool is_asking(const struct feed *f) {
        return f->status_slot || f->jobs_slot;
}

static void answered(struct feed *f) {
        if (is_asking(f))
                return;
        f->took = now_usec() - f->asked_at;
        tick_in(f, f->wanted ? max_u64(PAUSE_USEC, 10 * f->took) : REFRESH_USEC);
        if (!f->reached) {
                f->reached = f->told = true;
                f->user->reached(f->user->userdata, 0);
        }
        if (f->user->state && f->status.n_records == 1)
                f->user->state(f->user->userdata, &f->status, &f->jobs);
}

static int take(struct feed *f, sd_bus_message *m, sd_bus_slot **slot, struct record_list *ret) {
        _cleanup_(record_list_deinit) struct record_list list = {};
        int r;

        *slot = sd_bus_slot_unref(*slot);
        if (sd_bus_message_is_method_error(m, NULL)) {
                f->wanted = true; /* usually because signals are unread: ask again */
                if (!is_asking(f))
                        tick_in(f, PAUSE_USEC);
                return 1;
        }
        r = connection_read_reply(m, &list);
        if (r < 0) {
                lose(f, r);
                return 1;
        }
        record_list_deinit(ret);
        *ret = list;
        list = (struct record_list){};
        answered(f);
        return 1;
}

static int on_status(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct feed *f = userdata;

        return take(f, m, &f->status_slot, &f->status);
}

static int on_jobs(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct feed *f = userdata;

        return take(f, m, &f->jobs_slot, &f->jobs);
}

static int ask(struct feed *f) {
        int r;

        f->wanted = false;
        f->asked_at = now_usec();
        r = sd_bus_call_method_async(f->bus, &f->status_slot, NULL, OBJECT_PATH, OBJECT_INTERFACE,
                                     "GetStatus", on_status, f, "");
        if (r >= 0 && f->user->state)
                r = sd_bus_call_method_async(f->bus, &f->jobs_slot, NULL, OBJECT_PATH,
                                             OBJECT_INTERFACE, "ListJobs", on_jobs, f, "");
        tick_in(f, ANSWER_USEC);
        return r;
}

void feed_refresh(struct feed *f) {
        uint64_t due = f->asked_at + max_u64(PAUSE_USEC, 10 * f->took), now = now_usec();

        if (f->wanted)
                return;
        f->wanted = true;
        if (f->bus && !is_asking(f))
                tick_in(f, due > now ? due - now : 0);
}

/* ---- hearing ---- */

static void hear_job(struct feed *f, sd_bus_message *m) {
        _cleanup_(record_list_deinit) struct record_list list = {};
        int r;

        r = sd_bus_message_skip(m, "t");
        if (r >= 0 && sd_bus_message_is_signal(m, NULL, "JobFinished") > 0)
                r = sd_bus_message_skip(m, "s");
        if (r >= 0)
                r = connection_read_record(m, &list);
        if (r >= 0)
                f->user->job(f->user->userdata, sd_bus_message_get_member(m), list.records);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct feed *f = userdata;

        if (sd_bus_message_is_signal(m, LOCAL, "Disconnected") > 0) {
                lose(f, -ECONNRESET);
                return 1;
        }
        if (sd_bus_message_is_signal(m, OBJECT_INTERFACE, NULL) > 0 && f->user->job)
                hear_job(f, m);
        else if (sd_bus_message_is_signal(m, NULL, NULL) <= 0)
                return 0;
        if (f->user->state)
                feed_refresh(f);
        return 1;
}

/* ---- connecting ---- */

static int open_socket(const char *path, int *ret) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        _cleanup_(close_fd) int fd = -1;

        if (*path == '\0')
                return -ENOENT;
        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path));
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                return negative_errno();
        *ret = take_fd(&fd);
        return 0;
}

static int set_up(struct feed *f, int *fd) {
        int r;

        r = sd_bus_set_fd(f->bus, *fd, *fd);
        if (r < 0)
                return r;
        (void)take_fd(fd);
        r = sd_bus_set_close_on_exit(f->bus, false);
        if (r < 0)
                return r;
        r = sd_bus_add_filter(f->bus, NULL, on_message, f);
        if (r < 0)
                return r;
        r = sd_bus_start(f->bus);
        if (r < 0)
                return r;
        r = sd_bus_attach_event(f->bus, f->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;
        /* Before the first question, so that no event after its answer is missed. */
        return sd_bus_call_method_async(f->bus, NULL, DRIVER, "/org/freedesktop/DBus", DRIVER,
                                        "AddMatch", NULL, NULL, "s", MATCH);
}

static int connect_bus(struct feed *f) {
        _cleanup_(close_fd) int fd = -1;
        int r;

        r = open_socket(f->path, &fd);
        if (r < 0)
                return r;
        r = sd_bus_new(&f->bus);
        if (r < 0)
                return r;
        r = set_up(f, &fd);
        return r < 0 ? r : ask(f);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        struct feed *f = userdata;
        int r;

        if (!f->bus)
                r = connect_bus(f);
        else if (is_asking(f))
                r = -ETIMEDOUT;
        else if (f->user->state)
                r = ask(f);
        else
                return 0; /* the bus reports its own end */
        if (r < 0)
                lose(f, r);
        return 0;
}

DEFINE_FREEP(feed)

int feed_new(struct feed **ret, sd_event *event, const char *path, const struct feed_user *user) {
        _cleanup_(feed_freep) struct feed *f = calloc(1, sizeof(*f));
        int r;

        if (!f)
                return -ENOMEM;
        f->event = event;
        f->user = user;
        f->path = strdup(path);
        if (!f->path)
                return -ENOMEM;
        r = sd_event_add_time_relative(event, &f->tick_source, CLOCK_MONOTONIC, 0, 1, on_tick, f);
        if (r < 0)
                return r;
        *ret = f;
        f = NULL;
        return 0;
}

struct feed *feed_free(struct feed *f) {
        if (!f)
                return NULL;
        f->tick_source = sd_event_source_disable_unref(f->tick_source);
        f->status_slot = sd_bus_slot_unref(f->status_slot);
        f->jobs_slot = sd_bus_slot_unref(f->jobs_slot);
        f->bus = sd_bus_close_unref(f->bus);
        record_list_deinit(&f->status);
        record_list_deinit(&f->jobs);
        free(f->path);
        free(f);
        return NULL;
}
