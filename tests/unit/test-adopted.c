/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Helpers of a stock QEMU: which process is one, what is answered about others, and what becomes of
 * one that is adopted. Processes and cgroups are made up (town.h): 10 is a QEMU, 11 its helper.
 * Each case says what it changes of that.
 */

#include "fds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "capture.h"
#include "crew.h"
#include "daemon/adopt/adopt.h"
#include "daemon/config/config.h"
#include "daemon/runtime/loop.h"
#include "daemon/worker/admit.h"
#include "loop.h"
#include "town.h"

#define MIB (UINT64_C(1) << 20)
#define SEC USEC_PER_SEC

/* The scan of /proc: test-adopt-scan.c's. Here a test says what it finds. */
static struct {
        void (*found)(void *userdata, pid_t pid);
        void *userdata;
        uint64_t interval;
} scan;

int __wrap_adopt_scan_new(struct adopt_scan **ret, sd_event *event,
                          void (*found)(void *userdata, pid_t pid), void *userdata);
struct adopt_scan *__wrap_adopt_scan_free(struct adopt_scan *unused);
void __wrap_adopt_scan_set(struct adopt_scan *unused, uint64_t interval);

int __wrap_adopt_scan_new(struct adopt_scan **ret, sd_event *event,
                          void (*found)(void *userdata, pid_t pid), void *userdata) {
        scan.found = found;
        scan.userdata = userdata;
        *ret = NULL;
        return 0;
}

struct adopt_scan *__wrap_adopt_scan_free(struct adopt_scan *unused) {
        return NULL;
}

void __wrap_adopt_scan_set(struct adopt_scan *unused, uint64_t interval) {
        scan.interval = interval;
}

struct house {
        struct crew crew;
        struct config *config;
        struct adopt *adopt;
        struct citizen *vmm, *helper;
        char text[ADOPT_TEXT_MAX]; /* of the last answer */
};

static void begin(struct house *h) {
        town_begin();
        crew_begin(&h->crew, 1);
        h->crew.workers.cgroup = &town.root;
        assert_int_equal(config_new(&h->config), 0);
        assert_int_equal(adopt_new(&h->adopt, &h->crew.workers, h->config), 0);
        h->vmm = town_add(10, 1);
        h->helper = town_add(11, 10);
        h->helper->memory = h->vmm->memory;
        h->helper->name = "cleanup/10";
        h->helper->rss = 100 * MIB;
}

static void end(struct house *h) {
        h->adopt = adopt_free(h->adopt);
        crew_end(&h->crew);
        config_free(h->config);
        town_end();
}

static struct worker *adopted(struct house *h) {
        return TAILQ_FIRST(&h->crew.workers.list);
}

/* What is answered; the log is not looked at. */
static int ask(struct house *h, pid_t pid) {
        enum adopt_answer answer = _ADOPT_ANSWER_MAX;
        int r;

        capture_begin();
        r = adopt_process(h->adopt, pid, &answer, h->text);
        (void)capture_end();
        return r < 0 ? r : (int)answer;
}

static void expect_refused(struct house *h, pid_t pid, enum adopt_answer answer, const char *text) {
        unsigned n = h->crew.workers.n;

        assert_int_equal(ask(h, pid), answer);
        assert_non_null(strstr(h->text, text));
        assert_int_equal(h->crew.workers.n, n);
}

static void pass(struct house *h, uint64_t usec) {
        fake_time_pass(h->crew.event, usec);
}

/* ---- which process is one ---- */

static void test_a_helper_is_adopted(void **state) {
        struct worker *w;
        struct house h;

        begin(&h);
        assert_int_equal(ask(&h, 11), ADOPT_DONE);
        w = adopted(&h);
        assert_int_equal(w->sort, WORKER_HELPER);
        assert_int_equal(w->pid, 11);
        assert_int_equal(w->vmm_pid, 10);
        assert_string_equal(w->name, "cleanup/10");
        assert_string_equal(w->unit, "machine-10.scope");
        assert_int_equal(w->mem, 100 * MIB);
        assert_string_equal(h.helper->cgroup, "/town/jobs/vm-11-1011");
        assert_string_equal(worker_state_to_string(w), "adopted");
        assert_int_equal(h.crew.governor.n_counted, 0); /* it waits for its QEMU's end */
        expect_refused(&h, 11, ADOPT_ADOPTED, "process 11 is adopted already");
        end(&h);
}

