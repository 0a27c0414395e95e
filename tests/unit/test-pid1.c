/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What pid1.c asks of PID 1, and what it makes of the answers, in fake time. The test plays bus and
 * PID 1 at the other end of the connection (ends.h); system-bus.c, which has a test of its own, is
 * played as well.
 */

#include "fds.h"

#include <string.h>

#include "capture.h"
#include "daemon/service/pid1.h"
#include "ends.h"
#include "loop.h"

#define MANAGER "org.freedesktop.systemd1.Manager"

static sd_event *event;
static struct pid1 *pid1;

/* ---- PID 1 ---- */

struct systemd_job {
        const char *unit, *type;
};

static struct {
        struct systemd_job jobs[4];
        bool silent;         /* ListJobs is not answered */
        const char *refuses; /* a member that is */
        unsigned n_matches, n_asked;
} systemd;

static int answer_jobs(sd_bus_message *m) {
        sd_bus_message *reply;

        systemd.n_asked++;
        if (systemd.silent)
                return 1;
        assert_true(sd_bus_message_new_method_return(m, &reply) >= 0);
        assert_true(sd_bus_message_open_container(reply, 'a', "(usssoo)") >= 0);
        for (uint32_t i = 0; systemd.jobs[i].unit; i++)
                assert_true(sd_bus_message_append(reply, "(usssoo)", i, systemd.jobs[i].unit,
                                                  systemd.jobs[i].type, "running", "/", "/") >= 0);
        assert_true(sd_bus_message_close_container(reply) >= 0);
        assert_true(sd_bus_send(ends.bus, reply, NULL) >= 0);
        sd_bus_message_unref(reply);
        return 1;
}

static int on_systemd_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *member = sd_bus_message_get_member(m);

        if (!member || sd_bus_message_is_signal(m, NULL, NULL) > 0)
                return 0;
        if (systemd.refuses && strcmp(member, systemd.refuses) == 0)
                return sd_bus_reply_method_errno(m, EACCES, NULL);
        if (strcmp(member, "ListJobs") == 0)
                return answer_jobs(m);
        systemd.n_matches += strcmp(member, "AddMatch") == 0;
        return sd_bus_reply_method_return(m, NULL);
}

static void send_signal(const char *member) {
        assert_true(sd_bus_emit_signal(ends.bus, "/org/freedesktop/systemd1", MANAGER, member,
                                       "") >= 0);
}

/* ---- what is told ---- */

static struct {
        unsigned n;
        enum pid1_news last;
} told;

static void on_news(void *userdata, enum pid1_news news) {
        told.n++;
        told.last = news;
}

static void pass(uint64_t usec) {
        fake_time_pass(event, usec);
}

static void connect_to_bus(void) {
        ends_connect(event, false, on_systemd_message);
        pass(0);
}

static void begin(void) {
        memset(&systemd, 0, sizeof(systemd));
        memset(&told, 0, sizeof(told));
        fake_time_begin();
        assert_int_equal(sd_event_new(&event), 0);
        assert_int_equal(pid1_new(&pid1, event, on_news, NULL), 0);
}

static void end(void) {
        unsigned n = told.n;

        pid1 = pid1_free(pid1);
        assert_int_equal(told.n, n);
        ends_close();
        event = sd_event_unref(event);
        fake_time_end();
}

static void test_it_asks_once_it_is_connected(void **state) {
        begin();
        assert_false(pid1_can_ask(pid1));
        connect_to_bus();
        assert_true(pid1_can_ask(pid1));
        assert_int_equal(systemd.n_matches, 2);
        assert_int_equal(ends.n_ready, 1);
        assert_int_equal(systemd.n_asked, 1);
        assert_int_equal(told.n, 1);
        assert_int_equal(told.last, PID1_STOPS_NOTHING);
        pass(60 * USEC_PER_SEC);
        assert_int_equal(systemd.n_asked, 1);
        end();
}

static void test_what_the_jobs_mean(void **state) {
        static const struct {
                struct systemd_job jobs[3];
                enum pid1_news news;
        } cases[] = {
                {{{"x.service", "stop"}}, PID1_STOPS_NOTHING},
                {{{"pv-reaper.socket", "stop"}}, PID1_STOPS_SOCKET},
                {{{"pv-reaper.socket", "restart"}}, PID1_STOPS_NOTHING},
                {{{"pv-reaper.socket", "start"}}, PID1_STOPS_NOTHING},
                {{{"pv-reaper.service", "stop"}}, PID1_STOPS_NOTHING},
                {{{"shutdown.target", "start"}}, PID1_STOPS_SYSTEM},
                {{{"shutdown.target", "stop"}}, PID1_STOPS_NOTHING},
                {{{"shutdown.target", "start"}, {"pv-reaper.socket", "stop"}}, PID1_STOPS_SYSTEM},
                {{{"pv-reaper.socket", "stop"}, {"shutdown.target", "start"}}, PID1_STOPS_SYSTEM},
        };

        begin();
        connect_to_bus();
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                memcpy(systemd.jobs, cases[i].jobs, sizeof(cases[i].jobs));
                pid1_ask(pid1);
                pass(0);
                assert_int_equal(told.n, 2 + i);
                assert_int_equal(told.last, cases[i].news);
        }
        end();
}

