/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Adopted helpers: workers that do not know of us. A stock QEMU makes one for its own end
 * (-async-teardown), and it does what it was made for whenever QEMU ends, granted or not. So there
 * is no connection and no queue; what we know comes from two pidfds. QEMU's says when the work
 * begins, the helper's when it is done: exit_mmap() comes before a process is reported dead.
 *
 * A helper does nothing before that, so all CPU time that its cgroup is charged with belongs to its
 * one job, also what it used before we noticed that QEMU is gone. Its memory cannot be asked for
 * any more then, since a task that exits gives up its mm first: it is looked at while QEMU runs.
 */

#include "daemon/worker/adopted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/runtime/log.h"
#include "daemon/runtime/loop.h"
#include "daemon/runtime/process.h"
#include "daemon/worker/protocol.h"

/* A guest's memory fills slowly, and how much a job has to release is not needed to the byte. */
#define LOOK_USEC     (10 * USEC_PER_SEC)
#define ACCURACY_USEC (1 * USEC_PER_SEC)

#define ONLY_JOB 1 /* the seq of what a helper does */

static void look_at_memory(struct worker *w) {
        uint64_t rss;

        if (process_rss(w->pid, &rss) < 0 || rss == 0 || rss == w->mem)
                return;
        w->mem = rss;
        worker_mark(w);
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        struct worker *w = userdata;

        look_at_memory(w);
        (void)sd_event_source_set_time_relative(source, LOOK_USEC);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* ---- its job ---- */

/* since: when its VMM died, or 0 if nobody saw it. */
static int make_job(struct worker *w, uint64_t since) {
        const struct wire_request request = {
                .seq = ONLY_JOB, .kind = JOB_KIND_ADOPTED, .mem = w->mem};
        int r;

        r = worker_new_job(w, &request);
        if (r < 0)
                return r;
        w->job->state = JOB_RUNNING;
        w->job->queued_at = w->job->granted_at = since;
        w->job->waited_usec = 0;
        w->job->cpu_base = w->adopted_cpu;
        return 0;
}

int worker_begin_unseen(struct worker *w) {
        return make_job(w, 0);
}

static int begin(struct worker *w, uint64_t since) {
        int r;

        r = make_job(w, since);
        if (r < 0)
                return r;
        worker_set_state(w, WORKER_RUNNING); /* and the cap with it: first of all, it is at work */
        worker_mark(w);
        return 0;
}

static int on_vmm_exit(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct worker *w = userdata;
        int r;

        w->vmm_source = sd_event_source_disable_unref(w->vmm_source);
        w->look_source = sd_event_source_disable_unref(w->look_source);
        worker_on_vmm_end(w);
        if (w->state == WORKER_OVERTAKEN)
                return 0;  /* the keeper has the memory, and the job */
        look_at_memory(w); /* it may still have some: it looks for its parent once a second */
        r = begin(w, loop_now(w->workers->event));
        if (r < 0)
                (void)log_error_errno(r, "cannot account for the end of QEMU %d", (int)w->vmm_pid);
        return 0;
}

static int on_helper_exit(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct worker *w = userdata;

        if (worker_vmm_alive(w))
                log_info("helper %d ended before its QEMU %d, which will release its memory itself",
                         (int)w->pid, (int)w->vmm_pid);
        else if (w->state == WORKER_ADOPTED)
                (void)begin(w, 0); /* there was no memory for it when it began */
        worker_end(w);
        return 0;
}

/* ---- its name ---- */

/* The byte that systemd wrote as itself or as \xNN. Moves the text behind it. */
static char next_byte(const char **text) {
        const char *t = *text;

        if (t[0] != '\\' || t[1] != 'x' || strspn(t + 2, "0123456789abcdef") < 2)
                return *(*text)++;
        *text += 4;
        return (char)strtoul((char[]){t[2], t[3], '\0'}, NULL, 16);
}

char *adopted_guest_of(const char *unit) {
        char name[WIRE_NAME_MAX];
        size_t size = 0;
        int n = 0;

        (void)sscanf(unit, "machine-qemu\\x2d%*[0-9]\\x2d%n", &n);
        if (n == 0)
                return NULL;
        for (unit += n; *unit && strcmp(unit, ".scope") != 0 && size < sizeof(name); size++)
                name[size] = next_byte(&unit);
        return size > 0 && strcmp(unit, ".scope") == 0 ? worker_escape_name(name, size) : NULL;
}

/*
 * That of its QEMU's guest is in QEMU's own memory, which could let its reader wait for ever. But
 * libvirt writes it into the name of the unit. Elsewhere the helper's own must do: it says whose
 * helper it is, and was verified.
 */
static int take_name(struct worker *w) {
        char own[PROCESS_NAME_SIZE], *name = w->unit ? adopted_guest_of(w->unit) : NULL;
        int r;

        if (!name) {
                r = process_name(w->pid, own);
                if (r < 0)
                        return r;
                name = strdup(own);
        }
        if (!name)
                return -ENOMEM;
        free(w->name);
        w->name = name;
        return 0;
}

/* ---- life ---- */

static int watch_vmm(struct worker *w) {
        sd_event *event = w->workers->event;
        int r;

        r = sd_event_add_io(event, &w->vmm_source, w->vmm_pidfd, EPOLLIN | EPOLLET, on_vmm_exit, w);
        if (r < 0)
                return r;
        return sd_event_add_time_relative(event, &w->look_source, CLOCK_MONOTONIC, LOOK_USEC,
                                          ACCURACY_USEC, on_look, w);
}

static int adopt(struct worker *w) {
        struct task_stat vmm;
        int r;

        r = process_unit(w->vmm_pid, &w->unit);
        if (r >= 0)
                r = process_read_stat(w->vmm_pid, &vmm);
        if (r < 0)
                return r;
        w->vmm = (struct process_id){w->vmm_pid, vmm.starttime};
        r = take_name(w);
        if (r < 0)
                return r;
        if (process_alive(w->vmm_pidfd) <= 0) /* else the unit may be somebody else's */
                return -ESRCH;
        r = worker_charge_unit(w);
        if (r < 0)
                return r;
        r = worker_enter_cgroup(w);
        if (r < 0)
                return r;
        r = worker_cpu_usec(w, &w->adopted_cpu);
        if (r < 0)
                return r;
        r = worker_watch(w, on_helper_exit);
        return r < 0 ? r : watch_vmm(w);
}

int worker_new_adopted(struct worker **ret, struct workers *ws, struct helper *helper) {
        _cleanup_(close_fd) int pidfd = take_fd(&helper->pidfd);
        _cleanup_(close_fd) int vmm_pidfd = take_fd(&helper->vmm_pidfd);
        _cleanup_(worker_freep) struct worker *w = NULL;
        int r;

        if (ws->n >= ws->max)
                return -EMFILE;
        r = worker_alloc(&w, ws, helper->pid, helper->starttime);
        if (r < 0)
                return r;
        w->pidfd = take_fd(&pidfd);
        w->vmm_pid = helper->vmm_pid;
        w->vmm_pidfd = take_fd(&vmm_pidfd);
        w->sort = WORKER_HELPER;
        r = adopt(w);
        if (r < 0)
                return r;
        worker_set_state(w, WORKER_ADOPTED);
        look_at_memory(w);
        worker_sign(w);
        worker_mark(w);
        *ret = take_ptr(&w);
        return 0;
}

/*
 * What an earlier daemon adopted. Its VMM runs: it goes on as if nothing had been. Else it is at
 * work; if nobody saw the VMM die it is not known since when, only what it cost.
 */
int worker_resume_adopted(struct worker *w) {
        int r;

        r = take_name(w);
        if (r >= 0 && w->job)
                r = job_rename(w->job, w->name, w->uuid);
        if (r >= 0)
                r = worker_watch(w, on_helper_exit);
        if (r < 0)
                return r;
        if (w->vmm_pidfd >= 0 && !w->job) {
                worker_set_state(w, worker_find_keeper(w->workers, w->vmm_pid) ? WORKER_OVERTAKEN
                                                                               : WORKER_ADOPTED);
                return watch_vmm(w);
        }
        if (!w->job)
                return begin(w, 0);
        worker_set_state(w, WORKER_RUNNING);
        return 0;
}
