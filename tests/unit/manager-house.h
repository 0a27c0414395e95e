/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For tests of a whole manager: keepers of VMMs 100, 110, ... in town.h, and its clock. */

#include "fds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/packet.h"
#include "capture.h"
#include "daemon/cpu/cap.h"
#include "daemon/manager.h"
#include "daemon/memory/memory.h"
#include "daemon/runtime/process.h"
#include "daemon/worker/admit.h"
#include "daemon/worker/protocol.h"
#include "loop.h"
#include "town.h"

#define GIB (UINT64_C(1) << 30)
#define SEC USEC_PER_SEC

/* ---- a manager ---- */

struct house {
        struct manager *m;
        int meminfo; /* an unnamed file */

        /* what the watcher was told */
        struct manager_watcher watcher;
        unsigned n_changed, n_queued, n_running, n_ended;
};

static inline void on_changed(void *userdata) {
        ((struct house *)userdata)->n_changed++;
}

static inline void on_job_changed(void *userdata, struct job *job) {
        struct house *h = userdata;

        h->n_queued += job->state == JOB_QUEUED;
        h->n_running += job->state == JOB_RUNNING;
        h->n_ended += job->state > JOB_RUNNING;
}

static inline void set(struct config *config, const char *key, const char *value) {
        const struct config_setting setting = {.key = key, .value = value, .file = "test"};
        const char *why;

        assert_int_equal(config_set(config, &setting, &why), 0);
}

static inline int make(struct house *h, const char *cgroup) {
        const struct config_source source = {};
        struct config *config = NULL;
        int r;

        assert_int_equal(config_new(&config), 0);
        set(config, "path", cgroup);
        set(config, "cpu-quota", "infinity");
        set(config, "max-concurrent", "2");
        set(config, "boost-max-concurrent", "3");
        set(config, "start-rate", "infinity");
        set(config, "memory-low", "4G");
        set(config, "memory-high", "5G");
        r = manager_new(&h->m, config, &source);
        if (r < 0)
                config_free(config);
        return r;
}

static inline void set_available(struct house *h, uint64_t bytes) {
        char text[64];

        (void)snprintf(text, sizeof(text), "MemAvailable: %llu kB\n",
                       (unsigned long long)(bytes >> 10));
        assert_int_equal(ftruncate(h->meminfo, 0), 0);
        assert_int_equal(pwrite(h->meminfo, text, strlen(text), 0), strlen(text));
}

static inline void begin(struct house *h) {
        char path[32];

        *h = (struct house){.meminfo = memfd_create("meminfo", MFD_CLOEXEC)};
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", h->meminfo);
        assert_int_equal(setenv("PVREAPER_MEMINFO", path, true), 0);
        set_available(h, 8 * GIB);
        town_begin();
        fake_time_begin();
        capture_begin();
        assert_int_equal(make(h, "/town"), 0);
        (void)capture_end();
        h->watcher = (struct manager_watcher){
                .changed = on_changed, .job_changed = on_job_changed, .userdata = h};
        manager_watch(h->m, &h->watcher);
        fake_time_pass(h->m->event, 0);
}

static inline void end(struct house *h) {
        capture_begin();
        manager_unwatch(h->m, &h->watcher);
        h->m = manager_free(h->m);
        (void)capture_end();
        town_end();
        fake_time_end();
        close_fd(&h->meminfo);
        (void)unsetenv("PVREAPER_MEMINFO");
}

/* What the log says meanwhile. */
static const char *pass(struct house *h, uint64_t usec) {
        capture_begin();
        fake_time_pass(h->m->event, usec);
        return capture_end();
}

/* ---- keepers, of VMMs 100, 110 ... ---- */

struct keeper {
        struct channel channel;
        struct citizen *citizen;
        struct worker *worker;
        int end;
};

static inline void on_end(struct channel *channel) {
        struct keeper *k = (struct keeper *)((char *)channel - offsetof(struct keeper, channel));

        worker_on_disconnect(k->worker);
        close_fd(&k->channel.fd);
}

static inline void keeper_new(struct keeper *k, struct house *h, pid_t vmm) {
        struct task_stat stat = {.ppid = vmm, .n_threads = 1};
        int fds[2], pidfd;

        *k = (struct keeper){};
        town_add(vmm + 1, vmm)->memory = town_add(vmm, 1)->memory;
        k->citizen = town_find(vmm + 1);
        stat.starttime = k->citizen->starttime;
        pidfd = town_open(vmm + 1);
        assert_int_equal(worker_new(&k->worker, &h->m->workers, vmm + 1, &stat, &pidfd), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
                         0);
        k->channel = (struct channel){.fd = fds[0], .version = WIRE_VERSION, .end = on_end};
        k->end = fds[1];
        k->worker->channel = &k->channel;
}

static inline void request(struct keeper *k, uint64_t seq) {
        const struct wire_request r = {.kind = WIRE_KIND_REBOOT, .seq = seq, .mem = GIB};

        assert_int_equal(worker_on_request(k->worker, &r), 0);
}

static inline void done(struct keeper *k, uint64_t seq) {
        const struct wire_outcome o = {.kind = WIRE_KIND_REBOOT, .seq = seq};

        capture_begin();
        assert_int_equal(worker_on_done(k->worker, &o), 0);
        (void)capture_end();
}

static inline bool is_granted(const struct keeper *k) {
        return k->worker->job && k->worker->job->state == JOB_RUNNING;
}

static inline void free_keepers(struct house *h, struct keeper *keepers, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                close_fd(&keepers[i].end);
        end(h);
}

/* n of them, each with a request. */
static inline void begin_with(struct house *h, struct keeper *keepers, unsigned n) {
        begin(h);
        for (unsigned i = 0; i < n; i++) {
                keeper_new(&keepers[i], h, 100 + 10 * (pid_t)i);
                request(&keepers[i], 1);
        }
}
