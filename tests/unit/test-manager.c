/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The manager's loop: what is granted when, what is looked at once a second and until when, who is
 * told, and what the configuration and the modes change. Its parts are the real ones. Processes and
 * cgroups are made up (town.h), and the clock is the test's (loop.h).
 */

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

static void on_changed(void *userdata) {
        ((struct house *)userdata)->n_changed++;
}

static void on_job_changed(void *userdata, struct job *job) {
        struct house *h = userdata;

        h->n_queued += job->state == JOB_QUEUED;
        h->n_running += job->state == JOB_RUNNING;
        h->n_ended += job->state > JOB_RUNNING;
}

static void set(struct config *config, const char *key, const char *value) {
        const struct config_setting setting = {.key = key, .value = value, .file = "test"};
        const char *why;

        assert_int_equal(config_set(config, &setting, &why), 0);
}

static int make(struct house *h, const char *cgroup) {
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

static void set_available(struct house *h, uint64_t bytes) {
        char text[64];

        (void)snprintf(text, sizeof(text), "MemAvailable: %llu kB\n",
                       (unsigned long long)(bytes >> 10));
        assert_int_equal(ftruncate(h->meminfo, 0), 0);
        assert_int_equal(pwrite(h->meminfo, text, strlen(text), 0), strlen(text));
}

static void begin(struct house *h) {
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

static void end(struct house *h) {
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

static void on_end(struct channel *channel) {
        struct keeper *k = (struct keeper *)((char *)channel - offsetof(struct keeper, channel));

        worker_on_disconnect(k->worker);
        close_fd(&k->channel.fd);
}

static void keeper_new(struct keeper *k, struct house *h, pid_t vmm) {
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

static void request(struct keeper *k, uint64_t seq) {
        const struct wire_request r = {.kind = WIRE_KIND_REBOOT, .seq = seq, .mem = GIB};

        assert_int_equal(worker_on_request(k->worker, &r), 0);
}

static void done(struct keeper *k, uint64_t seq) {
        const struct wire_outcome o = {.kind = WIRE_KIND_REBOOT, .seq = seq};

        capture_begin();
        assert_int_equal(worker_on_done(k->worker, &o), 0);
        (void)capture_end();
}

static bool is_granted(const struct keeper *k) {
        return k->worker->job && k->worker->job->state == JOB_RUNNING;
}

static void free_keepers(struct house *h, struct keeper *keepers, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                close_fd(&keepers[i].end);
        end(h);
}

/* n of them, each with a request. */
static void begin_with(struct house *h, struct keeper *keepers, unsigned n) {
        begin(h);
        for (unsigned i = 0; i < n; i++) {
                keeper_new(&keepers[i], h, 100 + 10 * (pid_t)i);
                request(&keepers[i], 1);
        }
}

/* ---- granting ---- */

static void test_as_many_as_may_run(void **state) {
        struct keeper k[3];
        struct house h;

        begin_with(&h, k, 3);
        assert_false(is_granted(&k[0])); /* from the loop only */
        pass(&h, 0);
        assert_true(is_granted(&k[0]) && is_granted(&k[1]));
        assert_false(is_granted(&k[2]));
        assert_int_equal(h.n_queued, 3);
        assert_int_equal(h.n_running, 2);
        pass(&h, 9 * SEC);
        assert_false(is_granted(&k[2]));
        done(&k[0], 1);
        pass(&h, 0);
        assert_true(is_granted(&k[2]));
        free_keepers(&h, k, 3);
}

static void test_the_end_of_a_worker_is_anothers_turn(void **state) {
        struct keeper k[3];
        struct house h;

        begin_with(&h, k, 3);
        pass(&h, 0);
        town_kill(k[1].citizen);
        assert_non_null(strstr(pass(&h, 0), "lost"));
        assert_true(is_granted(&k[2]));
        assert_int_equal(h.m->workers.n, 2);
        free_keepers(&h, k, 3);
}

/* start-rate: the next one has to wait, and does not wait for anything to happen. */
static void test_jobs_start_at_a_rate(void **state) {
        struct keeper k[2];
        struct house h;

        begin(&h);
        h.m->config->start_rate = 60;
        h.m->config->start_burst = 1;
        manager_apply(h.m);
        pass(&h, 60 * SEC); /* the bucket is full */
        keeper_new(&k[0], &h, 100);
        keeper_new(&k[1], &h, 110);
        request(&k[0], 1);
        request(&k[1], 1);
        pass(&h, 59 * SEC);
        assert_true(is_granted(&k[0]));
        assert_false(is_granted(&k[1]));
        pass(&h, SEC);
        assert_true(is_granted(&k[1]));
        free_keepers(&h, k, 2);
}

/* ---- once a second ---- */

static void test_one_that_stands_still_makes_room(void **state) {
        struct keeper k[3];
        struct house h;

        begin_with(&h, k, 3);
        pass(&h, 0);
        for (unsigned i = 0; i < 12; i++) {
                k[1].citizen->cgroup_cpu_usec += USEC_PER_MSEC * 2; /* it moves */
                pass(&h, SEC);
        }
        assert_string_equal(worker_state_to_string(k[0].worker), "overdue");
        assert_string_equal(worker_state_to_string(k[1].worker), "running");
        assert_true(is_granted(&k[2]));
        free_keepers(&h, k, 3);
}

/* The loop rests when there is nothing to look at. */
static void test_it_ticks_only_with_work(void **state) {
        struct keeper k[1];
        struct house h;
        unsigned n;

        begin_with(&h, k, 1);
        pass(&h, SEC / 2);
        n = h.n_changed;
        pass(&h, 5 * SEC);
        assert_int_equal(h.n_changed - n, 5);
        done(&k[0], 1);
        pass(&h, 2 * SEC);
        n = h.n_changed;
        pass(&h, 100 * SEC);
        assert_int_equal(h.n_changed, n);
        request(&k[0], 2);
        pass(&h, 0);
        n = h.n_changed;
        pass(&h, 3 * SEC);
        assert_int_equal(h.n_changed - n, 3);
        free_keepers(&h, k, 1);
}

/* One that was sent away idle is looked at until it moves. */
static void test_it_ticks_for_one_that_is_away(void **state) {
        struct keeper k[1];
        struct house h;

        begin(&h);
        keeper_new(&k[0], &h, 100);
        worker_set_state(k[0].worker, WORKER_SENT_AWAY);
        pass(&h, 30 * SEC);
        k[0].citizen->cgroup_cpu_usec += GOVERNOR_MOVE_USEC;
        pass(&h, 11 * SEC);
        assert_int_equal(k[0].worker->state, WORKER_AWAY);
        free_keepers(&h, k, 1);
}

/* A cgroup that could not be removed: it is tried until nobody is left in it. */
static void test_what_is_left_is_removed_later(void **state) {
        struct citizen *stranger;
        struct house h;

        begin(&h);
        stranger = town_add(50, 1);
        strcpy(stranger->cgroup, "/town/jobs/vm-50-1");
        h.m->workers.purge = true;
        manager_changed(h.m);
        pass(&h, 10 * SEC);
        assert_true(h.m->workers.purge);
        stranger->cgroup[0] = '\0';
        pass(&h, SEC);
        assert_false(h.m->workers.purge);
        end(&h);
}

/* Its end has not come to us yet: its bill must not go with its cgroup. */
static void test_the_purge_leaves_known_workers_alone(void **state) {
        struct citizen *left;
        struct keeper k[1];
        struct house h;

        begin_with(&h, k, 1);
        (void)pass(&h, 0);
        k[0].citizen->cgroup_cpu_usec = 700;
        assert_int_equal(sd_event_source_set_enabled(k[0].worker->exit_source, SD_EVENT_OFF), 0);
        town_bury(k[0].citizen);
        left = town_add(60, 1);
        strcpy(left->cgroup, "/town/jobs/vm-60-1060");
        strcpy(left->mark, "done=0 job=1 kind=1 bytes=4096 queued=1 granted=2 cpu=3 unit=x");
        town_bury(left);
        h.m->workers.purge = true;
        assert_non_null(strstr(pass(&h, SEC), "(pid 60, unit x) lost"));
        assert_string_equal(left->cgroup, "");
        assert_string_not_equal(k[0].citizen->cgroup, "");
        assert_false(h.m->workers.purge);
        assert_int_equal(sd_event_source_set_enabled(k[0].worker->exit_source, SD_EVENT_ON), 0);
        assert_non_null(strstr(pass(&h, 0), "CPU 0.000700 s"));
        assert_string_equal(k[0].citizen->cgroup, "");
        free_keepers(&h, k, 1);
}

/* ---- who is told ---- */

static void test_watchers_are_told(void **state) {
        struct manager_watcher deaf = {};
        struct keeper k[1];
        struct house h;
        unsigned n;

        begin(&h);
        manager_watch(h.m, &deaf); /* both are optional */
        keeper_new(&k[0], &h, 100);
        request(&k[0], 1);
        assert_int_equal(h.n_queued, 1);
        pass(&h, 0);
        assert_int_equal(h.n_running, 1);
        n = h.n_changed;
        done(&k[0], 1);
        assert_int_equal(h.n_ended, 1);
        pass(&h, 0);
        assert_true(h.n_changed > n);
        manager_unwatch(h.m, &h.watcher);
        n = h.n_changed;
        request(&k[0], 2);
        pass(&h, 0);
        assert_int_equal(h.n_queued, 1);
        assert_int_equal(h.n_changed, n);
        manager_watch(h.m, &h.watcher);
        manager_unwatch(h.m, &deaf);
        free_keepers(&h, k, 1);
}

static void test_jobs_are_remembered(void **state) {
        const struct wire_begun begun = {.seq = 2};
        struct keeper k[1];
        struct house h;

        begin_with(&h, k, 1);
        pass(&h, 0);
        done(&k[0], 1);
        request(&k[0], 2);
        assert_int_equal(worker_on_begun(k[0].worker, &begun), 0);
        done(&k[0], 2);
        assert_int_equal(h.m->ledger.n_history, 2);
        assert_int_equal(h.m->ledger.totals[JOB_DONE], 1);
        assert_int_equal(h.m->ledger.totals[JOB_UNGOVERNED], 1);
        assert_int_equal(h.m->ledger.tally.n_begun, 1);
        free_keepers(&h, k, 1);
}

/* ---- modes and configuration ---- */

static void test_short_memory_lets_more_run(void **state) {
        struct keeper k[3];
        struct house h;

        begin_with(&h, k, 3);
        pass(&h, SEC);
        assert_false(is_granted(&k[2]));
        set_available(&h, 3 * GIB);
        assert_non_null(strstr(pass(&h, SEC), "memory is short"));
        assert_int_equal(governor_mode(&h.m->governor), GOVERNOR_BOOST);
        assert_true(is_granted(&k[2]));
        assert_int_equal(h.m->ledger.tally.n_boosts, 1);
        set_available(&h, 8 * GIB);
        assert_non_null(strstr(pass(&h, SEC), "memory is no longer short"));
        assert_int_equal(governor_mode(&h.m->governor), GOVERNOR_NORMAL);
        assert_int_equal(h.m->ledger.tally.n_boosts, 1);
        free_keepers(&h, k, 3);
}

static void test_a_mode_acts_at_once(void **state) {
        struct keeper k[3];
        struct house h;

        begin_with(&h, k, 3);
        pass(&h, 0);
        manager_set_mode(h.m, GOVERNOR_DRAINING, true);
        pass(&h, 0);
        assert_int_equal(governor_mode(&h.m->governor), GOVERNOR_DRAINING);
        assert_true(is_granted(&k[2]));
        manager_set_mode(h.m, GOVERNOR_DRAINING, false);
        assert_int_equal(governor_mode(&h.m->governor), GOVERNOR_NORMAL);
        assert_int_equal(h.m->governor.effective.max_concurrent, 2);
        free_keepers(&h, k, 3);
}

static void test_a_new_configuration_acts_at_once(void **state) {
        struct keeper k[3];
        struct house h;

        begin_with(&h, k, 3);
        pass(&h, 0);
        set(h.m->config, "max-concurrent", "3");
        set(h.m->config, "unit-connections", "7");
        set(h.m->config, "cpus", "0");
        manager_apply(h.m);
        pass(&h, 0);
        assert_true(is_granted(&k[2]));
        assert_int_equal(h.m->governor.units.limits.most[UNIT_CONNECTIONS], 7);
        assert_int_equal(town.n_cpus_written, 1);
        free_keepers(&h, k, 3);
}

/* The line of memory is drawn while jobs run. */
static void test_a_new_line_of_memory_acts_at_once(void **state) {
        struct keeper k[1];
        struct house h;

        begin(&h);
        set(h.m->config, "memory-low", "0");
        set_available(&h, 3 * GIB);
        keeper_new(&k[0], &h, 100);
        request(&k[0], 1);
        pass(&h, 5 * SEC);
        assert_int_equal(governor_mode(&h.m->governor), GOVERNOR_NORMAL);
        set(h.m->config, "memory-low", "4G");
        manager_apply(h.m);
        pass(&h, 0);
        assert_int_equal(governor_mode(&h.m->governor), GOVERNOR_BOOST);
        free_keepers(&h, k, 1);
}

static void test_the_quota_in_force(void **state) {
        struct house h;

        begin(&h);
        assert_true(manager_cpu_quota(h.m) == USEC_INFINITY);
        set(h.m->config, "cpu-quota", "30%");
        set(h.m->config, "boost-cpu-quota", "70%");
        assert_int_equal(manager_cpu_quota(h.m), 30 * SEC / 100);
        governor_set_mode(&h.m->governor, loop_now(h.m->event), GOVERNOR_BOOST, true);
        assert_int_equal(manager_cpu_quota(h.m), 70 * SEC / 100);
        governor_set_mode(&h.m->governor, loop_now(h.m->event), GOVERNOR_BOOST, false);
        set(h.m->config, "cpu-quota", "auto");
        town.yields = true;
        assert_true(manager_cpu_quota(h.m) == USEC_INFINITY);
        town.yields = false;
        assert_true(manager_cpu_quota(h.m) <= 40 * SEC / 100);
        end(&h);
}

/* ---- the start ---- */

static int listener(struct sockaddr_un *address) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        *address = (struct sockaddr_un){.sun_family = AF_UNIX};
        (void)snprintf(address->sun_path + 1, sizeof(address->sun_path) - 1, "test-manager-%d",
                       (int)getpid());
        assert_int_equal(bind(fd, (void *)address, sizeof(*address)), 0);
        assert_int_equal(listen(fd, 8), 0);
        return fd;
}

static void test_workers_of_an_earlier_daemon_count(void **state) {
        struct sockaddr_un address;
        struct citizen *strange;
        struct house h;
        const char *said;
        int fd;

        begin(&h);
        town_add(101, 100)->memory = town_add(100, 1)->memory;
        strcpy(town_find(101)->cgroup, "/town/jobs/vm-101-1101");
        town_add(30, 1)->closer = true;
        strange = town_add(102, 1); /* it has threads, and is killed */
        strcpy(strange->cgroup, "/town/jobs/vm-102-1102");
        strange->n_threads = 2;
        fd = listener(&address);
        capture_begin();
        assert_int_equal(manager_start(h.m, &fd), 0);
        said = capture_end();
        assert_non_null(strstr(said, "2 workers of an earlier daemon count until they register"));
        assert_non_null(strstr(said, "cannot count worker 102 of an earlier daemon"));
        assert_int_equal(h.m->ledger.tally.n_found, 2);
        assert_int_equal(h.m->governor.n_counted, 2);
        assert_true(h.m->workers.purge);
        assert_true(strange->killed);
        end(&h);
}

/* A worker comes, and goes: it is full, and is not any more. */
static void test_connections(void **state) {
        struct sockaddr_un address;
        struct house h;
        int fd, one, two;

        begin(&h);
        h.m->peers.max = 1;
        fd = listener(&address);
        assert_int_equal(manager_start(h.m, &fd), 0);
        assert_int_equal(fd, -1);
        one = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        two = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(one, (void *)&address, sizeof(address)), 0);
        assert_int_equal(connect(two, (void *)&address, sizeof(address)), 0);
        assert_non_null(
                strstr(pass(&h, 0), "1 connections, the most that fit: accepting no more for now"));
        assert_int_equal(h.m->peers.n, 1);
        close_fd(&one);
        pass(&h, 0); /* at once, not at the end of a pause */
        assert_int_equal(h.m->peers.n, 1);
        close_fd(&two);
        pass(&h, 0);
        assert_int_equal(h.m->peers.n, 0);
        end(&h);
}

static void test_the_end_with_work(void **state) {
        struct sockaddr_un address;
        struct keeper k[3];
        struct house h;
        int fd, client;

        begin(&h);
        fd = listener(&address);
        assert_int_equal(manager_start(h.m, &fd), 0);
        for (unsigned i = 0; i < ARRAY_SIZE(k); i++) {
                keeper_new(&k[i], &h, 100 + 10 * (pid_t)i);
                request(&k[i], 1);
        }
        client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(client, (void *)&address, sizeof(address)), 0);
        pass(&h, 0);
        assert_int_equal(h.m->peers.n, 1);
        town_bury(k[0].citizen); /* its end is the next daemon's to read */
        free_keepers(&h, k, 3);
        assert_int_equal(town.n_cgroups, 3);
        close_fd(&client);
}

static void test_a_manager_that_cannot_start(void **state) {
        struct house h = {};

        town_begin();
        town.root_error = -ENOENT;
        capture_begin();
        assert_int_equal(make(&h, "auto"), -ENOENT);
        (void)capture_end();
        assert_string_equal(town.asked, "(auto)");
        assert_null(h.m);
        assert_null(manager_free(NULL));
        town_end();
}

static void test_the_loop_ends(void **state) {
        struct house h;

        begin(&h);
        assert_int_equal(sd_event_exit(h.m->event, 7), 0);
        assert_int_equal(manager_run(h.m), 7);
        end(&h);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_as_many_as_may_run),
                checked_test(test_the_end_of_a_worker_is_anothers_turn),
                checked_test(test_jobs_start_at_a_rate),
                checked_test(test_one_that_stands_still_makes_room),
                checked_test(test_it_ticks_only_with_work),
                checked_test(test_it_ticks_for_one_that_is_away),
                checked_test(test_what_is_left_is_removed_later),
                checked_test(test_the_purge_leaves_known_workers_alone),
                checked_test(test_watchers_are_told),
                checked_test(test_jobs_are_remembered),
                checked_test(test_short_memory_lets_more_run),
                checked_test(test_a_mode_acts_at_once),
                checked_test(test_a_new_configuration_acts_at_once),
                checked_test(test_a_new_line_of_memory_acts_at_once),
                checked_test(test_the_quota_in_force),
                checked_test(test_workers_of_an_earlier_daemon_count),
                checked_test(test_connections),
                checked_test(test_the_end_with_work),
                checked_test(test_a_manager_that_cannot_start),
                checked_test(test_the_loop_ends),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
