/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The daemon as a service, in fake time and with PID 1 played by the test: what systemd is told and
 * when, how a stop waits for the work and for how long, what an administrator may call off, and
 * what a reload changes.
 */

#include "fds.h"

#include <signal.h>
#include <string.h>

#include "capture.h"
#include "daemon/service/pid1.h"
#include "daemon/service/service.h"
#include "stage.h"

static struct stage stage;
static struct service *service;
static const struct service_caller somebody = {.who = "uid 7"};

/* ---- PID 1, and workers ---- */

static struct {
        void (*tell)(void *userdata, enum pid1_news news);
        void *userdata;
        unsigned asked;
} pid1;

int __wrap_pid1_new(struct pid1 **ret, sd_event *event,
                    void (*tell)(void *userdata, enum pid1_news news), void *userdata);
struct pid1 *__wrap_pid1_free(struct pid1 *p);
bool __wrap_pid1_can_ask(const struct pid1 *p);
void __wrap_pid1_ask(struct pid1 *p);
int __wrap_worker_cpu_usec(const struct worker *worker, uint64_t *ret);

int __wrap_pid1_new(struct pid1 **ret, sd_event *event,
                    void (*tell)(void *userdata, enum pid1_news news), void *userdata) {
        pid1.tell = tell;
        pid1.userdata = userdata;
        pid1.asked = 0;
        *ret = (struct pid1 *)&pid1;
        return 0;
}

struct pid1 *__wrap_pid1_free(struct pid1 *p) {
        return NULL;
}

bool __wrap_pid1_can_ask(const struct pid1 *p) {
        return p != NULL;
}

void __wrap_pid1_ask(struct pid1 *p) {
        pid1.asked++;
}

static void pid1_says(enum pid1_news news) {
        pid1.tell(pid1.userdata, news);
}

/* All workers use one part in so many of a CPU, or none from then on. */
static uint64_t stands_since, part;

int __wrap_worker_cpu_usec(const struct worker *worker, uint64_t *ret) {
        *ret = (stands_since > 0 ? stands_since : now_usec()) / part;
        return 0;
}

/* ---- the service ---- */

static void begin(void) {
        stands_since = 0;
        part = 1;
        stage_begin(&stage);
        assert_true(service_new(&service, stage.manager) >= 0);
        service_ready(service);
        fake_time_pass(stage.manager->event, USEC_PER_SEC);
        (void)stage_said(&stage);
}

static void end(void) {
        service = service_free(service);
        stage_end(&stage);
}

static void pass(uint64_t usec) {
        fake_time_pass(stage.manager->event, usec);
}

static bool has_ended(void) {
        int code = -1;

        if (sd_event_get_exit_code(stage.manager->event, &code) < 0)
                return false;
        assert_int_equal(code, 0);
        return true;
}

/* How many seconds pass before it ends; what it logs meanwhile is in *ret_log. */
static unsigned seconds_to_end(unsigned most, const char **ret_log) {
        unsigned n = 0;

        capture_begin();
        for (; n < most && !has_ended(); n++)
                pass(USEC_PER_SEC);
        *ret_log = capture_end();
        return n;
}

static void terminate(void) {
        assert_int_equal(raise(SIGTERM), 0);
        pass(0);
}

static enum governor_mode mode(void) {
        return governor_mode(&stage.manager->governor);
}

/* ---- what systemd hears ---- */

static void test_ready_says_status_and_limits(void **state) {
        const char *log;

        stage_begin(&stage);
        assert_true(service_new(&service, stage.manager) >= 0);
        pass(10 * USEC_PER_SEC);
        assert_string_equal(stage_said(&stage), "");
        capture_begin();
        service_ready(service);
        log = capture_end();
        assert_string_equal(stage_said(&stage),
                            "READY=1\nSTATUS=idle with 0 VMs; 0 done, 0 failed\n");
        assert_non_null(strstr(log, "ready: at most 4 at once, accounting by schedstat alone"));
        end();
}

