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
#include "daemon/cpu/cap.h"
#include "daemon/memory/memory.h"
#include "daemon/policy.h"
#include "daemon/runtime/log.h"
#include "daemon/worker/quiet.h"

#define TICK_USEC    (1 * USEC_PER_SEC)
#define FDS_PER_PEER 4 /* socket, pidfds of worker and VMM, cgroup directory */
#define FDS_RESERVED 128
#define ACCEPT_BATCH 16 /* connections per wake-up: a flood of them must not hold the loop */

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

/* ---- who watches ---- */

void manager_watch(struct manager *m, struct manager_watcher *watcher) {
        TAILQ_INSERT_TAIL(&m->watchers, watcher, link);
}

void manager_unwatch(struct manager *m, struct manager_watcher *watcher) {
        TAILQ_REMOVE(&m->watchers, watcher, link);
}

static void tell_changed(struct manager *m) {
        struct manager_watcher *watcher;

        TAILQ_FOREACH (watcher, &m->watchers, link) {
                if (watcher->changed)
                        watcher->changed(watcher->userdata);
        }
}

static void tell_job_changed(struct manager *m, struct job *job) {
        struct manager_watcher *watcher;

        TAILQ_FOREACH (watcher, &m->watchers, link) {
                if (watcher->job_changed)
                        watcher->job_changed(watcher->userdata, job);
        }
}

/* ---- what is looked at once a second, while there is something to look at ---- */

static void tick_on(struct manager *m) {
        loop_timer_start(m->tick_source, loop_now(m->event) + TICK_USEC);
}

/* Full, or short of something: nothing is accepted until the next tick or until a peer goes. */
static int pause_accepting(struct manager *m) {
        tick_on(m);
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
        tell_changed(m);
        if (again)
                tick_on(m);
        return 0;
}

/* ---- granting ---- */

/* The next job had to wait for start-rate. Whatever else changes things calls manager_changed(). */
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
                tick_on(m);
        loop_timer_at(m->start_source, wake_at);
        memory_changed(m->memory);
        tell_changed(m);
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

/* Only from what we granted: one that went ahead by itself was under no limit. */
static void learn(struct manager *m, const struct job *job) {
        const struct estimate_sample sample = {job->bytes, job->cpu_usec, job->ran_usec};

        if (job->state == JOB_DONE)
                estimate_learn(&m->estimate, job->kind, &sample);
}

void manager_job_ended(struct manager *m, struct job *job) {
        job_log(job);
        m->totals[job->state]++;
        learn(m, job);
        tell_job_changed(m, job);
        tally_job(&m->tally, job);
        TAILQ_INSERT_TAIL(&m->history, job, link);
        if (++m->n_history > HISTORY_MAX)
                history_drop(m, TAILQ_FIRST(&m->history));
}

void manager_job_moved(struct manager *m, struct job *job) {
        tell_job_changed(m, job);
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

        r = loop_add_timer(&m->tick_source, m->event, on_tick, m);
        if (r < 0)
                return r;
        tick_on(m);
        r = loop_add_timer(&m->start_source, m->event, on_start, m);
        if (r < 0)
                return r;
        return sd_event_add_defer(m->event, &m->dispatch_source, on_dispatch, m);
}

DEFINE_FREEP(manager)

int manager_new(struct manager **ret, struct config *config, const struct config_source *source) {
        _cleanup_(manager_freep) struct manager *m = calloc(1, sizeof(*m));
        int r;

        if (!m)
                return log_error_errno(-ENOMEM, "cannot start");
        TAILQ_INIT(&m->watchers);
        TAILQ_INIT(&m->peers);
        TAILQ_INIT(&m->workers);
        TAILQ_INIT(&m->history);
        m->handoff_fd = -1;
        m->next_job_id = 1;
        tally_init(&m->tally);
        m->max_peers = find_max_peers();
        policy_init(m, config);
        r = sd_event_default(&m->event);
        if (r >= 0)
                r = sd_event_set_watchdog(m->event, true); /* fed by the loop itself */
        if (r >= 0)
                r = add_sources(m);
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
        m->memory = memory_free(m->memory);
        m->quiet = quiet_free(m->quiet);
        m->adopt = adopt_free(m->adopt);
        m->cap = cap_free(m->cap);
        cgroup_root_free(m->cgroup);
        close_fd(&m->handoff_fd);
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

int manager_start(struct manager *m, int *handoff_fd) {
        int r;

        m->handoff_fd = take_fd(handoff_fd);
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
        return r < 0 ? log_error_errno(r, "cannot listen on the hand-off socket") : 0;
}

int manager_run(struct manager *m) {
        int r;

        r = sd_event_loop(m->event);
        return r < 0 ? log_error_errno(r, "the event loop failed") : r;
}
