/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The daemon's name on the system bus: when the object is on it, which answers mean that it is not,
 * and what is said once in the log. The test plays the bus at the other end of the connection
 * (ends.h); system-bus.c, which has a test of its own, is played as well.
 */

#include "fds.h"

#include <string.h>

#include "capture.h"
#include "daemon/bus/object.h"
#include "daemon/bus/system.h"
#include "daemon/manager.h"
#include "ends.h"
#include "loop.h"

#define DRIVER "org.freedesktop.DBus"

static struct manager manager;
static struct bus_object object = {.manager = &manager};
static struct bus_system *place;

/* ---- the bus ---- */

static uint32_t name_answer; /* to RequestName; 0: an error */

static int on_bus_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        if (sd_bus_message_is_method_call(m, DRIVER, "Hello") > 0)
                return sd_bus_reply_method_return(m, "s", ":1.5");
        if (sd_bus_message_is_method_call(m, DRIVER, "RequestName") <= 0)
                return 0;
        if (name_answer == 0)
                return sd_bus_reply_method_errno(m, EACCES, NULL);
        return sd_bus_reply_method_return(m, "u", name_answer);
}

static void pass(uint64_t usec) {
        fake_time_pass(manager.event, usec);
}

static void connect_to_bus(uint32_t answer) {
        name_answer = answer;
        ends_connect(manager.event, true, on_bus_message);
        assert_null(bus_system_link(place)); /* not before the name is given */
        pass(0);
}

static void begin(void) {
        fake_time_begin();
        assert_int_equal(sd_event_new(&manager.event), 0);
        assert_int_equal(bus_system_new(&place, &object, 5), 0);
        assert_null(bus_system_link(place));
}

static void end(void) {
        place = bus_system_free(place);
        ends_close();
        manager.event = sd_event_unref(manager.event);
        fake_time_end();
}

static void test_it_is_there_once_the_name_is_given(void **state) {
        static const uint32_t answers[] = {1, 4}; /* got it, had it */

        for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
                begin();
                connect_to_bus(answers[i]);
                assert_ptr_equal(bus_system_link(place), ends.link);
                assert_int_equal(ends.n_ready, 1);
                assert_int_equal(ends.n_dropped, 0);
                end();
        }
}

static struct { unsigned answers, refusals; } heard[2];

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        unsigned who = *(unsigned *)userdata;

        if (sd_bus_message_is_method_error(m, SD_BUS_ERROR_LIMITS_EXCEEDED) > 0)
                heard[who].refusals++;
        else
                heard[who].answers++;
        return 1;
}

static void ping(unsigned *who, const char *sender) {
        sd_bus_message *m;

        assert_true(sd_bus_message_new_method_call(ends.bus, &m, NULL, "/",
                                                   "org.freedesktop.DBus.Peer", "Ping") >= 0);
        assert_true(sd_bus_message_set_sender(m, sender) >= 0);
        assert_true(sd_bus_call_async(ends.bus, NULL, m, on_answer, who, 0) >= 0);
        sd_bus_message_unref(m);
}

/* All clients come by one connection, and one of them calls without end. */
static void test_clients_are_counted_each(void **state) {
        unsigned flooder = 0, other = 1;

        memset(heard, 0, sizeof(heard));
        begin();
        connect_to_bus(1);
        for (unsigned i = 0; i < 150; i++)
                ping(&flooder, ":1.6");
        ping(&other, ":1.7");
        pass(0);
        assert_int_equal(heard[0].answers, 100);
        assert_int_equal(heard[0].refusals, 50);
        assert_int_equal(heard[1].answers, 1);
        pass(USEC_PER_SEC);
        ping(&flooder, ":1.6");
        pass(0);
        assert_int_equal(heard[0].answers, 101);
        end();
}

static void test_a_name_that_is_not_given_is_no_place(void **state) {
        static const struct {
                uint32_t answer;
                int why;
        } cases[] = {{0, -EACCES}, {2, -EEXIST}, {3, -EEXIST}};

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const char *log;

                begin();
                capture_begin();
                connect_to_bus(cases[i].answer);
                log = capture_end();
                assert_null(bus_system_link(place));
                assert_int_equal(ends.n_ready, 0);
                assert_int_equal(ends.n_dropped, 1);
                assert_int_equal(ends.why, cases[i].why);
                assert_non_null(strstr(log, "org.pvreaper is not on D-Bus"));
                end();
        }
}

static void test_a_lost_name_is_a_lost_place(void **state) {
        begin();
        connect_to_bus(1);
        assert_true(sd_bus_emit_signal(ends.bus, "/org/freedesktop/DBus", DRIVER, "NameLost", "s",
                                       "org.pvreaper") >= 0);
        pass(0);
        assert_null(bus_system_link(place));
        assert_int_equal(ends.why, -ECONNRESET);
        end();
}

static void test_that_it_is_away_is_said_once_each_time(void **state) {
        begin();
        connect_to_bus(1);
        capture_begin();
        bus_system_drop(place);
        assert_non_null(strstr(capture_end(), "the control socket works without"));
        assert_int_equal(ends.why, -ENOBUFS);
        capture_begin();
        connect_to_bus(2);
        assert_string_equal(capture_end(), "");
        connect_to_bus(1);
        capture_begin();
        bus_system_drop(place);
        assert_non_null(strstr(capture_end(), "the control socket works without"));
        end();
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_it_is_there_once_the_name_is_given),
                checked_test(test_a_name_that_is_not_given_is_no_place),
                checked_test(test_a_lost_name_is_a_lost_place),
                checked_test(test_that_it_is_away_is_said_once_each_time),
                checked_test(test_clients_are_counted_each),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