static void test_status_follows_the_work(void **state) {
        struct worker *w;

        begin();
        stage.manager->ledger.totals[JOB_DONE] = 3;
        stage.manager->ledger.totals[JOB_FOREIGN] = 1;
        stage.manager->ledger.totals[JOB_LOST] = 2;
        w = stage_add_running(&stage);
        pass(USEC_PER_SEC);
        assert_string_equal(stage_said(&stage),
                            "STATUS=1 running, 0 queued, 0 B to clear; 4 done, 2 failed\n");
        worker_set_state(w, WORKER_AWAY);
        pass(USEC_PER_SEC);
        assert_string_equal(stage_said(&stage), "STATUS=idle with 1 VM; 4 done, 2 failed\n");
        pass(60 * USEC_PER_SEC);
        assert_string_equal(stage_said(&stage), "");
        service_drain(service, "uid 7");
        pass(USEC_PER_SEC);
        assert_string_equal(stage_said(&stage),
                            "STATUS=draining: idle with 1 VM; 4 done, 2 failed\n");
        end();
}

/* ---- SIGTERM that is a restart ---- */

static void test_nobody_to_ask_is_a_restart(void **state) {
        stage_begin(&stage);
        assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
        assert_true(service_new(&service, stage.manager) >= 0);
        (void)stage_add_running(&stage);
        terminate();
        assert_true(has_ended());
        end();
}

static void test_a_restart_leaves_the_work(void **state) {
        const char *log;

        begin();
        (void)stage_add_running(&stage);
        pass(USEC_PER_SEC);
        (void)stage_said(&stage);
        terminate();
        assert_int_equal(pid1.asked, 1);
        assert_false(has_ended());
        assert_string_equal(stage_said(&stage), "STOPPING=1\n");
        capture_begin();
        pid1_says(PID1_STOPS_NOTHING);
        log = capture_end();
        assert_true(has_ended());
        assert_non_null(strstr(log, "stopping with 1 running and 0 queued"));
        end();
}

static void test_a_silent_pid1_is_a_restart(void **state) {
        begin();
        pid1_says(PID1_SILENT); /* nobody asked */
        assert_false(has_ended());
        terminate();
        pid1_says(PID1_SILENT);
        assert_true(has_ended());
        end();
}

static void test_a_silent_pid1_does_not_call_off(void **state) {
        begin();
        pid1_says(PID1_STOPS_SOCKET);
        pid1_says(PID1_SILENT);
        assert_int_equal(mode(), GOVERNOR_DRAINING);
        (void)stage_add_running(&stage);
        terminate();
        pid1_says(PID1_STOPS_NOTHING); /* after our SIGTERM there is no way back */
        assert_int_equal(mode(), GOVERNOR_DRAINING);
        assert_false(has_ended());
        end();
}

static void test_interrupt_does_not_ask(void **state) {
        begin();
        assert_int_equal(raise(SIGINT), 0);
        pass(0);
        assert_true(has_ended());
        assert_int_equal(pid1.asked, 0);
        assert_string_equal(stage_said(&stage), "STOPPING=1\n");
        end();
}

/* ---- draining ---- */

static void test_the_sockets_stop_waits_for_drain_time(void **state) {
        const char *log;

        begin();
        (void)stage_add_running(&stage);
        pid1_says(PID1_STOPS_SOCKET);
        assert_int_equal(mode(), GOVERNOR_DRAINING);
        assert_int_equal(stage.manager->governor.effective.max_concurrent, 9);
        assert_string_equal(service_drain_reason(service), "pv-reaper.socket");
        terminate();
        pass(USEC_PER_SEC);
        assert_non_null(strstr(stage_said(&stage), "EXTEND_TIMEOUT_USEC=30000000\n"));
        assert_in_range(seconds_to_end(60, &log), 28, 30); /* of drain-time's 30, 1 has passed */
        assert_non_null(strstr(log, "drained for 3"));
        assert_non_null(strstr(log, "1 running and 0 queued are left, 0 silent"));
        end();
}

static void test_the_systems_stop_waits_for_progress(void **state) {
        const char *log;

        begin();
        (void)stage_add_running(&stage);
        terminate();
        pid1_says(PID1_STOPS_SYSTEM);
        assert_string_equal(service_drain_reason(service), "system");
        for (unsigned i = 0; i < 10; i++) {
                pass(12 * USEC_PER_SEC);
                assert_false(has_ended());
                assert_non_null(strstr(stage_said(&stage), "EXTEND_TIMEOUT_USEC=30000000\n"));
        }
        stands_since = now_usec();
        assert_in_range(seconds_to_end(60, &log), 9, 15);
        assert_non_null(strstr(log, "0 running and 0 queued are left, 1 silent"));
        end();
}

