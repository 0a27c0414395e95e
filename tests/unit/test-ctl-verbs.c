/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verbs of pv-reaperctl, with a child of this test as the daemon at the other end of a real
 * connection: what each of them asks, with which arguments, what it prints, and what it makes of
 * errors and of answers that are malformed.
 */

#include "capture.h"
#include "fds.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>

#include "base/util.h"
#include "ctl/connection-read.h"
#include "ctl/connection.h"
#include "ctl/say.h"
#include "ctl/verbs.h"

static struct sockaddr_un address;
static int calls = -1; /* the daemon writes here what it is asked: "METHOD(ARGUMENTS)\n" */
static pid_t server;

/* ---- the daemon ---- */

static int append_text(sd_bus_message *m, const char *key, const char *text) {
        return sd_bus_message_append(m, "{sv}", key, "s", text);
}

static int append_number(sd_bus_message *m, const char *key, uint64_t number) {
        return sd_bus_message_append(m, "{sv}", key, "t", number);
}

static int append_vm(sd_bus_message *m, const char *name, uint64_t pid) {
        (void)sd_bus_message_open_container(m, 'a', "{sv}");
        (void)append_text(m, "Name", name);
        (void)sd_bus_message_append(m, "{sv}", "UUID", "s", pid == 20 ? "uuid-of-b" : "");
        (void)append_number(m, "PID", pid);
        (void)append_number(m, "VMMPID", pid + 1);
        (void)sd_bus_message_append(m, "{sv}", "Later", "as", 1, "skipped");
        return sd_bus_message_close_container(m);
}

static int append_job(sd_bus_message *m, uint64_t id, uint64_t pid) {
        (void)sd_bus_message_open_container(m, 'a', "{sv}");
        (void)append_number(m, "Id", id);
        (void)append_number(m, "PID", pid);
        (void)append_text(m, "Kind", "reboot");
        return sd_bus_message_close_container(m);
}

static int answer_list(sd_bus_message *reply, const char *member) {
        (void)sd_bus_message_open_container(reply, 'a', "a{sv}");
        if (strcmp(member, "ListVMs") == 0) {
                (void)append_vm(reply, "a", 10);
                (void)append_vm(reply, "b", 20);
                (void)append_vm(reply, "b", 30);
        } else if (strcmp(member, "ListJobs") == 0) {
                (void)append_job(reply, 1001, 20);
                (void)append_job(reply, 1002, 10);
                (void)append_job(reply, 1003, 30);
                (void)append_job(reply, 1004, 10);
        }
        return sd_bus_message_close_container(reply);
}

static int answer_status(sd_bus_message *reply) {
        (void)sd_bus_message_open_container(reply, 'a', "{sv}");
        (void)append_text(reply, "Version", "7.8.9");
        (void)append_text(reply, "State", "running");
        (void)sd_bus_message_append(reply, "{sv}", "MaxConcurrent", "u", 5);
        (void)sd_bus_message_append(reply, "{sv}", "PID", "u", 4242);
        (void)sd_bus_message_append(reply, "{sv}", "UptimeUSec", "t", 5 * USEC_PER_SEC);
        (void)append_number(reply, "Failed", 2);
        return sd_bus_message_close_container(reply);
}

static int append_change(sd_bus_message *reply) {
        (void)sd_bus_message_open_container(reply, 'a', "a{sv}");
        (void)sd_bus_message_open_container(reply, 'a', "{sv}");
        (void)append_text(reply, "Key", "max-concurrent");
        (void)append_text(reply, "Before", "4");
        (void)append_text(reply, "Now", "8");
        (void)append_text(reply, "Origin", "runtime");
        (void)sd_bus_message_close_container(reply);
        return sd_bus_message_close_container(reply);
}

/* One that takes arguments: reads and notes them. false: it is none of these. */
static bool read_arguments(sd_bus_message *m, const char *member, sd_bus_message *reply) {
        const char *key, *value;
        uint64_t number, timeout;
        uint32_t pid;

        if (strcmp(member, "Adopt") == 0 && sd_bus_message_read(m, "u", &pid) > 0) {
                (void)dprintf(calls, "%u", pid);
        } else if (strcmp(member, "WaitMemory") == 0 &&
                   sd_bus_message_read(m, "tt", &number, &timeout) > 0) {
                (void)dprintf(calls, "%" PRIu64 ",%" PRIu64, number, timeout);
                (void)sd_bus_message_append(reply, "t", UINT64_C(3) << 30);
        } else if (strcmp(member, "SetLimits") == 0 &&
                   sd_bus_message_enter_container(m, 'a', "(ss)") > 0) {
                while (sd_bus_message_read(m, "(ss)", &key, &value) > 0)
                        (void)dprintf(calls, "%s:%s,", key, value);
                (void)append_change(reply);
        } else {
                return false;
        }
        return true;
}

