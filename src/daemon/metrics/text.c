/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The one writer of metrics, in two dialects of one text. They differ in what a counter's family is
 * called (OpenMetrics: without the _total of its samples), in the type "info", in "# UNIT" and in
 * "# EOF". All series are there from the start, at zero, so that a rate does not miss the first
 * event. No label holds what a guest or its VMM said: names and UUIDs are in the journal.
 */

#include "daemon/metrics/text.h"

#include <inttypes.h>
#include <string.h>

#define PREFIX "pvreaper_"

const char *const metrics_modes[] = {"normal", "boost", "draining", NULL};

const char *const metrics_whys[] = {"limit", "drain", "start-rate", "turn", "memory", NULL};

struct writer {
        FILE *out;
        bool openmetrics;
};

/* unit: as the name ends, or NULL. */
static void family(const struct writer *w, const char *name, const char *type, const char *unit,
                   const char *help) {
        bool info = strcmp(type, "info") == 0;
        const char *suffix = "";

        if (!w->openmetrics && strcmp(type, "counter") == 0)
                suffix = "_total";
        if (!w->openmetrics && info)
                suffix = "_info";
        if (!w->openmetrics && info)
                type = "gauge";
        (void)fprintf(w->out, "# HELP " PREFIX "%s%s %s\n", name, suffix, help);
        (void)fprintf(w->out, "# TYPE " PREFIX "%s%s %s\n", name, suffix, type);
        if (w->openmetrics && unit)
                (void)fprintf(w->out, "# UNIT " PREFIX "%s %s\n", name, unit);
}

static void print_usec(FILE *out, uint64_t usec) {
        (void)fprintf(out, "%" PRIu64 ".%06" PRIu64, usec / USEC_PER_SEC, usec % USEC_PER_SEC);
}

/* ---- by kind ---- */

#define FOR_EACH_KIND(kind) for (size_t(kind) = 1; (kind) < TALLY_N_KINDS; (kind)++)

static void print_jobs(const struct writer *w, const struct tally *tally) {
        family(w, "jobs", "counter", NULL, "Jobs that ended, by kind and outcome.");
        FOR_EACH_KIND(kind)
        for (unsigned state = JOB_DONE; state < _JOB_STATE_MAX; state++)
                (void)fprintf(w->out, PREFIX "jobs_total{kind=\"%s\",outcome=\"%s\"} %" PRIu64 "\n",
                              tally_kind_name(kind), job_state_to_string(state),
                              tally->jobs[kind][state]);
}

static void print_histogram(const struct writer *w, const char *name, size_t kind,
                            const struct histogram *h) {
        const char *word = tally_kind_name(kind);
        uint64_t n = 0;

        for (size_t i = 0; i <= TALLY_N_BOUNDS; i++) {
                char bound[16] = "+Inf";

                n += h->counts[i];
                if (i < TALLY_N_BOUNDS)
                        (void)snprintf(bound, sizeof(bound), "%.1f", tally_bounds[i]);
                (void)fprintf(w->out, PREFIX "%s_bucket{kind=\"%s\",le=\"%s\"} %" PRIu64 "\n", name,
                              word, bound, n);
        }
        (void)fprintf(w->out, PREFIX "%s_count{kind=\"%s\"} %" PRIu64 "\n", name, word, n);
        (void)fprintf(w->out, PREFIX "%s_sum{kind=\"%s\"} ", name, word);
        print_usec(w->out, h->sum_usec);
        (void)fputc('\n', w->out);
}

static void print_histograms(const struct writer *w, const struct tally *tally) {
        family(w, "job_wait_seconds", "histogram", "seconds",
               "Time in the queue of jobs that ended, where it is known.");
        FOR_EACH_KIND(kind)
        print_histogram(w, "job_wait_seconds", kind, &tally->waited[kind]);
        family(w, "job_run_seconds", "histogram", "seconds",
               "Time from grant to end of jobs that ended, where it is known.");
        FOR_EACH_KIND(kind)
        print_histogram(w, "job_run_seconds", kind, &tally->ran[kind]);
}

static void print_sums(const struct writer *w, const struct metrics *m) {
        family(w, "job_cpu_seconds", "counter", "seconds",
               "CPU time of jobs that ended, where it is known.");
        FOR_EACH_KIND(kind) {
                (void)fprintf(w->out, PREFIX "job_cpu_seconds_total{kind=\"%s\"} ",
                              tally_kind_name(kind));
                print_usec(w->out, m->tally->cpu_usec[kind]);
                (void)fputc('\n', w->out);
        }
        family(w, "cleared_bytes", "counter", "bytes",
               "Memory that jobs have cleared, claimed by their workers.");
        FOR_EACH_KIND(kind)
        (void)fprintf(w->out, PREFIX "cleared_bytes_total{kind=\"%s\"} %" PRIu64 "\n",
                      tally_kind_name(kind), m->tally->cleared[kind]);
        family(w, "queued_jobs", "gauge", NULL, "Jobs that wait for their turn.");
        FOR_EACH_KIND(kind)
        (void)fprintf(w->out, PREFIX "queued_jobs{kind=\"%s\"} %" PRIu64 "\n",
                      tally_kind_name(kind), m->queued[kind]);
}