static void test_the_guest_of_a_unit(void **state) {
        static const struct {
                const char *unit, *guest;
        } rows[] = {
                {"machine-qemu\\x2d1\\x2danna.scope", "anna"},
                {"machine-qemu\\x2d12\\x2da\\x2db.c\\x2d3.scope", "a-b.c-3"},
                {"machine-qemu\\x2d1\\x2d.scope.scope", ".scope"},
                {"machine-qemu\\x2d1\\x2da\\x0a\\x.scope", "a?\\x"},
                {"machine-qemu\\x2d1\\x2da\\x00b.scope", "a"},
                {"machine-qemu\\x2d1\\x2da\\x2", NULL},
                {"machine-qemu\\x2d1\\x2d.scope", NULL},
                {"machine-qemu\\x2d1\\x2danna.service", NULL},
                {"machine-qemu\\x2d\\x2danna.scope", NULL},
                {"machine-qemu\\x2dx\\x2danna.scope", NULL},
                {"machine-anna.scope", NULL},
                {"xmachine-qemu\\x2d1\\x2danna.scope", NULL},
                {"/machine-qemu\\x2d1\\x2danna.scope", NULL},
                {"machine-qemu\\x2d1\\x2d", NULL},
                {"", NULL},
        };
        char unit[WIRE_NAME_MAX + 64];

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                _cleanup_(freep) char *guest = adopted_guest_of(rows[i].unit);

                if (rows[i].guest)
                        assert_string_equal(guest, rows[i].guest);
                else
                        assert_null(guest);
        }
        for (int n = WIRE_NAME_MAX; n <= WIRE_NAME_MAX + 1; n++) {
                _cleanup_(freep) char *guest = NULL;

                (void)snprintf(unit, sizeof(unit), "machine-qemu\\x2d1\\x2d%0*d.scope", n, 7);
                guest = adopted_guest_of(unit);
                assert_int_equal(guest ? (int)strlen(guest) : -1, n > WIRE_NAME_MAX ? -1 : n);
        }
}

/* Also after a restart, and when its QEMU is gone by then. */
static void test_a_helper_is_called_as_its_guest(void **state) {
        struct worker *w;
        struct house h;

        begin(&h);
        h.vmm->unit = "machine-qemu\\x2d1\\x2danna.scope";
        assert_int_equal(ask(&h, 11), ADOPT_DONE);
        assert_string_equal(adopted(&h)->name, "anna");
        assert_int_equal(eventfd_write(h.vmm->life, 1), 0);
        pass(&h, 0);
        assert_string_equal(adopted(&h)->job->name, "anna");
        worker_free(adopted(&h));
        LIST_REMOVE(h.vmm, link);
        h.helper->ppid = 1;
        (void)town_add(1, 0);
        assert_int_equal(worker_new_found(&w, &h.crew.workers, 11, 1011), 0);
        assert_string_equal(w->name, "anna");
        assert_string_equal(w->job->name, "anna");
        town_kill(h.helper);
        pass(&h, 0);
        assert_string_equal(crew_last(&h.crew)->name, "anna");
        LIST_INSERT_HEAD(&town.citizens, h.vmm, link);
        end(&h);
}

static void test_processes_that_are_no_helpers(void **state) {
        struct house h;

        begin(&h);
        expect_refused(&h, 77, ADOPT_GONE, "there is no process 77");
        expect_refused(&h, 0, ADOPT_GONE, "there is no process 0");
        expect_refused(&h, -1, ADOPT_GONE, "there is no process -1");
        expect_refused(&h, 10, ADOPT_NO_HELPER, "process 10 is called \"process\"");
        h.helper->name = "clean\n\xff/10";
        expect_refused(&h, 11, ADOPT_NO_HELPER,
                       "called \"clean?"
                       "?/10\"");
        h.helper->name = "cleanup/12";
        expect_refused(&h, 11, ADOPT_VMM_GONE, "called cleanup/12, but there is no process 12");
        (void)town_add(12, 1);
        expect_refused(&h, 11, ADOPT_NO_CHILD, "called cleanup/12, but its parent is 10");
        end(&h);
}