static int answer_job(sd_bus_message *m, sd_bus_message *reply) {
        uint64_t id = 0;

        (void)sd_bus_message_read(m, "t", &id);
        (void)dprintf(calls, "%" PRIu64, id);
        if (id == 1003)
                return sd_bus_message_append(reply, "s", "no record");
        return id == 1002 ? append_job(reply, id, 10) : -ENOENT;
}

static int answer(sd_bus_message *m, const char *member, sd_bus_message *reply) {
        if (strcmp(member, "GetStatus") == 0)
                return answer_status(reply);
        if (strncmp(member, "List", 4) == 0)
                return answer_list(reply, member);
        if (strcmp(member, "GetJob") == 0)
                return answer_job(m, reply);
        if (strcmp(member, "GetLimits") == 0)
                return sd_bus_message_append(reply, "a(sss)", 1, "max-concurrent", "4", "runtime");
        if (strcmp(member, "GetMetrics") == 0)
                return sd_bus_message_append(reply, "s", "pvreaper_x 1\n");
        if (strcmp(member, "GetTextfileMetrics") == 0)
                return sd_bus_message_append(reply, "s", "pvreaper_x 2\n");
        if (strcmp(member, "Reload") == 0)
                return answer_list(reply, member);
        if (strcmp(member, "Drain") == 0) /* it has a word of its own */
                return sd_bus_message_append(reply, "s", "extra");
        if (strcmp(member, "Resume") == 0)
                return -EBUSY;
        (void)read_arguments(m, member, reply);
        return 0;
}

static int on_call(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *member = sd_bus_message_get_member(m);
        sd_bus_message *reply = NULL;
        int r;

        (void)dprintf(calls, "%s(", member);
        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = answer(m, member, reply);
        (void)dprintf(calls, ")\n");
        if (r == -EBUSY)
                r = sd_bus_reply_method_errorf(m, "org.pvreaper.Error.Timeout", "not in time");
        else if (r < 0)
                r = sd_bus_reply_method_errorf(m, "org.pvreaper.Error.NoSuchJob", "no such job");
        else
                r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r < 0 ? r : 1;
}

static void serve(int fd) {
        sd_bus *bus = NULL;
        sd_id128_t id = {};
        int r;

        if (sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, fd, fd) < 0 ||
            sd_bus_set_server(bus, 1, id) < 0 || sd_bus_set_anonymous(bus, 1) < 0 ||
            sd_bus_start(bus) < 0 || sd_bus_add_object(bus, NULL, OBJECT_PATH, on_call, NULL) < 0)
                _exit(1);
        while ((r = sd_bus_process(bus, NULL)) >= 0)
                if (r == 0)
                        (void)sd_bus_wait(bus, UINT64_MAX);
        sd_bus_close_unref(bus);
}

_Noreturn static void be_daemon(int listener) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
                int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

                if (fd < 0)
                        _exit(1);
                serve(fd);
        }
}

/* ---- the test's end ---- */

static int asked = -1;
static struct options options;
static char printed[16 * 1024];

static void set_up(void) {
        int listener, fds[2];

        address = (struct sockaddr_un){.sun_family = AF_UNIX};
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/pvr-ctl-verbs-%d",
                       (int)getpid());
        (void)unlink(address.sun_path);
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(listen(listener, 4), 0);
        assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
        asked = fds[0];
        calls = fds[1];
        (void)fflush(NULL);
        server = fork();
        assert_true(server >= 0);
        if (server == 0)
                be_daemon(listener);
        close_fd(&listener);
        close_fd(&calls);
        options = (struct options){.socket = address.sun_path, .root = "", .legend = true};
}

static void tear_down(void) {
        assert_int_equal(kill(server, SIGKILL), 0);
        assert_int_equal(wait_for_exit(server), -1);
        close_fd(&asked);
        (void)unlink(address.sun_path);
}

/* What the daemon was asked since the last time. */
static const char *take_asked(void) {
        static char text[1024];
        ssize_t n = read(asked, text, sizeof(text) - 1);

        text[n > 0 ? n : 0] = '\0';
        return text;
}

