/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The control socket and the methods that change something, called by a client in the same loop and
 * in fake time: what SetLimits, Drain, Resume, Reload and Adopt take and refuse, by which error,
 * and that a refusal changes nothing. And what a client may cost: one that says nothing, one too
 * many, and how often properties are told.
 */

#include "fds.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "capture.h"
#include "control.h"

static struct control c;

static void begin(void) {
        control_begin(&c);
}

static void end(void) {
        control_end(&c);
}

static const char *call(const char *method) {
        return control_call(&c, control_call_new(&c, method));
}

/* settings: keys and values in turn, NULL at the end. */
static const char *set_limits(const char *const *settings) {
        sd_bus_message *m = control_call_new(&c, "SetLimits");

        assert_true(sd_bus_message_open_container(m, 'a', "(ss)") >= 0);
        for (; settings[0]; settings += 2)
                assert_true(sd_bus_message_append(m, "(ss)", settings[0], settings[1]) >= 0);
        assert_true(sd_bus_message_close_container(m) >= 0);
        return control_call(&c, m);
}

#define SET(...) set_limits((const char *const[]){__VA_ARGS__, NULL})

static const char *adopt(uint32_t pid) {
        sd_bus_message *m = control_call_new(&c, "Adopt");

        assert_true(sd_bus_message_append(m, "u", pid) >= 0);
        return control_call(&c, m);
}

static unsigned max_concurrent(void) {
        return c.stage.manager->governor.effective.max_concurrent;
}

/* ---- SetLimits ---- */

static void test_set_limits_acts_at_once(void **state) {
        begin();
        assert_string_equal(SET("max-concurrent", "6", "start-rate", "30/min"), "");
        assert_int_equal(max_concurrent(), 6);
        assert_int_equal(c.stage.manager->governor.effective.start_rate, 1800);
        assert_string_equal(SET("max-concurrent", "2"), "");
        assert_int_equal(max_concurrent(), 2);
        assert_int_equal(c.stage.manager->governor.effective.start_rate, 1800);
        assert_string_equal(set_limits((const char *const[]){NULL}), "");
        end();
}

static void test_set_limits_takes_all_or_nothing(void **state) {
        begin();
        assert_string_equal(SET("max-concurrent", "6", "max-concurrent", "none"), "InvalidSetting");
        assert_string_equal(c.why,
                            "max-concurrent=none: must be a number from 1 to 100000 or \"auto\"");
        assert_string_equal(SET("max-concurrent", "6", "no-such-key", "1"), "InvalidSetting");
        assert_int_equal(max_concurrent(), 4);
        end();
}

static void test_set_limits_refuses_what_needs_a_restart(void **state) {
        begin();
        assert_string_equal(SET("handoff", "/tmp/x.sock"), "InvalidSetting");
        assert_string_equal(c.why, "no key handoff can be changed while the daemon runs");
        assert_string_equal(c.stage.manager->config->handoff_socket, "/run/pv-reaper/handoff.sock");
        assert_string_equal(SET("seccomp", "off"), "InvalidSetting");
        end();
}

static void test_set_limits_refuses_what_does_not_go_together(void **state) {
        begin();
        assert_string_equal(SET("max-concurrent", "10"), "InvalidSetting"); /* the boost has 9 */
        assert_int_equal(max_concurrent(), 4);
        assert_string_equal(SET("max-concurrent", "10", "boost-max-concurrent", "10"), "");
        assert_int_equal(max_concurrent(), 10);
        end();
}

static void test_set_limits_says_why_not(void **state) {
        begin();
        assert_string_equal(SET("memory-high", "1G", "memory-low", "2G"), "InvalidSetting");
        assert_string_equal(c.why, "memory-high (now 1G) must not be below memory-low (now 2G)");
        end();
}

/* With an underscore, too, and whatever the value. */
static void test_set_limits_knows_what_is_gone(void **state) {
        begin();
        assert_string_equal(SET("cpus", "0-3"), "InvalidSetting");
        assert_string_equal(c.why, "cpus= is gone: AllowedCPUs= in a drop-in of pvreaper.slice");
        assert_string_equal(SET("metrics-file", "/x"), "InvalidSetting");
        assert_string_equal(
                c.why, "metrics-file= is gone: systemctl enable --now pv-reaper-metrics.timer");
        assert_string_equal(SET("cpu_weight", "20"), "InvalidSetting");
        assert_string_equal(c.why,
                            "cpu-weight= is gone: CPUWeight= in a drop-in of pvreaper.slice");
        end();
}

