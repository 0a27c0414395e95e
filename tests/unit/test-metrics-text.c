/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Metrics: what is counted of a job, and what is not because nobody knows it; and the text, line by
 * line where the two dialects differ. That the whole of it is well-formed is test-metrics.py's.
 * Numbers here are all different, so that none can stand in for another.
 */

#include "fds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/metrics/text.h"

#define SEC USEC_PER_SEC

static struct job ended(uint32_t kind, enum job_state state) {
        return (struct job){.kind = kind,
                            .state = state,
                            .bytes = 100,
                            .waited_usec = 2 * SEC,
                            .ran_usec = 20 * SEC,
                            .cpu_usec = 3 * SEC};
}

/* ---- what is counted ---- */

static void test_tally_of_known(void **state) {
        struct job job = ended(WIRE_KIND_REBOOT, JOB_DONE);
        struct tally tally;

        tally_init(&tally);
        assert_true(tally.started_at > 1600000000 * SEC);
        tally_job(&tally, &job);
        job.ungoverned = true;
        job.state = JOB_UNGOVERNED;
        tally_job(&tally, &job);
        assert_int_equal(tally.jobs[WIRE_KIND_REBOOT][JOB_DONE], 1);
        assert_int_equal(tally.jobs[WIRE_KIND_REBOOT][JOB_UNGOVERNED], 1);
        assert_int_equal(tally.waited[WIRE_KIND_REBOOT].counts[3], 2); /* 1 s < 2 s <= 5 s */
        assert_int_equal(tally.waited[WIRE_KIND_REBOOT].sum_usec, 4 * SEC);
        assert_int_equal(tally.ran[WIRE_KIND_REBOOT].counts[5], 2);
        assert_int_equal(tally.cpu_usec[WIRE_KIND_REBOOT], 6 * SEC);
        assert_int_equal(tally.cleared[WIRE_KIND_REBOOT], 200);
        assert_int_equal(tally.cleared[WIRE_KIND_SHUTDOWN], 0);
        assert_int_equal(tally.n_ungoverned, 1);
}

/* Not a kind of the wire, and has a place of its own all the same. */
static void test_tally_of_adopted(void **state) {
        struct job job = ended(JOB_KIND_ADOPTED, JOB_DONE);
        struct tally tally;
        size_t kind = tally_kind(JOB_KIND_ADOPTED);

        tally_init(&tally);
        tally_job(&tally, &job);
        assert_int_equal(tally.jobs[kind][JOB_DONE], 1);
        assert_int_equal(tally.cleared[kind], 100);
        assert_string_equal(tally_kind_name(kind), "adopted");
        assert_string_equal(tally_kind_name(tally_kind(WIRE_KIND_CLOSE)), "close");
        assert_int_equal(tally_kind(77), 0);
}

static void test_tally_of_unknown(void **state) {
        struct job job = ended(WIRE_KIND_SHUTDOWN, JOB_DONE);
        struct tally tally;

        tally_init(&tally);
        job.waited_usec = job.ran_usec = job.cpu_usec = USEC_INFINITY;
        tally_job(&tally, &job);
        assert_int_equal(tally.jobs[WIRE_KIND_SHUTDOWN][JOB_DONE], 1);
        assert_int_equal(tally.cpu_usec[WIRE_KIND_SHUTDOWN], 0);
        assert_int_equal(tally.ran[WIRE_KIND_SHUTDOWN].sum_usec, 0);
        for (size_t i = 0; i <= TALLY_N_BOUNDS; i++) {
                assert_int_equal(tally.waited[WIRE_KIND_SHUTDOWN].counts[i], 0);
                assert_int_equal(tally.ran[WIRE_KIND_SHUTDOWN].counts[i], 0);
        }
}

/* Each kind and end: whether memory was cleared. */
static void test_tally_cleared(void **state) {
        for (uint32_t kind = WIRE_KIND_REBOOT; kind < _WIRE_KIND_MAX; kind++)
                for (unsigned s = JOB_DONE; s < _JOB_STATE_MAX; s++) {
                        bool cleared = s == JOB_DONE || s == JOB_UNGOVERNED ||
                                       (s == JOB_FOREIGN && kind == WIRE_KIND_CLOSE);
                        struct job job = ended(kind, s);
                        struct tally tally;

                        tally_init(&tally);
                        tally_job(&tally, &job);
                        assert_int_equal(tally.cleared[kind], cleared ? 100 : 0);
                }
}

