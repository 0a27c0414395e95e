/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Connections with fds that nobody read: a child closes each, its unit pays until that has ended,
 * few are closed at a time, and none is forgotten when no child can be made. The first tests have
 * real children; in the others fork(2) and the pidfd go through doors in here (the linker's
 * --wrap), and the test says when a child ends. The clock is the test's.
 */

#include "fds.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/packet.h"
#include "capture.h"
#include "daemon/runtime/process.h"
#include "daemon/worker/parting.h"
#include "loop.h"

#define SEC      USEC_PER_SEC
#define MOST     100 /* connections of a unit */
#define CHILDREN 1000

static struct {
        bool real;
        int error, pidfd_error;
        unsigned n;
        int ends[CHILDREN]; /* eventfds: of what the daemon has a duplicate */
} children;

pid_t __real_fork(void);
pid_t __wrap_fork(void);
int __real_process_open(pid_t pid);
int __wrap_process_open(pid_t pid);

pid_t __wrap_fork(void) {
        errno = children.error;
        if (children.error != 0)
                return -1;
        children.n++;
        return children.real ? __real_fork() : (pid_t)children.n;
}

/* The daemon's copy is open still: a child that does not wait for its end leaves it the close. */
static int open_waiting(pid_t pid) {
        struct pollfd child = {.fd = __real_process_open(pid), .events = POLLIN};

        assert_int_equal(poll(&child, 1, 20), 0);
        return child.fd;
}

int __wrap_process_open(pid_t pid) {
        if (children.pidfd_error < 0)
                return children.pidfd_error;
        if (children.real)
                return open_waiting(pid);
        children.ends[children.n - 1] = eventfd(0, EFD_CLOEXEC);
        return fcntl(children.ends[children.n - 1], F_DUPFD_CLOEXEC, 0);
}

struct house {
        sd_event *event;
        struct partings partings;
        struct unit_table units;
        struct unit *unit;
};

static void begin(struct house *h, bool real) {
        const struct unit_limits limits = {.pool = {10 * MOST, 0}, .most = {MOST, 0}};

        memset(&children, 0, sizeof(children));
        children.real = real;
        fake_time_begin();
        assert_int_equal(sd_event_new(&h->event), 0);
        h->partings = (struct partings){.event = h->event};
        unit_table_init(&h->units, &limits);
        h->unit = unit_get(&h->units, 0, "evil.scope");
        fake_time_pass(h->event, 0);
}

static void end(struct house *h) {
        partings_deinit(&h->partings);
        assert_int_equal(h->unit->used[UNIT_CONNECTIONS], 0);
        unit_unref(h->unit);
        unit_table_deinit(&h->units);
        for (unsigned i = 0; !children.real && i < children.n; i++)
                close_fd(&children.ends[i]);
        h->event = sd_event_unref(h->event);
        fake_time_end();
}

/* A connection of the unit, with the writing end of a pipe in its queue. Returns the reading end.
 */
static int make(struct house *h, int *ret_fd, struct charge *ret_charge) {
        int fds[2], passed[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
                         0);
        assert_int_equal(pipe2(passed, O_CLOEXEC | O_NONBLOCK), 0);
        assert_int_equal(packet_send_fd(fds[1], "x", 1, passed[1]), 0);
        close_fd(&passed[1]);
        close_fd(&fds[1]);
        assert_int_equal(charge_take(ret_charge, h->unit, UNIT_CONNECTIONS), 0);
        *ret_fd = fds[0];
        return passed[0];
}

/* ... and it is on its way out. */
static int add(struct house *h) {
        struct charge charge = {};
        int fd, pipe = make(h, &fd, &charge);

        partings_add(&h->partings, &fd, &charge);
        assert_int_equal(fd, -1);
        assert_null(charge.unit);
        return pipe;
}

static void add_some(struct house *h, unsigned n) {
        while (n-- > 0) {
                int pipe = add(h);

                close_fd(&pipe);
        }
}

static bool is_closed(int pipe) {
        char c;

        return read(pipe, &c, 1) == 0;
}

static unsigned n_charged(const struct house *h) {
        return h->unit->used[UNIT_CONNECTIONS];
}

static void end_child(struct house *h, unsigned i) {
        assert_int_equal(eventfd_write(children.ends[i], 1), 0);
        fake_time_pass(h->event, 0);
}

/* ---- real children ---- */