/* The first change in the answer; "": none. */
static const char *first_change(void) {
        static char text[256];
        size_t n = 0;

        text[0] = '\0';
        assert_true(sd_bus_message_enter_container(c.reply, 'a', "a{sv}") >= 0);
        if (sd_bus_message_enter_container(c.reply, 'a', "{sv}") <= 0)
                return text;
        while (sd_bus_message_enter_container(c.reply, 'e', "sv") > 0) {
                const char *key, *value;

                assert_true(sd_bus_message_read(c.reply, "sv", &key, "s", &value) > 0);
                n += (size_t)snprintf(text + n, sizeof(text) - n, "%s=%s;", key, value);
                assert_true(sd_bus_message_exit_container(c.reply) > 0);
        }
        return text;
}

static void test_set_limits_says_what_changed_and_who(void **state) {
        char who[64];
        const char *log;

        begin();
        capture_begin();
        assert_string_equal(SET("max_concurrent", "6"), ""); /* an underscore will do */
        log = capture_end();
        (void)snprintf(who, sizeof(who), "by uid %u, pid %d\n", geteuid(), getpid());
        assert_non_null(strstr(log, "max-concurrent: 6 instead of 4 (pv-reaperctl set), "));
        assert_non_null(strstr(log, who));
        assert_string_equal(first_change(),
                            "Key=max-concurrent;Before=4;Now=6;Origin=pv-reaperctl set;");
        assert_string_equal(SET("max-concurrent", "6"), "");
        assert_string_equal(first_change(), "");
        end();
}

static void test_set_limits_says_that_a_value_has_no_effect(void **state) {
        begin();
        assert_string_equal(SET("start-burst", "3"), "");
        assert_non_null(strstr(first_change(), "NoEffect=while start-rate is infinity;"));
        assert_string_equal(SET("start-burst", "4", "start-rate", "6"), "");
        assert_null(strstr(first_change(), "NoEffect"));
        assert_string_equal(call("Reload"), "");
        assert_non_null(strstr(first_change(), "Key=start-rate;Before=6;Now=infinity;"));
        end();
}

static void test_set_limits_lasts_until_a_reload(void **state) {
        begin();
        assert_string_equal(SET("max-concurrent", "6"), "");
        assert_string_equal(call("Reload"), "");
        assert_int_equal(max_concurrent(), 4);
        end();
}

/* ---- the others ---- */

static void test_drain_and_resume_by_method(void **state) {
        begin();
        assert_string_equal(call("Drain"), "");
        assert_string_equal(service_drain_reason(c.service), "administrator");
        assert_int_equal(max_concurrent(), 9);
        assert_string_equal(call("Resume"), "");
        assert_null(service_drain_reason(c.service));
        assert_int_equal(max_concurrent(), 4);
        assert_string_equal(call("Resume"), "");
        end();
}

static void test_resume_is_refused_while_we_are_stopped(void **state) {
        begin();
        control_pid1_says(&c, PID1_STOPS_SYSTEM);
        assert_string_equal(call("Resume"), "Stopping");
        assert_string_equal(c.why, "system is being stopped: this drain cannot be ended");
        assert_int_equal(max_concurrent(), 9);
        end();
}

static const char *hurry(const char *method, const char *what) {
        sd_bus_message *m = control_call_new(&c, method);

        assert_true(sd_bus_message_append(m, "s", what) >= 0);
        return control_call(&c, m);
}

/* Of one: test-hurry.c. Of all: the boost limits, as long as there is something to do. */
static void test_hurry_all_until_nothing_is_left(void **state) {
        struct worker *w;

        begin();
        assert_string_equal(hurry("Hurry", "nobody"), "NoSuchJob");
        assert_string_equal(hurry("Hurry", ""), "");
        assert_int_equal(max_concurrent(), 4); /* there is nothing to do */
        w = stage_add_running(&c.stage);
        assert_string_equal(hurry("Hurry", ""), "");
        assert_int_equal(max_concurrent(), 9);
        assert_string_equal(hurry("CancelHurry", ""), "");
        assert_int_equal(max_concurrent(), 4);
        assert_string_equal(hurry("Hurry", ""), "");
        assert_int_equal(max_concurrent(), 9);
        worker_set_state(w, WORKER_AWAY);
        control_pass(&c, USEC_PER_SEC);
        assert_int_equal(max_concurrent(), 4);
        end();
}

