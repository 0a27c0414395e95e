/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the control interface shows, and whom it lets wait, in fake time: status, VMs, jobs, limits
 * and metrics as a client reads them, with what is not known left out; the calls that are answered
 * later, or too late; and a client that does not read its answers.
 */

#include "fds.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "control.h"
#include "daemon/worker/protocol.h"
#include "daemon/worker/quiet.h"

static struct control c;

static void begin(void) {
        control_begin(&c);
}

static void end(void) {
        control_end(&c);
}

static const char *call(const char *method) {
        return control_call(&c, control_call_new(&c, method));
}

/* ---- reading an answer ---- */

static const char *read_variant(sd_bus_message *m) {
        static char text[256];
        const char *contents;
        union {
                const char *s;
                uint64_t t;
                uint32_t u;
                int i;
        } basic;
        char type;

        assert_true(sd_bus_message_peek_type(m, &type, &contents) > 0 && type == 'v');
        assert_true(sd_bus_message_enter_container(m, 'v', contents) > 0);
        assert_true(sd_bus_message_read_basic(m, contents[0], &basic) > 0);
        if (contents[0] == 's')
                (void)snprintf(text, sizeof(text), "%s", basic.s);
        else if (contents[0] == 'b' || contents[0] == 'i')
                (void)snprintf(text, sizeof(text), "%d", basic.i);
        else if (contents[0] == 'u')
                (void)snprintf(text, sizeof(text), "%" PRIu32, basic.u);
        else if (contents[0] == 't')
                (void)snprintf(text, sizeof(text), "%" PRIu64, basic.t);
        else
                fail_msg("no variant of type %s is expected", contents);
        return text;
}

/* From where m stands: a key's value as text; NULL: it is left out. */
static const char *find(sd_bus_message *m, const char *wanted) {
        const char *key;

        assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
        while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
                assert_true(sd_bus_message_read_basic(m, 's', &key) > 0);
                if (strcmp(key, wanted) == 0)
                        return read_variant(m);
                assert_true(sd_bus_message_skip(m, "v") > 0);
                assert_true(sd_bus_message_exit_container(m) > 0);
        }
        return NULL;
}

static const char *value(const char *key) {
        assert_true(sd_bus_message_rewind(c.reply, true) >= 0);
        return find(c.reply, key);
}

/* In the n-th dictionary of a list. */
static const char *value_of(unsigned n, const char *key) {
        assert_true(sd_bus_message_rewind(c.reply, true) >= 0);
        assert_true(sd_bus_message_enter_container(c.reply, 'a', "a{sv}") > 0);
        while (n-- > 0)
                assert_true(sd_bus_message_skip(c.reply, "a{sv}") > 0);
        return find(c.reply, key);
}

static unsigned count(void) {
        unsigned n = 0;

        assert_true(sd_bus_message_rewind(c.reply, true) >= 0);
        assert_true(sd_bus_message_enter_container(c.reply, 'a', "a{sv}") > 0);
        for (; sd_bus_message_at_end(c.reply, false) == 0; n++)
                assert_true(sd_bus_message_skip(c.reply, "a{sv}") > 0);
        return n;
}

/* ---- what there is to read ---- */

static struct worker *add_worker(const char *name) {
        static uint64_t start;
        struct worker *w;

        assert_int_equal(worker_alloc(&w, &c.stage.manager->workers, 1 << 30, ++start), 0);
        free(w->name);
        w->name = strdup(name);
        assert_non_null(w->name);
        return w;
}

static struct job *job_for(struct worker *w) {
        const struct wire_request request = {
                .kind = WIRE_KIND_SHUTDOWN, .seq = 7, .mem = UINT64_C(4) << 30};

        assert_int_equal(worker_new_job(w, &request), 0);
        return w->job;
}

/* The job of a worker that has gone since. */
static void add_ended(enum job_state state) {
        struct worker *w = add_worker("gone");
        struct job *job = job_for(w);

        job->state = state;
        job->worker = NULL;
        w->job = NULL;
        worker_free(w);
        capture_begin();
        ledger_add(&c.stage.manager->ledger, job);
        (void)capture_end();
}

