/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The client of the system bus that comes back, in fake time: when it tries to connect to a bus
 * that is not there, that it gives up one that says nothing, and that its user is told of each loss
 * once, but never from within new and free.
 */

#include "fds.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/service/system-bus.h"
#include "loop.h"

static sd_event *event;
static struct system_bus *bus;
static char path[64];

static struct {
        unsigned n_begun, n_lost;
        int refuse; /* what begin() returns */
        int why;
        bool had_link, has_link;
} user;

static int on_begin(void *userdata, sd_bus *link) {
        user.n_begun++;
        assert_ptr_equal(link, system_bus_link(bus));
        return user.refuse;
}

static bool on_message(void *userdata, sd_bus_message *message) {
        return false;
}

static void on_lost(void *userdata, sd_bus *link, int why) {
        user.n_lost++;
        user.why = why;
        user.had_link = link != NULL;
        user.has_link = system_bus_link(bus) != NULL;
}

static void begin(void) {
        const struct system_bus_user callbacks = {
                .begin = on_begin, .message = on_message, .lost = on_lost};
        char address[96];

        (void)snprintf(path, sizeof(path), "/tmp/pv-reaper-test-system-bus.%d", (int)getpid());
        (void)snprintf(address, sizeof(address), "unix:path=%s", path);
        assert_int_equal(setenv("DBUS_SYSTEM_BUS_ADDRESS", address, 1), 0);
        (void)unlink(path); /* of one that failed */
        user.n_begun = user.n_lost = 0;
        user.refuse = 0;
        fake_time_begin();
        assert_int_equal(sd_event_new(&event), 0);
        assert_int_equal(system_bus_new(&bus, event, 0, &callbacks), 0);
        assert_int_equal(user.n_begun + user.n_lost, 0);
        assert_null(system_bus_link(bus));
}

static void end(void) {
        unsigned n = user.n_lost;

        bus = system_bus_free(bus);
        assert_int_equal(user.n_lost, n);
        event = sd_event_unref(event);
        fake_time_end();
        (void)unlink(path);
}

/* It accepts as far as the kernel does, and says nothing. */
static int listen_there(void) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(listen(fd, 16), 0);
        return fd;
}

static void pass(uint64_t usec) {
        fake_time_pass(event, usec);
}

static void test_no_bus_is_tried_again_later_and_later(void **state) {
        /* Between two tries, in s. */
        static const unsigned pauses[] = {1, 2, 4, 8, 16, 32, 60, 60};

        begin();
        pass(0);
        assert_int_equal(user.n_lost, 1);
        assert_int_equal(user.why, -ENOENT);
        assert_int_equal(user.n_begun, 0);
        for (unsigned i = 0; i < ARRAY_SIZE(pauses); i++) {
                pass(pauses[i] * USEC_PER_SEC - 10 * USEC_PER_MSEC);
                assert_int_equal(user.n_lost, 1 + i);
                pass(10 * USEC_PER_MSEC);
                assert_int_equal(user.n_lost, 2 + i);
        }
        end();
}

static void test_a_bus_that_says_nothing_is_given_up(void **state) {
        int fd;

        begin();
        fd = listen_there();
        pass(0);
        assert_int_equal(user.n_begun, 1);
        assert_non_null(system_bus_link(bus));
        pass(19 * USEC_PER_SEC);
        assert_int_equal(user.n_lost, 0);
        pass(USEC_PER_SEC);
        assert_int_equal(user.n_lost, 1);
        assert_int_equal(user.why, -ETIMEDOUT);
        assert_true(user.had_link);
        assert_false(user.has_link);
        pass(USEC_PER_SEC);
        assert_int_equal(user.n_begun, 2);
        close_fd(&fd);
        end();
}

static void test_who_is_ready_is_not_given_up(void **state) {
        int fd;

        begin();
        pass(4 * USEC_PER_SEC); /* tries after 0, 1 and 3 s; the next one would be after 7 */
        fd = listen_there();
        pass(3 * USEC_PER_SEC);
        assert_int_equal(user.n_begun, 1);
        system_bus_ready(bus);
        pass(60 * USEC_PER_SEC);
        assert_int_equal(user.n_lost, 3);
        system_bus_drop(bus, -ENOBUFS);
        assert_int_equal(user.n_lost, 4);
        assert_int_equal(user.why, -ENOBUFS);
        pass(USEC_PER_SEC); /* not 8: it has been ready */
        assert_int_equal(user.n_begun, 2);
        close_fd(&fd);
        end();
}

static void test_a_bus_that_goes_is_lost_at_once(void **state) {
        int fd, connection;

        begin();
        fd = listen_there();
        pass(0);
        system_bus_ready(bus);
        connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        assert_true(connection >= 0);
        close_fd(&connection);
        pass(0);
        assert_int_equal(user.n_lost, 1);
        assert_int_equal(user.why, -ECONNRESET);
        close_fd(&fd);
        end();
}

static void test_a_user_may_refuse_the_connection(void **state) {
        int fd;

        begin();
        user.refuse = -EXDEV;
        fd = listen_there();
        pass(0);
        assert_int_equal(user.n_begun, 1);
        assert_int_equal(user.n_lost, 1);
        assert_int_equal(user.why, -EXDEV);
        user.refuse = 0;
        pass(USEC_PER_SEC);
        assert_int_equal(user.n_begun, 2);
        assert_int_equal(user.n_lost, 1);
        close_fd(&fd);
        end();
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_no_bus_is_tried_again_later_and_later),
                checked_test(test_a_bus_that_says_nothing_is_given_up),
                checked_test(test_who_is_ready_is_not_given_up),
                checked_test(test_a_bus_that_goes_is_lost_at_once),
                checked_test(test_a_user_may_refuse_the_connection),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
