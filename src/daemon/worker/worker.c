/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Workers: what is known of them, what they do, and when they count. What a worker does is one
 * word, worker.state, and worker_set_state() sees to it that nobody keeps a slot who does not run.
 *
 * The mark on a worker's cgroup tells the next daemon what only this one knows: which outcome was
 * reported last, and, while a job runs, what it is and what the bill said when it began. Without a
 * mark (--cgroup none, closers, Linux < 5.7) the next daemon says "unknown" where it would need it.
 */

#include "daemon/worker/worker.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/runtime/log.h"
#include "daemon/runtime/loop.h"
#include "daemon/runtime/process.h"
#include "daemon/worker/mark.h"

/* To connect and to register takes less than 1 ms of CPU time, and is tried again and again. */
#define COMING_BACK_USEC (10 * USEC_PER_MSEC)

/* ---- life and death ---- */

int worker_alloc(struct worker **ret, struct workers *ws, pid_t pid, uint64_t starttime) {
        struct worker *w = calloc(1, sizeof(*w));
        int r = -ENOMEM;

        if (!w)
                return r;
        w->workers = ws;
        w->pid = pid;
        w->starttime = starttime;
        w->pidfd = w->vmm_pidfd = -1;
        w->name = strdup("?");
        if (w->name)
                r = workers_add(ws, w);
        if (r < 0) {
                free(w->name);
                free(w);
                return r;
        }
        *ret = w;
        return 0;
}

int worker_watch(struct worker *w, sd_event_io_handler_t on_exit) {
        int r;

        r = sd_event_add_io(w->workers->event, &w->exit_source, w->pidfd, EPOLLIN | EPOLLET,
                            on_exit, w); /* told once, as in peer.c */
        if (r < 0)
                return r;
        return sd_event_source_set_priority(w->exit_source, SD_EVENT_PRIORITY_NORMAL + 1);
}

struct worker *worker_free(struct worker *w) {
        if (!w)
                return NULL;
        w->exit_source = sd_event_source_disable_unref(w->exit_source);
        w->vmm_source = sd_event_source_disable_unref(w->vmm_source);
        w->look_source = sd_event_source_disable_unref(w->look_source);
        worker_drop_job(w);
        worker_set_state(w, WORKER_AWAY);
        charge_give(&w->charge);
        if (w->channel)
                w->channel->end(w->channel);
        workers_remove(w->workers, w);
        workers_quiet_changed(w->workers);
        if (w->cgroup && !w->workers->leaving)
                w->workers->purge |= cgroup_leaf_remove(w->cgroup, w->workers->cgroup) < 0;
        cgroup_leaf_free(w->cgroup);
        close_fd(&w->pidfd);
        close_fd(&w->vmm_pidfd);
        free(w->name);
        free(w->unit);
        free(w->cpus);
        free(w);
        return NULL;
}

int worker_charge_unit(struct worker *w) {
        struct unit_table *units = &w->workers->governor->units;
        struct unit *unit = unit_get(units, loop_now(w->workers->event), w->unit);
        int r = charge_take(&w->charge, unit, UNIT_WORKERS);

        unit_unref(unit);
        return r;
}

/* ---- in words ---- */

const char *worker_sort_to_string(const struct worker *w) {
        static const char *const sorts[] = {"keeper", "closer", "adopted"};

        return sorts[w->sort];
}

const char *worker_state_to_string(const struct worker *w) {
        static const char *const states[] = {
                [WORKER_AWAY] = "away",         [WORKER_SENT_AWAY] = "away",
                [WORKER_FOUND_AWAY] = "away",   [WORKER_ADOPTED] = "adopted",
                [WORKER_OVERTAKEN] = "adopted", [WORKER_IDLE] = "idle",
                [WORKER_WAITING] = "waiting",   [WORKER_FOUND] = "found",
                [WORKER_RUNNING] = "running",
        };

        return worker_is_overdue(w) ? "overdue" : states[w->state];
}

bool worker_is_found(const struct worker *w) {
        return w->state == WORKER_FOUND || w->state == WORKER_FOUND_AWAY;
}

bool worker_has_pid(const struct worker *w, uint64_t pid) {
        return (uint64_t)w->pid == pid || (w->vmm_pid > 0 && (uint64_t)w->vmm_pid == pid);
}