static void test_qemus_that_are_none(void **state) {
        struct house h;

        begin(&h);
        h.vmm->program = "/opt/x/qemu";
        expect_refused(&h, 11, ADOPT_EMULATOR, "runs /opt/x/qemu, which is not in emulators=");
        h.vmm->program = "/usr/bin/qemu-system-s390x";
        h.helper->memory = 99;
        expect_refused(&h, 11, ADOPT_OTHER_MEMORY, "does not share the memory of its parent 10");
        end(&h);
}

/* Whoever it was that all of it was true of: it, or its QEMU, is gone now. */
static void test_who_ended_while_it_was_looked_at(void **state) {
        struct house h;

        begin(&h);
        assert_int_equal(eventfd_write(h.helper->life, 1), 0);
        expect_refused(&h, 11, ADOPT_GONE, "there is no process 11");
        end(&h);
        begin(&h);
        assert_int_equal(eventfd_write(h.vmm->life, 1), 0);
        expect_refused(&h, 11, ADOPT_VMM_GONE, "but there is no process 10");
        end(&h);
}

static void test_a_qemu_with_a_keeper(void **state) {
        struct worker *w;
        struct house h;

        begin(&h);
        assert_int_equal(worker_alloc(&w, &h.crew.workers, 12, 1), 0);
        w->vmm_pid = 10;
        w->pidfd = eventfd(0, EFD_CLOEXEC);
        town_add(12, 10)->memory = h.vmm->memory;
        expect_refused(&h, 11, ADOPT_KEEPER, "process 10 has a keeper, 12");
        end(&h);
}

static void test_when_no_helper_is_adopted(void **state) {
        struct house h;

        begin(&h);
        h.crew.workers.max = 0;
        expect_refused(&h, 11, ADOPT_TOO_MANY, "");
        h.crew.workers.max = 10;
        governor_set_mode(&h.crew.governor, loop_now(h.crew.event), GOVERNOR_DRAINING, true);
        expect_refused(&h, 11, ADOPT_DRAINING,
                       "cannot adopt 11: the daemon drains and takes in no workers");
        governor_set_mode(&h.crew.governor, loop_now(h.crew.event), GOVERNOR_DRAINING, false);
        town.new_error = -ENOSPC;
        assert_int_equal(ask(&h, 11), -ENOSPC);
        town.new_error = 0;
        assert_int_equal(ask(&h, 11), ADOPT_DONE);
        end(&h);
}

static void test_a_helper_with_threads(void **state) {
        const struct unit_limits limits = {.pool = {100, 100}, .most = {100, 1}};
        struct house h;

        begin(&h);
        h.helper->n_threads = 2;
        expect_refused(&h, 11, ADOPT_NO_HELPER,
                       "process 11 has more than one thread; a helper has one");
        h.helper->n_threads = 1;
        assert_int_equal(ask(&h, 11), ADOPT_DONE);
        unit_table_set_limits(&h.crew.governor.units, loop_now(h.crew.event), &limits);
        town_add(21, 20)->memory = town_add(20, 1)->memory;
        town_find(21)->name = "cleanup/20";
        town_find(20)->unit = h.vmm->unit;
        expect_refused(&h, 21, ADOPT_TOO_MANY,
                       "cannot adopt 21: there are too many workers of its unit");
        end(&h);
}

/* ---- by the scan ---- */

static const char *find(pid_t pid) {
        capture_begin();
        scan.found(scan.userdata, pid);
        return capture_end();
}