static void test_reload_is_refused_by_name(void **state) {
        begin();
        c.stage.reload_key = NULL;
        assert_string_equal(call("Reload"), "ConfigurationRefused");
        assert_int_equal(max_concurrent(), 4);
        end();
}

/* Valgrind does not know it, nor does an old qemu-user. */
static const char *no_pidfd(void) {
        _cleanup_(close_fd) int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

        return fd < 0 ? "no pidfd_open(2) here" : NULL;
}

static void test_adopt_refuses_who_is_no_helper(void **state) {
        begin();
        assert_string_equal(adopt((uint32_t)getpid()), "NotAHelper");
        assert_int_equal(c.stage.manager->workers.n, 0);
        end();
}

static void test_adopt_refuses_what_is_no_pid(void **state) {
        begin();
        assert_string_equal(adopt(0), "NoSuchProcess");
        assert_string_equal(adopt(UINT32_MAX), "NoSuchProcess");
        assert_string_equal(c.why, "there is no process 0");
        assert_int_equal(c.stage.manager->workers.n, 0);
        end();
}

/* ---- clients ---- */

static bool is_closed(int fd) {
        char byte;

        return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void test_a_client_that_says_nothing_is_dropped(void **state) {
        int fd;

        begin();
        fd = control_connect_silently(&c);
        control_pass(&c, 9 * USEC_PER_SEC);
        assert_false(is_closed(fd));
        control_pass(&c, 2 * USEC_PER_SEC);
        assert_true(is_closed(fd));
        assert_string_equal(call("Drain"), ""); /* another one stays */
        close_fd(&fd);
        end();
}

static void test_the_65th_client_waits_for_room(void **state) {
        int fds[63];
        sd_bus *next;

        begin();
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
                fds[i] = control_connect_silently(&c);
        control_pass(&c, 0);
        next = c.client;
        c.client = control_connect(&c);
        assert_string_equal(call("Drain"), "none");
        close_fd(&fds[0]);
        control_pass(&c, 0);
        assert_string_equal(c.answer, "");
        for (size_t i = 1; i < ARRAY_SIZE(fds); i++)
                close_fd(&fds[i]);
        sd_bus_close_unref(next);
        end();
}

/* ---- signals ---- */

static unsigned n_told;

static char told[256]; /* the properties in the last signal, each with a blank behind it */

static int on_told(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *interface, *name;
        size_t n = 0;

        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Properties", "PropertiesChanged") <=
            0)
                return 0;
        n_told++;
        assert_string_equal(sd_bus_message_get_sender(m), "org.pvreaper");
        assert_true(sd_bus_message_read(m, "s", &interface) > 0);
        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
                assert_true(sd_bus_message_read(m, "s", &name) > 0);
                n += (size_t)snprintf(told + n, sizeof(told) - n, "%s ", name);
                assert_true(sd_bus_message_skip(m, "v") > 0);
                assert_true(sd_bus_message_exit_container(m) > 0);
        }
        return 0;
}

static void listen_to_signals(void) {
        n_told = 0;
        assert_true(sd_bus_add_filter(c.client, NULL, on_told, NULL) >= 0);
}

/* One more VM, a property, each 10 ms. */
static void add_workers(unsigned n) {
        static uint64_t start;

        for (unsigned i = 0; i < n; i++) {
                struct worker *w;

                assert_int_equal(worker_alloc(&w, &c.stage.manager->workers, 1 << 30, ++start), 0);
                manager_changed(c.stage.manager);
                control_pass(&c, 10 * USEC_PER_MSEC);
        }
}

