/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Calls that wait, of callers on the system bus: such a caller goes without the connection, and
 * nobody waits for it then. The test plays the bus and the caller at the other end (ends.h). What
 * a wait is for is test-bus-read.c's.
 */

#include "fds.h"

#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "capture.h"
#include "daemon/bus/object.h"
#include "daemon/bus/system.h"
#include "daemon/memory/memory.h"
#include "ends.h"
#include "stage.h"

#define DRIVER "org.freedesktop.DBus"
#define CALLER ":1.9"

static struct stage stage;
static struct bus_object object;
static struct bus_system *place;

/* ---- the bus ---- */

static struct {
        bool no_owner;   /* the caller had gone before it was watched */
        char match[512]; /* the last one */
        char answer[64]; /* to the caller: "" is a return, "none" is none yet */
} bus;

static int on_bus_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *text;

        if (sd_bus_message_is_method_call(m, DRIVER, "Hello") > 0)
                return sd_bus_reply_method_return(m, "s", ":1.5");
        if (sd_bus_message_is_method_call(m, DRIVER, "RequestName") > 0)
                return sd_bus_reply_method_return(m, "u", 1);
        if (sd_bus_message_is_method_call(m, DRIVER, "AddMatch") > 0) {
                assert_true(sd_bus_message_read(m, "s", &text) > 0);
                (void)snprintf(bus.match, sizeof(bus.match), "%s", text);
                return sd_bus_reply_method_return(m, "");
        }
        if (sd_bus_message_is_method_call(m, DRIVER, "GetNameOwner") <= 0)
                return 0;
        assert_true(sd_bus_message_read(m, "s", &text) > 0);
        assert_string_equal(text, CALLER);
        if (bus.no_owner)
                return sd_bus_reply_method_errorf(m, DRIVER ".Error.NameHasNoOwner", "gone");
        return sd_bus_reply_method_return(m, "s", CALLER);
}

static void pass(uint64_t usec) {
        fake_time_pass(stage.manager->event, usec);
}

static void begin(void) {
        memset(&bus, 0, sizeof(bus));
        stage_begin(&stage);
        object = (struct bus_object){.manager = stage.manager};
        assert_int_equal(bus_system_new(&place, &object, 5), 0);
        (void)stage_add_running(&stage); /* or nobody would wait: there is nothing to clear */
        ends_connect(stage.manager->event, true, on_bus_message);
        pass(0);
        assert_non_null(bus_system_link(place));
}

static void end(void) {
        place = bus_system_free(place);
        assert_true(LIST_EMPTY(&object.waits));
        ends_close();
        stage_end(&stage);
}

/* ---- the caller ---- */

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(m);

        (void)snprintf(bus.answer, sizeof(bus.answer), "%s", e && e->name ? e->name : "");
        return 1;
}

/* For all of the host's memory, of which some is always taken. */
static void wait_for_memory(uint64_t timeout) {
        sd_bus_message *m;

        (void)snprintf(bus.answer, sizeof(bus.answer), "none");
        assert_true(sd_bus_message_new_method_call(ends.bus, &m, BUS_NAME, BUS_OBJECT_PATH,
                                                   BUS_OBJECT_INTERFACE, "WaitMemory") >= 0);
        assert_true(sd_bus_message_set_sender(m, CALLER) >= 0);
        assert_true(sd_bus_message_append(m, "tt", all_memory(), timeout) >= 0);
        assert_true(sd_bus_call_async(ends.bus, NULL, m, on_answer, NULL, UINT64_MAX) >= 0);
        sd_bus_message_unref(m);
        pass(0);
}

static unsigned n_waiters(void) {
        return memory_n_waiters(stage.manager->memory);
}

/* "": it has gone. */
static void change_owner(const char *owner) {
        sd_bus_message *m;

        assert_true(sd_bus_message_new_signal(ends.bus, &m, "/org/freedesktop/DBus", DRIVER,
                                              "NameOwnerChanged") >= 0);
        assert_true(sd_bus_message_set_sender(m, DRIVER) >= 0);
        assert_true(sd_bus_message_append(m, "sss", CALLER, CALLER, owner) >= 0);
        assert_true(sd_bus_send(ends.bus, m, NULL) >= 0);
        sd_bus_message_unref(m);
        pass(0);
}

/* ---- the tests ---- */

static void test_a_caller_that_stays_is_answered(void **state) {
        begin();
        wait_for_memory(5 * USEC_PER_SEC);
        assert_int_equal(n_waiters(), 1);
        assert_non_null(strstr(bus.match, "member='NameOwnerChanged'"));
        assert_non_null(strstr(bus.match, "arg0='" CALLER "'"));
        change_owner(CALLER);
        assert_int_equal(n_waiters(), 1);
        assert_string_equal(bus.answer, "none");
        pass(6 * USEC_PER_SEC);
        assert_string_equal(bus.answer, "org.pvreaper.Error.Timeout");
        assert_int_equal(n_waiters(), 0);
        change_owner(""); /* nobody listens to that any more */
        end();
}

static void test_a_caller_that_goes_waits_no_more(void **state) {
        begin();
        wait_for_memory(USEC_INFINITY);
        assert_int_equal(n_waiters(), 1);
        change_owner("");
        assert_int_equal(n_waiters(), 0);
        assert_string_equal(bus.answer, "none");
        end();
}

/* Its end came before our match, so no signal tells of it. */
static void test_a_caller_that_has_gone_does_not_wait(void **state) {
        begin();
        bus.no_owner = true;
        wait_for_memory(USEC_INFINITY);
        assert_int_equal(n_waiters(), 0);
        assert_string_equal(bus.answer, "none");
        end();
}

static void test_without_the_bus_nobody_waits(void **state) {
        begin();
        wait_for_memory(USEC_INFINITY);
        wait_for_memory(USEC_INFINITY);
        assert_int_equal(n_waiters(), 2);
        capture_begin();
        bus_system_drop(place);
        (void)capture_end();
        assert_int_equal(n_waiters(), 0);
        end();
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_a_caller_that_stays_is_answered),
                checked_test(test_a_caller_that_goes_waits_no_more),
                checked_test(test_a_caller_that_has_gone_does_not_wait),
                checked_test(test_without_the_bus_nobody_waits),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
