/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The root object. One loop, nothing in it blocks. Whatever happens (a request, a DONE, a death, a
 * worker that stands still), the consequences for the queue are drawn in one place: on_dispatch(),
 * a deferred source that grants as long as there are free slots.
 *
 * Workers outlive us, so at start everything found in our cgroups counts as running until it
 * registers, ends or stands still: else a restart would let max-concurrent jobs run on top of those
 * that never noticed (G3, G6).
 */

#include "daemon/manager.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/packet.h"
#include "daemon/adopt/adopt.h"
#include "daemon/bus/bus.h"
#include "daemon/cpu/cap.h"
#include "daemon/forecast.h"
#include "daemon/memory/memory.h"
#include "daemon/metrics/metrics.h"
#include "daemon/policy.h"
#include "daemon/runtime/log.h"
#include "daemon/worker/quiet.h"

#define TICK_USEC    (1 * USEC_PER_SEC)
#define FDS_PER_PEER 4 /* socket, pidfds of worker and VMM, cgroup directory */
#define FDS_RESERVED 128
#define ACCEPT_BATCH 16 /* connections per wake-up: a flood of them must not hold the loop */

uint64_t manager_now(struct manager *m) {
        uint64_t now = 0;

        (void)sd_event_now(m->event, CLOCK_MONOTONIC, &now);
        return now;
}

uint64_t manager_bytes_to_clear(struct manager *m) {
        uint64_t sum = 0;
        struct worker *w;

        TAILQ_FOREACH (w, &m->workers, link) {
                uint64_t bytes = 0;

                if (w->job)
                        bytes = w->job->bytes_left == USEC_INFINITY ? w->job->bytes
                                                                    : w->job->bytes_left;
                /* Claims: a sum of lies must not wrap around to look small. */
                sum = bytes > UINT64_MAX - sum ? UINT64_MAX : sum + bytes;
        }
        return sum;
}

unsigned manager_n_left(const struct manager *m) {
        return m->governor.n_counted + m->governor.queue.n_waiting;
}

/* ---- what is looked at once a second, while there is something to look at ---- */

static int tick_on(struct manager *m) {
        int enabled;

        if (!m->tick_source)
                return 0; /* on our way out */
        (void)sd_event_source_get_enabled(m->tick_source, &enabled);
        if (enabled != SD_EVENT_OFF)
                return 0;
        (void)sd_event_source_set_time_relative(m->tick_source, TICK_USEC);
        return sd_event_source_set_enabled(m->tick_source, SD_EVENT_ONESHOT);
}

/* Full, or short of something: nothing is accepted until the next tick or until a peer goes. */
static int pause_accepting(struct manager *m) {
        (void)tick_on(m);
        return sd_event_source_set_enabled(m->handoff_source, SD_EVENT_OFF);
}

static bool accept_again(struct manager *m) {
        if (m->n_peers >= m->max_peers)
                return false;
        if (m->handoff_source)
                (void)sd_event_source_set_enabled(m->handoff_source, SD_EVENT_ON);
        return true;
}

/* A process is still in it. Unless that is a worker that we know, the purge is repeated. */
static void on_left(void *userdata, pid_t pid, uint64_t starttime) {
        struct manager *m = userdata;

        m->purge = m->purge || !worker_find(m, pid, starttime);
}

static void purge(struct manager *m) {
        m->purge = false;
        if (cgroup_root_scan_keepers(m->cgroup, on_left, m) < 0)
                m->purge = true;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        struct manager *m = userdata;
        bool again = !accept_again(m);
        struct worker *w;

        TAILQ_FOREACH (w, &m->workers, link) {
                worker_check_overdue(w);
                again = again || w->slot.state != SLOT_FREE || w->sent_away;
        }
        again = cap_tick(m->cap) || again;
        if (m->purge)
                purge(m);
        again = again || m->purge;
        service_changed(m->service);
        bus_changed(m->bus);
        return again ? tick_on(m) : 0;
}

/* ---- granting ---- */

/* The next job must wait for start-rate. Else whatever changes things calls manager_changed(). */
static void look_again_at(struct manager *m, uint64_t wake_at) {
        if (wake_at == USEC_INFINITY) {
                (void)sd_event_source_set_enabled(m->start_source, SD_EVENT_OFF);
                return;
        }
        (void)sd_event_source_set_time(m->start_source, wake_at);
        (void)sd_event_source_set_enabled(m->start_source, SD_EVENT_ONESHOT);
}

static int on_start(sd_event_source *source, uint64_t usec, void *userdata) {
        manager_changed(userdata);
        return 0;
}

