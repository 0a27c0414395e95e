/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The daemon as a service. Signals, PID 1's news and the state of the work come in here, drain.c
 * decides, and here it is done. A struct service owns the channel to systemd (notify), the client
 * of the system bus (pid1) and the drain; manager.config is the manager's, but this
 * is the only place that changes it after the start.
 *
 * Without NOTIFY_SOCKET we were not started as a service, and not by pv-reaper.socket: then there
 * is no bus to ask, what happens to the host's own pv-reaper does not concern us, and SIGTERM means
 * exit.
 */

#include "daemon/service/service.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "daemon/manager.h"
#include "daemon/runtime/log.h"
#include "daemon/service/drain.h"
#include "daemon/service/listen.h"
#include "daemon/service/notify.h"
#include "daemon/service/pid1.h"

#define LOOK_USEC (1 * USEC_PER_SEC)

/* Longer than a drain without progress lasts, so that it is always we who end it. */
#define EXTEND_USEC (2 * DRAIN_STALL_USEC)

struct service {
        struct manager *manager;
        struct manager_watcher watcher;

        /* owned */
        struct notify *notify;
        struct pid1 *pid1; /* NULL: nobody to ask */

        /* state */
        struct drain drain;
        bool asked_to_drain; /* by an administrator, until it is taken back */
        uint64_t n_ended;    /* jobs that were granted, and asked for before the drain began */

        sd_event_source *signal_sources[3];
        sd_event_source *look_source; /* once a second, when our stop waits for the work */
};

static bool is_draining(const struct service *s) {
        return s->asked_to_drain || s->drain.reason != DRAIN_NOTHING;
}

const char *service_drain_reason(const struct service *s) {
        static const char *const reasons[] = {
                [DRAIN_SOCKET] = "pv-reaper.socket", [DRAIN_SYSTEM] = "system"};

        if (!is_draining(s))
                return NULL;
        return s->drain.reason != DRAIN_NOTHING ? reasons[s->drain.reason] : "administrator";
}

/* ---- the status line ---- */

static void describe(void *userdata, char *buffer, size_t size) {
        struct service *s = userdata;
        struct manager *m = s->manager;
        const uint64_t *n = m->ledger.totals;
        uint64_t failed = n[JOB_FAILED] + n[JOB_LOST] + n[JOB_INTERRUPTED];
        uint64_t done = n[JOB_DONE] + n[JOB_UNGOVERNED] + n[JOB_SUPERSEDED] + n[JOB_FOREIGN];
        char work[96], bytes[32];

        format_size(bytes, sizeof(bytes), workers_bytes_to_clear(&m->workers));
        if (governor_n_left(&m->governor) > 0)
                (void)snprintf(work, sizeof(work), "%u running, %u queued, %s to clear",
                               m->governor.n_counted, m->governor.queue.n_waiting, bytes);
        else
                (void)snprintf(work, sizeof(work), "idle with %u VM%s", m->workers.n,
                               m->workers.n == 1 ? "" : "s");
        (void)snprintf(buffer, size, "%s%s; %" PRIu64 " done, %" PRIu64 " failed",
                       is_draining(s) ? "draining: " : "", work, done, failed);
}

/* ---- stopping ---- */

/* An event with how much runs and waits. */
#define log_work(service, id, ...)                                                                 \
        ((void)log_event(                                                                          \
                LOG_EVENT(LOG_INFO, (id), 0,                                                       \
                          LOG_NUMBER("PV_RUNNING", (service)->manager->governor.n_counted),        \
                          LOG_NUMBER("PV_QUEUED", (service)->manager->governor.queue.n_waiting)),  \
                __VA_ARGS__))

static void log_begun(struct service *s, const char *why) {
        char work[NOTIFY_STATUS_MAX];

        describe(s, work, sizeof(work));
        log_work(s, MESSAGE_DRAIN_BEGUN, "%s: no new VMs, at most %u at once; %s", why,
                 s->manager->governor.effective.max_concurrent, work);
}

static void begin(struct service *s) {
        manager_set_mode(s->manager, GOVERNOR_DRAINING, true);
        log_begun(s, s->drain.reason == DRAIN_SYSTEM ? "the system is being stopped"
                                                     : "pv-reaper.socket is being stopped");
        if (s->drain.terminated)
                notify_extend(s->notify, EXTEND_USEC);
}

static void resume(struct service *s, const char *why) {
        manager_set_mode(s->manager, GOVERNOR_DRAINING, is_draining(s));
        log_info("%s: %sat most %u at once", why,
                 is_draining(s) ? "still draining for an administrator, " : "",
                 s->manager->governor.effective.max_concurrent);
}

static void leave(struct service *s) {
        struct governor *governor = &s->manager->governor;

        log_work(s, MESSAGE_STOPPING,
                 "stopping with %u running and %u queued; workers wait for the next daemon",
                 governor->n_counted, governor->queue.n_waiting);
        (void)sd_event_exit(s->manager->event, 0);
}

/*
 * A worker whose VMM is dead has its greatest job yet to ask for, and a closer its only one; also
 * without a connection, for it comes back to ask.
 */