/* A worker that wakes up now and then gets nothing done, for all that is seen of it. */
static void test_a_twitch_does_not_hold_up_the_stop(void **state) {
        const char *log;

        begin();
        part = 1100; /* a move takes a thousandth */
        (void)stage_add_running(&stage);
        terminate();
        pid1_says(PID1_STOPS_SYSTEM);
        assert_in_range(seconds_to_end(60, &log), 9, 15);
        assert_non_null(strstr(log, "0 running and 0 queued are left, 1 silent"));
        end();
}

static void end_a_job(uint64_t queued_at) {
        const struct job_owner owner = {.uuid = (const uint8_t[16]){}, .name = "vm"};
        const struct wire_request request = {.kind = WIRE_KIND_REBOOT, .seq = 1};
        struct job *job;

        assert_int_equal(job_new(&job, &owner, 1, &request), 0);
        job->queued_at = queued_at;
        job->granted_at = now_usec();
        job->state = JOB_SUPERSEDED;
        stage.manager->workers.job_ended(stage.manager, job);
}

/* Who asks again and again holds nothing up; what waited when the stop began does. */
static void test_a_stop_waits_for_what_was_asked_for_before(void **state) {
        uint64_t before;
        unsigned n = 0;

        begin();
        worker_set_state(stage_add_running(&stage), WORKER_AWAY); /* it is about to ask */
        before = now_usec();
        terminate();
        pid1_says(PID1_STOPS_SYSTEM);
        for (unsigned i = 0; i < 5; i++) {
                pass(12 * USEC_PER_SEC);
                assert_false(has_ended());
                end_a_job(before);
        }
        for (; !has_ended() && n < 60; n++) {
                pass(USEC_PER_SEC);
                end_a_job(now_usec());
        }
        assert_in_range(n, 13, 17);
        end();
}

static void test_a_drain_ends_with_the_work(void **state) {
        const char *log;
        struct worker *w;

        begin();
        w = stage_add_running(&stage);
        pid1_says(PID1_STOPS_SYSTEM);
        terminate();
        pass(20 * USEC_PER_SEC);
        assert_false(has_ended());
        worker_free(w);
        manager_changed(stage.manager);
        capture_begin();
        pass(0); /* not only at the next look */
        log = capture_end();
        assert_true(has_ended());
        assert_non_null(strstr(log, "nothing is left; 0 workers sent away"));
        end();
}

/* Its greatest job is yet to come. It may never ask, though. */
static void test_a_drain_waits_for_a_dead_vmms_worker(void **state) {
        struct worker *w;
        const char *log;

        begin();
        assert_int_equal(worker_alloc(&w, &stage.manager->workers, 1 << 30, 1), 0);
        pid1_says(PID1_STOPS_SYSTEM);
        terminate();
        pass(10 * USEC_PER_SEC);
        assert_false(has_ended());
        assert_in_range(seconds_to_end(60, &log), 4, 6);
        assert_non_null(strstr(log, "0 running and 0 queued are left, 1 silent"));
        end();
}

static void test_a_drain_without_sigterm_waits(void **state) {
        begin();
        pid1_says(PID1_STOPS_SYSTEM);
        pass(300 * USEC_PER_SEC);
        assert_false(has_ended());
        end();
}

static void test_a_second_sigterm_does_not_wait(void **state) {
        begin();
        (void)stage_add_running(&stage);
        pid1_says(PID1_STOPS_SYSTEM);
        terminate();
        assert_false(has_ended());
        terminate();
        assert_true(has_ended());
        end();
}

static void test_a_stop_that_is_called_off(void **state) {
        const char *log;

        begin();
        pid1_says(PID1_STOPS_SOCKET);
        capture_begin();
        pid1_says(PID1_STOPS_NOTHING);
        log = capture_end();
        assert_int_equal(mode(), GOVERNOR_NORMAL);
        assert_null(service_drain_reason(service));
        assert_non_null(strstr(log, "nothing is being stopped any more: at most 4 at once"));
        assert_int_equal(stage.manager->governor.effective.max_concurrent, 4);
        end();
}

/* ---- an administrator ---- */