bool worker_has_uuid(const struct worker *w, const uint8_t uuid[16]) {
        static const uint8_t no_uuid[16];

        return memcmp(w->uuid, no_uuid, sizeof(no_uuid)) != 0 &&
               memcmp(w->uuid, uuid, sizeof(w->uuid)) == 0;
}

bool worker_is_quiet(const struct worker *w) {
        if (w->sort == WORKER_CLOSER)
                return w->cgroup;
        return w->sort == WORKER_KEEPER && w->says_quiet && !worker_vmm_alive(w);
}

const char *worker_fencing(const struct worker *w) {
        if (w->sort == WORKER_CLOSER && w->cgroup)
                return "none";
        if (w->sort != WORKER_KEEPER || w->version < 2)
                return "unknown";
        return w->drains ? "drain" : "none";
}

/* A claim from a client, made printable once and for all. */
char *worker_escape_name(const char *name, size_t size) {
        char buffer[WIRE_NAME_MAX + 1];
        size_t i;

        for (i = 0; i < size && i < WIRE_NAME_MAX && name[i]; i++) {
                buffer[i] = '?';
                if (name[i] >= ' ' && name[i] <= '~')
                        buffer[i] = name[i];
        }
        buffer[i] = '\0';
        return strdup(i > 0 ? buffer : "?");
}

/* ---- counting ---- */

bool worker_is_overdue(const struct worker *w) {
        return w->slot.state == SLOT_STANDING || w->slot.state == SLOT_OVERDUE;
}

/* USEC_INFINITY: it cannot be read. */
static uint64_t get_bill(const struct worker *w) {
        uint64_t cpu;

        return worker_cpu_usec(w, &cpu) < 0 ? USEC_INFINITY : cpu;
}

/*
 * One that was found and has no job may have nothing to do but to come back. There may be thousands
 * of them, and each share of the quota makes all others smaller. So it has none until it has used
 * more CPU time than to come back takes, unless an earlier daemon had capped it.
 */
static bool needs_no_cap(const struct worker *w, uint64_t bill) {
        return w->state == WORKER_FOUND && !w->job && bill != USEC_INFINITY &&
               bill - w->found_cpu < COMING_BACK_USEC && !enforce_has_cap(w->pid);
}

static bool same_text(const char *a, const char *b) {
        return strcmp(a ? a : "", b ? b : "") == 0;
}

/*
 * SCHED_DEADLINE takes the CPU mask from it. That it gets it back, should we be killed meanwhile,
 * is the card's business. What the card says holds as long as an earlier daemon's cap is on it.
 */
static void note_cpus(struct worker *w) {
        char list[CARD_CPUS_MAX];

        if (sched_list_cpus(w->pid, list, sizeof(list)) < 0)
                return;
        if (*list == '\0' && w->cpus && enforce_has_cap(w->pid)) {
                (void)sched_parse_cpus(&w->cap.cpus, w->cpus);
                return;
        }
        if (same_text(w->cpus, list))
                return;
        free(w->cpus);
        w->cpus = *list ? strdup(list) : NULL;
        worker_sign(w);
}

/* Soon: a system call may be all that it does. */
static void set_cap(struct worker *w) {
        if (w->cap.enforce)
                return;
        note_cpus(w);
        enforce_add(w->workers->enforce, &w->cap, w->pid, w->pidfd,
                    w->sort == WORKER_CLOSER ? SCHED_OTHER : SCHED_BATCH);
}

static bool observe(struct worker *w, uint64_t bill) {
        if (!needs_no_cap(w, bill))
                set_cap(w);
        return slot_observe(&w->slot, loop_now(w->workers->event), bill);
}

/* An earlier daemon granted it; since when, its mark may know. */
static void take_slot(struct worker *w) {
        uint64_t since = w->job && w->job->granted_at != 0 ? w->job->granted_at : USEC_INFINITY;
        uint64_t bill = get_bill(w);

        if (w->slot.state == SLOT_FREE) {
                slot_take_found(&w->slot, w->workers->governor, loop_now(w->workers->event),
                                w->unit, since);
                w->found_cpu = bill;
        }
        (void)observe(w, bill);
}

static bool was_sent_away(const struct worker *w) {
        return w->state == WORKER_SENT_AWAY || w->state == WORKER_FOUND_AWAY;
}