static void test_a_helper_is_found(void **state) {
        struct house h;

        begin(&h);
        assert_non_null(strstr(find(11), "adopted 11, the helper of QEMU 10 (unit machine-10."
                                         "scope)"));
        assert_int_equal(h.crew.workers.n, 1);
        assert_string_equal(find(11), ""); /* each time again: that is no news */
        end(&h);
}

/* A line for each of them, not for each look. */
static void test_what_is_found_and_no_helper(void **state) {
        struct house h;

        begin(&h);
        h.vmm->program = "/usr/bin/other";
        assert_non_null(strstr(find(11), "not adopted: the parent 10 of process 11 runs"));
        assert_string_equal(find(11), "");
        h.helper->starttime++; /* another process of that number */
        assert_non_null(strstr(find(11), "not adopted: "));
        assert_string_equal(find(77), ""); /* it is gone: nobody cares */
        town.new_error = -ENOSPC;
        h.vmm->program = "/usr/bin/qemu-system-s390x";
        h.helper->starttime++;
        assert_non_null(strstr(find(11), "cannot adopt 11: No space left on device"));
        assert_string_equal(find(11), "");
        end(&h);
}

static void test_how_often_is_scanned(void **state) {
        struct house h;

        begin(&h);
        h.config->adopt_qemu = true;
        h.config->adopt_interval = 7 * SEC;
        adopt_apply(h.adopt);
        assert_int_equal(scan.interval, 7 * SEC);
        h.config->adopt_qemu = false;
        adopt_apply(h.adopt);
        assert_true(scan.interval == USEC_INFINITY);
        end(&h);
}

static void test_the_words_of_answers(void **state) {
        for (int i = 0; i < _ADOPT_ANSWER_MAX; i++)
                assert_true(strlen(adopt_answer_to_string((enum adopt_answer)i)) > 0);
        assert_string_equal(adopt_answer_to_string(ADOPT_DONE), "Adopted");
        assert_string_equal(adopt_answer_to_string(ADOPT_DRAINING), "Draining");
}

/* ---- what becomes of it ---- */

static void test_its_job_is_the_end_of_its_qemu(void **state) {
        const struct job *job;
        struct house h;

        begin(&h);
        h.helper->cgroup_cpu_usec = 7;
        assert_int_equal(ask(&h, 11), ADOPT_DONE);
        pass(&h, 100 * SEC);
        h.vmm->memory = 0; /* the helper still has it */
        assert_int_equal(eventfd_write(h.vmm->life, 1), 0);
        pass(&h, 0);
        assert_int_equal(adopted(&h)->job->kind, JOB_KIND_ADOPTED);
        assert_int_equal(adopted(&h)->job->state, JOB_RUNNING);
        assert_int_equal(h.crew.governor.n_counted, 1);
        assert_int_equal(crew_n_capped(&h.crew), 1);
        assert_true(h.helper->limited);
        pass(&h, 30 * SEC);
        h.helper->cgroup_cpu_usec = 29 * SEC;
        town_kill(h.helper);
        pass(&h, 0);
        job = crew_last(&h.crew);
        assert_int_equal(job->state, JOB_DONE);
        assert_int_equal(job->bytes, 100 * MIB);
        assert_int_equal(job->bytes_left, 0);
        assert_int_equal(job->waited_usec, 0);
        assert_int_equal(job->ran_usec, 30 * SEC);
        assert_int_equal(job->cpu_usec, 29 * SEC - 7);
        assert_int_equal(h.crew.workers.n, 0);
        assert_int_equal(h.crew.governor.n_counted, 0);
        assert_int_equal(town.n_cgroups, 0);
        end(&h);
}

/* A task that exits gives its memory up first, so it is looked at before. */
static void test_its_memory_is_looked_at_now_and_then(void **state) {
        struct house h;

        begin(&h);
        assert_int_equal(ask(&h, 11), ADOPT_DONE);
        h.helper->rss = 200 * MIB;
        pass(&h, 9 * SEC);
        assert_int_equal(adopted(&h)->mem, 100 * MIB);
        pass(&h, 2 * SEC);
        assert_int_equal(adopted(&h)->mem, 200 * MIB);
        h.helper->rss = 300 * MIB;
        pass(&h, 11 * SEC);
        assert_int_equal(adopted(&h)->mem, 300 * MIB);
        h.helper->rss = 0; /* it has none any more */
        pass(&h, 11 * SEC);
        assert_int_equal(adopted(&h)->mem, 300 * MIB);
        end(&h);
}