/* Model: daemon_grant. */
static int on_dispatch(sd_event_source *source, void *userdata) {
        struct manager *m = userdata;
        uint64_t wake_at;
        struct job *job;

        while ((job = governor_next(&m->governor, manager_now(m), &wake_at))) {
                struct worker *w = job->worker;

                if (worker_grant(w) < 0)
                        peer_free(w->peer); /* it does not read: it will ask again, if it lives */
        }
        if (m->governor.n_counted > 0 || m->purge)
                (void)tick_on(m);
        look_again_at(m, wake_at);
        memory_changed(m->memory);
        service_changed(m->service);
        bus_changed(m->bus);
        return sd_event_source_set_enabled(source, SD_EVENT_OFF);
}

void manager_changed(struct manager *m) {
        if (m->dispatch_source)
                (void)sd_event_source_set_enabled(m->dispatch_source, SD_EVENT_ONESHOT);
}

/* ---- jobs that ended ---- */

static void history_drop(struct manager *m, struct job *job) {
        TAILQ_REMOVE(&m->history, job, link);
        m->n_history--;
        job_free(job);
}

void manager_job_ended(struct manager *m, struct job *job) {
        job_log(job);
        m->totals[job->state]++;
        forecast_learn(m, job);
        bus_job_changed(m->bus, job);
        tally_job(&m->tally, job);
        TAILQ_INSERT_TAIL(&m->history, job, link);
        if (++m->n_history > HISTORY_MAX)
                history_drop(m, TAILQ_FIRST(&m->history));
}

void manager_job_moved(struct manager *m, struct job *job) {
        bus_job_changed(m->bus, job);
}

/* ---- listening ---- */

static struct log_limit accept_limit;

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct manager *m = userdata;

        for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
                struct peer *peer;
                int connection, r;

                if (m->n_peers >= m->max_peers) {
                        /* The rest waits in the backlog, and its grace time runs. */
                        log_warning_limited(&accept_limit, 0, "%u connections: no more for now",
                                            m->n_peers);
                        return pause_accepting(m);
                }
                connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (connection < 0 && errno == EAGAIN)
                        return 0; /* none left */
                if (connection < 0) {
                        /* Out of fds or memory: going on would spin. */
                        log_warning_limited(&accept_limit, negative_errno(),
                                            "cannot accept a connection");
                        return pause_accepting(m);
                }
                r = peer_new(&peer, m, &connection);
                if (r < 0 && r != -ECONNREFUSED)
                        log_warning_limited(&accept_limit, r, "cannot serve a connection");
        }
        return 0;
}

void manager_peer_gone(struct manager *m) {
        (void)accept_again(m);
        manager_changed(m);
}

/* As many peers as fds allow. */
static unsigned find_max_peers(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return 256;
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        if (limit.rlim_cur > 1000000)
                limit.rlim_cur = 1000000;
        if (limit.rlim_cur < FDS_RESERVED + FDS_PER_PEER)
                return 1;
        return (unsigned)((limit.rlim_cur - FDS_RESERVED) / FDS_PER_PEER);
}

/* ---- life and death ---- */

static int open_cgroup(struct manager *m, const char *path) {
        if (strcmp(path, "none") == 0)
                return 0;
        return cgroup_root_new(&m->cgroup, strcmp(path, "auto") == 0 ? NULL : path);
}

static int add_sources(struct manager *m) {
        int r;

        r = sd_event_add_time_relative(m->event, &m->tick_source, CLOCK_MONOTONIC, TICK_USEC, 0,
                                       on_tick, m);
        if (r < 0)
                return r;
        /* Exact to 1 µs: else it would be late by up to 250 ms, at each start. */
        r = sd_event_add_time(m->event, &m->start_source, CLOCK_MONOTONIC, 0, 1, on_start, m);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(m->start_source, SD_EVENT_OFF);
        if (r < 0)
                return r;
        return sd_event_add_defer(m->event, &m->dispatch_source, on_dispatch, m);
}

static void manager_freep(struct manager **m) {
        manager_free(*m);
}

int manager_new(struct manager **ret, struct config *config, const struct config_source *source) {
        _cleanup_(manager_freep) struct manager *m = calloc(1, sizeof(*m));
        int r;

        if (!m)
                return log_error_errno(-ENOMEM, "cannot start");
        TAILQ_INIT(&m->peers);
        TAILQ_INIT(&m->workers);
        TAILQ_INIT(&m->history);
        m->handoff_fd = m->control_fd = -1;
        m->next_job_id = 1;
        tally_init(&m->tally);
        m->max_peers = find_max_peers();
        policy_init(m, config);
        r = sd_event_default(&m->event);
        if (r >= 0)
                r = sd_event_set_watchdog(m->event, true); /* fed by the loop itself */
        if (r >= 0)
                r = add_sources(m);
        if (r >= 0)
                r = service_new(&m->service, m);
        if (r < 0)
                return log_error_errno(r, "cannot make the event loop");
        r = open_cgroup(m, config->cgroup);
        if (r < 0)
                return r;
        r = cap_new(&m->cap, m);
        if (r >= 0)
                r = memory_new(&m->memory, m);
        if (r >= 0)
                r = quiet_new(&m->quiet, m);
        if (r >= 0)
                r = adopt_new(&m->adopt, m);
        if (r < 0)
                return log_error_errno(r, "cannot start");
        m->config = config;
        m->source = *source;
        policy_apply(m);
        m->started_at = manager_now(m);
        *ret = m;
        m = NULL;
        return 0;
}