static void test_silence_lasts_two_seconds(void **state) {
        begin();
        connect_to_bus();
        systemd.silent = true;
        pid1_ask(pid1);
        pass(1990 * USEC_PER_MSEC);
        assert_int_equal(told.n, 1);
        pass(10 * USEC_PER_MSEC);
        assert_int_equal(told.n, 2);
        assert_int_equal(told.last, PID1_SILENT);
        end();
}

static void test_without_a_bus_it_is_silent_at_once(void **state) {
        begin();
        pid1_ask(pid1);
        assert_int_equal(told.n, 0); /* not from within */
        pass(0);
        assert_int_equal(told.n, 1);
        assert_int_equal(told.last, PID1_SILENT);
        end();
}

static void test_a_signal_is_a_reason_to_ask(void **state) {
        begin();
        connect_to_bus();
        systemd.jobs[0] = (struct systemd_job){"pv-reaper.socket", "stop"};
        send_signal("JobNew");
        pass(0);
        assert_int_equal(told.last, PID1_STOPS_SOCKET);
        systemd.jobs[0] = (struct systemd_job){};
        send_signal("JobRemoved");
        pass(100 * USEC_PER_MSEC);
        assert_int_equal(told.n, 3);
        assert_int_equal(told.last, PID1_STOPS_NOTHING);
        send_signal("UnitNew");
        pass(0);
        assert_int_equal(told.n, 3);
        end();
}

static void test_many_signals_are_few_questions(void **state) {
        begin();
        connect_to_bus();
        for (unsigned i = 0; i < 100; i++)
                send_signal("JobNew");
        pass(0);
        assert_in_range(systemd.n_asked, 2, 4);
        end();
}

static void test_a_flood_of_signals(void **state) {
        unsigned before;

        begin();
        connect_to_bus();
        before = systemd.n_asked;
        for (unsigned i = 0; i < 100; i++) {
                send_signal("JobNew");
                pass(10 * USEC_PER_MSEC);
        }
        assert_in_range(systemd.n_asked - before, 9, 11); /* in a second */
        systemd.jobs[0] = (struct systemd_job){"shutdown.target", "start"};
        send_signal("JobNew");
        pass(100 * USEC_PER_MSEC);
        assert_int_equal(told.last, PID1_STOPS_SYSTEM);
        before = systemd.n_asked;
        pass(USEC_PER_SEC);
        assert_in_range(systemd.n_asked, before, before + 1);
        end();
}

/* The bus passes on whatever is sent to us by name. */
static void test_a_signal_to_us_alone_is_a_strangers(void **state) {
        sd_bus_message *m;

        begin();
        connect_to_bus();
        assert_true(sd_bus_message_new_signal(ends.bus, &m, "/org/freedesktop/systemd1", MANAGER,
                                              "JobNew") >= 0);
        assert_true(sd_bus_message_set_destination(m, ":1.5") >= 0);
        assert_true(sd_bus_send(ends.bus, m, NULL) >= 0);
        sd_bus_message_unref(m);
        pass(USEC_PER_SEC);
        assert_int_equal(systemd.n_asked, 1);
        end();
}

static void test_a_lost_bus_answers_the_question(void **state) {
        const char *log;

        begin();
        connect_to_bus();
        systemd.silent = true;
        pid1_ask(pid1);
        capture_begin();
        ends_lose(-ECONNRESET);
        log = capture_end();
        assert_int_equal(told.n, 2);
        assert_int_equal(told.last, PID1_SILENT);
        assert_non_null(strstr(log, "a stop counts as a restart"));
        connect_to_bus();
        capture_begin();
        ends_lose(-ECONNRESET);
        assert_string_equal(capture_end(), ""); /* said once */
        end();
}

static void test_a_refusal_is_no_connection(void **state) {
        static const char *const members[] = {"AddMatch", "Subscribe"};

        for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
                begin();
                systemd.refuses = members[i];
                connect_to_bus();
                assert_true(ends.n_dropped > 0);
                assert_int_equal(ends.why, -EACCES);
                end();
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_it_asks_once_it_is_connected),
                checked_test(test_what_the_jobs_mean),
                checked_test(test_silence_lasts_two_seconds),
                checked_test(test_without_a_bus_it_is_silent_at_once),
                checked_test(test_a_signal_is_a_reason_to_ask),
                checked_test(test_many_signals_are_few_questions),
                checked_test(test_a_flood_of_signals),
                checked_test(test_a_signal_to_us_alone_is_a_strangers),
                checked_test(test_a_lost_bus_answers_the_question),
                checked_test(test_a_refusal_is_no_connection),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