void worker_set_state(struct worker *w, enum worker_state state) {
        w->workers->n_adopted -= w->state == WORKER_ADOPTED;
        w->workers->n_adopted += state == WORKER_ADOPTED;
        w->state = state;
        if (state >= WORKER_FOUND) {
                take_slot(w);
        } else {
                slot_give(&w->slot);
                enforce_remove(&w->cap);
        }
        if (was_sent_away(w)) {
                w->away_since = loop_now(w->workers->event);
                (void)worker_cpu_usec(w, &w->away_cpu);
        }
        workers_changed(w->workers);
}

/* There may be thousands of them: a look now and then. It moves as a slot does. */
static void check_away(struct worker *w) {
        uint64_t now = loop_now(w->workers->event), cpu;

        if (now - w->away_since < GOVERNOR_STANDSTILL_USEC)
                return;
        w->away_since = now;
        if (worker_cpu_usec(w, &cpu) < 0)
                return;
        if (cpu > w->away_cpu && cpu - w->away_cpu >= GOVERNOR_MOVE_USEC)
                worker_set_state(w, w->state == WORKER_FOUND_AWAY ? WORKER_FOUND : WORKER_AWAY);
        w->away_cpu = cpu;
}

static void log_overdue(const struct worker *w) {
        static const struct {
                int level;
                const char *id, *what;
        } rows[] = {
                [SLOT_COUNTED] = {LOG_INFO, MESSAGE_WORKER_MOVES,
                                  "moves again and counts as running"},
                [SLOT_STANDING] =
                        {LOG_WARNING, MESSAGE_WORKER_OVERDUE,
                         "is overdue: hardly any CPU time for 10 s; it does not count as running"},
                [SLOT_OVERDUE] = {LOG_WARNING, MESSAGE_WORKER_OVERDUE,
                                  "is overdue: it runs for too long; it does not count as running"},
        };
        enum slot_state state = w->slot.state;

        (void)log_event(LOG_EVENT(rows[state].level, rows[state].id, 0, LOG_TEXT("PV_VM", w->name),
                                  LOG_TEXT("PV_UNIT", w->unit),
                                  LOG_NUMBER("PV_PID", (uint64_t)w->pid)),
                        "worker %d of %s %s", (int)w->pid, w->name, rows[state].what);
}

/* Model: daemon_overdue. It is never killed, and counts again when it moves. */
bool worker_check_overdue(struct worker *w) {
        if (was_sent_away(w))
                check_away(w);
        if (w->slot.state != SLOT_FREE && observe(w, get_bill(w))) {
                log_overdue(w);
                workers_changed(w->workers);
        }
        return w->slot.state != SLOT_FREE || was_sent_away(w);
}

/* ---- its job ---- */

int worker_new_job(struct worker *w, const struct wire_request *request) {
        const struct job_owner owner = {.worker = w,
                                        .pid = w->pid,
                                        .uuid = w->uuid,
                                        .name = w->name,
                                        .unit = w->unit,
                                        .cgroup = w->cgroup ? w->cgroup->path : NULL};

        return job_new(&w->job, &owner, w->workers->next_job_id(w->workers->userdata), request);
}

struct job *worker_take_job(struct worker *w) {
        struct job *job = w->job;

        queue_remove(&w->workers->governor->queue, job);
        w->job = NULL;
        worker_set_state(w, w->channel ? WORKER_IDLE : WORKER_AWAY);
        return job;
}

void worker_drop_job(struct worker *w) {
        if (w->job)
                job_free(worker_take_job(w));
}

/* Its job has a slot. The mark is for the next daemon: it must count this one. */
void worker_start_job(struct worker *w) {
        struct job *job = w->job;

        job->state = JOB_RUNNING;
        job->granted_at = loop_now(w->workers->event);
        job->waited_usec = job->granted_at - job->queued_at;
        progress_begin(&job->progress, job->granted_at, job->bytes);
        if (worker_cpu_usec(w, &job->cpu_base) < 0)
                job->cpu_base = USEC_INFINITY;
        worker_mark(w);
        worker_set_state(w, WORKER_RUNNING);
}

/* ---- the mark ---- */