static void test_a_child_closes_what_nobody_read(void **state) {
        struct house h;
        int pipe;

        begin(&h, true);
        pipe = add(&h);
        assert_int_equal(children.n, 1);
        assert_int_equal(fcntl(pipe, F_SETFL, 0), 0);
        assert_true(is_closed(pipe)); /* now, or soon */
        close_fd(&pipe);
        assert_true(waitpid(-1, NULL, 0) > 0);
        assert_int_equal(n_charged(&h), 1); /* nobody has looked yet */
        fake_time_pass(h.event, 0);
        assert_int_equal(n_charged(&h), 0);
        end(&h);
}

static void test_at_the_end_children_close_the_rest(void **state) {
        struct house h;
        int pipe;

        begin(&h, true);
        children.error = EAGAIN;
        capture_begin();
        pipe = add(&h);
        (void)capture_end();
        children.error = 0;
        end(&h);
        assert_int_equal(children.n, 1);
        assert_int_equal(fcntl(pipe, F_SETFL, 0), 0);
        assert_true(is_closed(pipe));
        close_fd(&pipe);
        assert_true(waitpid(-1, NULL, 0) > 0);
}

/* ---- who pays, and how many ---- */

static void test_the_unit_pays_until_it_is_closed(void **state) {
        struct charge charge = {};
        struct house h;

        begin(&h, false);
        add_some(&h, 3);
        assert_int_equal(n_charged(&h), 3);
        fake_time_pass(h.event, 100 * SEC);
        assert_int_equal(n_charged(&h), 3);
        end_child(&h, 1);
        assert_int_equal(n_charged(&h), 2);
        add_some(&h, MOST - 2);
        assert_int_equal(charge_take(&charge, h.unit, UNIT_CONNECTIONS), -EDQUOT); /* refused */
        end_child(&h, 0);
        assert_int_equal(charge_take(&charge, h.unit, UNIT_CONNECTIONS), 0);
        charge_give(&charge);
        end(&h);
}

static void test_few_at_a_time(void **state) {
        struct house h;

        begin(&h, false);
        add_some(&h, MOST);
        assert_int_equal(children.n, PARTING_CHILDREN_MAX);
        assert_int_equal(n_charged(&h), MOST);
        for (unsigned i = 0; i < MOST; i++) {
                unsigned begun = i + PARTING_CHILDREN_MAX;

                assert_int_equal(children.n, begun < MOST ? begun : MOST);
                end_child(&h, i);
                assert_int_equal(n_charged(&h), MOST - 1 - i);
        }
        end(&h);
}

/* Nothing is lost: it is tried again, and the unit pays meanwhile. */
static void test_no_child_can_be_made(void **state) {
        struct house h;
        int pipe;

        begin(&h, false);
        children.error = EAGAIN;
        capture_begin();
        pipe = add(&h);
        add_some(&h, MOST - 1);
        fake_time_pass(h.event, 10 * SEC);
        assert_non_null(strstr(capture_end(), "cannot close a connection that carries fds"));
        assert_int_equal(n_charged(&h), MOST);
        assert_false(is_closed(pipe));
        children.error = 0;
        fake_time_pass(h.event, SEC + SEC / 10);
        assert_int_equal(children.n, PARTING_CHILDREN_MAX);
        for (unsigned i = 0; i < MOST; i++)
                end_child(&h, i);
        assert_int_equal(n_charged(&h), 0);
        assert_true(is_closed(pipe));
        close_fd(&pipe);
        end(&h);
}

/* There is no pidfd: the charge ends early, and nothing else is lost. */
static void test_an_end_that_nobody_sees(void **state) {
        struct house h;
        int pipe;

        begin(&h, false);
        children.pidfd_error = -EMFILE;
        pipe = add(&h);
        assert_true(is_closed(pipe));
        assert_int_equal(n_charged(&h), 0);
        assert_int_equal(h.partings.n_leaving, 0);
        close_fd(&pipe);
        children.n = 0;
        end(&h);
}

int main(void) {
        const char *why =
                is_emulated() ? "qemu-user has no close_range(2) of all" : no_pidfd_open();
        const struct CMUnitTest tests[] = {
                checked_test_unless(why, test_a_child_closes_what_nobody_read),
                checked_test_unless(why, test_at_the_end_children_close_the_rest),
                checked_test(test_the_unit_pays_until_it_is_closed),
                checked_test(test_few_at_a_time),
                checked_test(test_no_child_can_be_made),
                checked_test(test_an_end_that_nobody_sees),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