/* Claims: a sum of lies does not wrap around. */
static void test_tally_lies(void **state) {
        struct job job = ended(WIRE_KIND_REBOOT, JOB_DONE);
        struct tally tally;

        tally_init(&tally);
        tally_job(&tally, &job);
        job.bytes = UINT64_MAX;
        tally_job(&tally, &job);
        assert_true(tally.cleared[WIRE_KIND_REBOOT] == UINT64_MAX);
        job.kind = 77;
        tally_job(&tally, &job); /* an unknown kind: nothing to count it under */
        job.kind = WIRE_KIND_REBOOT;
        job.state = _JOB_STATE_MAX;
        tally_job(&tally, &job);
        assert_int_equal(tally.jobs[WIRE_KIND_REBOOT][JOB_DONE], 2);
}

/* A bound is part of its bucket ("le"), and what is longer than all is in the last one. */
static void test_histogram_bounds(void **state) {
        struct histogram h = {};

        for (size_t i = 0; i < TALLY_N_BOUNDS; i++) {
                histogram_add(&h, (uint64_t)(tally_bounds[i] * (double)SEC));
                assert_int_equal(h.counts[i], 1);
        }
        histogram_add(&h, (uint64_t)(tally_bounds[TALLY_N_BOUNDS - 1] * (double)SEC) + 1);
        assert_int_equal(h.counts[TALLY_N_BOUNDS], 1);
        histogram_add(&h, 0);
        assert_int_equal(h.counts[0], 2);
        histogram_add(&h, USEC_INFINITY);
        assert_int_equal(h.counts[TALLY_N_BOUNDS], 1);
}

/* ---- the text ---- */

static char *text_of(enum metrics_format format) {
        struct job job = ended(WIRE_KIND_CLOSE, JOB_FOREIGN);
        struct tally tally;
        struct metrics metrics = {
                .tally = &tally,
                .version = "1.2",
                .mode = metrics_modes[1],
                .queued = {[WIRE_KIND_SHUTDOWN] = 7},
                .held = UINT64_MAX,
                .why = "start-rate",
                .oldest_wait = 90 * SEC,
                .to_clear = 5,
                .running = 11,
                .overdue = 12,
                .workers = 13,
                .connections = 14,
                .max_concurrent = 15,
                .waiters = 16,
                .unreported = 17,
                .unenforced = 18,
                .refused = 19,
                .escaped = 20,
                .stay = 24,
        };
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        assert_non_null(out);
        tally_init(&tally);
        tally.started_at = 1700000000 * SEC + 5;
        tally.n_boosts = 21;
        tally.n_found = 22;
        tally.n_ungoverned = 23;
        tally.n_begun = 24;
        tally.n_starved = 26;
        tally.n_threaded = 25;
        tally_job(&tally, &job);
        metrics_print(out, &metrics, format);
        assert_int_equal(fclose(out), 0);
        return text;
}

static void assert_lines(const char *text, const char *const *lines) {
        for (; *lines; lines++)
                if (!strstr(text, *lines))
                        fail_msg("no %s in:\n%s", *lines, text);
}

static void test_samples(void **state) {
        static const char *const lines[] = {
                "\npvreaper_start_time_seconds 1700000000.000005\n",
                "\npvreaper_mode{mode=\"normal\"} 0\npvreaper_mode{mode=\"boost\"} 1\n",
                "\npvreaper_jobs_total{kind=\"close\",outcome=\"foreign\"} 1\n",
                "\npvreaper_jobs_total{kind=\"reboot\",outcome=\"done\"} 0\n",
                "\npvreaper_job_wait_seconds_bucket{kind=\"close\",le=\"1.0\"} 0\n"
                "pvreaper_job_wait_seconds_bucket{kind=\"close\",le=\"5.0\"} 1\n",
                "\npvreaper_job_wait_seconds_bucket{kind=\"close\",le=\"+Inf\"} 1\n"
                "pvreaper_job_wait_seconds_count{kind=\"close\"} 1\n"
                "pvreaper_job_wait_seconds_sum{kind=\"close\"} 2.000000\n",
                "\npvreaper_job_cpu_seconds_total{kind=\"close\"} 3.000000\n",
                "\npvreaper_cleared_bytes_total{kind=\"close\"} 100\n",
                "\npvreaper_queued_jobs{kind=\"shutdown\"} 7\n",
                "\npvreaper_oldest_wait_seconds{why=\"limit\"} 0.000000\n",
                "\npvreaper_oldest_wait_seconds{why=\"start-rate\"} 90.000000\n",
                "\npvreaper_held_bytes 18446744073709551615\n",
                "\npvreaper_to_clear_bytes 5\n",
                "\npvreaper_running_jobs 11\n",
                "\npvreaper_overdue_workers 12\n",
                "\npvreaper_workers 13\n",
                "\npvreaper_connections 14\n",
                "\npvreaper_max_concurrent_jobs 15\n",
                "\npvreaper_memory_waiters 16\n",
                "\npvreaper_unreported_jobs_total 17\n",
                "\npvreaper_unenforced_workers 18\n",
                "\npvreaper_cpu_cap_refused_total 19\n",
                "\npvreaper_unmoved_workers 24\n",
                "\npvreaper_threaded_workers_total 25\n",
                "\npvreaper_cpu_cap_escaped_total 20\n",
                "\npvreaper_boosts_total 21\n",
                "\npvreaper_found_workers 22\n",
                "\npvreaper_ungoverned_starts_total 23\n",
                "\npvreaper_begun_jobs_total 24\n",
                "\npvreaper_starved_jobs_total 26\n",
                NULL,
        };
        _cleanup_(freep) char *open_text = text_of(METRICS_OPENMETRICS);
        _cleanup_(freep) char *file_text = text_of(METRICS_TEXTFILE);

        assert_lines(open_text, lines);
        assert_lines(file_text, lines);
}

