/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The bus without its socket: systemd passed none, or one that the loop cannot wait for. Neither
 * harms the manager, which goes on without.
 *
 * What a client of the bus may ask is test-bus.c's.
 */

#include "fds.h"

#include <fcntl.h>

#include "daemon/bus/bus.h"
#include "daemon/service/service.h"
#include "stage.h"

/* systemd passed none: see listen.c. */
static void test_bus_without_a_control_socket(void **state) {
        struct service *service;
        struct stage stage;
        struct bus *bus;
        int fd = -1;

        stage_begin(&stage);
        assert_true(service_new(&service, stage.manager) >= 0);
        assert_int_equal(bus_new(&bus, stage.manager, service, &fd), 0);
        fake_time_pass(stage.manager->event, USEC_PER_SEC);
        bus_free(bus);
        service_free(service);
        stage_end(&stage);
}

static unsigned n_watchers(const struct manager *m) {
        const struct manager_watcher *watcher;
        unsigned n = 0;

        TAILQ_FOREACH (watcher, &m->watchers, link)
                n++;
        return n;
}

/* Its loop cannot wait for such a socket; nothing of it is left, nor told of anything. */
static void test_a_bus_that_cannot_be_made(void **state) {
        struct service *service;
        struct stage stage;
        struct bus *bus = NULL;
        unsigned n;
        int fd;

        stage_begin(&stage);
        assert_true(service_new(&service, stage.manager) >= 0);
        n = n_watchers(stage.manager);
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_int_equal(bus_new(&bus, stage.manager, service, &fd), -EPERM);
        assert_null(bus);
        assert_int_equal(n_watchers(stage.manager), n);
        assert_int_equal(close(fd), 0); /* it is still ours */
        service_free(service);
        stage_end(&stage);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_bus_without_a_control_socket),
                checked_test(test_a_bus_that_cannot_be_made),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