static bool is_about_to_ask(const struct worker *w) {
        return !w->job && !worker_is_overdue(w) && !worker_vmm_alive(w);
}

struct survey {
        unsigned asking; /* workers that are about to ask */
        unsigned silent; /* ... or have something to do, but neither count nor wait */
};

static struct survey look_at_workers(const struct manager *m) {
        struct survey s = {};
        const struct worker *w;

        TAILQ_FOREACH (w, &m->workers.list, link) {
                bool asks = is_about_to_ask(w);

                s.asking += asks;
                s.silent += w->slot.state != SLOT_COUNTED && (asks || worker_is_overdue(w));
        }
        return s;
}

static void send_all_away(struct service *s) {
        double sec =
                (double)(loop_now(s->manager->event) - s->drain.began_at) / (double)USEC_PER_SEC;
        struct governor *governor = &s->manager->governor;
        unsigned silent = look_at_workers(s->manager).silent, n = 0;
        struct peer *peer;

        TAILQ_FOREACH (peer, &s->manager->peers.list, link)
                n += peer_send_away(peer) >= 0;
        if (governor_n_left(&s->manager->governor) + silent == 0)
                (void)log_event(LOG_EVENT(LOG_INFO, MESSAGE_DRAIN_DONE, 0),
                                "drained in %.1f s, nothing is left; %u workers sent away", sec, n);
        else
                log_work(s, MESSAGE_DRAIN_LEFTOVERS,
                         "drained for %.1f s, %u running and %u queued are left, %u silent; "
                         "%u workers sent away",
                         sec, governor->n_counted, governor->queue.n_waiting, silent, n);
        (void)sd_event_exit(s->manager->event, 0);
}

static void act(struct service *s, enum drain_step step) {
        switch (step) {
        case DRAIN_STAY:
                break;
        case DRAIN_ASK:
                pid1_ask(s->pid1);
                break;
        case DRAIN_BEGIN:
                begin(s);
                break;
        case DRAIN_RESUME:
                resume(s, "nothing is being stopped any more");
                break;
        case DRAIN_EXTEND:
                notify_extend(s->notify, EXTEND_USEC);
                break;
        case DRAIN_END:
                send_all_away(s);
                break;
        case DRAIN_EXIT:
                leave(s);
                break;
        }
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        struct service *s = userdata;
        struct manager *m = s->manager;
        const struct survey survey = look_at_workers(m);
        const struct drain_work work = {
                .n_left = governor_n_left(&m->governor) + survey.asking,
                .progress = m->governor.n_moves + m->workers.n_gone + s->n_ended,
                .limit = m->config->drain_time,
        };

        loop_timer_in(source, LOOK_USEC);
        act(s, drain_look(&s->drain, &work, loop_now(m->event)));
        return 0;
}

/* Not those since: one worker can ask again and again, and get nothing done. */
static void on_job_changed(void *userdata, struct job *job) {
        struct service *s = userdata;

        s->n_ended += job->state > JOB_RUNNING && !job->ungoverned && job->granted_at != 0 &&
                      job->queued_at <= s->drain.began_at;
}

static void on_changed(void *userdata) {
        struct service *s = userdata;

        notify_changed(s->notify);
        /* Otherwise once a second will do: each look costs a walk through all workers. */
        if (s->drain.terminated && s->drain.reason != DRAIN_NOTHING &&
            s->manager->governor.n_counted == 0)
                loop_timer_in(s->look_source, 0);
}

static void on_news(void *userdata, enum pid1_news news) {
        static const enum drain_reason reasons[] = {
                [PID1_STOPS_NOTHING] = DRAIN_NOTHING,
                [PID1_STOPS_SOCKET] = DRAIN_SOCKET,
                [PID1_STOPS_SYSTEM] = DRAIN_SYSTEM,
        };
        struct service *s = userdata;

        if (news == PID1_SILENT && !s->drain.asking)
                return;
        act(s, drain_told(&s->drain, reasons[news], loop_now(s->manager->event)));
}

/* ---- signals ---- */

static int on_terminate(sd_event_source *source, const struct signalfd_siginfo *si,
                        void *userdata) {
        struct service *s = userdata;
        enum drain_step step;

        step = drain_terminate(&s->drain, pid1_can_ask(s->pid1), loop_now(s->manager->event));
        loop_timer_in(s->look_source, LOOK_USEC);
        act(s, step);
        notify_stopping(s->notify);
        return 0;
}

static int on_interrupt(sd_event_source *source, const struct signalfd_siginfo *si,
                        void *userdata) {
        struct service *s = userdata;

        notify_stopping(s->notify);
        leave(s);
        return 0;
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        (void)service_reload(userdata, &(struct service_caller){.who = "SIGHUP"});
        return 0;
}

/* ---- what an administrator asks for ---- */

static const char *or_nothing(const char *text) {
        return *text ? text : "nothing";
}

