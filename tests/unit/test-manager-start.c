/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How a manager starts and ends: workers of an earlier daemon count, connections are served, and
 * what happens to work that is left. Its parts are the real ones. Processes and cgroups are made up
 * (town.h), and the clock is the test's (loop.h).
 */

#include "manager-house.h"

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
                checked_test(test_workers_of_an_earlier_daemon_count),
                checked_test(test_connections),
                checked_test(test_the_end_with_work),
                checked_test(test_a_manager_that_cannot_start),
                checked_test(test_the_loop_ends),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
