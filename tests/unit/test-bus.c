/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The control socket and the methods that change something, called by a client in the same loop and
 * in fake time: what SetLimits, Drain, Resume, Reload and Adopt take and refuse, by which error,
 * and that a refusal changes nothing. And what a client may cost: one that says nothing, one too
 * many, and how often properties are told.
 */

#include "fds.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>

#include "daemon/bus/bus.h"
#include "daemon/service/pid1.h"
#include "daemon/service/service.h"
#include "stage.h"

#define ERROR     "org.pvreaper.Error."
#define OBJECT    "/org/pvreaper/Manager"
#define INTERFACE "org.pvreaper.Manager1"

static struct stage stage;
static struct service *service;
static struct bus *bus;
static char path[64];
static sd_bus *client;

/* ---- PID 1 ---- */

static void (*tell)(void *userdata, enum pid1_news news);

int __wrap_pid1_new(struct pid1 **ret, sd_event *event,
                    void (*callback)(void *userdata, enum pid1_news news), void *userdata);

int __wrap_pid1_new(struct pid1 **ret, sd_event *event,
                    void (*callback)(void *userdata, enum pid1_news news), void *userdata) {
        tell = callback;
        return 0; /* NULL: nobody to ask */
}

/* ---- the two ends ---- */

static void pass(uint64_t usec) {
        fake_time_pass(stage.manager->event, usec);
}

static int listen_at(const char *where) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", where);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(listen(fd, 128), 0);
        return fd;
}

static int connect_to(const char *where) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", where);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

static sd_bus *client_new(void) {
        int fd = connect_to(path);
        sd_bus *link;

        assert_true(sd_bus_new(&link) >= 0);
        assert_true(sd_bus_set_fd(link, fd, fd) >= 0);
        assert_true(sd_bus_start(link) >= 0);
        assert_true(sd_bus_attach_event(link, stage.manager->event, 0) >= 0);
        return link;
}

static void begin(void) {
        int fd;

        stage_begin(&stage);
        assert_true(service_new(&service, stage.manager) >= 0);
        (void)snprintf(path, sizeof(path), "/tmp/pv-reaper-test-bus.%d", (int)getpid());
        fd = listen_at(path);
        assert_int_equal(bus_new(&bus, stage.manager, service, &fd), 0);
        assert_int_equal(fd, -1);
        client = client_new();
        pass(0);
}

static void end(void) {
        client = sd_bus_close_unref(client);
        bus = bus_free(bus);
        service = service_free(service);
        stage_end(&stage);
        (void)unlink(path);
}

/* ---- calls ---- */

/* "": it succeeded; else the error's name, without ERROR if that is in front. */
static char answer[256], why[256];

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(m);
        const char *name = e ? e->name : "";

        if (strncmp(name, ERROR, strlen(ERROR)) == 0)
                name += strlen(ERROR);
        (void)snprintf(answer, sizeof(answer), "%s", name);
        (void)snprintf(why, sizeof(why), "%s", e && e->message ? e->message : "");
        return 1;
}

static sd_bus_message *call_new(const char *method) {
        sd_bus_message *call;

        assert_true(sd_bus_message_new_method_call(client, &call, NULL, OBJECT, INTERFACE,
                                                   method) >= 0);
        return call;
}

static const char *send_call(sd_bus_message *call) {
        (void)snprintf(answer, sizeof(answer), "none");
        assert_true(sd_bus_call_async(client, NULL, call, on_answer, NULL, 0) >= 0);
        sd_bus_message_unref(call);
        pass(0);
        return answer;
}

/* settings: keys and values in turn, NULL at the end. */
static const char *set_limits(const char *const *settings) {
        sd_bus_message *call = call_new("SetLimits");

        assert_true(sd_bus_message_open_container(call, 'a', "(ss)") >= 0);
        for (; settings[0]; settings += 2)
                assert_true(sd_bus_message_append(call, "(ss)", settings[0], settings[1]) >= 0);
        assert_true(sd_bus_message_close_container(call) >= 0);
        return send_call(call);
}

#define SET(...) set_limits((const char *const[]){__VA_ARGS__, NULL})

static const char *adopt(uint32_t pid) {
        sd_bus_message *call = call_new("Adopt");

        assert_true(sd_bus_message_append(call, "u", pid) >= 0);
        return send_call(call);
}

static unsigned max_concurrent(void) {
        return stage.manager->governor.effective.max_concurrent;
}

/* ---- SetLimits ---- */

static void test_set_limits_acts_at_once(void **state) {
        begin();
        assert_string_equal(SET("max-concurrent", "6", "start-rate", "30/min"), "");
        assert_int_equal(max_concurrent(), 6);
        assert_int_equal(stage.manager->governor.effective.start_rate, 1800);
        assert_string_equal(SET("max-concurrent", "2"), "");
        assert_int_equal(max_concurrent(), 2);
        assert_int_equal(stage.manager->governor.effective.start_rate, 1800);
        assert_string_equal(set_limits((const char *const[]){NULL}), "");
        end();
}

static void test_set_limits_takes_all_or_nothing(void **state) {
        begin();
        assert_string_equal(SET("max-concurrent", "6", "max-concurrent", "none"), "InvalidSetting");
        assert_string_equal(why, "max-concurrent=none: a number from 1 to 100000");
        assert_string_equal(SET("max-concurrent", "6", "no-such-key", "1"), "InvalidSetting");
        assert_int_equal(max_concurrent(), 4);
        end();
}

