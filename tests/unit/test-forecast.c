/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where an estimate gets its numbers: from a job's bill and time, from the quota in force and how
 * many share it, and from what waits. How it is computed is test-estimate.c's. The manager is the
 * real one (stage.h), and there are no processes: what a worker's bill says is the test's.
 */

#include "fds.h"

#include "daemon/forecast.h"
#include "daemon/worker/protocol.h"
#include "stage.h"

#define GIB (UINT64_C(1) << 30)
#define SEC USEC_PER_SEC

static struct {
        int error;
        uint64_t usec;
} bill;

int __wrap_worker_cpu_usec(const struct worker *worker, uint64_t *ret);

int __wrap_worker_cpu_usec(const struct worker *worker, uint64_t *ret) {
        if (bill.error == 0)
                *ret = bill.usec;
        return bill.error;
}

/* Jobs so far cleared 1 GiB per CPU second, and ran half the time. */
static void begin(struct stage *s) {
        const struct estimate_sample sample = {.bytes = GIB, .cpu_usec = SEC, .ran_usec = 2 * SEC};

        bill.error = 0;
        bill.usec = 100 * SEC;
        stage_begin(s);
        fake_time_pass(s->manager->event, 0);
        estimate_learn(&s->manager->ledger.estimate, WIRE_KIND_REBOOT, &sample);
}

/* It has no connection, so nobody may be granted: no time passes while it waits. */
static struct job *add_waiting(struct stage *s) {
        const struct wire_request request = {.kind = WIRE_KIND_REBOOT, .seq = 1, .mem = 4 * GIB};
        static pid_t next = 1 << 30;
        struct worker *w;

        assert_int_equal(worker_alloc(&w, &s->manager->workers, next++, 1), 0);
        assert_int_equal(worker_on_request(w, &request), 0);
        return w->job;
}

static struct job *add_running(struct stage *s) {
        struct manager *m = s->manager;
        struct job *job = add_waiting(s);

        assert_int_equal(slot_grant(&job->worker->slot, &m->governor, loop_now(m->event), job), 0);
        worker_start_job(job->worker);
        return job;
}

/* So much of a CPU for all, as manager_apply() decides it. */
static void set_quota(struct stage *s, uint64_t percent) {
        governor_set_cpu_quota(&s->manager->governor, percent * SEC / 100);
}

static void run(struct stage *s, uint64_t usec, uint64_t cpu_usec) {
        fake_time_pass(s->manager->event, usec);
        bill.usec += cpu_usec;
}

static void test_a_job_by_its_bill(void **state) {
        unsigned percent = 0;
        struct stage s;
        struct job *job;

        begin(&s);
        job = add_running(&s);
        run(&s, 2 * SEC, SEC); /* since GRANT: what the bill said then is not its own */
        assert_true(forecast_percent(job, &percent));
        assert_int_equal(percent, 25);
        assert_int_equal(forecast_left(job), 6 * SEC);
        stage_end(&s);
}

/* Those that run share it. */
static void test_the_quota_is_shared(void **state) {
        struct stage s;
        struct job *job;

        begin(&s);
        job = add_running(&s);
        run(&s, 2 * SEC, 2 * SEC);
        assert_int_equal(forecast_left(job), 2 * SEC);
        set_quota(&s, 50);
        assert_int_equal(forecast_left(job), 4 * SEC);
        (void)add_running(&s);
        assert_int_equal(forecast_left(job), 8 * SEC);
        stage_end(&s);
}

/* Never a guess. */
static void test_unknown_of_a_job(void **state) {
        unsigned percent;
        struct stage s;
        struct job *job;

        begin(&s);
        job = add_running(&s);
        run(&s, 2 * SEC, SEC);
        bill.error = -ENOENT;
        assert_false(forecast_percent(job, &percent));
        bill.error = 0;
        bill.usec = job->cpu_base - 1; /* another cgroup's, then */
        assert_false(forecast_percent(job, &percent));
        bill.usec = job->cpu_base + SEC;
        assert_true(forecast_percent(job, &percent));
        job->granted_at = 0; /* under an earlier daemon */
        assert_false(forecast_percent(job, &percent));
        assert_true(forecast_left(job) == USEC_INFINITY);
        job = add_waiting(&s);
        assert_false(forecast_percent(job, &percent));
        assert_true(forecast_left(job) == USEC_INFINITY);
        stage_end(&s);
}

static void test_until_nothing_is_left(void **state) {
        struct stage s;
        struct job *job;

        begin(&s);
        s.manager->governor.effective.max_concurrent = 2;
        assert_int_equal(forecast_all(s.manager), 0);
        job = add_running(&s);
        run(&s, 2 * SEC, SEC);
        assert_int_equal(forecast_all(s.manager), 6 * SEC);
        (void)add_waiting(&s); /* 8 s by what others took, beside the first */
        assert_int_equal(forecast_all(s.manager), 8 * SEC);
        (void)add_waiting(&s); /* as soon as the first has ended */
        assert_int_equal(forecast_all(s.manager), 14 * SEC);
        set_quota(&s, 10); /* 11 s of CPU at a tenth of one */
        assert_in_range(forecast_all(s.manager), 110 * SEC - 10, 110 * SEC + 10);
        job->bytes = 0; /* it did not say how much */
        assert_true(forecast_all(s.manager) == USEC_INFINITY);
        stage_end(&s);
}