/* QEMU will release its memory itself: there is no job. */
static void test_a_helper_that_ends_first(void **state) {
        struct house h;

        begin(&h);
        assert_int_equal(ask(&h, 11), ADOPT_DONE);
        town_kill(h.helper);
        capture_begin();
        pass(&h, 0);
        assert_non_null(strstr(capture_end(), "helper 11 ended before its QEMU 10"));
        assert_int_equal(h.crew.n_ended, 0);
        assert_int_equal(h.crew.workers.n, 0);
        end(&h);
}

/* Both ends are seen in one turn of the loop. */
static void test_a_helper_that_is_quick(void **state) {
        struct house h;

        begin(&h);
        assert_int_equal(ask(&h, 11), ADOPT_DONE);
        town_kill(h.vmm);
        town_kill(h.helper);
        pass(&h, 0);
        assert_int_equal(h.crew.n_ended, 1);
        assert_int_equal(crew_last(&h.crew)->state, JOB_DONE);
        assert_int_equal(crew_last(&h.crew)->bytes, 100 * MIB);
        end(&h);
}

/* A keeper has the memory, and the job. */
static void test_a_helper_that_was_overtaken(void **state) {
        struct house h;

        begin(&h);
        assert_int_equal(ask(&h, 11), ADOPT_DONE);
        worker_set_state(adopted(&h), WORKER_OVERTAKEN);
        town_kill(h.vmm);
        pass(&h, 0);
        assert_null(adopted(&h)->job);
        town_kill(h.helper);
        pass(&h, 0);
        assert_int_equal(h.crew.n_ended, 0);
        assert_int_equal(h.crew.workers.n, 0);
        end(&h);
}

/* ---- after a restart ---- */

static void restart(struct house *h) {
        struct worker *w;

        assert_int_equal(ask(h, 11), ADOPT_DONE);
        worker_free(adopted(h));
        assert_int_equal(worker_new_found(&w, &h->crew.workers, 11, 1011), 0);
        assert_ptr_equal(adopted(h), w);
        assert_int_equal(w->sort, WORKER_HELPER);
        assert_string_equal(w->name, "cleanup/10");
        assert_int_equal(w->mem, 100 * MIB);
}

/* Its QEMU got a keeper before the daemon died. */
static void test_an_overtaken_one_is_found(void **state) {
        struct worker *w, *keeper;
        struct house h;

        begin(&h);
        assert_int_equal(ask(&h, 11), ADOPT_DONE);
        worker_free(adopted(&h));
        assert_int_equal(worker_alloc(&keeper, &h.crew.workers, 12, 1), 0);
        keeper->vmm_pid = 10;
        keeper->pidfd = eventfd(0, EFD_CLOEXEC);
        town_add(12, 10)->memory = h.vmm->memory;
        assert_int_equal(worker_new_found(&w, &h.crew.workers, 11, 1011), 0);
        assert_int_equal(w->state, WORKER_OVERTAKEN);
        end(&h);
}

/* As if nothing had been. */
static void test_an_adopted_one_is_found(void **state) {
        struct house h;

        begin(&h);
        restart(&h);
        assert_string_equal(worker_state_to_string(adopted(&h)), "adopted");
        assert_int_equal(h.crew.governor.n_counted, 0);
        town_kill(h.vmm);
        pass(&h, 0);
        assert_int_equal(h.crew.governor.n_counted, 1);
        pass(&h, 3 * SEC);
        town_kill(h.helper);
        pass(&h, 0);
        assert_int_equal(crew_last(&h.crew)->ran_usec, 3 * SEC);
        end(&h);
}