static void test_set_limits_refuses_what_needs_a_restart(void **state) {
        begin();
        assert_string_equal(SET("metrics-file", "/tmp/x.prom"), "InvalidSetting");
        assert_string_equal(why,
                            "metrics-file is no key that can be changed while the daemon runs");
        assert_string_equal(stage.manager->config->metrics_file, "");
        assert_string_equal(SET("handoff", "/tmp/x.sock"), "InvalidSetting");
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

static void test_set_limits_lasts_until_a_reload(void **state) {
        begin();
        assert_string_equal(SET("max-concurrent", "6"), "");
        assert_string_equal(send_call(call_new("Reload")), "");
        assert_int_equal(max_concurrent(), 4);
        end();
}

/* ---- the others ---- */

static void test_drain_and_resume_by_method(void **state) {
        begin();
        assert_string_equal(send_call(call_new("Drain")), "");
        assert_string_equal(service_drain_reason(service), "administrator");
        assert_int_equal(max_concurrent(), 9);
        assert_string_equal(send_call(call_new("Resume")), "");
        assert_null(service_drain_reason(service));
        assert_int_equal(max_concurrent(), 4);
        assert_string_equal(send_call(call_new("Resume")), "");
        end();
}

static void test_resume_is_refused_while_we_are_stopped(void **state) {
        begin();
        tell(service, PID1_STOPS_SYSTEM);
        assert_string_equal(send_call(call_new("Resume")), "Stopping");
        assert_string_equal(why, "system is being stopped: that drain cannot be called off");
        assert_int_equal(max_concurrent(), 9);
        end();
}

static void test_reload_is_refused_by_name(void **state) {
        begin();
        stage.reload_key = NULL;
        assert_string_equal(send_call(call_new("Reload")), "ConfigurationRefused");
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
        assert_int_equal(stage.manager->workers.n, 0);
        end();
}

static void test_adopt_refuses_what_is_no_pid(void **state) {
        begin();
        assert_string_equal(adopt(0), "NoSuchProcess");
        assert_string_equal(adopt(UINT32_MAX), "NoSuchProcess");
        assert_string_equal(why, "there is no process 0");
        assert_int_equal(stage.manager->workers.n, 0);
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
        fd = connect_to(path);
        pass(9 * USEC_PER_SEC);
        assert_false(is_closed(fd));
        pass(2 * USEC_PER_SEC);
        assert_true(is_closed(fd));
        assert_string_equal(send_call(call_new("Drain")), ""); /* another one stays */
        close_fd(&fd);
        end();
}

static void test_the_65th_client_waits_for_room(void **state) {
        int fds[63];
        sd_bus *next;

        begin();
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
                fds[i] = connect_to(path);
        pass(0);
        next = client;
        client = client_new();
        assert_string_equal(send_call(call_new("Drain")), "none");
        close_fd(&fds[0]);
        pass(0);
        assert_string_equal(answer, "");
        for (size_t i = 1; i < ARRAY_SIZE(fds); i++)
                close_fd(&fds[i]);
        sd_bus_close_unref(next);
        end();
}

/* ---- signals ---- */

static unsigned n_told;

static int on_told(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        n_told += sd_bus_message_is_signal(m, "org.freedesktop.DBus.Properties",
                                           "PropertiesChanged") > 0;
        return 0;
}

static void listen_to_signals(void) {
        n_told = 0;
        assert_true(sd_bus_add_filter(client, NULL, on_told, NULL) >= 0);
}

static void add_match(void) {
        assert_true(sd_bus_call_method_async(client, NULL, "org.freedesktop.DBus",
                                             "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                             "AddMatch", on_answer, NULL, "s",
                                             "type='signal'") >= 0);
        pass(USEC_PER_SEC);
        assert_string_equal(answer, "");
}

/* One more VM, a property, each 10 ms. */
static void add_workers(unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                struct worker *w;

                assert_int_equal(worker_alloc(&w, &stage.manager->workers, 1 << 30, i), 0);
                manager_changed(stage.manager);
                pass(10 * USEC_PER_MSEC);
        }
}

static void test_properties_are_told_four_times_a_second(void **state) {
        begin();
        listen_to_signals();
        add_match();
        n_told = 0;
        add_workers(200);
        assert_in_range(n_told, 7, 9);
        n_told = 0;
        pass(10 * USEC_PER_SEC);
        assert_in_range(n_told, 0, 1); /* of the last changes; then nothing changes */
        end();
}

static void test_who_has_no_match_hears_no_signals(void **state) {
        begin();
        listen_to_signals();
        add_workers(1);
        pass(USEC_PER_SEC);
        assert_int_equal(n_told, 0);
        end();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_set_limits_acts_at_once),
                checked_test(test_set_limits_takes_all_or_nothing),
                checked_test(test_set_limits_refuses_what_needs_a_restart),
                checked_test(test_set_limits_refuses_what_does_not_go_together),
                checked_test(test_set_limits_lasts_until_a_reload),
                checked_test(test_drain_and_resume_by_method),
                checked_test(test_resume_is_refused_while_we_are_stopped),
                checked_test(test_reload_is_refused_by_name),
                checked_test_unless(no_pidfd(), test_adopt_refuses_who_is_no_helper),
                checked_test(test_adopt_refuses_what_is_no_pid),
                checked_test(test_a_client_that_says_nothing_is_dropped),
                checked_test(test_the_65th_client_waits_for_room),
                checked_test(test_properties_are_told_four_times_a_second),
                checked_test(test_who_has_no_match_hears_no_signals),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
