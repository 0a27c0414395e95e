/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The walk through /proc:
 * - it finds each process that is named like a helper, once per pass, however many others there
 *   are;
 * - it yields to the loop when its time is up. The test's own clock tells the time:
 *   clock_gettime(2) goes through a door in here;
 * - it does not begin before it is due.
 */

#include "fds.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "children.h"
#include "daemon/adopt/adopt.h"
#include "daemon/runtime/process.h"

#define N_CHILDREN 5

static bool hasty; /* each look at the clock takes a second */

int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret) {
        static time_t late;
        int r = __real_clock_gettime(clock, ret);

        if (hasty)
                ret->tv_sec += ++late;
        return r;
}

struct walk {
        struct child children[N_CHILDREN];
        unsigned n_found[N_CHILDREN];
        sd_event *event;
        struct adopt_scan *scan;
};

/* There may be helpers of others about. */
static void on_found(void *userdata, pid_t pid) {
        struct walk *walk = userdata;

        for (unsigned i = 0; i < N_CHILDREN; i++)
                walk->n_found[i] += walk->children[i].pid == pid;
}

static void begin(struct walk *walk, uint64_t interval) {
        *walk = (struct walk){};
        for (unsigned i = 0; i < N_CHILDREN; i++)
                walk->children[i] = child_new(i == 0 ? "clean" : "cleanup/1", NULL);
        assert_int_equal(sd_event_new(&walk->event), 0);
        assert_int_equal(adopt_scan_new(&walk->scan, walk->event, on_found, walk), 0);
        adopt_scan_set(walk->scan, interval);
}

static void end(struct walk *walk) {
        assert_null(adopt_scan_free(walk->scan));
        sd_event_unref(walk->event);
        for (unsigned i = N_CHILDREN; i-- > 0;)
                child_end(&walk->children[i]);
}

/* Until nothing is pending: the pass is over. Returns how many turns that took. */
static unsigned run(struct walk *walk, uint64_t patience) {
        unsigned n = 0;

        while (sd_event_run(walk->event, n == 0 ? patience : 0) > 0)
                n++;
        return n;
}

static void assert_found(const struct walk *walk, unsigned times) {
        assert_int_equal(walk->n_found[0], 0);
        for (unsigned i = 1; i < N_CHILDREN; i++)
                assert_int_equal(walk->n_found[i], times);
}

static void test_adopt_scan_finds(void **state) {
        struct walk walk;

        begin(&walk, 3600 * USEC_PER_SEC);
        assert_true(run(&walk, 0) > 0); /* the first pass is due at once */
        assert_found(&walk, 1);
        assert_int_equal(run(&walk, 0), 0);             /* and the next one is not */
        adopt_scan_set(walk.scan, 3600 * USEC_PER_SEC); /* nothing new */
        assert_int_equal(run(&walk, 0), 0);
        end(&walk);
}

static void test_adopt_scan_comes_again(void **state) {
        struct walk walk;

        begin(&walk, 1);
        for (unsigned i = 1; i <= 3; i++) {
                while (walk.n_found[N_CHILDREN - 1] < i)
                        assert_true(sd_event_run(walk.event, 20 * USEC_PER_SEC) > 0);
                assert_int_equal(walk.n_found[1], i);
        }
        end(&walk);
}

static void test_adopt_scan_off(void **state) {
        struct walk walk;

        begin(&walk, USEC_INFINITY);
        assert_int_equal(run(&walk, 0), 0);
        adopt_scan_set(walk.scan, 3600 * USEC_PER_SEC);
        assert_true(sd_event_run(walk.event, 0) > 0); /* begun */
        adopt_scan_set(walk.scan, USEC_INFINITY);
        assert_int_equal(run(&walk, 0), 0);
        assert_found(&walk, 0);
        end(&walk);
}

static unsigned n_processes(void) {
        DIR *proc = opendir("/proc");
        const struct dirent *entry;
        unsigned n = 0;

        assert_non_null(proc);
        while ((entry = readdir(proc)))
                n += entry->d_name[0] >= '1' && entry->d_name[0] <= '9';
        (void)closedir(proc);
        return n;
}

/* Each turn sees one entry of the directory, and still all are seen. */
static void test_adopt_scan_yields(void **state) {
        unsigned turns, n;
        struct walk walk;

        begin(&walk, 3600 * USEC_PER_SEC);
        n = n_processes();
        hasty = true;
        turns = run(&walk, 0);
        hasty = false;
        assert_found(&walk, 1);
        assert_true(turns > n / 2); /* some may have come or gone */
        end(&walk);
}

static const char *no_proc(void) {
        struct task_stat stat = {};

        (void)process_read_stat(getpid(), &stat);
        return stat.state == '0' ? "/proc is made up (qemu-user)" : NULL;
}

int main(void) {
        const char *why = no_proc();
        const struct CMUnitTest tests[] = {
                checked_test_unless(why, test_adopt_scan_finds),
                checked_test_unless(why, test_adopt_scan_comes_again),
                checked_test_unless(why, test_adopt_scan_off),
                checked_test_unless(why, test_adopt_scan_yields),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