static size_t count(const char *text, const char *what) {
        size_t n = 0;

        for (; (text = strstr(text, what)); text++)
                n++;
        return n;
}

/* From the start, at zero: by kind, and by outcome or bound; and none beside those. */
static void test_every_series_is_there(void **state) {
        _cleanup_(freep) char *text = text_of(METRICS_OPENMETRICS);
        const size_t kinds = TALLY_N_KINDS - 1;

        assert_int_equal(count(text, "\npvreaper_jobs_total{"),
                         kinds * (_JOB_STATE_MAX - JOB_DONE));
        assert_int_equal(count(text, "\npvreaper_job_wait_seconds_bucket{"),
                         kinds * (TALLY_N_BOUNDS + 1));
        assert_int_equal(count(text, "\npvreaper_job_run_seconds_bucket{"),
                         kinds * (TALLY_N_BOUNDS + 1));
        assert_int_equal(count(text, "\npvreaper_job_cpu_seconds_total{"), kinds);
        assert_int_equal(count(text, "\npvreaper_cleared_bytes_total{"), kinds);
        assert_int_equal(count(text, "\npvreaper_queued_jobs{"), kinds);
        assert_int_equal(count(text, "\npvreaper_mode{"), 3);
        assert_int_equal(count(text, "\npvreaper_oldest_wait_seconds{"), 5);
        assert_int_equal(count(text, "(null)"), 0);
}

static void test_openmetrics_dialect(void **state) {
        static const char *const lines[] = {
                "# TYPE pvreaper_build info\npvreaper_build_info{version=\"1.2\"} 1\n",
                "# TYPE pvreaper_jobs counter\npvreaper_jobs_total{",
                "# TYPE pvreaper_job_cpu_seconds counter\n"
                "# UNIT pvreaper_job_cpu_seconds seconds\n",
                "# UNIT pvreaper_held_bytes bytes\n",
                NULL,
        };
        _cleanup_(freep) char *text = text_of(METRICS_OPENMETRICS);

        assert_lines(text, lines);
        assert_string_equal(text + strlen(text) - strlen("\n# EOF\n"), "\n# EOF\n");
}

static void test_textfile_dialect(void **state) {
        static const char *const lines[] = {
                "# TYPE pvreaper_build_info gauge\npvreaper_build_info{version=\"1.2\"} 1\n",
                "# TYPE pvreaper_jobs_total counter\npvreaper_jobs_total{",
                "# HELP pvreaper_job_cpu_seconds_total CPU time",
                NULL,
        };
        _cleanup_(freep) char *text = text_of(METRICS_TEXTFILE);

        assert_lines(text, lines);
        assert_null(strstr(text, "# UNIT"));
        assert_null(strstr(text, "# EOF"));
        assert_int_equal(text[strlen(text) - 1], '\n');
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_tally_of_known),   checked_test(test_tally_of_adopted),
                checked_test(test_tally_of_unknown), checked_test(test_tally_cleared),
                checked_test(test_tally_lies),       checked_test(test_histogram_bounds),
                checked_test(test_samples),          checked_test(test_openmetrics_dialect),
                checked_test(test_textfile_dialect), checked_test(test_every_series_is_there),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
