/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verb "check": a table of checks, and the code that runs them. Each check runs in a child,
 * which sends its report through a pipe within LIMIT_SEC. So a name service, a device or a program
 * that hangs costs its own line only. The daemon is asked once, before the checks, with the time
 * limits of a connection.
 */

#include "ctl/check.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "ctl/connection.h"
#include "ctl/paint.h"
#include "ctl/say.h"
#include "ctl/terminal.h"
#include "ctl/verbs.h"
#include "ctl/wrap.h"

#define LIMIT_SEC 5

static const struct check checks[] = {
        {"architecture", check_architecture, "a machine with Secure Execution"},
        {"kernel", check_kernel, "Linux 5.9 or later"},
        {"secure-execution", check_secure_execution, "protected guests (prot_virt=1)"},
        {"async-destroy", check_async_destroy, "asynchronous teardown in KVM"},
        {"kvm", check_kvm, "/dev/kvm"},
        {"capability-224", check_capability_224, "KVM that can set VMs aside"},
        {"cgroup-v2", check_cgroup_v2, "cgroup v2"},
        {"controllers", check_controllers, "controllers cpu and pids"},
        {"backlog", check_backlog, "room for VMs that come at once"},
        {"units", check_units, "pv-reaper's units"},
        {"shutdown-order", check_shutdown_order, "the order at shutdown"},
        {"daemon", check_daemon, "the daemon"},
        {"capabilities", check_capabilities, "the daemon's capabilities"},
        {"cpu-cap", check_cpu_cap, "a CPU quota that is enforced"},
        {"fds", check_fds, "room for VMs in the daemon"},
        {"handoff-socket", check_handoff_socket, "the socket for keepers"},
        {"release-socket", check_release_socket, "the socket for VMs without keeper"},
        {"control-socket", check_control_socket, "the socket for pv-reaperctl"},
        {"qemu-user", check_qemu_user, "the right of QEMU's user to connect"},
        {"apparmor", check_apparmor, "AppArmor's consent"},
        {"selinux", check_selinux, "SELinux's consent"},
        {"qemu", check_qemu, "QEMU 8.0 or later"},
        {"libvirt", check_libvirt, "libvirt 9.6 or later"},
        {"fencing", check_fencing, "writes of a QEMU that is gone"},
};

static const char *const result_names[] = {[CHECK_PASS] = "PASS",
                                           [CHECK_NONE] = "SKIP",
                                           [CHECK_SKIP] = "SKIP",
                                           [CHECK_WARN] = "WARN",
                                           [CHECK_FAIL] = "FAIL"};

static const struct column columns[] = {
        {"Name", "name", "NAME", FORMAT_TEXT, 0, NULL},
        {"Result", "result", "RESULT", FORMAT_TEXT, 0, NULL},
        {"Checked", "checked", NULL, FORMAT_TEXT, 0, NULL},
        {"Detail", "detail", "DETAIL", FORMAT_TEXT, 0, NULL},
        {"Advice", "advice", "ADVICE", FORMAT_TEXT, 0, NULL},
        {},
};

/* ---- one check ---- */

/* Whether a whole report came in time. */
static bool receive(int fd, struct check_report *ret) {
        const uint64_t deadline = now_usec() + LIMIT_SEC * USEC_PER_SEC;
        size_t n = 0;

        while (n < sizeof(*ret)) {
                struct pollfd poller = {.fd = fd, .events = POLLIN};
                uint64_t now = now_usec();
                ssize_t m;

                if (now >= deadline)
                        return false;
                if (poll(&poller, 1, (int)((deadline - now) / USEC_PER_MSEC) + 1) <= 0)
                        continue;
                m = read(fd, (char *)ret + n, sizeof(*ret) - n);
                if (m <= 0)
                        return false;
                n += (size_t)m;
        }
        return true;
}

_Noreturn static void be_checker(const struct check *check, const struct check_host *host, int fd) {
        struct check_report report = {.result = CHECK_SKIP};

        (void)setpgid(0, 0); /* so that it is killed with all that it starts */
        check->run(host, &report);
        (void)!write(fd, &report, sizeof(report));
        _exit(EXIT_SUCCESS);
}

static void run_check(const struct check *check, const struct check_host *host,
                      struct check_report *ret) {
        _cleanup_(close_fd) int reader = -1;
        bool done;
        int fds[2];
        pid_t pid;

        check_say(ret, CHECK_WARN, "cannot be checked: no process to do it");
        if (pipe2(fds, O_CLOEXEC) < 0)
                return;
        reader = fds[0];
        pid = fork();
        if (pid == 0)
                be_checker(check, host, fds[1]);
        close_fd(&fds[1]);
        if (pid < 0)
                return;
        done = receive(reader, ret);
        (void)setpgid(pid, pid); /* parent and child both try */
        (void)kill(-pid, SIGKILL);
        /* Does not wait for a child that hangs in the kernel: init will. */
        if (done) {
                (void)waitpid(pid, NULL, 0);
                return;
        }
        *ret = (struct check_report){};
        check_say(ret, CHECK_WARN, "no answer within %d s", LIMIT_SEC);
        check_advise(ret, "find out what hangs: pv-reaperctl check %s under strace -f",
                     check->name);
}

/* ---- all of them ---- */

static int add_text(struct record *record, const char *key, const char *text) {
        const struct value value = {.type = VALUE_STRING, .string = text};

        return record_add(record, key, &value);
}