/* What it does, and how far it is, nobody knows. */
static void test_one_that_was_found(void **state) {
        struct stage s;

        begin(&s);
        (void)stage_add_running(&s);
        assert_true(forecast_all(s.manager) == USEC_INFINITY);
        stage_end(&s);
}

static void set_limits(struct stage *s, const struct governor_limits *limits) {
        governor_set_limits(&s->manager->governor, loop_now(s->manager->event), GOVERNOR_NORMAL,
                            limits);
}

/* 60 an hour, two at once: the third has to wait for a minute, the fourth for two; 8 s each. */
static void test_starts_take_time(void **state) {
        struct governor_limits limits = {.max_concurrent = 9,
                                         .start_rate = 60,
                                         .start_burst = 2,
                                         .overdue_usec = USEC_INFINITY,
                                         .starvation_usec = USEC_INFINITY};
        struct stage s;
        struct job *job;

        begin(&s);
        set_limits(&s, &limits);
        job = add_waiting(&s);
        (void)add_waiting(&s);
        assert_int_equal(forecast_all(s.manager), 8 * SEC);
        (void)add_waiting(&s);
        assert_int_equal(forecast_all(s.manager), 68 * SEC);
        (void)add_waiting(&s);
        assert_int_equal(forecast_all(s.manager), 128 * SEC);
        assert_int_equal(job->eta, 8 * SEC);
        limits.start_rate = 0;
        set_limits(&s, &limits);
        assert_int_equal(forecast_all(s.manager), 8 * SEC);
        stage_end(&s);
}

/* The queue and the slots are known, so each that waits has its own end, and nobody ends later. */
static void test_each_that_waits(void **state) {
        struct job *jobs[4];
        struct stage s;

        begin(&s);
        s.manager->governor.effective.max_concurrent = 2;
        (void)add_running(&s);
        run(&s, 2 * SEC, SEC);
        for (unsigned i = 0; i < 4; i++)
                jobs[i] = add_waiting(&s);
        assert_int_equal(forecast_all(s.manager), 22 * SEC);
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(jobs[i]->turn, i + 1);
        assert_int_equal(jobs[0]->eta, 8 * SEC);
        assert_int_equal(jobs[1]->eta, 14 * SEC);
        assert_int_equal(jobs[2]->eta, 16 * SEC);
        assert_int_equal(jobs[3]->eta, 22 * SEC);
        jobs[1]->bytes = 0; /* one that is unknown keeps its slot */
        assert_true(forecast_all(s.manager) == USEC_INFINITY);
        assert_int_equal(jobs[0]->eta, 8 * SEC);
        assert_true(jobs[1]->eta == USEC_INFINITY);
        assert_int_equal(jobs[3]->eta, 24 * SEC);
        stage_end(&s);
}

/* What a job shows itself counts more, until it is over and the job is not. */
static void test_a_job_by_its_progress(void **state) {
        struct stage s;
        struct job *job;

        begin(&s);
        job = add_running(&s);
        run(&s, SEC, SEC);
        worker_on_progress(job->worker, 3 * GIB);
        run(&s, SEC, SEC);
        assert_int_equal(forecast_left(job), 2 * SEC);
        assert_int_equal(forecast_all(s.manager), 2 * SEC);
        run(&s, 2 * SEC, SEC);
        assert_true(forecast_left(job) == USEC_INFINITY);
        stage_end(&s);
}

static void test_a_job_that_just_began(void **state) {
        unsigned percent;
        struct stage s;
        struct job *job;

        begin(&s);
        job = add_running(&s);
        run(&s, SEC / 2, SEC);
        assert_false(forecast_percent(job, &percent));
        worker_on_progress(job->worker, 3 * GIB); /* its own word, then */
        assert_true(forecast_percent(job, &percent));
        assert_int_equal(percent, 25);
        stage_end(&s);
}

static void test_a_job_that_stands_still(void **state) {
        struct stage s;
        struct job *job;

        begin(&s);
        job = add_running(&s);
        run(&s, SEC, SEC);
        worker_on_progress(job->worker, 3 * GIB);
        run(&s, 0, SEC);
        assert_true(forecast_left(job) != USEC_INFINITY);
        run(&s, 30 * SEC, 0);
        assert_true(worker_is_overdue(job->worker));
        assert_true(forecast_left(job) == USEC_INFINITY);
        assert_true(forecast_all(s.manager) == USEC_INFINITY);
        stage_end(&s);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_a_job_by_its_bill),
                checked_test(test_the_quota_is_shared),
                checked_test(test_unknown_of_a_job),
                checked_test(test_until_nothing_is_left),
                checked_test(test_one_that_was_found),
                checked_test(test_starts_take_time),
                checked_test(test_each_that_waits),
                checked_test(test_a_job_by_its_progress),
                checked_test(test_a_job_that_just_began),
                checked_test(test_a_job_that_stands_still),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