static void print_wait(const struct writer *w, const struct metrics *m) {
        family(w, "oldest_wait_seconds", "gauge", "seconds",
               "How long the first of the waiting jobs has waited, by why the next one waits.");
        for (size_t i = 0; metrics_whys[i]; i++) {
                bool it = m->why && strcmp(m->why, metrics_whys[i]) == 0;

                (void)fprintf(w->out, PREFIX "oldest_wait_seconds{why=\"%s\"} ", metrics_whys[i]);
                print_usec(w->out, it && m->oldest_wait != USEC_INFINITY ? m->oldest_wait : 0);
                (void)fputc('\n', w->out);
        }
}

/* ---- one number each ---- */

static void gauge(const struct writer *w, const char *name, uint64_t value, const char *unit,
                  const char *help) {
        family(w, name, "gauge", unit, help);
        (void)fprintf(w->out, PREFIX "%s %" PRIu64 "\n", name, value);
}

static void counter(const struct writer *w, const char *name, uint64_t value, const char *help) {
        family(w, name, "counter", NULL, help);
        (void)fprintf(w->out, PREFIX "%s_total %" PRIu64 "\n", name, value);
}

static void print_daemon(const struct writer *w, const struct metrics *m) {
        family(w, "build", "info", NULL, "The daemon's version.");
        (void)fprintf(w->out, PREFIX "build_info{version=\"%s\"} 1\n", m->version);
        family(w, "start_time_seconds", "gauge", "seconds",
               "When the daemon was started, since 1970; counters begin then.");
        (void)fprintf(w->out, PREFIX "start_time_seconds ");
        print_usec(w->out, m->tally->started_at);
        (void)fputc('\n', w->out);
        family(w, "mode", "gauge", NULL, "The value is 1 for the mode whose limits are in force.");
        for (size_t i = 0; metrics_modes[i]; i++)
                (void)fprintf(w->out, PREFIX "mode{mode=\"%s\"} %d\n", metrics_modes[i],
                              strcmp(m->mode, metrics_modes[i]) == 0);
}

static void print_gauges(const struct writer *w, const struct metrics *m) {
        gauge(w, "running_jobs", m->running, NULL, "Workers that count as running.");
        gauge(w, "max_concurrent_jobs", m->max_concurrent, NULL,
              "How many workers may run at once, in this mode.");
        gauge(w, "overdue_workers", m->overdue, NULL,
              "Workers that have a slot, stand still or take too long, and do not count.");
        gauge(w, "workers", m->workers, NULL, "Workers known, one for each VM.");
        gauge(w, "found_workers", m->tally->n_found, NULL,
              "Workers of an earlier daemon that this one found at its start.");
        gauge(w, "connections", m->connections, NULL, "Connections on the hand-off socket.");
        gauge(w, "to_clear_bytes", m->to_clear, "bytes",
              "Memory that running and waiting jobs have left to clear, claimed by their workers.");
        gauge(w, "held_bytes", m->held, "bytes",
              "Memory of dead VMMs that waiting shutdowns hold, claimed by their workers.");
        gauge(w, "memory_waiters", m->waiters, NULL, "Clients that wait for memory.");
        gauge(w, "unmoved_workers", m->stay, NULL,
              "Workers in their VMs' cgroups: a move would migrate the guests' memory.");
        gauge(w, "unenforced_workers", m->unenforced, NULL,
              "Running workers that cannot be held to the CPU quota.");
}

static void print_counters(const struct writer *w, const struct metrics *m) {
        counter(w, "ungoverned_starts", m->tally->n_ungoverned,
                "Jobs that ended and had begun without a grant.");
        counter(w, "begun_jobs", m->tally->n_begun,
                "Jobs that began over the limit: their VMM needed the kernel's slot at once.");
        counter(w, "starved_jobs", m->tally->n_starved,
                "Jobs granted beyond max-concurrent: their unit had waited without a slot.");
        counter(w, "unreported_jobs", m->unreported,
                "Jobs that ended while no daemon ran, with unknown result.");
        counter(w, "boosts", m->tally->n_boosts,
                "How often memory became short, or somebody began to wait for it.");
        counter(w, "threaded_workers", m->tally->n_threaded,
                "Processes that were refused as workers: they had more than one thread.");
        counter(w, "cpu_cap_refused", m->refused,
                "How often a CPU cap could not be set as configured.");
        counter(w, "cpu_cap_escaped", m->escaped,
                "How often a worker was found without the CPU cap that it had.");
}

void metrics_print(FILE *out, const struct metrics *metrics, enum metrics_format format) {
        const struct writer w = {.out = out, .openmetrics = format == METRICS_OPENMETRICS};

        print_daemon(&w, metrics);
        print_jobs(&w, metrics->tally);
        print_histograms(&w, metrics->tally);
        print_sums(&w, metrics);
        print_wait(&w, metrics);
        print_gauges(&w, metrics);
        print_counters(&w, metrics);
        if (w.openmetrics)
                (void)fputs("# EOF\n", out);
}