void worker_mark(struct worker *w) {
        const struct job *j = worker_running_job(w);
        struct mark mark = {.done = w->last_seq,
                            .away = was_sent_away(w) || w->state == WORKER_OVERTAKEN,
                            .adopted = w->sort == WORKER_HELPER,
                            .quiet = w->says_quiet};
        char text[MARK_SIZE_MAX];
        int r;

        if (!w->cgroup)
                return;
        if (mark.adopted)
                mark.bytes = w->mem;
        if (j) {
                mark.seq = j->seq;
                mark.kind = j->kind;
                mark.bytes = j->bytes;
                mark.queued_at = j->queued_at;
                mark.granted_at = j->granted_at;
                mark.cpu_base = j->cpu_base;
                mark.begun = j->ungoverned;
        }
        (void)snprintf(mark.unit, sizeof(mark.unit), "%s", w->unit ? w->unit : "");
        mark_format(&mark, text);
        r = cgroup_leaf_set_mark(w->cgroup, text);
        if (r < 0 && r != -EOPNOTSUPP)
                (void)log_warning_errno(r, "cannot mark %s", w->cgroup->path);
}

void worker_sign(struct worker *w) {
        struct card card = {.vmm_pid = w->vmm.pid, .vmm_starttime = w->vmm.starttime};
        char text[CARD_SIZE_MAX];
        int r;

        if (!w->cgroup)
                return;
        memcpy(card.uuid, w->uuid, sizeof(card.uuid));
        (void)snprintf(card.cpus, sizeof(card.cpus), "%s", w->cpus ? w->cpus : "");
        (void)snprintf(card.name, sizeof(card.name), "%s", w->name);
        card_format(&card, text);
        r = cgroup_leaf_set_card(w->cgroup, text);
        if (r < 0 && r != -EOPNOTSUPP)
                (void)log_warning_errno(r, "cannot mark %s", w->cgroup->path);
}

/* Without a card its name is "?" until it registers. */
static void restore_card(struct worker *w) {
        char text[CARD_SIZE_MAX], *name;
        struct card card;

        if (cgroup_leaf_get_card(w->cgroup, text, sizeof(text)) < 0 || card_parse(&card, text) < 0)
                return;
        name = worker_escape_name(card.name, sizeof(card.name));
        if (!name)
                return;
        free(w->name);
        w->name = name;
        memcpy(w->uuid, card.uuid, sizeof(w->uuid));
        free(w->cpus);
        w->cpus = *card.cpus ? strdup(card.cpus) : NULL;
        w->vmm = (struct process_id){card.vmm_pid, card.vmm_starttime};
}

/* What an earlier daemon knew of this worker; nothing, if there is no mark. */
bool worker_restore(struct worker *w) {
        struct wire_request request;
        char text[MARK_SIZE_MAX];
        struct mark mark;

        if (w->cgroup)
                restore_card(w);
        if (!w->cgroup || cgroup_leaf_get_mark(w->cgroup, text, sizeof(text)) < 0 ||
            mark_parse(&mark, text) < 0)
                return false;
        w->last_seq = mark.done;
        if (mark.adopted)
                w->sort = WORKER_HELPER;
        w->says_quiet = mark.quiet;
        if (mark.adopted)
                w->mem = mark.bytes;
        if (mark.unit[0] && !w->unit)
                w->unit = strdup(mark.unit);
        request = (struct wire_request){.seq = mark.seq, .kind = mark.kind, .mem = mark.bytes};
        if (mark.seq == 0 || worker_new_job(w, &request) < 0)
                return mark.away;
        w->job->state = JOB_RUNNING;
        w->job->queued_at = mark.queued_at;
        w->job->granted_at = mark.granted_at;
        w->job->waited_usec = mark.granted_at - mark.queued_at;
        w->job->cpu_base = mark.cpu_base;
        w->job->ungoverned = mark.begun;
        return mark.away;
}

/* ---- the end of its VMM ---- */

void worker_on_vmm_end(struct worker *w) {
        bool had = w->cgroup;

        worker_place_again(w);
        if (had)
                return;
        if (w->sort == WORKER_HELPER && w->cgroup)
                (void)worker_cpu_usec(w, &w->adopted_cpu);
        worker_mark(w);
}

static int on_vmm_end(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct worker *w = userdata;

        w->vmm_source = sd_event_source_disable_unref(w->vmm_source);
        worker_on_vmm_end(w);
        workers_quiet_changed(w->workers); /* it may have said so before */
        return 0;
}

/* Before its packets, for it asks for something at that moment. */
int worker_watch_vmm(struct worker *w) {
        int r;

        r = sd_event_add_io(w->workers->event, &w->vmm_source, w->vmm_pidfd, EPOLLIN | EPOLLET,
                            on_vmm_end, w);
        if (r < 0)
                return r;
        return sd_event_source_set_priority(w->vmm_source, SD_EVENT_PRIORITY_NORMAL - 1);
}