static int add_report(struct record_list *list, const struct check *check,
                      struct check_report *report) {
        struct record *record;
        int r;

        make_printable(report->detail);
        make_printable(report->advice);
        r = record_list_add(list, &record);
        if (r >= 0)
                r = add_text(record, "Name", check->name);
        if (r >= 0)
                r = add_text(record, "Result", result_names[report->result]);
        if (r >= 0)
                r = add_text(record, "Checked", check->help);
        if (r >= 0)
                r = add_text(record, "Detail", report->detail);
        if (r >= 0 && *report->advice)
                r = add_text(record, "Advice", report->advice);
        return r;
}

#define NAME_WIDTH 16
#define INDENT     (4 + 2 + NAME_WIDTH + 2) /* "WARN  handoff-socket    " */

/* The result first: no terminal is too narrow for that. */
static void print_report(FILE *out, const struct options *options, const struct check *check,
                         const struct check_report *report) {
        const struct paint paint = paint_of(options->colour);
        const char *const colours[] = {[CHECK_PASS] = paint.good,
                                       [CHECK_NONE] = "",
                                       [CHECK_SKIP] = "",
                                       [CHECK_WARN] = paint.warn,
                                       [CHECK_FAIL] = paint.bad};

        (void)fprintf(out, "%s%s%s  %-*s  %s\n", colours[report->result],
                      result_names[report->result], paint.off, NAME_WIDTH, check->name,
                      report->detail);
        if (*report->advice)
                (void)fprintf(out, "%*sTo do: %s\n", INDENT, "", report->advice);
}

static bool is_wanted(const struct options *options, const char *name) {
        for (int i = 0; i < options->n_args; i++)
                if (strcmp(options->args[i], name) == 0)
                        return true;
        return options->n_args == 0;
}

static int reject_unknown(const struct options *options) {
        for (int i = 0; i < options->n_args; i++) {
                size_t j = 0;

                while (j < ARRAY_SIZE(checks) && strcmp(checks[j].name, options->args[i]) != 0)
                        j++;
                if (j == ARRAY_SIZE(checks))
                        return say_usage("check: there is no check \"%s\"; see CHECKS in "
                                         "pv-reaperctl(1)",
                                         options->args[i]);
        }
        return 0;
}

/* A check that was named is shown even if it does not apply. */
static bool is_shown(const struct options *options, const struct check_report *report) {
        return report->result != CHECK_NONE || options->all || options->n_args > 0;
}

/* Adds the report to the list, and prints it. Returns whether it is shown, or a negative errno. */
static int show_report(const struct options *options, FILE *out, const struct check *check,
                       struct check_report *report, struct record_list *list) {
        int r;

        if (!is_shown(options, report))
                return 0;
        r = add_report(list, check, report);
        if (r >= 0 && options->json == JSON_OFF)
                print_report(out, options, check, report);
        return r < 0 ? r : 1;
}

/* Returns the worst result. Negative: the user was told why. */
static int run_checks(const struct options *options, const struct check_host *host, FILE *out) {
        _cleanup_(record_list_deinit) struct record_list list = {};
        enum check_result worst = CHECK_PASS;
        unsigned n_hidden = 0;
        int r = 0;

        for (size_t i = 0; i < ARRAY_SIZE(checks) && r >= 0; i++) {
                struct check_report report = {};

                if (!is_wanted(options, checks[i].name))
                        continue;
                run_check(&checks[i], host, &report);
                if (report.result > worst)
                        worst = report.result;
                r = show_report(options, out, &checks[i], &report, &list);
                n_hidden += r == 0;
        }
        if (r >= 0 && options->json != JSON_OFF)
                r = json_print(out, columns, &list, options->json);
        else if (r >= 0 && n_hidden > 0 && options->legend)
                (void)fprintf(out, "%u checks do not apply here: --all shows them.\n", n_hidden);
        return r < 0 ? say_error(r, "cannot show the checks") : (int)worst;
}

/* ---- asking the daemon ---- */

/* A failure is no error here: the check of the daemon reports it. */
static int ask_daemon(const char *socket, struct record_list *ret, char *why, size_t size) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        int r;

        say_into(why, size);
        r = connection_new(&connection, socket);
        if (r >= 0)
                r = connection_call(connection, "GetStatus", ret);
        say_into(NULL, 0);
        return r;
}

/* In lines that fit the terminal. */
static int run_wrapped(const struct options *options, const struct check_host *host, FILE *out) {
        struct wrapped text;
        int r, worst;

        r = wrap_begin(&text);
        if (r < 0)
                return say_error(r, "cannot show the checks");
        worst = run_checks(options, host, text.memory);
        r = wrap_end(&text, out, options->terminal ? terminal_columns() : 0, INDENT);
        return r < 0 ? say_error(r, "cannot show the checks") : worst;
}

int verb_check(const struct options *options, FILE *out) {
        static const int statuses[] = {[CHECK_PASS] = 0,
                                       [CHECK_NONE] = 0,
                                       [CHECK_SKIP] = 0,
                                       [CHECK_WARN] = 4,
                                       [CHECK_FAIL] = 1};
        _cleanup_(record_list_deinit) struct record_list list = {};
        char why[1024] = "";
        struct check_host host = {.root = options->root, .socket = options->socket, .why = why};
        int r;

        r = reject_unknown(options);
        if (r < 0)
                return r;
        if (ask_daemon(options->socket, &list, why, sizeof(why)) >= 0 && list.n_records == 1)
                host.status = &list.records[0];
        r = run_wrapped(options, &host, out);
        return r < 0 ? r : statuses[r];
}
