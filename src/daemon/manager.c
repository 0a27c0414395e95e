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

#include "daemon/adopt/adopt.h"
#include "daemon/cpu/cap.h"
#include "daemon/memory/memory.h"
#include "daemon/policy.h"
#include "daemon/runtime/log.h"
#include "daemon/runtime/loop.h"
#include "daemon/worker/admit.h"
#include "daemon/worker/hurry.h"
#include "daemon/worker/protocol.h"
#include "daemon/worker/quiet.h"

#define TICK_USEC (1 * USEC_PER_SEC)
#define TELL_USEC (60 * USEC_PER_SEC) /* at most one line of a sort of them */

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

/* A worker that we know reads its own bill, when its end has come to us. */
static void on_left(void *userdata, pid_t pid, uint64_t starttime) {
        struct manager *m = userdata;

        if (!worker_find(&m->workers, pid, starttime) &&
            worker_new_left(&m->workers, pid, starttime) < 0)
                m->workers.purge = true;
}

static void purge(struct manager *m) {
        m->workers.purge = false;
        if (cgroup_root_scan_keepers(m->cgroup, on_left, m) < 0)
                m->workers.purge = true;
}

/* A line for each unit, once a minute at most. */
static void tell_untold(struct manager *m) {
        struct unit *unit;
        unsigned n;

        while ((unit = unit_take_untold(&m->governor.units, &n))) {
                (void)log_event(LOG_EVENT(LOG_WARNING, MESSAGE_JOBS_UNTOLD, 0,
                                          LOG_TEXT("PV_UNIT", unit->name),
                                          LOG_NUMBER("PV_JOBS", n)),
                                "%u jobs of unit %s ended without a grant, and are not told one by "
                                "one",
                                n, unit->name ? unit->name : "unknown");
                unit_unref(unit);
        }
}