static void test_properties_are_told_four_times_a_second(void **state) {
        begin();
        listen_to_signals();
        control_add_match(&c);
        add_workers(1);
        control_pass(&c, USEC_PER_SEC); /* all of them once: they are compared with nothing yet */
        n_told = 0;
        add_workers(200);
        assert_in_range(n_told, 7, 9);
        assert_string_equal(told, "VMs "); /* and none of the others */
        control_pass(&c, USEC_PER_SEC);
        n_told = 0;
        for (unsigned i = 0; i < 10; i++) {
                manager_changed(c.stage.manager);
                control_pass(&c, USEC_PER_SEC);
        }
        assert_int_equal(n_told, 0); /* they are what they were */
        end();
}

static void test_who_has_no_match_hears_no_signals(void **state) {
        begin();
        listen_to_signals();
        add_workers(1);
        control_pass(&c, USEC_PER_SEC);
        assert_int_equal(n_told, 0);
        end();
}

static char heard[64]; /* the last signal of a job: its member, the job's id, the result */

static int on_job_signal(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *result = "-";
        uint64_t id;

        if (sd_bus_message_is_signal(m, "org.pvreaper.Manager1", NULL) <= 0)
                return 0;
        assert_true(sd_bus_message_read(m, "t", &id) > 0);
        if (strcmp(sd_bus_message_get_signature(m, true), "tsa{sv}") == 0)
                assert_true(sd_bus_message_read(m, "s", &result) > 0);
        else
                assert_string_equal(sd_bus_message_get_signature(m, true), "ta{sv}");
        (void)snprintf(heard, sizeof(heard), "%s %d %s", sd_bus_message_get_member(m), (int)id,
                       result);
        return 0;
}

static struct job *add_job(void) {
        const struct wire_request request = {.kind = WIRE_KIND_REBOOT, .seq = 1, .mem = 1 << 20};
        struct worker *w;

        assert_int_equal(worker_alloc(&w, &c.stage.manager->workers, 1 << 30, 1), 0);
        assert_int_equal(worker_new_job(w, &request), 0);
        return w->job;
}

static const char *move(struct job *job, enum job_state to) {
        job->state = to;
        c.stage.manager->workers.job_moved(c.stage.manager->workers.userdata, job);
        control_pass(&c, 0);
        return heard;
}

static void test_each_move_of_a_job_is_told(void **state) {
        struct job *job;

        begin();
        assert_true(sd_bus_add_filter(c.client, NULL, on_job_signal, NULL) >= 0);
        control_add_match(&c);
        job = add_job();
        assert_string_equal(move(job, JOB_QUEUED), "JobQueued 1 -");
        assert_string_equal(move(job, JOB_RUNNING), "JobStarted 1 -");
        assert_string_equal(move(job, JOB_DONE), "JobFinished 1 done");
        assert_string_equal(move(job, JOB_LOST), "JobFinished 1 lost");
        end();
}

static void test_who_does_not_read_is_dropped(void **state) {
        sd_bus *reader, *idler;
        struct job *job;

        begin();
        idler = c.client;
        control_add_match(&c);
        assert_true(sd_bus_detach_event(idler) >= 0); /* from now on it does not read */
        reader = c.client = control_connect(&c);
        control_add_match(&c);
        job = add_job();
        for (unsigned i = 0; i < 5000; i++)
                (void)move(job, JOB_QUEUED);
        assert_string_equal(call("Drain"), "");
        /* What was sent is still there; behind it the connection ends. */
        while (sd_bus_process(idler, NULL) > 0)
                ;
        assert_int_equal(sd_bus_is_open(idler), 0);
        sd_bus_close_unref(idler);
        c.client = reader;
        end();
}

static const char *no_limit(void) {
        const char *preload = getenv("LD_PRELOAD");

        return preload && strstr(preload, "valgrind")
                       ? "valgrind accepts, and closes what is beyond the limit"
                       : NULL;
}