static void on_config_change(void *userdata, const struct config_change *c) {
        const struct service_caller *caller = userdata;

        (void)log_event(LOG_EVENT(LOG_INFO, MESSAGE_KEY_CHANGED, 0, LOG_TEXT("PV_KEY", c->key),
                                  LOG_TEXT("PV_OLD", c->before), LOG_TEXT("PV_NEW", c->now),
                                  LOG_TEXT("PV_WHO", caller->who)),
                        "%s: %s instead of %s (%s), by %s%s%s", c->key, or_nothing(c->now),
                        or_nothing(c->before), c->origin, caller->who,
                        c->note ? "; no effect " : "", c->note ? c->note : "");
        if (caller->listener)
                caller->listener->changed(caller->listener->userdata, c);
}

void service_configure(struct service *s, struct config *wanted,
                       const struct service_caller *caller) {
        const struct config_listener listener = {on_config_change, (void *)(uintptr_t)caller};

        config_take_live(s->manager->config, wanted, &listener);
        manager_apply(s->manager);
}

int service_reload(struct service *s, const struct service_caller *caller) {
        struct manager *m = s->manager;
        struct config *config = NULL;
        int r;

        notify_reloading(s->notify);
        r = m->source.load(&config, m->source.userdata);
        if (r < 0) {
                (void)log_event(LOG_EVENT(LOG_ERR, MESSAGE_CONFIG_REFUSED, 0),
                                "the configuration cannot be used, the old one stays");
        } else {
                service_configure(s, config, caller);
                config_free(config);
                (void)log_event(LOG_EVENT(LOG_INFO, MESSAGE_CONFIG_RELOADED, 0,
                                          LOG_NUMBER("PV_MAX_CONCURRENT",
                                                     m->governor.effective.max_concurrent)),
                                "configuration read again: at most %u at once",
                                m->governor.effective.max_concurrent);
        }
        notify_ready(s->notify);
        return r;
}

void service_drain(struct service *s, const char *who) {
        char why[128];

        if (s->asked_to_drain)
                return;
        s->asked_to_drain = true;
        manager_set_mode(s->manager, GOVERNOR_DRAINING, true);
        (void)snprintf(why, sizeof(why), "an administrator asked for a drain (%s)", who);
        log_begun(s, why);
}

int service_resume(struct service *s, const char *who) {
        bool was = s->asked_to_drain;
        char why[128];

        s->asked_to_drain = false;
        if (is_draining(s))
                return -EBUSY;
        (void)snprintf(why, sizeof(why), "an administrator ended the drain (%s)", who);
        if (was)
                resume(s, why);
        return 0;
}

/* ---- life and death ---- */

static void log_ready(const struct manager *m) {
        const char *cgroup = m->cgroup ? m->cgroup->path : NULL;

        (void)log_event(
                LOG_EVENT(LOG_INFO, MESSAGE_READY, 0,
                          LOG_NUMBER("PV_MAX_CONCURRENT", m->governor.effective.max_concurrent),
                          LOG_TEXT("PV_CGROUP", cgroup)),
                "ready: at most %u at once, accounting by %s", m->governor.effective.max_concurrent,
                cgroup ? cgroup : "schedstat alone (--cgroup=none)");
}

void service_ready(struct service *s) {
        int history = manager_get_new_history(s->manager);

        log_ready(s->manager);
        notify_ready(s->notify);
        if (history >= 0)
                notify_store(s->notify, history, LISTEN_HISTORY);
}

static int add_sources(struct service *s) {
        static const struct {
                int number;
                sd_event_signal_handler_t handler;
        } signals[] = {{SIGTERM, on_terminate}, {SIGINT, on_interrupt}, {SIGHUP, on_hangup}};
        sd_event *event = s->manager->event;
        int r;

        for (unsigned i = 0; i < ARRAY_SIZE(signals); i++) {
                r = sd_event_add_signal(event, &s->signal_sources[i], signals[i].number,
                                        signals[i].handler, s);
                if (r < 0)
                        return r;
        }
        return loop_add_timer(&s->look_source, event, on_look, s);
}

DEFINE_FREEP(service)

int service_new(struct service **ret, struct manager *manager) {
        _cleanup_(service_freep) struct service *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->manager = manager;
        s->watcher = (struct manager_watcher){
                .changed = on_changed, .job_changed = on_job_changed, .userdata = s};
        manager_watch(manager, &s->watcher);
        r = notify_new(&s->notify, manager->event, describe, s);
        if (r >= 0 && getenv("NOTIFY_SOCKET"))
                r = pid1_new(&s->pid1, manager->event, on_news, s);
        if (r >= 0)
                r = add_sources(s);
        if (r < 0)
                return r;
        *ret = take_ptr(&s);
        return 0;
}

struct service *service_free(struct service *s) {
        if (!s)
                return NULL;
        manager_unwatch(s->manager, &s->watcher);
        for (unsigned i = 0; i < ARRAY_SIZE(s->signal_sources); i++)
                s->signal_sources[i] = sd_event_source_disable_unref(s->signal_sources[i]);
        s->look_source = sd_event_source_disable_unref(s->look_source);
        s->pid1 = pid1_free(s->pid1);
        s->notify = notify_free(s->notify);
        free(s);
        return NULL;
}