/* Whether there will be something. */
static bool look_at_untold(struct manager *m) {
        uint64_t now = loop_now(m->event);

        if (now - m->told_at >= TELL_USEC && !TAILQ_EMPTY(&m->governor.units.untold)) {
                tell_untold(m);
                m->told_at = now;
        }
        return !TAILQ_EMPTY(&m->governor.units.untold);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        struct manager *m = userdata;
        bool again = false;
        struct worker *w;

        enforce_hold(m->workers.enforce);
        TAILQ_FOREACH (w, &m->workers.list, link) {
                again = worker_check_overdue(w) || again;
        }
        enforce_settle(m->workers.enforce);
        again = cap_tick(m->cap) || again;
        if (m->workers.purge)
                purge(m);
        again = look_at_untold(m) || again || m->workers.purge;
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

        hurry_grant(&m->workers);
        if (m->hurries && governor_n_left(&m->governor) == 0)
                manager_hurry(m, false);
        while ((job = governor_next(&m->governor, loop_now(m->event), &wake_at)))
                worker_grant(job->worker);
        if (m->governor.n_counted > 0 || m->workers.purge ||
            !TAILQ_EMPTY(&m->governor.units.untold))
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

/* ---- the configuration ---- */

static uint64_t decide_quota(const struct manager *m) {
        const struct policy_host host = {
                .n_cpus = sched_count_cpus(),
                .yields = m->config->cpu_quota == CONFIG_AUTO && m->cgroup &&
                          cgroup_root_yields(m->cgroup),
        };

        return policy_cpu_quota(m->config, governor_mode(&m->governor), &host);
}

uint64_t manager_cpu_quota(const struct manager *m) {
        return m->governor.cpu_quota;
}

static void init_governor(struct manager *m, const struct config *config) {
        const struct governor_limits limits =
                policy_limits(config, GOVERNOR_NORMAL, sched_count_cpus());
        const struct unit_limits unit_limits = policy_unit_limits(config, m->peers.max);

        governor_init(&m->governor, &limits, &unit_limits);
}

void manager_apply(struct manager *m) {
        const struct unit_limits unit_limits = policy_unit_limits(m->config, m->peers.max);
        const struct enforce_policy cpu = policy_enforce(m->config, decide_quota(m));
        uint64_t now = loop_now(m->event);

        for (int mode = GOVERNOR_NORMAL; mode < _GOVERNOR_MODE_MAX; mode++) {
                const struct governor_limits limits =
                        policy_limits(m->config, mode, sched_count_cpus());

                governor_set_limits(&m->governor, now, mode, &limits);
        }
        unit_table_set_limits(&m->governor.units, now, &unit_limits);
        governor_set_cpu_quota(&m->governor, cpu.quota);
        cap_set(m->cap, &cpu);
        adopt_apply(m->adopt);
        memory_changed(m->memory);
        manager_changed(m);
}

void manager_set_mode(struct manager *m, enum governor_mode mode, bool on) {
        governor_set_mode(&m->governor, loop_now(m->event), mode, on);
        manager_apply(m);
}

static void on_memory_short(void *userdata, bool is_short) {
        struct manager *m = userdata;

        m->ledger.tally.n_boosts += is_short;
        m->memory_short = is_short;
        manager_set_mode(m, GOVERNOR_BOOST, is_short || m->hurries);
}

/* A keeper whose VMM is dead asks soon. */
static bool on_may_free(void *userdata) {
        struct manager *m = userdata;
        const struct worker *w;

        if (governor_n_left(&m->governor) > 0)
                return true;
        TAILQ_FOREACH (w, &m->workers.list, link)
                if (!w->job && !worker_is_overdue(w) && !worker_vmm_alive(w))
                        return true;
        return false;
}

void manager_hurry(struct manager *m, bool on) {
        m->hurries = on;
        manager_set_mode(m, GOVERNOR_BOOST, on || m->memory_short);
}

/* ---- jobs that moved ---- */

static void on_job_ended(void *userdata, struct job *job) {
        struct manager *m = userdata;

        job = ledger_add(&m->ledger, job);
        if (job)
                tell_job_changed(m, job);
}

static uint64_t on_new_job(void *userdata) {
        struct manager *m = userdata;

        return ledger_next_id(&m->ledger);
}

static void on_job_moved(void *userdata, struct job *job) {
        struct manager *m = userdata;

        m->ledger.tally.n_begun += job->state == JOB_RUNNING && job->ungoverned;
        if (job->state == JOB_RUNNING && job->worker->hurries)
                m->ledger.tally.n_hurried++;
        else
                m->ledger.tally.n_starved += job->state == JOB_RUNNING && job->worker->slot.beyond;
        tell_job_changed(m, job);
}

/* ---- the workers and their connections ---- */

static void on_changed(void *userdata) {
        manager_changed(userdata);
}

static void on_quiet_changed(void *userdata) {
        struct manager *m = userdata;

        quiet_changed(m->quiet);
}

static void on_peer_gone(void *userdata) {
        struct manager *m = userdata;

        acceptor_look_again(m->acceptor);
        manager_changed(m);
}

static void init_workers(struct manager *m) {
        unsigned max = acceptor_max_peers();

        m->workers = (struct workers){
                .governor = &m->governor,
                .changed = on_changed,
                .quiet_changed = on_quiet_changed,
                .job_moved = on_job_moved,
                .job_ended = on_job_ended,
                .next_job_id = on_new_job,
                .userdata = m,
                .max = max,
        };
        m->peers = (struct peers){
                .workers = &m->workers,
                .tally = &m->ledger.tally,
                .gone = on_peer_gone,
                .userdata = m,
                .max = max,
        };
        TAILQ_INIT(&m->workers.list);
        TAILQ_INIT(&m->peers.list);
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

static int make_parts(struct manager *m, const struct config *config) {
        const struct memory_config memory = {
                .event = m->event,
                .config = config,
                .governor = &m->governor,
                .may_free = on_may_free,
                .on_short = on_memory_short,
                .userdata = m,
        };
        int r;

        m->workers.event = m->peers.event = m->peers.partings.event = m->event;
        m->workers.cgroup = m->cgroup;
        r = cap_new(&m->cap, m->event, m->cgroup);
        if (r < 0)
                return r;
        m->workers.enforce = cap_get_enforce(m->cap);
        r = memory_new(&m->memory, &memory);
        if (r < 0)
                return r;
        r = quiet_new(&m->quiet, &m->workers);
        if (r < 0)
                return r;
        return adopt_new(&m->adopt, &m->workers, config);
}

int manager_new(struct manager **ret, struct config *config, const struct config_source *source) {
        _cleanup_(manager_freep) struct manager *m = calloc(1, sizeof(*m));
        int r;

        if (!m)
                return log_error_errno(-ENOMEM, "cannot start");
        TAILQ_INIT(&m->watchers);
        ledger_init(&m->ledger);
        init_workers(m);
        init_governor(m, config);
        r = sd_event_default(&m->event);
        if (r >= 0)
                r = add_sources(m);
        if (r < 0)
                return log_error_errno(r, "cannot make the event loop");
        r = open_cgroup(m, config->cgroup);
        if (r < 0)
                return r;
        r = make_parts(m, config);
        if (r < 0)
                return log_error_errno(r, "cannot start");
        m->config = config;
        m->source = *source;
        manager_apply(m);
        m->started_at = loop_now(m->event);
        *ret = take_ptr(&m);
        return 0;
}

/* What a worker has it keeps, and its cgroup is the next daemon's to read: as after kill -9. */
static void leave(struct manager *m) {
        struct worker *w;

        m->workers.leaving = true;
        TAILQ_FOREACH (w, &m->workers.list, link)
                enforce_leave(&w->cap);
}

struct manager *manager_free(struct manager *m) {
        if (!m)
                return NULL;
        m->acceptor = acceptor_free(m->acceptor);
        leave(m);
        while (!TAILQ_EMPTY(&m->peers.list))
                peer_free(TAILQ_FIRST(&m->peers.list));
        partings_deinit(&m->peers.partings);
        while (!TAILQ_EMPTY(&m->workers.list))
                worker_free(TAILQ_FIRST(&m->workers.list));
        tell_untold(m);
        ledger_deinit(&m->ledger);
        governor_deinit(&m->governor);
        m->tick_source = sd_event_source_disable_unref(m->tick_source);
        m->start_source = sd_event_source_disable_unref(m->start_source);
        m->dispatch_source = sd_event_source_disable_unref(m->dispatch_source);
        m->memory = memory_free(m->memory);
        m->quiet = quiet_free(m->quiet);
        m->adopt = adopt_free(m->adopt);
        m->cap = cap_free(m->cap);
        cgroup_root_free(m->cgroup);
        config_free(m->config);
        sd_event_unref(m->event);
        free(m);
        return NULL;
}

static void on_found(void *userdata, pid_t pid, uint64_t starttime) {
        struct manager *m = userdata;
        struct worker *w;
        int r;

        r = worker_new_found(&w, &m->workers, pid, starttime);
        if (r == -ESRCH)
                r = worker_new_left(&m->workers, pid, starttime);
        m->workers.purge = m->workers.purge || r < 0;
        if (r < 0)
                (void)log_warning_errno(r, "cannot count worker %d of an earlier daemon", (int)pid);
}

void manager_restore(struct manager *m, int *history_fd) {
        int r;

        r = ledger_open_archive(&m->ledger, history_fd);
        if (r < 0)
                (void)log_warning_errno(r, "cannot keep the history of jobs over a restart");
}

int manager_get_new_history(const struct manager *m) {
        return m->ledger.archive ? archive_get_new_fd(m->ledger.archive) : -1;
}

static int find_workers(struct manager *m) {
        int r;

        if (!m->cgroup)
                return 0;
        enforce_hold(m->workers.enforce);
        r = cgroup_root_scan_keepers(m->cgroup, on_found, m);
        if (r >= 0)
                r = cgroup_root_scan_closers(m->cgroup, on_found, m);
        enforce_settle(m->workers.enforce);
        return r < 0 ? log_error_errno(r, "cannot read %s/jobs", m->cgroup->path) : 0;
}

int manager_start(struct manager *m, int *handoff_fd) {
        int r;

        r = find_workers(m);
        if (r < 0)
                return r;
        m->ledger.tally.n_found = m->workers.n;
        if (m->workers.n > 0)
                (void)log_event(LOG_EVENT(LOG_INFO, MESSAGE_WORKERS_FOUND, 0,
                                          LOG_NUMBER("PV_WORKERS", m->workers.n)),
                                "%u workers of an earlier daemon count until they register",
                                m->workers.n);
        r = acceptor_new(&m->acceptor, &m->peers, handoff_fd);
        return r < 0 ? log_error_errno(r, "cannot listen on the hand-off socket") : 0;
}

int manager_run(struct manager *m) {
        int r;

        r = sd_event_loop(m->event);
        return r < 0 ? log_error_errno(r, "the event loop failed") : r;
}