/* No fd is left: who waits then is served a second later, and the loop does not spin. */
static void test_out_of_fds_it_waits(void **state) {
        struct rlimit before, none;
        const char *log;
        int fd, lowest;

        begin();
        fd = control_connect_silently(&c);
        capture_begin();
        lowest = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* all below it are in use */
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        none = (struct rlimit){(rlim_t)lowest, before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        control_pass(&c, 500 * USEC_PER_MSEC);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        log = capture_end();
        close_fd(&lowest);
        assert_non_null(strstr(log, "cannot accept control connections; trying again"));
        control_pass(&c, 9 * USEC_PER_SEC);
        assert_false(is_closed(fd));
        control_pass(&c, 3 * USEC_PER_SEC); /* 10 s after it was accepted at last */
        assert_true(is_closed(fd));
        close_fd(&fd);
        end();
}

/* ---- the bus that there is none of ---- */

static const char *call_driver(const char *interface, const char *method, const char *argument) {
        sd_bus_message *m;

        assert_true(sd_bus_message_new_method_call(c.client, &m, "org.freedesktop.DBus",
                                                   "/org/freedesktop/DBus", interface,
                                                   method) >= 0);
        if (argument)
                assert_true(sd_bus_message_append_basic(m, 's', argument) >= 0);
        return control_call(&c, m);
}

static void test_who_says_hello_gets_a_name(void **state) {
        const char *name;

        begin();
        assert_string_equal(call_driver("org.freedesktop.DBus", "Hello", NULL), "");
        assert_true(sd_bus_message_read(c.reply, "s", &name) > 0);
        assert_string_equal(name, ":1.1");
        assert_string_equal(call_driver("org.freedesktop.DBus", "GetNameOwner", "org.pvreaper"),
                            "");
        assert_true(sd_bus_message_read(c.reply, "s", &name) > 0);
        assert_string_equal(name, "org.pvreaper");
        end();
}

static void test_the_last_match_that_goes_ends_the_signals(void **state) {
        begin();
        listen_to_signals();
        control_add_match(&c);
        control_add_match(&c);
        assert_string_equal(call_driver("org.freedesktop.DBus", "RemoveMatch", "x"), "");
        n_told = 0;
        add_workers(1);
        control_pass(&c, USEC_PER_SEC);
        assert_int_equal(n_told, 1);
        assert_string_equal(call_driver("org.freedesktop.DBus", "RemoveMatch", "x"), "");
        assert_string_equal(call_driver("org.freedesktop.DBus", "RemoveMatch", "x"), "");
        add_workers(1);
        control_pass(&c, USEC_PER_SEC);
        assert_int_equal(n_told, 1);
        end();
}

static void test_a_monitor_hears_all_from_then_on(void **state) {
        begin();
        listen_to_signals();
        assert_string_equal(call_driver("org.freedesktop.DBus.Monitoring", "BecomeMonitor", NULL),
                            "");
        assert_string_equal(call_driver("org.freedesktop.DBus", "RemoveMatch", "x"), "");
        control_pass(&c, USEC_PER_SEC);
        n_told = 0;
        add_workers(1);
        control_pass(&c, USEC_PER_SEC);
        assert_int_equal(n_told, 1);
        end();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_set_limits_acts_at_once),
                checked_test(test_set_limits_takes_all_or_nothing),
                checked_test(test_set_limits_refuses_what_needs_a_restart),
                checked_test(test_set_limits_refuses_what_does_not_go_together),
                checked_test(test_set_limits_says_why_not),
                checked_test(test_set_limits_knows_what_is_gone),
                checked_test(test_set_limits_says_what_changed_and_who),
                checked_test(test_set_limits_says_that_a_value_has_no_effect),
                checked_test(test_set_limits_lasts_until_a_reload),
                checked_test(test_drain_and_resume_by_method),
                checked_test(test_resume_is_refused_while_we_are_stopped),
                checked_test(test_hurry_all_until_nothing_is_left),
                checked_test(test_reload_is_refused_by_name),
                checked_test_unless(no_pidfd(), test_adopt_refuses_who_is_no_helper),
                checked_test(test_adopt_refuses_what_is_no_pid),
                checked_test(test_a_client_that_says_nothing_is_dropped),
                checked_test(test_the_65th_client_waits_for_room),
                checked_test(test_properties_are_told_four_times_a_second),
                checked_test(test_who_has_no_match_hears_no_signals),
                checked_test(test_each_move_of_a_job_is_told),
                checked_test(test_who_does_not_read_is_dropped),
                checked_test_unless(no_limit(), test_out_of_fds_it_waits),
                checked_test(test_who_says_hello_gets_a_name),
                checked_test(test_the_last_match_that_goes_ends_the_signals),
                checked_test(test_a_monitor_hears_all_from_then_on),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