/* A verb that prints to printed; what it says on stderr is returned. */
static const char *run(int (*verb)(const struct options *options, FILE *out), int result,
                       const char *argument) {
        char *text = NULL, *args[] = {(char *)(uintptr_t)argument, NULL};
        const char *said;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        int r;

        assert_non_null(out);
        options.args = args;
        options.n_args = argument ? 1 : 0;
        capture_begin();
        r = verb(&options, out);
        said = capture_end();
        assert_int_equal(fclose(out), 0);
        (void)snprintf(printed, sizeof(printed), "%s", text);
        free(text);
        if (r != result)
                fail_msg("returned %d, not %d: %s", r, result, said);
        assert_int_equal(*said == '\0', r >= 0);
        return said;
}

static void expect_printed(const char *text) {
        if (!strstr(printed, text))
                fail_msg("\"%s\" is not in: %s", text, printed);
}

static void expect_not_printed(const char *text) {
        if (strstr(printed, text))
                fail_msg("\"%s\" is in: %s", text, printed);
}

/* ---- asking ---- */

static void test_ctl_verbs_status(void **state) {
        set_up();
        (void)run(verb_status, 0, NULL);
        assert_string_equal(take_asked(), "GetStatus()\nGetLimits()\nListFailures()\n");
        expect_printed("7.8.9");
        expect_printed("running");
        expect_printed("no quota; ");
        expect_printed("0 done, 2 failed\n");
        options.json = JSON_SHORT;
        (void)run(verb_status, 0, NULL);
        expect_printed("\"version\":\"7.8.9\"");
        expect_printed("\"pid\":4242");
        expect_printed("\"uptime_us\":5000000");
        expect_printed("\"max-concurrent\"");
        expect_printed("\"failures\":[]");
        tear_down();
}

static void test_ctl_verbs_lists(void **state) {
        set_up();
        (void)run(verb_list, 0, NULL);
        assert_string_equal(take_asked(), "ListVMs()\n");
        expect_printed("NAME");
        options.legend = false;
        (void)run(verb_list, 0, NULL);
        expect_not_printed("NAME");
        options.json = JSON_SHORT;
        (void)run(verb_list, 0, NULL);
        expect_printed("\"name\":\"a\"");
        expect_printed("\"vmm_pid\":31");
        (void)take_asked();
        (void)run(verb_jobs, 0, NULL);
        assert_string_equal(take_asked(), "ListJobs()\n");
        expect_printed("\"id\":1004");
        tear_down();
}

static void test_ctl_verbs_show_vm(void **state) {
        static const char *const of_b[] = {"uuid-of-b", "pid=20", "pid=21"};

        set_up();
        options.json = JSON_SHORT;
        (void)run(verb_show, 0, "a");
        assert_string_equal(take_asked(), "ListVMs()\nListJobs()\n");
        expect_printed("\"name\":\"a\"");
        expect_printed("\"id\":1002");
        expect_printed("\"id\":1004");
        expect_not_printed("\"id\":1001");
        expect_not_printed("\"id\":1003");
        for (size_t i = 0; i < ARRAY_SIZE(of_b); i++) {
                (void)run(verb_show, 0, of_b[i]);
                expect_printed("\"pid\":20");
                expect_printed("\"id\":1001");
                expect_not_printed("\"id\":1002");
        }
        options.json = JSON_OFF;
        (void)run(verb_show, 0, "a");
        expect_printed("1002");
        expect_not_printed("1003");
        assert_non_null(strstr(run(verb_show, -ENOENT, "b"), "2 VMs match \"b\""));
        assert_non_null(strstr(run(verb_show, -ENOENT, "c"), "knows no VM \"c\""));
        assert_non_null(strstr(run(verb_show, -ENOENT, "pid=99"), "knows no VM"));
        assert_non_null(strstr(run(verb_show, -ENOENT, "pid=2x"), "knows no VM"));
        tear_down();
}

static void test_ctl_verbs_show_job(void **state) {
        set_up();
        (void)run(verb_show, 0, "1002");
        assert_string_equal(take_asked(), "GetJob(1002)\n");
        expect_printed("1002");
        options.json = JSON_SHORT;
        (void)run(verb_show, 0, "1002");
        expect_printed("\"id\":1002");
        expect_printed("\"kind\":\"reboot\"");
        tear_down();
}

static void test_ctl_verbs_metrics(void **state) {
        set_up();
        (void)run(verb_metrics, 0, NULL);
        assert_string_equal(printed, "pvreaper_x 1\n");
        assert_string_equal(take_asked(), "GetMetrics()\n");
        options.textfile = true;
        (void)run(verb_metrics, 0, NULL);
        assert_string_equal(printed, "pvreaper_x 2\n");
        assert_string_equal(take_asked(), "GetTextfileMetrics()\n");
        options.json = JSON_SHORT;
        assert_non_null(strstr(run(verb_metrics, SAY_USAGE, NULL), "--json is not supported"));
        assert_string_equal(take_asked(), "");
        tear_down();
}