static void test_an_administrator_drains_and_resumes(void **state) {
        begin();
        capture_begin();
        service_drain(service, "uid 7");
        assert_non_null(strstr(capture_end(), "asked for a drain (uid 7): no new VMs"));
        capture_begin();
        service_drain(service, "uid 7");
        assert_string_equal(capture_end(), "");
        assert_int_equal(mode(), GOVERNOR_DRAINING);
        assert_string_equal(service_drain_reason(service), "administrator");
        pass(300 * USEC_PER_SEC);
        assert_false(has_ended());
        assert_int_equal(service_resume(service, "uid 7"), 0);
        assert_int_equal(mode(), GOVERNOR_NORMAL);
        assert_null(service_drain_reason(service));
        end();
}

static void test_what_is_being_stopped_is_not_resumed(void **state) {
        begin();
        service_drain(service, "uid 7");
        pid1_says(PID1_STOPS_SOCKET);
        assert_string_equal(service_drain_reason(service), "pv-reaper.socket");
        assert_int_equal(service_resume(service, "uid 7"), -EBUSY);
        assert_int_equal(mode(), GOVERNOR_DRAINING);
        pid1_says(PID1_STOPS_NOTHING); /* and the administrator has taken his back */
        assert_int_equal(mode(), GOVERNOR_NORMAL);
        end();
}

static void test_an_administrators_drain_outlives_a_stop(void **state) {
        begin();
        service_drain(service, "uid 7");
        pid1_says(PID1_STOPS_SOCKET);
        pid1_says(PID1_STOPS_NOTHING);
        assert_int_equal(mode(), GOVERNOR_DRAINING);
        assert_string_equal(service_drain_reason(service), "administrator");
        end();
}

/* ---- reloading ---- */

static void test_hangup_reloads(void **state) {
        begin();
        stage.reload_key = "max-concurrent";
        stage.reload_value = "7";
        assert_int_equal(raise(SIGHUP), 0);
        pass(0);
        assert_int_equal(stage.manager->governor.effective.max_concurrent, 7);
        (void)stage_said(&stage);
        assert_memory_equal(stage.said, "RELOADING=1\nMONOTONIC_USEC=", 27);
        assert_non_null(strstr(stage.said, "\nREADY=1\n"));
        end();
}

static void test_a_reload_logs_what_changed_and_who(void **state) {
        const char *log;

        begin();
        stage.reload_key = "start-burst";
        stage.reload_value = "7";
        capture_begin();
        assert_int_equal(service_reload(service, &somebody), 0);
        log = capture_end();
        assert_non_null(strstr(log, "start-burst: 7 instead of 10 (test), by uid 7; "
                                    "no effect while start-rate is infinity\n"));
        assert_null(strstr(log, "max-concurrent:"));
        capture_begin();
        assert_int_equal(service_reload(service, &somebody), 0);
        assert_null(strstr(capture_end(), "instead of"));
        end();
}

static void test_a_reload_that_fails_changes_nothing(void **state) {
        const char *log;

        begin();
        stage.reload_key = NULL;
        capture_begin();
        assert_int_equal(service_reload(service, &somebody), -EINVAL);
        log = capture_end();
        assert_non_null(strstr(log, "the configuration cannot be used, the old one stays"));
        assert_int_equal(stage.manager->governor.effective.max_concurrent, 4);
        assert_non_null(strstr(stage_said(&stage), "\nREADY=1\n"));
        end();
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_ready_says_status_and_limits),
                checked_test(test_status_follows_the_work),
                checked_test(test_nobody_to_ask_is_a_restart),
                checked_test(test_a_restart_leaves_the_work),
                checked_test(test_a_silent_pid1_is_a_restart),
                checked_test(test_a_silent_pid1_does_not_call_off),
                checked_test(test_interrupt_does_not_ask),
                checked_test(test_the_sockets_stop_waits_for_drain_time),
                checked_test(test_the_systems_stop_waits_for_progress),
                checked_test(test_a_twitch_does_not_hold_up_the_stop),
                checked_test(test_a_stop_waits_for_what_was_asked_for_before),
                checked_test(test_a_drain_ends_with_the_work),
                checked_test(test_a_drain_waits_for_a_dead_vmms_worker),
                checked_test(test_a_drain_without_sigterm_waits),
                checked_test(test_a_second_sigterm_does_not_wait),
                checked_test(test_a_stop_that_is_called_off),
                checked_test(test_an_administrator_drains_and_resumes),
                checked_test(test_what_is_being_stopped_is_not_resumed),
                checked_test(test_an_administrators_drain_outlives_a_stop),
                checked_test(test_hangup_reloads),
                checked_test(test_a_reload_logs_what_changed_and_who),
                checked_test(test_a_reload_that_fails_changes_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