/* Nobody saw its QEMU die: it is not known since when it is at work. */
static void test_one_that_began_meanwhile(void **state) {
        struct worker *w;
        struct house h;

        begin(&h);
        assert_int_equal(ask(&h, 11), ADOPT_DONE);
        worker_free(adopted(&h));
        LIST_REMOVE(h.vmm, link);
        h.helper->ppid = 1;
        (void)town_add(1, 0);
        assert_int_equal(worker_new_found(&w, &h.crew.workers, 11, 1011), 0);
        assert_int_equal(w->job->state, JOB_RUNNING);
        assert_int_equal(h.crew.governor.n_counted, 1);
        pass(&h, 3 * SEC);
        town_kill(h.helper);
        pass(&h, 0);
        assert_int_equal(crew_last(&h.crew)->state, JOB_DONE);
        assert_true(crew_last(&h.crew)->ran_usec == USEC_INFINITY);
        LIST_INSERT_HEAD(&town.citizens, h.vmm, link);
        end(&h);
}

/* It was at work already; its mark says since when. */
static void test_one_that_is_at_work_is_found(void **state) {
        struct worker *w;
        struct house h;

        begin(&h);
        assert_int_equal(ask(&h, 11), ADOPT_DONE);
        assert_int_equal(eventfd_write(h.vmm->life, 1), 0);
        pass(&h, 0);
        pass(&h, 5 * SEC);
        worker_free(adopted(&h));
        LIST_REMOVE(h.vmm, link);
        h.helper->ppid = 1;
        (void)town_add(1, 0);
        assert_int_equal(worker_new_found(&w, &h.crew.workers, 11, 1011), 0);
        assert_string_equal(w->job->name, "cleanup/10");
        assert_int_equal(h.crew.governor.n_counted, 1);
        pass(&h, 5 * SEC);
        town_kill(h.helper);
        pass(&h, 0);
        assert_int_equal(crew_last(&h.crew)->ran_usec, 10 * SEC);
        LIST_INSERT_HEAD(&town.citizens, h.vmm, link);
        end(&h);
}

/* Whoever may make files may call them as he likes. */
static void test_a_program_of_an_unprintable_name(void **state) {
        struct house h;

        begin(&h);
        h.vmm->program = "/tmp/\033[2J\xff\npv-reaperd: ready";
        expect_refused(&h, 11, ADOPT_EMULATOR, "runs /tmp/?[2J??pv-reaperd: ready, which");
        end(&h);
}

/* All of it was true, of whom? */
static void test_a_qemu_that_ends_while_it_is_looked_at(void **state) {
        struct house h;

        begin(&h);
        h.vmm->dies_looked_at = true;
        expect_refused(&h, 11, ADOPT_GONE, "there is no process 10");
        end(&h);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_the_guest_of_a_unit),
                checked_test(test_a_helper_is_called_as_its_guest),
                checked_test(test_a_helper_is_adopted),
                checked_test(test_processes_that_are_no_helpers),
                checked_test(test_qemus_that_are_none),
                checked_test(test_who_ended_while_it_was_looked_at),
                checked_test(test_a_qemu_with_a_keeper),
                checked_test(test_when_no_helper_is_adopted),
                checked_test(test_a_helper_with_threads),
                checked_test(test_a_helper_is_found),
                checked_test(test_what_is_found_and_no_helper),
                checked_test(test_how_often_is_scanned),
                checked_test(test_the_words_of_answers),
                checked_test(test_its_job_is_the_end_of_its_qemu),
                checked_test(test_its_memory_is_looked_at_now_and_then),
                checked_test(test_a_helper_that_ends_first),
                checked_test(test_a_helper_that_is_quick),
                checked_test(test_a_helper_that_was_overtaken),
                checked_test(test_an_overtaken_one_is_found),
                checked_test(test_an_adopted_one_is_found),
                checked_test(test_one_that_began_meanwhile),
                checked_test(test_one_that_is_at_work_is_found),
                checked_test(test_a_program_of_an_unprintable_name),
                checked_test(test_a_qemu_that_ends_while_it_is_looked_at),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