/* ---- changing ---- */

static void test_ctl_verbs_changes(void **state) {
        set_up();
        (void)run(verb_reload, 0, NULL);
        assert_string_equal(take_asked(), "Reload()\n");
        assert_string_equal(printed, "nothing changed\n");
        (void)run(verb_adopt, 0, "123");
        assert_string_equal(take_asked(), "Adopt(123)\n");
        (void)run(verb_set, 0, "max-concurrent=8=");
        assert_string_equal(take_asked(), "SetLimits(max-concurrent:8=,)\nGetStatus()\n");
        assert_string_equal(printed, "max-concurrent: 8 instead of 4 (runtime)\n"
                                     "at most 5 at once now\n");
        options.json = JSON_SHORT;
        (void)run(verb_drain, 0, NULL);
        assert_string_equal(take_asked(), "Drain()\nGetStatus()\n");
        expect_printed("\"state\":\"running\"");
        assert_non_null(strstr(run(verb_adopt, SAY_USAGE, "x"), "a process number, not \"x\""));
        assert_non_null(strstr(run(verb_set, SAY_USAGE, "x"), "KEY=VALUE, not \"x\""));
        assert_string_equal(take_asked(), "");
        tear_down();
}

static void test_ctl_verbs_wait_memory(void **state) {
        set_up();
        options.timeout_usec = 77;
        (void)run(verb_wait_memory, 0, "1K");
        assert_string_equal(take_asked(), "WaitMemory(1024,77)\n");
        assert_string_equal(printed, "3.0 GiB available\n");
        options.json = JSON_SHORT;
        options.timeout_usec = USEC_INFINITY;
        (void)run(verb_wait_memory, 0, "2K");
        assert_string_equal(take_asked(), "WaitMemory(2048,18446744073709551615)\n");
        expect_printed("\"available_bytes\":3221225472");
        assert_non_null(strstr(run(verb_wait_memory, SAY_USAGE, "x"), "a size such as 16G"));
        tear_down();
}

/* ---- what goes wrong ---- */

static void test_ctl_verbs_errors(void **state) {
        char path[sizeof(address.sun_path) + 1];

        set_up();
        assert_string_equal(run(verb_resume, CONNECTION_TIME_IS_UP, NULL),
                            "pv-reaperctl: not in time\n");
        assert_string_equal(run(verb_show, -EINVAL, "1"), "pv-reaperctl: no such job\n");
        assert_non_null(strstr(run(verb_show, -EBADMSG, "1003"), "malformed answer to GetJob"));
        options.socket = "/nowhere/at/all";
        assert_non_null(strstr(run(verb_list, CONNECTION_NOBODY, NULL), "no daemon listens on"));
        options.socket = "";
        assert_non_null(strstr(run(verb_list, CONNECTION_NOBODY, NULL), "no daemon listens on"));
        memset(path, 'x', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        options.socket = path;
        assert_non_null(strstr(run(verb_list, -ENAMETOOLONG, NULL), "cannot talk to the daemon"));
        tear_down();
}

/* The lines of say.c, into a buffer and to stderr. */
static void test_ctl_verbs_say(void **state) {
        char buffer[64] = "";
        const char *said;

        say_into(buffer, sizeof(buffer));
        assert_int_equal(say_error(-ENOENT, "no %s\n", "x\x1b"), -ENOENT);
        assert_string_equal(buffer, "no x??: No such file or directory");
        assert_int_equal(say_error(0, "%d", 7), -EINVAL);
        assert_string_equal(buffer, "7");
        say_into(NULL, 0);
        capture_begin();
        assert_int_equal(say_usage("~ %d", 8), SAY_USAGE);
        said = capture_end();
        assert_string_equal(said, "pv-reaperctl: ~ 8\n");
        assert_string_equal(buffer, "7");
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_ctl_verbs_status),      checked_test(test_ctl_verbs_lists),
                checked_test(test_ctl_verbs_show_vm),     checked_test(test_ctl_verbs_show_job),
                checked_test(test_ctl_verbs_metrics),     checked_test(test_ctl_verbs_changes),
                checked_test(test_ctl_verbs_wait_memory), checked_test(test_ctl_verbs_errors),
                checked_test(test_ctl_verbs_say),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