static void test_status_says_what_holds(void **state) {
        char pid[16];

        begin();
        (void)add_worker("one");
        add_ended(JOB_DONE);
        control_pass(&c, 90 * USEC_PER_SEC);
        assert_string_equal(call("GetStatus"), "");
        (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
        assert_string_equal(value("PID"), pid);
        assert_string_equal(value("Version"), PVR_VERSION_TEXT);
        assert_string_equal(value("UptimeUSec"), "90000000");
        assert_string_equal(value("State"), "running");
        assert_string_equal(value("Mode"), "normal");
        assert_string_equal(value("MaxConcurrent"), "4");
        assert_string_equal(value("VMs"), "1");
        assert_string_equal(value("Connections"), "0");
        assert_string_equal(value("Done"), "1");
        assert_string_equal(value("Lost"), "0");
        assert_string_equal(value("BytesToClear"), "0");
        assert_string_equal(value("CPUBackend"), "off");
        assert_string_equal(value("Accounting"), "schedstat");
        end();
}

static void test_status_leaves_out_what_is_not_there(void **state) {
        begin();
        assert_string_equal(call("GetStatus"), "");
        assert_null(value("DrainReason"));
        assert_null(value("StartRate"));
        assert_null(value("CPUQuota"));
        assert_null(value("CGroup"));
        end();
}

static void test_status_says_why_it_drains(void **state) {
        begin();
        assert_string_equal(call("Drain"), "");
        assert_string_equal(call("GetStatus"), "");
        assert_string_equal(value("State"), "draining");
        assert_string_equal(value("Mode"), "draining");
        assert_string_equal(value("DrainReason"), "administrator");
        assert_string_equal(value("MaxConcurrent"), "9");
        control_pid1_says(&c, PID1_STOPS_SOCKET);
        assert_string_equal(call("GetStatus"), "");
        assert_string_equal(value("DrainReason"), "pv-reaper.socket");
        end();
}

static void ask_for_a_job(const char *vm) {
        const struct wire_request request = {.kind = WIRE_KIND_REBOOT, .seq = 1, .mem = 4096};

        assert_int_equal(worker_on_request(add_worker(vm), &request), 0);
}

/* Why, as which, and since when; and what a start-rate leaves to wait for. */
static void test_what_waits_says_why(void **state) {
        struct governor *g;

        begin();
        g = &c.stage.manager->governor;
        g->effective.max_concurrent = 0; /* or it would be granted */
        ask_for_a_job("one");
        ask_for_a_job("two");
        control_pass(&c, 7 * USEC_PER_SEC);
        assert_string_equal(call("ListJobs"), "");
        assert_string_equal(value_of(0, "Why"), "limit");
        assert_string_equal(value_of(0, "Place"), "1");
        assert_string_equal(value_of(1, "Place"), "2");
        assert_null(value_of(1, "ETAUSec"));
        assert_string_equal(call("GetStatus"), "");
        assert_string_equal(value("Why"), "limit");
        assert_string_equal(value("OldestWaitUSec"), "7000000");
        assert_string_equal(value("NextStartUSec"), "0");
        bucket_init(&g->starts, 60 * USEC_PER_SEC, 1, 1);
        assert_true(bucket_take(&g->starts, loop_now(c.stage.manager->event), 1));
        g->effective.max_concurrent = 4;
        assert_string_equal(call("GetStatus"), "");
        assert_string_equal(value("Why"), "start-rate");
        assert_string_equal(value("NextStartUSec"), "60000000");
        g->effective.max_concurrent = 0;
        end();
}

static uint64_t date(unsigned n, const char *key) {
        const char *text = value_of(n, key);

        assert_non_null(text);
        return strtoull(text, NULL, 10);
}

/* Of an ended job by its end, of the others by now. */
static void test_jobs_have_dates(void **state) {
        uint64_t now = realtime_usec();
        struct job *job;

        begin();
        c.stage.manager->governor.effective.max_concurrent = 0;
        add_ended(JOB_DONE);
        job = TAILQ_FIRST(&c.stage.manager->ledger.history);
        job->ended_at = 1000 * USEC_PER_SEC;
        job->ran_usec = 10 * USEC_PER_SEC;
        job->waited_usec = 90 * USEC_PER_SEC;
        add_ended(JOB_LOST); /* nobody knows since when it ran */
        ask_for_a_job("one");
        control_pass(&c, 7 * USEC_PER_SEC);
        assert_string_equal(call("ListJobs"), "");
        assert_int_equal(date(0, "QueuedAt"), 900 * USEC_PER_SEC);
        assert_int_equal(date(0, "StartedAt"), 990 * USEC_PER_SEC);
        assert_int_equal(date(0, "EndedAt"), 1000 * USEC_PER_SEC);
        assert_in_range(date(1, "EndedAt"), now, realtime_usec());
        assert_null(value_of(1, "StartedAt"));
        assert_in_range(date(2, "QueuedAt"), now - 7 * USEC_PER_SEC,
                        realtime_usec() - 7 * USEC_PER_SEC);
        assert_null(value_of(2, "StartedAt"));
        assert_null(value_of(2, "EndedAt"));
        end();
}

static void test_status_says_how_the_host_is(void **state) {
        begin();
        assert_string_equal(call("GetStatus"), "");
        assert_true(strtoull(value("MemoryAvailable"), NULL, 10) > 0);
        assert_true(strtoull(value("StartedAt"), NULL, 10) > UINT64_C(1500000000) * USEC_PER_SEC);
        assert_int_equal(strtoull(value("MaxVMs"), NULL, 10), c.stage.manager->workers.max);
        assert_null(value("HandoffSocket")); /* the stage has none */
        assert_null(value("Why"));
        assert_null(value("NextStartUSec"));
        assert_null(value("OldestWaitUSec"));
        end();
}

static void test_vms_are_listed(void **state) {
        struct worker *w;

        begin();
        assert_string_equal(call("ListVMs"), "");
        assert_int_equal(count(), 0);
        w = add_worker("one");
        w->mem = UINT64_C(1) << 30;
        w->uuid[15] = 1;
        (void)add_worker("t\xe9st"); /* not UTF-8: must not spoil the list */
        assert_string_equal(call("ListVMs"), "");
        assert_int_equal(count(), 2);
        assert_string_equal(value_of(0, "Name"), "one");
        assert_string_equal(value_of(0, "MemBytes"), "1073741824");
        assert_string_equal(value_of(0, "UUID"), "00000000-0000-0000-0000-000000000001");
        assert_string_equal(value_of(0, "Worker"), "keeper");
        assert_string_equal(value_of(0, "State"), "away"); /* not connected */
        assert_string_equal(value_of(0, "Connected"), "0");
        assert_null(value_of(0, "VMMPID"));
        assert_null(value_of(0, "CPUUSec")); /* there is no such process */
        w->pid = getpid();
        assert_string_equal(call("ListVMs"), "");
        assert_non_null(value_of(0, "CPUUSec"));
        assert_string_equal(value_of(1, "Name"), "t?st");
        assert_null(value_of(1, "MemBytes"));
        assert_null(value_of(1, "UUID"));
        end();
}

static void test_jobs_are_listed_in_their_order(void **state) {
        struct worker *w;

        begin();
        add_ended(JOB_DONE);
        w = add_worker("runs");
        job_for(w)->state = JOB_RUNNING;
        w = add_worker("waits");
        control_pass(&c, 0); /* from here on nothing is granted: the worker has no connection */
        job_for(w)->queued_at = loop_now(c.stage.manager->event);
        assert_int_equal(queue_push(&c.stage.manager->governor.queue, 0, w->job), 0);
        control_pass(&c, 2 * USEC_PER_SEC);
        assert_string_equal(call("ListJobs"), "");
        assert_int_equal(count(), 3);
        assert_string_equal(value_of(0, "VM"), "gone");
        assert_string_equal(value_of(0, "State"), "done");
        assert_string_equal(value_of(0, "Kind"), "shutdown");
        assert_string_equal(value_of(0, "Error"), "0");
        assert_string_equal(value_of(1, "VM"), "runs");
        assert_string_equal(value_of(1, "State"), "running");
        assert_string_equal(value_of(1, "Bytes"), "4294967296");
        assert_null(value_of(1, "RC")); /* no outcome yet */
        assert_null(value_of(1, "RanUSec"));
        assert_string_equal(value_of(2, "VM"), "waits");
        assert_string_equal(value_of(2, "State"), "queued");
        assert_string_equal(value_of(2, "WaitedUSec"), "2000000");
        end();
}

static void test_only_the_last_five_failures_are_listed(void **state) {
        begin();
        for (unsigned i = 0; i < 4; i++)
                add_ended(JOB_FAILED);
        add_ended(JOB_DONE);
        add_ended(JOB_UNGOVERNED);
        add_ended(JOB_LOST);
        add_ended(JOB_INTERRUPTED);
        assert_string_equal(call("ListFailures"), "");
        assert_int_equal(count(), 5);
        assert_string_equal(value_of(0, "State"), "interrupted");
        assert_string_equal(value_of(0, "Id"), "8");
        assert_string_equal(value_of(1, "State"), "lost");
        assert_null(value_of(1, "Error")); /* nobody said how it ended */
        assert_string_equal(value_of(4, "Id"), "2");
        end();
}

static const char *get_job(uint64_t id) {
        sd_bus_message *m = control_call_new(&c, "GetJob");

        assert_true(sd_bus_message_append(m, "t", id) >= 0);
        return control_call(&c, m);
}

static void test_a_job_by_its_number(void **state) {
        struct worker *w;

        begin();
        add_ended(JOB_DONE);
        w = add_worker("runs");
        job_for(w)->state = JOB_RUNNING;
        assert_string_equal(get_job(1), "");
        assert_string_equal(value("State"), "done");
        assert_string_equal(get_job(2), "");
        assert_string_equal(value("VM"), "runs");
        assert_string_equal(get_job(3), "NoSuchJob");
        assert_string_equal(c.why, "There is no job 3, or the daemon has forgotten it");
        end();
}

static void test_limits_say_where_they_are_from(void **state) {
        const char *key, *text, *origin;
        unsigned n = 0;

        begin();
        assert_string_equal(call("GetLimits"), "");
        assert_true(sd_bus_message_enter_container(c.reply, 'a', "(sss)") > 0);
        while (sd_bus_message_read(c.reply, "(sss)", &key, &text, &origin) > 0) {
                assert_string_not_equal(key, "handoff"); /* needs a restart */
                if (strcmp(key, "boost-max-concurrent") == 0) {
                        assert_string_equal(text, "9");
                        assert_string_equal(origin, "test");
                        n++;
                } else if (strcmp(key, "start-burst") == 0) {
                        assert_string_equal(text, "10");
                        assert_string_equal(origin, "default");
                        n++;
                }
        }
        assert_int_equal(n, 2);
        end();
}

static void test_metrics_are_one_text(void **state) {
        const char *text;
        struct worker *w;

        begin();
        w = add_worker("one");
        control_pass(&c, 0);
        job_for(w)->frees_memory = true;
        assert_int_equal(queue_push(&c.stage.manager->governor.queue, 0, w->job), 0);
        assert_string_equal(call("GetMetrics"), "");
        assert_true(sd_bus_message_read(c.reply, "s", &text) > 0);
        assert_non_null(strstr(text, "\npvreaper_queued_jobs{kind=\"shutdown\"} 1\n"));
        assert_non_null(strstr(text, "\npvreaper_held_bytes 4294967296\n"));
        assert_non_null(strstr(text, "\npvreaper_workers 1\n"));
        assert_non_null(strstr(text, "\npvreaper_mode{mode=\"normal\"} 1\n"));
        assert_string_equal(text + strlen(text) - 6, "# EOF\n");
        assert_string_equal(call("GetTextfileMetrics"), "");
        assert_true(sd_bus_message_read(c.reply, "s", &text) > 0);
        assert_non_null(strstr(text, "\n# TYPE pvreaper_boosts_total counter\n"));
        assert_null(strstr(text, "# EOF"));
        end();
}

/* ---- properties ---- */

static const char *get_property(const char *name) {
        sd_bus_message *m;

        assert_true(sd_bus_message_new_method_call(c.client, &m, NULL, "/org/pvreaper/Manager",
                                                   "org.freedesktop.DBus.Properties", "Get") >= 0);
        assert_true(sd_bus_message_append(m, "ss", "org.pvreaper.Manager1", name) >= 0);
        assert_string_equal(control_call(&c, m), "");
        return read_variant(c.reply);
}

static void test_a_property_is_what_the_status_says(void **state) {
        begin();
        (void)add_worker("one");
        assert_string_equal(get_property("VMs"), "1");
        assert_string_equal(get_property("State"), "running");
        assert_string_equal(get_property("MaxConcurrent"), "4");
        assert_string_equal(get_property("CPUQuota"), "18446744073709551615"); /* none */
        end();
}

/* ---- calls that wait ---- */

static const char *wait_for(const char *method, const char *types, uint64_t timeout,
                            const void *what) {
        sd_bus_message *m = control_call_new(&c, method);

        assert_true(sd_bus_message_append_basic(m, types[0], what) >= 0);
        assert_true(sd_bus_message_append_basic(m, types[1], &timeout) >= 0);
        return control_call(&c, m);
}

static void test_a_wait_for_memory_in_vain(void **state) {
        const uint64_t more = UINT64_MAX, all = all_memory();

        begin();
        assert_string_equal(wait_for("WaitMemory", "tt", UINT64_MAX, &more), "MoreThanTheHostHas");
        assert_string_equal(wait_for("WaitMemory", "tt", UINT64_MAX, &all), "none");
        assert_int_equal(governor_mode(&c.stage.manager->governor), GOVERNOR_NORMAL);
        control_pass(&c, 1100 * USEC_PER_MSEC);
        assert_string_equal(c.answer, "NothingToClear");
        assert_non_null(strstr(c.why, "and no teardown is left that could free more"));
        assert_int_equal(governor_mode(&c.stage.manager->governor), GOVERNOR_NORMAL);
        end();
}

static void test_a_wait_for_memory_boosts_and_ends(void **state) {
        const uint64_t too_much = all_memory(), little = 1;

        begin();
        (void)stage_add_running(&c.stage);
        assert_string_equal(wait_for("WaitMemory", "tt", 5 * USEC_PER_SEC, &little), "");
        assert_string_equal(wait_for("WaitMemory", "tt", 5 * USEC_PER_SEC, &too_much), "none");
        control_pass(&c, 4 * USEC_PER_SEC);
        assert_string_equal(c.answer, "none");
        assert_int_equal(governor_mode(&c.stage.manager->governor), GOVERNOR_BOOST);
        control_pass(&c, 2 * USEC_PER_SEC);
        assert_string_equal(c.answer, "Timeout");
        assert_int_equal(governor_mode(&c.stage.manager->governor), GOVERNOR_NORMAL);
        end();
}

static void test_a_wait_ends_with_its_client(void **state) {
        const uint64_t too_much = all_memory();

        begin();
        (void)stage_add_running(&c.stage);
        assert_string_equal(wait_for("WaitMemory", "tt", UINT64_MAX, &too_much), "none");
        control_pass(&c, USEC_PER_SEC);
        assert_int_equal(governor_mode(&c.stage.manager->governor), GOVERNOR_BOOST);
        c.client = sd_bus_close_unref(c.client);
        control_pass(&c, 2 * USEC_PER_SEC);
        assert_int_equal(governor_mode(&c.stage.manager->governor), GOVERNOR_NORMAL);
        end();
}

static void test_a_wait_is_left_when_the_bus_goes(void **state) {
        const uint64_t too_much = all_memory();

        begin();
        (void)stage_add_running(&c.stage);
        assert_string_equal(wait_for("WaitMemory", "tt", UINT64_MAX, &too_much), "none");
        assert_string_equal(wait_for("WaitMemory", "tt", UINT64_MAX, &too_much), "none");
        end(); /* nothing of it is left: see fds.h, and the sanitizers */
}

static void test_one_waits_too_many(void **state) {
        const uint64_t too_much = all_memory();

        begin();
        (void)stage_add_running(&c.stage);
        for (unsigned i = 0; i < 64; i++)
                assert_string_equal(wait_for("WaitMemory", "tt", UINT64_MAX, &too_much), "none");
        assert_string_equal(wait_for("WaitMemory", "tt", UINT64_MAX, &too_much), "TooManyWaiters");
        assert_string_equal(c.why, "64 clients wait already; try again later");
        end();
}

static void test_a_wait_for_quiet_ends_with_the_worker(void **state) {
        struct worker *w;
        uint32_t known;

        begin();
        assert_string_equal(wait_for("WaitQuiet", "st", USEC_PER_SEC, "one"), "");
        assert_true(sd_bus_message_read(c.reply, "u", &known) > 0);
        assert_int_equal(known, 0);
        w = add_worker("one");
        w->vmm_pid = 4711;
        assert_string_equal(wait_for("WaitQuiet", "st", 2 * USEC_PER_SEC, "one"), "none");
        control_pass(&c, 3 * USEC_PER_SEC);
        assert_string_equal(c.answer, "Timeout");
        assert_string_equal(c.why, "one is not quiet yet");
        assert_string_equal(wait_for("WaitQuiet", "st", UINT64_MAX, "one"), "none");
        worker_free(w);
        quiet_changed(c.stage.manager->quiet);
        control_pass(&c, USEC_PER_SEC);
        assert_string_equal(c.answer, "");
        assert_true(sd_bus_message_read(c.reply, "u", &known) > 0);
        assert_int_equal(known, 1);
        end();
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_status_says_what_holds),
                checked_test(test_status_leaves_out_what_is_not_there),
                checked_test(test_status_says_why_it_drains),
                checked_test(test_what_waits_says_why),
                checked_test(test_jobs_have_dates),
                checked_test(test_status_says_how_the_host_is),
                checked_test(test_vms_are_listed),
                checked_test(test_jobs_are_listed_in_their_order),
                checked_test(test_only_the_last_five_failures_are_listed),
                checked_test(test_a_job_by_its_number),
                checked_test(test_limits_say_where_they_are_from),
                checked_test(test_metrics_are_one_text),
                checked_test(test_a_property_is_what_the_status_says),
                checked_test(test_a_wait_for_memory_in_vain),
                checked_test(test_a_wait_for_memory_boosts_and_ends),
                checked_test(test_a_wait_ends_with_its_client),
                checked_test(test_a_wait_is_left_when_the_bus_goes),
                checked_test(test_one_waits_too_many),
                checked_test(test_a_wait_for_quiet_ends_with_the_worker),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