struct manager *manager_free(struct manager *m) {
        if (!m)
                return NULL;
        m->service = service_free(m->service);
        m->bus = bus_free(m->bus);
        m->handoff_source = sd_event_source_disable_unref(m->handoff_source);
        while (!TAILQ_EMPTY(&m->peers))
                peer_free(TAILQ_FIRST(&m->peers));
        while (!TAILQ_EMPTY(&m->workers))
                worker_free(TAILQ_FIRST(&m->workers));
        while (!TAILQ_EMPTY(&m->history))
                history_drop(m, TAILQ_FIRST(&m->history));
        governor_deinit(&m->governor);
        m->tick_source = sd_event_source_disable_unref(m->tick_source);
        m->start_source = sd_event_source_disable_unref(m->start_source);
        m->dispatch_source = sd_event_source_disable_unref(m->dispatch_source);
        m->metrics_file = metrics_file_free(m->metrics_file);
        m->memory = memory_free(m->memory);
        m->quiet = quiet_free(m->quiet);
        m->adopt = adopt_free(m->adopt);
        m->cap = cap_free(m->cap);
        cgroup_root_free(m->cgroup);
        close_fd(&m->handoff_fd);
        close_fd(&m->control_fd);
        config_free(m->config);
        sd_event_unref(m->event);
        free(m);
        return NULL;
}

static void on_found(void *userdata, pid_t pid, uint64_t starttime) {
        struct manager *m = userdata;
        struct worker *w;
        int r;

        r = worker_new_found(&w, m, pid, starttime);
        m->purge = m->purge || r < 0;
        if (r < 0 && r != -ESRCH)
                (void)log_warning_errno(r, "cannot count worker %d of an earlier daemon", (int)pid);
}

int manager_start(struct manager *m, int *handoff_fd, int *control_fd) {
        int r;

        m->handoff_fd = take_fd(handoff_fd);
        m->control_fd = take_fd(control_fd);
        if (m->cgroup) {
                r = cgroup_root_scan_keepers(m->cgroup, on_found, m);
                if (r >= 0)
                        r = cgroup_root_scan_closers(m->cgroup, on_found, m);
                if (r < 0)
                        return log_error_errno(r, "cannot read %s/jobs", m->cgroup->path);
        }
        m->tally.n_found = m->n_workers;
        if (m->n_workers > 0)
                (void)log_event(LOG_EVENT(LOG_INFO, MESSAGE_WORKERS_FOUND, 0,
                                          LOG_NUMBER("PV_WORKERS", m->n_workers)),
                                "%u workers of an earlier daemon count until they register",
                                m->n_workers);
        (void)packet_refuse_fds(m->handoff_fd);
        r = sd_event_add_io(m->event, &m->handoff_source, m->handoff_fd, EPOLLIN, on_connection, m);
        if (r < 0)
                return log_error_errno(r, "cannot listen on the hand-off socket");
        r = bus_new(&m->bus, m);
        if (r < 0)
                return log_error_errno(r, "cannot listen on the control socket");
        r = metrics_file_new(&m->metrics_file, m);
        return r < 0 ? log_error_errno(r, "cannot prepare to write the metrics") : 0;
}

static void log_ready(struct manager *m) {
        const char *cgroup = m->cgroup ? m->cgroup->path : NULL;

        (void)log_event(
                LOG_EVENT(LOG_INFO, MESSAGE_READY, 0,
                          LOG_NUMBER("PV_MAX_CONCURRENT", m->governor.effective.max_concurrent),
                          LOG_TEXT("PV_CGROUP", cgroup)),
                "ready: at most %u at once, accounting by %s", m->governor.effective.max_concurrent,
                cgroup ? cgroup : "schedstat alone (--cgroup none)");
}

int manager_run(struct manager *m) {
        int r;

        log_ready(m);
        service_ready(m->service);
        r = sd_event_loop(m->event);
        return r < 0 ? log_error_errno(r, "the event loop failed") : r;
}
